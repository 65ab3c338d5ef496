//! Cases that need a second process. The same case runs in the process of its test, and in one that
//! it starts.

use std::env;
#[cfg(unix)]
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use tokio::task::spawn_blocking;

use super::Lab;
#[cfg(unix)]
use crate::faults::TestProcess;

/// Passes the address of the parent's lock space to the child.
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
    /// Whether this process was started by the case.
    pub fn is_child(&self) -> bool {
        self.is_child
    }

    /// Starts the case in another process, and returns when it is [ready](Self::ready).
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

    /// The same, with additional environment variables.
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

    /// For the child: lets the parent continue, and waits until the parent kills this process or
    /// ends.
    pub async fn ready(&self) {
        println!("\n{READY}");
        let stdin = || io::stdin().read_to_end(&mut Vec::new());
        spawn_blocking(stdin).await.unwrap().unwrap();
    }
}

impl Process {
    /// Kills the process with `SIGKILL`, without waiting for its end.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
