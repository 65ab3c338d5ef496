//! Cases that need a second process run twice: in the process of their test, and in one that it
//! starts.

use std::env;
#[cfg(unix)]
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use tokio::task::spawn_blocking;

use super::Lab;
#[cfg(unix)]
use crate::faults::TestProcess;

/// Where the child finds the lock space of its parent.
const ADDRESS: &str = "PGLOCK_TEST_ADDRESS";
const READY: &str = "@ready";

/// A process that runs the same case; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

/// The address of the parent's lock space, if this process is a child.
pub(super) fn parent() -> Option<String> {
    env::var(ADDRESS).ok()
}

impl Lab {
    /// Whether this is the process that the case has started.
    pub fn is_child(&self) -> bool {
        self.is_child
    }

    /// Starts the case in another process, and returns when that is [ready](Self::ready).
    pub fn start_process(&self) -> Process {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", self.test(), "--nocapture"])
            .env(ADDRESS, self.address())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let is_ready = lines.any(|line| line.is_ok_and(|line| line == READY));
        let process = Process { child };
        assert!(is_ready, "the other process has ended");
        process
    }

    /// Starts the case in another process, which plays a [role](TestProcess::role) in the lock
    /// space at that address.
    #[cfg(unix)]
    pub fn start_role(&self, role: &str, address: &str) -> TestProcess {
        self.start_role_with(role, address, [])
    }

    /// The same, with more variables in its environment.
    #[cfg(unix)]
    pub fn start_role_with<'a>(
        &self,
        role: &str,
        address: &str,
        variables: impl IntoIterator<Item = (&'a str, &'a OsStr)>,
    ) -> TestProcess {
        let mut command = TestProcess::command(self.test(), role).unwrap();
        TestProcess::start(command.envs(variables).env(ADDRESS, address)).unwrap()
    }

    /// In the child: lets the parent go on, and waits until it kills this process or ends.
    pub async fn ready(&self) {
        println!("\n{READY}");
        let stdin = || io::stdin().read_to_end(&mut Vec::new());
        spawn_blocking(stdin).await.unwrap().unwrap();
    }
}

impl Process {
    /// Kills it, as `kill -9` does, without waiting for its end.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
