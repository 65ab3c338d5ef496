//! A data directory and the server on it.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::TestServerError;
use super::account::Account;

const PATIENCE: Duration = Duration::from_secs(60);

const SETTINGS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "max_connections=200",
    "fsync=off",
    "log_destination=stderr",
    "logging_collector=off",
    "lc_messages=C",
    // In files of the data directory, so that a killed server leaves nothing in /dev/shm.
    "dynamic_shared_memory_type=mmap",
];

/// Below the range that systems take ports of outgoing connections from, so that a stopped server's port stays free.
const PORTS: std::ops::Range<u16> = 16_384..32_768;

#[derive(Debug)]
pub(super) struct Cluster {
    dir: PathBuf,
    binaries: PathBuf,
    account: Option<Account>,
    settings: Vec<String>,
}

enum Launch {
    PortTaken,
    /// The remains of a killed server are still ending.
    Occupied,
    Failed(TestServerError),
}

impl Cluster {
    /// Makes the data directory. Blocks for half a second.
    pub(super) fn create(
        dir: &Path,
        binaries: PathBuf,
        account: Option<Account>,
        settings: &[(&str, &str)],
    ) -> Result<Self, TestServerError> {
        let cluster = Self {
            dir: dir.to_owned(),
            binaries,
            account,
            settings: settings.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        };
        for folder in ["data", "socket"] {
            cluster
                .make(folder)
                .map_err(|source| TestServerError::io("cannot make the data directory", source))?;
        }
        // A relative path: if the caller is killed, an initdb that comes late must not make the folder again.
        let options = [
            "--no-sync",
            "--no-locale",
            "--encoding=UTF8",
            "--auth=trust",
            "--username=test",
            "--pgdata=data",
        ];
        let start = cluster.log_length();
        let status = cluster
            .command("initdb")
            .and_then(|mut initdb| initdb.args(options).status())
            .map_err(|source| cluster.not_run("initdb", source))?;
        if !status.success() {
            return Err(cluster.failed("initdb failed", start));
        }
        Ok(cluster)
    }

    /// Starts the server on a free port, and waits until it takes connections. Blocks.
    pub(super) fn start(&self) -> Result<(Child, u16), TestServerError> {
        let deadline = Instant::now() + PATIENCE;
        let span = u32::from(PORTS.end - PORTS.start);
        // Processes that start at the same time had better not try the same ports.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
        let seed = (now / 1_000) ^ std::process::id().wrapping_mul(31);
        for step in 0..span {
            let port =
                PORTS.start + u16::try_from((seed.wrapping_add(step)) % span).unwrap_or_default();
            if TcpListener::bind(("127.0.0.1", port)).is_err() {
                continue;
            }
            match self.launch(port, deadline) {
                Ok(postmaster) => return Ok((postmaster, port)),
                Err(Launch::PortTaken) => {}
                Err(failure) => return Err(self.give_up(failure)),
            }
        }
        Err(self.give_up(Launch::PortTaken))
    }

    /// Starts the server on the port it had, waiting for the remains of a killed server to end. Blocks.
    pub(super) fn start_again(&self, port: u16) -> Result<Child, TestServerError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.launch(port, deadline) {
                Ok(postmaster) => return Ok(postmaster),
                Err(Launch::PortTaken | Launch::Occupied) if Instant::now() < deadline => pause(),
                Err(failure) => return Err(self.give_up(failure)),
            }
        }
    }

    /// The System V segment of the running server, which a killed one leaves behind.
    pub(super) fn segment(&self) -> Option<String> {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        file.lines().nth(6)?.split_whitespace().nth(1).map(str::to_owned)
    }

    pub(super) fn log(&self) -> PathBuf {
        log(&self.dir)
    }

    fn launch(&self, port: u16, deadline: Instant) -> Result<Child, Launch> {
        let start = self.log_length();
        let mut postmaster = self
            .command("postgres")
            .and_then(|mut postgres| {
                postgres.arg("-D").arg(self.data()).arg("-p").arg(port.to_string());
                postgres.arg("-k").arg(self.socket());
                for setting in SETTINGS.into_iter().chain(self.settings.iter().map(String::as_str))
                {
                    postgres.args(["-c", setting]);
                }
                postgres.spawn()
            })
            .map_err(|source| Launch::Failed(self.not_run("postgres", source)))?;

        loop {
            match postmaster.try_wait() {
                Ok(None) if self.is_ready(postmaster.id()) => return Ok(postmaster),
                Ok(None) if Instant::now() < deadline => pause(),
                Ok(None) => {
                    let _ = postmaster.kill();
                    let _ = postmaster.wait();
                    return Err(Launch::Failed(self.failed("postgres does not get ready", start)));
                }
                Ok(Some(_)) => return Err(self.explain(start)),
                Err(source) => return Err(Launch::Failed(self.not_run("postgres", source))),
            }
        }
    }

    /// As `pg_ctl` does it: the server writes its state into its pid file.
    fn is_ready(&self, pid: u32) -> bool {
        let Ok(file) = fs::read_to_string(self.data().join("postmaster.pid")) else {
            return false;
        };
        let mut lines = file.lines();
        lines.next() == Some(pid.to_string().as_str())
            && lines.nth(6).is_some_and(|state| state.trim() == "ready")
    }

    fn explain(&self, start: u64) -> Launch {
        let log = self.log_since(start);
        if log.contains("Address already in use") {
            Launch::PortTaken
        } else if log.contains("is still in use") || log.contains("already exists") {
            Launch::Occupied
        } else {
            Launch::Failed(self.failed("postgres does not start", start))
        }
    }

    fn give_up(&self, failure: Launch) -> TestServerError {
        match failure {
            Launch::PortTaken => self.failed("postgres finds its port taken", 0),
            Launch::Occupied => self.failed("the server before does not end", 0),
            Launch::Failed(error) => error,
        }
    }

    /// A program of PostgreSQL, apart from the caller's terminal, output, settings and rights.
    fn command(&self, program: &str) -> io::Result<Command> {
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(self.log())?;
        let mut command = Command::new(self.binaries.join(program));
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
            // Ctrl-C in a terminal goes to the whole process group of the user.
            .process_group(0);
        if let Some(account) = self.account {
            account.run(&mut command);
        }
        Ok(command)
    }

    fn make(&self, folder: &str) -> io::Result<()> {
        let path = self.dir.join(folder);
        DirBuilder::new().mode(0o700).create(&path)?;
        self.account.map_or(Ok(()), |account| account.give(&path))
    }

    /// The folder of the server's Unix socket.
    pub(super) fn socket(&self) -> PathBuf {
        socket(&self.dir)
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn not_run(&self, program: &str, source: io::Error) -> TestServerError {
        TestServerError::io(format!("cannot run {}", self.binaries.join(program).display()), source)
    }

    fn failed(&self, what: &str, start: u64) -> TestServerError {
        let log = self.log_since(start);
        let tail: Vec<&str> = log.lines().rev().take(20).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        TestServerError::Start { what: what.to_owned(), log: tail.join("\n") }
    }

    fn log_length(&self) -> u64 {
        fs::metadata(self.log()).map_or(0, |log| log.len())
    }

    fn log_since(&self, start: u64) -> String {
        let read = || {
            let mut log = File::open(self.log())?;
            log.seek(SeekFrom::Start(start))?;
            let mut text = Vec::new();
            log.read_to_end(&mut text)?;
            io::Result::Ok(String::from_utf8_lossy(&text).into_owned())
        };
        read().unwrap_or_default()
    }
}

/// The server log of a server directory.
pub(super) fn log(dir: &Path) -> PathBuf {
    dir.join("log")
}

/// The folder of the Unix socket, below a server directory.
pub(super) fn socket(dir: &Path) -> PathBuf {
    dir.join("socket")
}

fn pause() {
    thread::sleep(Duration::from_millis(5));
}
