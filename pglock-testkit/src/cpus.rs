//! On which CPUs a benchmark and its server run.
//!
//! With one task, client and server take turns. Whether they share a CPU or wake each other on two changes the time of a round trip by up to a
//! factor of eight (10 and 75 us on one virtual machine), which is more than most comparisons are about, and the scheduler may choose anew for
//! each connection.

use std::fmt;
use std::io;

use crate::postgres::TestServer;

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

/// The CPUs that this process may use.
#[derive(Debug)]
pub struct Cpus {
    #[cfg(target_os = "linux")]
    all: rustix::thread::CpuSet,
}

#[cfg(target_os = "linux")]
impl Cpus {
    /// Those it may use now.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn of_this_process() -> io::Result<Self> {
        Ok(Self { all: rustix::thread::sched_getaffinity(None)? })
    }

    /// Places all threads of this process, and the sessions that are opened from now on at a [private](TestServer::private) server.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] if there are not enough CPUs, or on another system than Linux; else the system's, or the server's.
    pub fn place(&self, placement: Placement, server: &TestServer) -> io::Result<()> {
        use rustix::thread::CpuSet;

        let one = |cpu: usize| {
            let mut set = CpuSet::new();
            set.set(cpu);
            set
        };
        let mut usable = (0..CpuSet::MAX_CPU).filter(|cpu| self.all.is_set(*cpu));
        let (client, server_on) = match (placement, usable.next(), usable.next_back()) {
            (Placement::OneCpu, Some(first), last) => {
                let cpu = last.unwrap_or(first);
                (one(cpu), one(cpu))
            }
            (Placement::CpuEach, Some(first), Some(last)) => (one(first), one(last)),
            (Placement::CpuEach, ..) => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "this needs two CPUs"));
            }
            (Placement::Anywhere | Placement::OneCpu, ..) => (self.all, self.all),
        };
        place_process("self", &client)?;
        let postmaster = server.postmaster().map_err(io::Error::other)?;
        place_process(&postmaster.to_string(), &server_on)
    }
}

/// All threads that the process has; what they start inherits it.
#[cfg(target_os = "linux")]
fn place_process(pid: &str, cpus: &rustix::thread::CpuSet) -> io::Result<()> {
    use rustix::io::Errno;
    use rustix::process::Pid;
    use rustix::thread::sched_setaffinity;

    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let name = thread?.file_name();
        let id = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        match sched_setaffinity(id, cpus) {
            // It has ended meanwhile.
            Err(Errno::SRCH) => {}
            result => result?,
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
impl Cpus {
    /// Those it may use now.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn of_this_process() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Does nothing if that is wanted: only Linux is told where to run what.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] for any other placement.
    pub fn place(&self, placement: Placement, _server: &TestServer) -> io::Result<()> {
        match placement {
            Placement::Anywhere => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "this needs Linux")),
        }
    }
}
