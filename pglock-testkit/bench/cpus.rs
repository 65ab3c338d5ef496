//! On which CPUs a benchmark and its server run.
//!
//! With one task, client and server take turns. Whether they share a CPU or wake each other on two
//! changes the time of a round trip by up to a factor of eight (10 and 75 us on one virtual
//! machine), which is more than most comparisons are about, and the scheduler may choose anew for
//! each connection.

use std::fmt;
use std::io;
use std::slice::from_ref;

use pglock_testkit::postgres::TestServer;

/// Where client and server run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Placement {
    /// Wherever the scheduler wants them.
    Anywhere,
    /// Both on the same CPU: all that either does counts.
    OneCpu,
    /// On a CPU each, as if the server were another machine.
    CpuEach,
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anywhere => "client and server wherever the scheduler wants them",
            Self::OneCpu => "client and server on one CPU",
            Self::CpuEach => "client and server on a CPU each",
        })
    }
}

/// The CPUs that this process may use; none are known where the system cannot be told which to use.
#[derive(Debug)]
pub struct Cpus {
    usable: Vec<usize>,
}

impl Cpus {
    /// Those it may use now.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn of_this_process() -> io::Result<Self> {
        Ok(Self { usable: system::usable()? })
    }

    /// Places all threads of this process, and the sessions that are opened from now on at the
    /// server, and returns where they are.
    ///
    /// That is [anywhere](Placement::Anywhere) if the server is not a
    /// [private](TestServer::private) one, if there are not enough CPUs, and on other systems than
    /// Linux.
    ///
    /// # Errors
    ///
    /// The system's, or the server's.
    pub fn place(&self, wanted: Placement, server: &TestServer) -> io::Result<Placement> {
        let (placement, client, sessions) = match (wanted, &self.usable[..]) {
            (Placement::OneCpu, [.., last]) => (wanted, from_ref(last), from_ref(last)),
            (Placement::CpuEach, [first, .., last]) => (wanted, from_ref(first), from_ref(last)),
            (_, all) => (Placement::Anywhere, all, all),
        };
        let placed = system::place(client, sessions, server)?;
        Ok(if placed { placement } else { Placement::Anywhere })
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs;
    use std::io;

    use pglock_testkit::postgres::{TestServer, TestServerError};
    use rustix::io::Errno;
    use rustix::process::Pid;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    pub(super) fn usable() -> io::Result<Vec<usize>> {
        let set = sched_getaffinity(None)?;
        Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
    }

    /// False if the server is not one that may be placed.
    pub(super) fn place(
        client: &[usize],
        sessions: &[usize],
        server: &TestServer,
    ) -> io::Result<bool> {
        let postmaster = match server.postmaster() {
            Err(TestServerError::NotPrivate) => return Ok(false),
            postmaster => postmaster.map_err(io::Error::other)?,
        };
        place_process("self", client)?;
        place_process(&postmaster.to_string(), sessions)?;
        Ok(true)
    }

    /// All threads that the process has; what they start inherits it.
    fn place_process(pid: &str, cpus: &[usize]) -> io::Result<()> {
        let mut set = CpuSet::new();
        cpus.iter().for_each(|cpu| set.set(*cpu));
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let name = thread?.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            // To the system, no number is the thread that asks.
            let id = id.ok_or(io::ErrorKind::InvalidData)?;
            match sched_setaffinity(Some(id), &set) {
                // It has ended meanwhile.
                Err(Errno::SRCH) => {}
                result => result?,
            }
        }
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;

    use pglock_testkit::postgres::TestServer;

    pub(super) fn usable() -> io::Result<Vec<usize>> {
        Ok(Vec::new())
    }

    pub(super) fn place(_: &[usize], _: &[usize], _: &TestServer) -> io::Result<bool> {
        Ok(false)
    }
}
