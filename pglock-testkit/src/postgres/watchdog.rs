//! Tracks who uses a server, and stops it after the last user.
//!
//! A detached shell (`watchdog.sh`) reads a FIFO that every user keeps open for writing. The kernel
//! closes it when a process ends in any way, so the server stops with its last user even after
//! `kill -9`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const SCRIPT: &str = include_str!("watchdog.sh");

/// Keeps a server running while this value lives.
#[derive(Debug)]
pub(super) struct Membership {
    /// Never written to: the watchdog waits for end-of-file.
    _fifo: File,
}

impl Membership {
    /// Makes the caller the first user of the server directory `dir`, which must be new.
    pub(super) fn found(dir: &Path) -> io::Result<(Self, Child)> {
        fs::create_dir(users(dir))?;
        let made = Command::new("mkfifo").args(["-m", "600"]).arg(fifo(dir)).status()?;
        if !made.success() {
            return Err(io::Error::other("mkfifo failed"));
        }
        let (_reader, membership) = Self::open(dir)?;
        membership.sign(dir)?;
        let watchdog =
            watch(dir)?.ok_or_else(|| io::Error::other("a new directory is watched already"))?;
        Ok((membership, watchdog))
    }

    /// Makes the caller another user, or returns `None` if the server is about to stop.
    pub(super) fn join(dir: &Path) -> io::Result<Option<Self>> {
        let joined = Self::open(dir).and_then(|(_reader, membership)| {
            membership.sign(dir)?;
            Ok(membership)
        });
        match joined {
            Ok(membership) => Ok(Some(membership)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The read end comes with it, because opening one end alone blocks until the other is open.
    fn open(dir: &Path) -> io::Result<(File, Self)> {
        let both = OpenOptions::new().read(true).write(true).open(fifo(dir))?;
        let reader = File::open(fifo(dir))?;
        let writer = OpenOptions::new().write(true).open(fifo(dir))?;
        drop(both);
        Ok((reader, Self { _fifo: writer }))
    }

    /// Only a user whose FIFO is open may sign, because the watchdog treats a name without an open
    /// FIFO as gone.
    fn sign(&self, dir: &Path) -> io::Result<()> {
        // Not the pid, which a new process might share with a user that has just ended.
        let name = tempfile::Builder::new().prefix("user-").tempfile_in(users(dir))?;
        name.keep().map(drop).map_err(|error| error.error)
    }
}

/// Starts the watchdog of a server directory, or returns `None` if it has one.
///
/// If the watchdog of a directory was killed, the directory gets a new one, which waits for the
/// remaining users, if any.
pub(super) fn watch(dir: &Path) -> io::Result<Option<Child>> {
    // The lock lives as long as the watchdog, which inherits the open file.
    let watched = OpenOptions::new().create(true).append(true).open(dir.join("watchdog"))?;
    match watched.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let stdin = match Membership::open(dir) {
        Ok((reader, _)) => Stdio::from(reader),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Stdio::null(),
        Err(error) => return Err(error),
    };
    Command::new("sh")
        .args(["-c", SCRIPT, "pglock-testkit-watchdog"])
        .arg(dir)
        .current_dir("/")
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(watched)
        // Ctrl-C in a terminal signals the user's whole process group.
        .process_group(0)
        .spawn()
        .map(Some)
}

fn fifo(dir: &Path) -> PathBuf {
    dir.join("fifo")
}

fn users(dir: &Path) -> PathBuf {
    dir.join("users")
}
