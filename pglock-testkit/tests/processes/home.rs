//! Processes that share a folder for their servers.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{PATIENCE, ROLE, TestResult};

/// A temporary folder. Only processes that are started with it share servers.
pub(crate) struct Home {
    temporary: TempDir,
}

/// A process that has started or joined a server.
pub(crate) struct Process {
    process: Child,
    output: BufReader<ChildStdout>,
    pub(crate) url: String,
}

impl Home {
    pub(crate) fn new() -> io::Result<Self> {
        let temporary = TempDir::new_in("/tmp")?;
        // The account of the server needs access.
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755))?;
        Ok(Self { temporary })
    }

    pub(crate) fn command(&self, role: &str) -> io::Result<Command> {
        let mut command = Command::new(env::current_exe()?);
        command
            .args(["--exact", "child", "--nocapture"])
            .env(ROLE, role)
            .env("TMPDIR", self.temporary.path())
            .env_remove("DATABASE_URL")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Ok(command)
    }

    pub(crate) fn open(&self, role: &str) -> io::Result<Process> {
        Process::new(self.command(role)?.spawn()?)
    }

    /// Starts a server, and kills the process when this file of the server exists.
    pub(crate) fn kill_at(&self, step: &str) -> TestResult {
        let mut process = self.command("private")?.spawn()?;
        let deadline = Instant::now() + PATIENCE;
        while !self.folders().iter().any(|server| server.join(step).exists()) {
            if Instant::now() > deadline {
                return Err(format!("never got to {step}").into());
            }
            std::thread::yield_now();
        }
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Waits until no server and none of its files are left.
    pub(crate) fn until_empty(&self, url: &str) -> TestResult {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let servers = self.folders();
            if servers.is_empty() && TcpStream::connect(address(url)).is_err() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let processes = self.processes()?;
                return Err(format!("left behind: {servers:?}, processes: {processes:#?}").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the shell that watches the server, and the program that it waits with.
    pub(crate) fn kill_watchdog(&self) -> TestResult {
        let processes = self.processes()?;
        let watchdog = processes.iter().find(|line| line.contains("pglock-testkit-watchdog"));
        let group =
            watchdog.and_then(|line| line.split_whitespace().nth(1)).ok_or("no watchdog")?;
        let killed =
            Command::new("sh").args(["-c", "kill -KILL \"-$1\"", "kill", group]).status()?;
        assert!(killed.success());
        // A killed process keeps its file locks until the system has scheduled it once more.
        let folders = self.folders();
        let watched = File::open(folders.first().ok_or("no server")?.join("watchdog"))?;
        let deadline = Instant::now() + PATIENCE;
        while watched.try_lock().is_err() {
            assert!(Instant::now() < deadline, "the watchdog still runs");
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// The processes of the servers: pid, process group and command line.
    fn processes(&self) -> Result<Vec<String>, Box<dyn Error>> {
        let listing = Command::new("ps").args(["-A", "-o", "pid=,pgid=,args="]).output()?;
        let folder = self.temporary.path().display().to_string();
        let listing = String::from_utf8(listing.stdout)?;
        Ok(listing.lines().filter(|line| line.contains(&folder)).map(str::to_owned).collect())
    }

    /// The folders of the servers.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        let below = |path: &Path| {
            fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path())
        };
        below(self.temporary.path())
            .flat_map(|home| below(&home))
            .filter(|path| path.is_dir())
            .collect()
    }
}

impl Process {
    pub(crate) fn new(mut process: Child) -> io::Result<Self> {
        let output = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        while !line.starts_with('@') {
            line.clear();
            if output.read_line(&mut line)? == 0 {
                return Err(io::Error::other("the process ended without an answer"));
            }
        }
        let url = line.trim_start_matches('@').trim().to_owned();
        Ok(Self { process, output, url })
    }

    pub(crate) fn kill(mut self) -> io::Result<()> {
        self.process.kill()?;
        self.finish()
    }

    pub(crate) fn close(mut self) -> io::Result<()> {
        drop(self.process.stdin.take());
        self.finish()
    }

    /// Reads to the end: a server or watchdog that inherited the output would keep it open.
    fn finish(&mut self) -> io::Result<()> {
        self.output.read_to_end(&mut Vec::new())?;
        self.process.wait().map(drop)
    }
}

fn address(url: &str) -> &str {
    url.trim_start_matches("postgres://test:test@")
        .trim_start_matches("postgres://")
        .split('/')
        .next()
        .unwrap_or(url)
}

pub(crate) fn is_up(url: &str) -> bool {
    TcpStream::connect(address(url)).is_ok()
}
