//! How messages name a process that holds a lock.

use std::fmt;
use std::net::IpAddr;

use crate::names::Shown;

/// The process of a session, as the server shows it.
pub(crate) struct Process<'a> {
    pub(crate) pid: i32,
    pub(crate) is_ours: bool,
    pub(crate) application_name: &'a str,
    pub(crate) client_addr: Option<IpAddr>,
}

impl fmt::Display for Process<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ours {
            return write!(f, "this process (pid {})", self.pid);
        }
        write!(f, "pid {}", self.pid)?;
        if !self.application_name.is_empty() {
            write!(f, " {}", Shown(self.application_name))?;
        }
        if let Some(address) = self.client_addr {
            write!(f, " from {address}")?;
        }
        Ok(())
    }
}
