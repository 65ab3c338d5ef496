//! The folder of a server, and the programs that run in it.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::task::spawn_blocking;

use super::TestServerError;
use super::account::Account;
use super::home::Home;
use super::watchdog::Membership;

/// Below the range from which systems take ports for outgoing connections, so that the port of a
/// stopped server stays free.
const PORTS: std::ops::Range<u16> = 16_384..32_768;

#[derive(Clone, Debug)]
pub(crate) struct Site {
    dir: PathBuf,
    account: Option<Account>,
}

impl Site {
    /// Makes a folder, with the caller as its first user, and starts the process that watches it.
    /// The home must be locked.
    pub(super) fn found(
        home: &Home,
        prefix: &str,
    ) -> Result<(Self, Membership, Child), TestServerError> {
        let dir = home.new_server(prefix)?;
        let (membership, watchdog) = Membership::found(&dir).map_err(|source| {
            TestServerError::io("cannot start the watchdog of the test server", source)
        })?;
        Ok((Self { dir, account: home.account }, membership, watchdog))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn log(&self) -> PathBuf {
        log(&self.dir)
    }

    /// Makes a folder which only the account of the server may use.
    pub(crate) fn make(&self, folder: &str) -> io::Result<()> {
        let path = self.folder(folder);
        DirBuilder::new().mode(0o700).create(&path)?;
        self.give(&path)
    }

    /// Writes a file which only the account of the server may read.
    pub(crate) fn write(&self, file: &str, content: &str) -> io::Result<()> {
        let path = self.folder(file);
        let mut new = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
        new.write_all(content.as_bytes())?;
        self.give(&path)
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        self.account.map_or(Ok(()), |account| account.give(path))
    }

    /// A program detached from the caller's terminal, output, settings and rights.
    pub(crate) fn command(&self, program: &Path) -> io::Result<Command> {
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(self.log())?;
        let mut command = Command::new(program);
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG"))
        {
            command.env_remove(name);
        }
        command
            .env("LC_ALL", "C")
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in a terminal signals the user's whole process group.
            .process_group(0);
        if let Some(account) = self.account {
            account.run(&mut command);
        }
        Ok(command)
    }

    pub(crate) fn log_length(&self) -> u64 {
        fs::metadata(self.log()).map_or(0, |log| log.len())
    }

    pub(crate) fn log_since(&self, start: u64) -> String {
        let read = || {
            let mut log = File::open(self.log())?;
            log.seek(SeekFrom::Start(start))?;
            let mut text = Vec::new();
            log.read_to_end(&mut text)?;
            io::Result::Ok(String::from_utf8_lossy(&text).into_owned())
        };
        read().unwrap_or_default()
    }

    /// Adds the end of the log.
    pub(crate) fn failed(&self, what: &str, start: u64) -> TestServerError {
        let log = self.log_since(start);
        let tail: Vec<&str> = log.lines().rev().take(20).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        TestServerError::Start { what: what.to_owned(), log: tail.join("\n") }
    }
}

/// The caller's use of a site. What runs there ends with its last user.
#[derive(Debug)]
pub(crate) struct Occupancy {
    /// `None` once it has ended.
    membership: Option<Membership>,
    watchdog: Child,
}

impl Occupancy {
    pub(super) fn new(membership: Membership, watchdog: Child) -> Self {
        Self { membership: Some(membership), watchdog }
    }

    /// Waits, so that a test leaves nothing behind for the next one to see.
    pub(crate) fn end(&mut self, server: Option<&mut Child>) {
        self.membership = None;
        if let Some(server) = server {
            let _ = server.wait();
        }
        let _ = self.watchdog.wait();
    }
}

/// The log of a server's folder.
pub(super) fn log(dir: &Path) -> PathBuf {
    dir.join("log")
}

/// Ports that were free a moment ago.
pub(crate) fn free_ports() -> impl Iterator<Item = u16> {
    let span = PORTS.end - PORTS.start;
    // Processes that start at the same time should not try the same ports.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    let seed = (now / 1_000) ^ std::process::id().wrapping_mul(31);
    (0..u32::from(span))
        .filter_map(move |step| u16::try_from(seed.wrapping_add(step) % u32::from(span)).ok())
        .map(|offset| PORTS.start + offset)
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
}

/// A home with its lock, which keeps others from starting or joining servers there.
pub(super) async fn lock() -> Result<(Home, File), TestServerError> {
    blocking(|| {
        let home = Home::open()?;
        let lock = home.lock()?;
        home.sweep();
        Ok((home, lock))
    })
    .await
}

/// A new folder for a server of one test.
pub(crate) async fn occupy(prefix: &'static str) -> Result<(Site, Occupancy), TestServerError> {
    let (home, _lock) = lock().await?;
    blocking(move || {
        let (site, membership, watchdog) = Site::found(&home, prefix)?;
        Ok((site, Occupancy::new(membership, watchdog)))
    })
    .await
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TestServerError> + Send + 'static,
) -> Result<T, TestServerError> {
    spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(TestServerError::io("starting the test server was interrupted", error.into()))
    })
}
