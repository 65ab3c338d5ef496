//! Kills and stops processes.

use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::{FaultError, PATIENCE, POLL};

/// Sends `SIGKILL` to a process: a server process, identified as in `pg_locks`, a [postmaster], or
/// a [test process].
///
/// If one server process is killed, the whole server ends all sessions and recovers. To kill a
/// postmaster for good, use [`TestServer::kill`].
///
/// [postmaster]: crate::postgres::TestServer::postmaster
/// [test process]: super::TestProcess
/// [`TestServer::kill`]: crate::postgres::TestServer::kill
///
/// # Errors
///
/// [`FaultError::Io`] if there is no such process or it belongs to another user.
pub fn kill(pid: i32) -> Result<(), FaultError> {
    signal(pid, Signal::KILL)
}

/// Sends `SIGTERM` to a process, which asks it to end.
///
/// # Errors
///
/// The same as for [`kill`].
pub fn terminate(pid: i32) -> Result<(), FaultError> {
    signal(pid, Signal::TERM)
}

/// A process that is stopped but has not ended. Dropping this lets it continue.
#[derive(Debug)]
#[must_use = "the process continues when this is dropped"]
pub struct Stopped {
    pid: i32,
}

impl Stopped {
    /// Sends `SIGSTOP` to a process, and returns when it has stopped. Blocks for a moment.
    ///
    /// # Errors
    ///
    /// [`FaultError::Io`] if there is no such process or it belongs to another user;
    /// [`FaultError::TimedOut`].
    pub fn stop(pid: i32) -> Result<Self, FaultError> {
        signal(pid, Signal::STOP)?;
        let stopped = Self { pid };
        let deadline = Instant::now() + PATIENCE;
        while !has_stopped(pid).map_err(|source| failed(pid, source))? {
            if Instant::now() >= deadline {
                return Err(FaultError::TimedOut { awaited: format!("process {pid} to stop") });
            }
            thread::sleep(POLL);
        }
        Ok(stopped)
    }

    /// Lets the process continue, as dropping does.
    pub fn resume(self) {}
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // The process may have been killed.
        let _ = signal(self.pid, Signal::CONT);
    }
}

fn signal(pid: i32, signal: Signal) -> Result<(), FaultError> {
    // Other numbers mean process groups, all processes, or the first one.
    let one = Some(pid).filter(|pid| *pid > 1).and_then(Pid::from_raw);
    one.ok_or_else(|| io::ErrorKind::InvalidInput.into())
        .and_then(|pid| kill_process(pid, signal).map_err(io::Error::from))
        .map_err(|source| failed(pid, source))
}

fn failed(pid: i32, source: io::Error) -> FaultError {
    FaultError::io(format!("cannot signal process {pid}"), source)
}

/// Whether all threads of a process have stopped: each stops on its own.
fn has_stopped(pid: i32) -> io::Result<bool> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        let mut ps = Command::new("ps");
        let shown = ps.args(["-o", "state=", "-p", &pid.to_string()]).stdin(Stdio::null());
        return Ok(shown.output()?.stdout.starts_with(b"T"));
    };
    for thread in threads {
        let stat = fs::read_to_string(thread?.path().join("stat"))?;
        // The name before it may contain any characters, including brackets.
        let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        if !state.starts_with('T') {
            return Ok(false);
        }
    }
    Ok(true)
}
