//! Chooses the CPUs on which a benchmark and its server run.
//!
//! With one task, client and server take turns. The time of a round trip depends on whether they
//! share a CPU or wake each other on two: by up to a factor of eight (10 and 75 us on one virtual
//! machine). That is more than most comparisons are about, and the scheduler may choose differently
//! for each connection.

use std::fmt;
use std::io;
use std::slice::from_ref;

use pglock_testkit::postgres::TestServer;

/// Where client and server run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Placement {
    /// Wherever the scheduler puts them.
    Anywhere,
    /// Both on the same CPU: the work of both counts.
    OneCpu,
    /// Each on its own CPU, as if the server were another machine.
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

/// The CPUs that this process may use. Empty on systems that do not let a process choose.
#[derive(Debug)]
pub struct Cpus {
    usable: Vec<usize>,
}

impl Cpus {
    /// The CPUs that it may use now.
    ///
    /// # Errors
    ///
    /// An error of the system.
    pub fn of_this_process() -> io::Result<Self> {
        Ok(Self { usable: system::usable()? })
    }

    /// Places all threads of this process, and the server sessions opened from now on, and returns
    /// where they are.
    ///
    /// Returns [anywhere](Placement::Anywhere) if the server is not [private](TestServer::private),
    /// if there are too few CPUs, and on systems other than Linux.
    ///
    /// # Errors
    ///
    /// Errors of the system or of the server.
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

    /// False if the server may not be placed.
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

    /// All threads of the process; new ones inherit the placement.
    fn place_process(pid: &str, cpus: &[usize]) -> io::Result<()> {
        let mut set = CpuSet::new();
        cpus.iter().for_each(|cpu| set.set(*cpu));
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let name = thread?.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            // Without a pid, the system would place the calling thread.
            let id = id.ok_or(io::ErrorKind::InvalidData)?;
            match sched_setaffinity(Some(id), &set) {
                // The thread has ended meanwhile.
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
