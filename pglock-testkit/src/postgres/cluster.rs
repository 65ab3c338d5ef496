//! A data directory and its server.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use super::site::{self, Site};
use super::{NAMESPACES, TestServerError};

const PATIENCE: Duration = Duration::from_secs(60);

const SETTINGS: [&str; 8] = [
    "listen_addresses=127.0.0.1",
    "max_connections=200",
    "fsync=off",
    "log_destination=stderr",
    "logging_collector=off",
    "lc_messages=C",
    // The default is different before version 14.
    "password_encryption=scram-sha-256",
    // Kept in files of the data directory, so that a killed server leaves nothing in /dev/shm.
    "dynamic_shared_memory_type=mmap",
];

#[derive(Clone, Debug)]
pub(super) struct Cluster {
    site: Site,
    binaries: PathBuf,
    settings: Vec<String>,
}

enum Launch {
    PortTaken,
    /// Processes of a killed server are still ending.
    Occupied,
    Failed(TestServerError),
}

impl Cluster {
    /// Makes the data directory. Blocks for half a second.
    pub(super) fn create(
        site: &Site,
        binaries: PathBuf,
        settings: &[(&str, &str)],
    ) -> Result<Self, TestServerError> {
        let settings = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cluster = Self { site: site.clone(), binaries, settings };
        cluster.fill(
            "initdb",
            &["--no-sync", "--no-locale", "--encoding=UTF8", "--auth=trust", "--username=test"],
        )?;
        cluster.trust_namespaces().map_err(|source| {
            TestServerError::io("cannot write into the data directory", source)
        })?;
        Ok(cluster)
    }

    /// Makes the data directory of a standby from this server, which runs on that port. Blocks for
    /// a second.
    pub(super) fn copy(&self, site: &Site, port: u16) -> Result<Self, TestServerError> {
        if !self.binaries.join("pg_basebackup").is_file() {
            return Err(TestServerError::NoBaseBackup(self.binaries.clone()));
        }
        let standby = Self { site: site.clone(), ..self.clone() };
        let port = format!("--port={port}");
        standby.fill(
            "pg_basebackup",
            &[
                "--no-sync",
                "--checkpoint=fast",
                "--write-recovery-conf",
                "--host=127.0.0.1",
                &port,
                "--username=test",
            ],
        )?;
        Ok(standby)
    }

    /// Starts the server on a free port, and waits until it accepts connections. Blocks.
    pub(super) fn start(&self) -> Result<(Child, u16), TestServerError> {
        let deadline = Instant::now() + PATIENCE;
        for port in site::free_ports() {
            match self.launch(port, deadline) {
                Ok(postmaster) => return Ok((postmaster, port)),
                Err(Launch::PortTaken) => {}
                Err(failure) => return Err(self.give_up(failure)),
            }
        }
        Err(self.give_up(Launch::PortTaken))
    }

    /// Starts the server on its old port, after the processes of a killed server have ended.
    /// Blocks.
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

    /// The System V shared memory of the running server, which is left behind if it is killed.
    pub(super) fn segment(&self) -> Option<String> {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        file.lines().nth(6)?.split_whitespace().nth(1).map(str::to_owned)
    }

    pub(super) fn log(&self) -> PathBuf {
        self.site.log()
    }

    fn launch(&self, port: u16, deadline: Instant) -> Result<Child, Launch> {
        let start = self.site.log_length();
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
                    return Err(Launch::Failed(
                        self.site.failed("postgres does not get ready", start),
                    ));
                }
                Ok(Some(_)) => return Err(self.explain(start)),
                Err(source) => return Err(Launch::Failed(self.not_run("postgres", source))),
            }
        }
    }

    /// Reads the state that the server writes into its pid file, as `pg_ctl` does.
    fn is_ready(&self, pid: u32) -> bool {
        let Ok(file) = fs::read_to_string(self.data().join("postmaster.pid")) else {
            return false;
        };
        let mut lines = file.lines();
        lines.next() == Some(pid.to_string().as_str())
            && lines.nth(6).is_some_and(|state| state.trim() == "ready")
    }

    fn explain(&self, start: u64) -> Launch {
        let log = self.site.log_since(start);
        if log.contains("Address already in use") {
            Launch::PortTaken
        } else if log.contains("is still in use") || log.contains("already exists") {
            Launch::Occupied
        } else {
            Launch::Failed(self.site.failed("postgres does not start", start))
        }
    }

    fn give_up(&self, failure: Launch) -> TestServerError {
        match failure {
            Launch::PortTaken => self.site.failed("postgres finds its port taken", 0),
            Launch::Occupied => self.site.failed("the server before does not end", 0),
            Launch::Failed(error) => error,
        }
    }

    fn fill(&self, program: &str, options: &[&str]) -> Result<(), TestServerError> {
        for folder in ["data", "socket"] {
            self.site
                .make(folder)
                .map_err(|source| TestServerError::io("cannot make the data directory", source))?;
        }
        let start = self.site.log_length();
        // A relative path: if the caller is killed, a late initdb must not create the folder again.
        let status = self
            .command(program)
            .and_then(|mut command| command.arg("--pgdata=data").args(options).status())
            .map_err(|source| self.not_run(program, source))?;
        if status.success() {
            Ok(())
        } else {
            Err(self.site.failed(&format!("{program} failed"), start))
        }
    }

    fn command(&self, program: &str) -> io::Result<Command> {
        self.site.command(&self.binaries.join(program))
    }

    /// It has no effect unless the server listens there.
    fn trust_namespaces(&self) -> io::Result<()> {
        let path = self.data().join("pg_hba.conf");
        let mut rules = OpenOptions::new().append(true).open(path)?;
        writeln!(rules, "host all all {NAMESPACES}/24 trust")
    }

    /// The folder of the server's Unix socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.site.folder("socket")
    }

    fn data(&self) -> PathBuf {
        self.site.folder("data")
    }

    fn not_run(&self, program: &str, source: io::Error) -> TestServerError {
        TestServerError::io(format!("cannot run {}", self.binaries.join(program).display()), source)
    }
}

fn pause() {
    thread::sleep(Duration::from_millis(5));
}
