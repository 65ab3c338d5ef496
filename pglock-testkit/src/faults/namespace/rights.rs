//! Checks whether this user may create network namespaces here.

use std::fs;
use std::io;
use std::process::{Command, Stdio};

use crate::faults::FaultError;

/// Fails with [`FaultError::NotAllowed`], whose text says what is missing.
pub(super) fn check() -> Result<(), FaultError> {
    let not_allowed = |why: &str| Err(FaultError::NotAllowed { why: why.to_owned() });
    if !rustix::process::geteuid().is_root() {
        return not_allowed("network namespaces need root");
    }
    match Command::new("ip").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return not_allowed("network namespaces need the program ip: apt-get install iproute2");
        }
        Err(source) => return Err(FaultError::io("cannot run ip", source)),
        Ok(_) => {}
    }
    // Root in a container may lack the rights.
    let status = fs::read_to_string("/proc/self/status")
        .map_err(|source| FaultError::io("cannot read /proc/self/status", source))?;
    if has_capabilities(&status) {
        Ok(())
    } else {
        not_allowed("network namespaces need the rights CAP_NET_ADMIN and CAP_SYS_ADMIN")
    }
}

fn has_capabilities(status: &str) -> bool {
    const NET_ADMIN: u64 = 1 << 12;
    const SYS_ADMIN: u64 = 1 << 21;
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|effective| u64::from_str_radix(effective.trim(), 16).ok())
        .is_some_and(|effective| effective & NET_ADMIN != 0 && effective & SYS_ADMIN != 0)
}
