//! Several processes and one server: this test starts itself again as those processes.
#![cfg(unix)]

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use pglock_testkit::postgres::{TestServer, TestServerError};
use pglock_testkit::witness::PostgresWitness;
use tempfile::TempDir;

type TestResult = Result<(), Box<dyn Error>>;

const ROLE: &str = "PGLOCK_TESTKIT_ROLE";
/// Nobody listens there.
const NO_SERVER: &str = "postgres://127.0.0.1:1/";
const PATIENCE: Duration = Duration::from_secs(60);

/// What a process does that a test below starts; on its own it has nothing to do.
#[tokio::test]
async fn child() -> TestResult {
    let Ok(role) = env::var(ROLE) else {
        return Ok(());
    };
    let server = start(&role).await;
    match &server {
        Ok(server) => println!("\n@{}", server.url()),
        Err(error) => println!("\n@{error} {error:?}"),
    }
    // Until the test closes it.
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

async fn start(role: &str) -> Result<TestServer, TestServerError> {
    if role == "private" {
        return TestServer::private().await;
    }
    let server = TestServer::shared().await?;
    if role == "database" {
        server.database().await?.close().await?;
    }
    Ok(server)
}

/// Servers of their own for the processes of one test.
struct Terminals {
    temporary: TempDir,
}

struct Terminal {
    process: Child,
    output: BufReader<ChildStdout>,
    url: String,
}

impl Terminals {
    fn new() -> io::Result<Self> {
        let temporary = TempDir::new_in("/tmp")?;
        // The account of the server must get through.
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755))?;
        Ok(Self { temporary })
    }

    fn command(&self, role: &str) -> io::Result<Command> {
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

    fn open(&self, role: &str) -> io::Result<Terminal> {
        Terminal::new(self.command(role)?.spawn()?)
    }

    /// Kills a process that starts a server when the server's folder has got that far.
    fn kill_at(&self, step: &str) -> TestResult {
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
    fn until_empty(&self, url: &str) -> TestResult {
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

    /// What runs for the servers, each with its pid and group.
    fn processes(&self) -> Result<Vec<String>, Box<dyn Error>> {
        let listing = Command::new("ps").args(["-A", "-o", "pid=,pgid=,args="]).output()?;
        let folder = self.temporary.path().display().to_string();
        let listing = String::from_utf8(listing.stdout)?;
        Ok(listing.lines().filter(|line| line.contains(&folder)).map(str::to_owned).collect())
    }

    /// Of the servers.
    fn folders(&self) -> Vec<PathBuf> {
        let below = |path: &Path| {
            fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path())
        };
        below(self.temporary.path())
            .flat_map(|home| below(&home))
            .filter(|path| path.is_dir())
            .collect()
    }
}

impl Terminal {
    fn new(mut process: Child) -> io::Result<Self> {
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

    fn kill(mut self) -> io::Result<()> {
        self.process.kill()?;
        self.finish()
    }

    fn close(mut self) -> io::Result<()> {
        drop(self.process.stdin.take());
        self.finish()
    }

    /// Reads to the end, which does not come while a server or watchdog has the output too.
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

fn is_up(url: &str) -> bool {
    TcpStream::connect(address(url)).is_ok()
}

#[test]
fn processes_that_start_at_once_meet_on_one_server() -> TestResult {
    let terminals = Terminals::new()?;
    let mut processes = Vec::new();
    for _ in 0..4 {
        processes.push(terminals.command("shared")?.spawn()?);
    }
    let processes = processes.into_iter().map(Terminal::new).collect::<Result<Vec<_>, _>>()?;
    let url = processes[0].url.clone();
    assert!(processes.iter().all(|process| process.url == url));
    assert_eq!(terminals.folders().len(), 1);
    for process in processes {
        assert!(is_up(&url));
        process.close()?;
    }
    terminals.until_empty(&url)
}

#[test]
fn processes_that_name_other_binaries_do_not_meet() -> TestResult {
    let terminals = Terminals::new()?;
    let any = terminals.open("shared")?;
    // The same ones, by another name.
    let folder = format!("{}/.", binaries(&any.url)?);
    let mut named = Vec::new();
    for _ in 0..2 {
        let process = terminals.command("shared")?.env("PGLOCK_PG_BIN", &folder).spawn()?;
        named.push(Terminal::new(process)?);
    }
    assert_ne!(named[0].url, any.url);
    assert_eq!(named[0].url, named[1].url);
    let url = any.url.clone();
    for process in named.into_iter().chain([any]) {
        process.close()?;
    }
    terminals.until_empty(&url)
}

fn binaries(url: &str) -> Result<String, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let witness = PostgresWitness::connect(url).await?;
        let folder = "SELECT setting FROM pg_config WHERE name = 'BINDIR'";
        Ok(witness.client().query_one(folder, &[]).await?.try_get(0)?)
    })
}

#[test]
fn the_server_outlives_its_starter_but_not_its_last_user() -> TestResult {
    let terminals = Terminals::new()?;
    let first = terminals.open("shared")?;
    let second = terminals.open("shared")?;
    first.kill()?;
    let third = terminals.open("shared")?;
    assert_eq!(second.url, third.url);
    second.kill()?;
    let url = third.url.clone();
    assert!(is_up(&url));
    third.kill()?;
    terminals.until_empty(&url)
}

#[test]
fn a_private_server_does_not_outlive_a_killed_test() -> TestResult {
    let terminals = Terminals::new()?;
    let shared = terminals.open("shared")?;
    let private = terminals.open("private")?;
    assert_ne!(shared.url, private.url);
    let url = private.url.clone();
    private.kill()?;
    shared.close()?;
    terminals.until_empty(&url)
}

#[test]
fn a_process_killed_while_it_starts_a_server_leaves_nothing() -> TestResult {
    let terminals = Terminals::new()?;
    for step in ["data", "data/base", "data/postmaster.pid"] {
        terminals.kill_at(step)?;
        terminals.until_empty(NO_SERVER)?;
    }
    Ok(())
}

#[test]
fn next_process_cleans_up_after_one_killed_unwatched() -> TestResult {
    let terminals = Terminals::new()?;
    terminals.kill_at("users")?;
    terminals.open("private")?.close()?;
    terminals.until_empty(NO_SERVER)
}

#[test]
fn newcomers_and_leavers_never_lose_the_server() -> TestResult {
    let terminals = Terminals::new()?;
    let mut last = terminals.open("shared")?;
    for _ in 0..10 {
        // The last user goes while the next one comes.
        let next = terminals.command("shared")?.spawn()?;
        last.kill()?;
        last = Terminal::new(next)?;
        assert!(is_up(&last.url));
    }
    let url = last.url.clone();
    last.close()?;
    terminals.until_empty(&url)
}

#[test]
fn next_process_removes_a_server_without_its_watchdog() -> TestResult {
    let terminals = Terminals::new()?;
    let first = terminals.open("shared")?;
    let orphaned = first.url.clone();
    kill_watchdog(&terminals)?;
    first.kill()?;
    assert!(is_up(&orphaned));
    let second = terminals.open("private")?;
    let url = second.url.clone();
    second.close()?;
    terminals.until_empty(&url)?;
    terminals.until_empty(&orphaned)
}

/// Kills the shell that watches the server of these, and what it waits with.
fn kill_watchdog(terminals: &Terminals) -> TestResult {
    let processes = terminals.processes()?;
    let watchdog = processes.iter().find(|line| line.contains("pglock-testkit-watchdog"));
    let group = watchdog.and_then(|line| line.split_whitespace().nth(1)).ok_or("no watchdog")?;
    let killed = Command::new("sh").args(["-c", "kill -KILL \"-$1\"", "kill", group]).status()?;
    assert!(killed.success());
    // What is killed keeps its files, and the lock on them, until it gets to run once more.
    let folders = terminals.folders();
    let watched = File::open(folders.first().ok_or("no server")?.join("watchdog"))?;
    let deadline = Instant::now() + PATIENCE;
    while watched.try_lock().is_err() {
        assert!(Instant::now() < deadline, "the watchdog lives on");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn answer(terminals: &Terminals, variables: &[(&str, &str)]) -> Result<String, Box<dyn Error>> {
    let mut command = terminals.command("shared")?;
    let output = command.envs(variables.iter().copied()).stdin(Stdio::null()).output()?;
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn unusable_database_url_is_reported_without_its_password() -> TestResult {
    let terminals = Terminals::new()?;
    for url in [
        "postgres://me:canary@127.0.0.1:1/db",
        "postgres://me:canary@nowhere.invalid/db",
        "postgres://me:ca/canary@127.0.0.1:1/db",
        "postgres://me:ca?canary@127.0.0.1:1/db",
        "mysql://me:canary@127.0.0.1:1/db",
    ] {
        let answer = answer(&terminals, &[("DATABASE_URL", url)])?;
        assert!(answer.contains("DATABASE_URL"), "{answer}");
        assert!(!answer.contains("canary"), "{answer}");
    }
    Ok(())
}

#[test]
fn a_wrong_binary_folder_is_named() -> TestResult {
    let answer = answer(&Terminals::new()?, &[("PGLOCK_PG_BIN", "/nowhere")])?;
    assert!(answer.contains("PGLOCK_PG_BIN=/nowhere has no initdb"), "{answer}");
    Ok(())
}

#[test]
fn role_without_createdb_learns_what_it_needs() -> TestResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = TestServer::private().await?;
        let witness = PostgresWitness::connect(server.url()).await?;
        witness.client().batch_execute("CREATE ROLE poor LOGIN").await?;
        let url = server.url().replace("test:test", "poor:canary");
        let terminals = Terminals::new()?;
        let mut command = terminals.command("database")?;
        let output = command.env("DATABASE_URL", url).stdin(Stdio::null()).output()?;
        let answer = String::from_utf8(output.stdout)?;
        assert!(answer.contains("CREATEDB"), "{answer}");
        assert!(!answer.contains("canary"), "{answer}");
        Ok(())
    })
}
