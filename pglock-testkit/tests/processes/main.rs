//! Test servers that several processes share: the test binary starts itself as those processes.
#![cfg(unix)]

use std::env;
use std::error::Error;
use std::io::{self, Read};
use std::time::Duration;

use pglock_testkit::postgres::{TestServer, TestServerError};
use pglock_testkit::witness::PostgresWitness;

use self::home::{Home, Process, is_up};

mod home;
mod refusals;

type TestResult = Result<(), Box<dyn Error>>;

const ROLE: &str = "PGLOCK_TESTKIT_ROLE";
/// No server listens on this port.
const NO_SERVER: &str = "postgres://127.0.0.1:1/";
const PATIENCE: Duration = Duration::from_secs(60);

/// The body of the processes that the tests below start. Without a role, it does nothing.
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
    // Runs until the test closes the pipe.
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

#[test]
fn concurrent_starts_share_one_server() -> TestResult {
    let home = Home::new()?;
    let mut processes = Vec::new();
    for _ in 0..4 {
        processes.push(home.command("shared")?.spawn()?);
    }
    let processes = processes.into_iter().map(Process::new).collect::<Result<Vec<_>, _>>()?;
    let url = processes[0].url.clone();
    assert!(processes.iter().all(|process| process.url == url));
    assert_eq!(home.folders().len(), 1);
    for process in processes {
        assert!(is_up(&url));
        process.close()?;
    }
    home.until_empty(&url)
}

#[test]
fn each_binary_folder_has_its_own_server() -> TestResult {
    let home = Home::new()?;
    let any = home.open("shared")?;
    // The same folder, by another name.
    let folder = format!("{}/.", binaries(&any.url)?);
    let mut named = Vec::new();
    for _ in 0..2 {
        let process = home.command("shared")?.env("PGLOCK_PG_BIN", &folder).spawn()?;
        named.push(Process::new(process)?);
    }
    assert_ne!(named[0].url, any.url);
    assert_eq!(named[0].url, named[1].url);
    let url = any.url.clone();
    for process in named.into_iter().chain([any]) {
        process.close()?;
    }
    home.until_empty(&url)
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
fn shared_server_ends_with_its_last_user() -> TestResult {
    let home = Home::new()?;
    let first = home.open("shared")?;
    let second = home.open("shared")?;
    first.kill()?;
    let third = home.open("shared")?;
    assert_eq!(second.url, third.url);
    second.kill()?;
    let url = third.url.clone();
    assert!(is_up(&url));
    third.kill()?;
    home.until_empty(&url)
}

#[test]
fn private_server_ends_with_a_killed_test() -> TestResult {
    let home = Home::new()?;
    let shared = home.open("shared")?;
    let private = home.open("private")?;
    assert_ne!(shared.url, private.url);
    let url = private.url.clone();
    private.kill()?;
    shared.close()?;
    home.until_empty(&url)
}

#[test]
fn killed_start_leaves_nothing() -> TestResult {
    let home = Home::new()?;
    for step in ["data", "data/base", "data/postmaster.pid"] {
        home.kill_at(step)?;
        home.until_empty(NO_SERVER)?;
    }
    Ok(())
}

#[test]
fn next_process_cleans_up_after_an_unwatched_start() -> TestResult {
    let home = Home::new()?;
    home.kill_at("users")?;
    home.open("private")?.close()?;
    home.until_empty(NO_SERVER)
}

#[test]
fn server_survives_users_that_come_and_go() -> TestResult {
    let home = Home::new()?;
    let mut last = home.open("shared")?;
    for _ in 0..10 {
        // The last user leaves while the next one arrives.
        let next = home.command("shared")?.spawn()?;
        last.kill()?;
        last = Process::new(next)?;
        assert!(is_up(&last.url));
    }
    let url = last.url.clone();
    last.close()?;
    home.until_empty(&url)
}

#[test]
fn next_process_removes_a_server_without_its_watchdog() -> TestResult {
    let home = Home::new()?;
    let first = home.open("shared")?;
    let orphaned = first.url.clone();
    home.kill_watchdog()?;
    first.kill()?;
    assert!(is_up(&orphaned));
    let second = home.open("private")?;
    let url = second.url.clone();
    second.close()?;
    home.until_empty(&url)?;
    home.until_empty(&orphaned)
}
