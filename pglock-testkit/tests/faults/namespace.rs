//! Network namespaces lose packets, and leave nothing behind.

use std::error::Error;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use pglock_core::{LockKey, Mode};
use pglock_testkit::faults::{Direction, Namespace, TestProcess, allowed};
use pglock_testkit::postgres::TestServer;
use pglock_testkit::witness::{PostgresWitness, Witness, WitnessError};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::TestResult;

/// Many times longer than an answer takes over a working link.
const SILENCE: Duration = Duration::from_millis(300);
/// Whatever does not hang ends sooner.
const PATIENCE: Duration = Duration::from_secs(10);

/// A namespace and a server that is reachable from it. Otherwise `None`, after reporting that the
/// test is not run, and why.
async fn lab(test: &str) -> Result<Option<(Namespace, TestServer)>, Box<dyn Error>> {
    let Some(namespace) = allowed(test, Namespace::new())? else {
        return Ok(None);
    };
    let server = TestServer::private_with(&[Namespace::LISTEN]).await?;
    Ok(Some((namespace, server)))
}

/// A client that reports when it is ready, takes a lock on command, and reports whether it got no
/// answer.
struct Client {
    url: String,
    ready: oneshot::Sender<()>,
    go: oneshot::Receiver<()>,
    silent: oneshot::Sender<bool>,
}

/// The other side of a client.
struct Remote {
    ready: oneshot::Receiver<()>,
    go: oneshot::Sender<()>,
    silent: oneshot::Receiver<bool>,
}

impl Client {
    fn new(url: String) -> (Self, Remote) {
        let (ready, is_ready) = oneshot::channel();
        let (tell_to_go, go) = oneshot::channel();
        let (silent, is_silent) = oneshot::channel();
        let remote = Remote { ready: is_ready, go: tell_to_go, silent: is_silent };
        (Self { url, ready, go, silent }, remote)
    }

    async fn run(self) -> Result<(), WitnessError> {
        let client = PostgresWitness::connect(&self.url).await?;
        let _ = self.ready.send(());
        let _ = self.go.await;
        // One message: a prepared statement would need an answer before it is executed.
        let mut asking = Box::pin(client.client().batch_execute("SELECT pg_advisory_lock(1)"));
        let _ = self.silent.send(timeout(SILENCE, &mut asking).await.is_err());
        asking.await?;
        client.release(LockKey::from(1), Mode::Write).await.map(drop)
    }
}

#[tokio::test]
async fn a_server_is_reached_from_inside() -> TestResult {
    let Some((namespace, server)) = lab("a_server_is_reached_from_inside").await? else {
        return Ok(());
    };
    let url = namespace.url(&server)?;
    let address: String = namespace
        .run(move || async move {
            let client = PostgresWitness::connect(&url).await?;
            let row = client.client().query_one("SELECT host(inet_client_addr())", &[]).await?;
            Ok::<_, WitnessError>(row.try_get(0)?)
        })
        .await??;
    let inside = namespace.command("ip").args(["-o", "-4", "address"]).output()?;
    let inside = String::from_utf8(inside.stdout)?;
    assert!(inside.contains(&format!("inet {address}/30")), "{address}: {inside}");
    Ok(())
}

#[tokio::test]
async fn requests_can_be_lost() -> TestResult {
    let Some((namespace, server)) = lab("requests_can_be_lost").await? else {
        return Ok(());
    };
    let witness = PostgresWitness::connect(server.url()).await?;
    let (client, remote) = Client::new(namespace.url(&server)?);
    let partition = async {
        remote.ready.await?;
        namespace.lose(Direction::ToServer)?;
        let _ = remote.go.send(());
        assert!(remote.silent.await?);
        // The witness gets the lock, although the client asked first.
        witness.hold(LockKey::from(1), Mode::Write).await?;
        namespace.heal(Direction::ToServer)?;
        witness.until_waiting(LockKey::from(1), 1).await?;
        witness.release(LockKey::from(1), Mode::Write).await?;
        Ok::<_, Box<dyn Error>>(())
    };
    let (client, partition) = tokio::join!(namespace.run(|| client.run()), partition);
    partition?;
    Ok(client??)
}

#[tokio::test]
async fn answers_can_be_lost() -> TestResult {
    let Some((namespace, server)) = lab("answers_can_be_lost").await? else {
        return Ok(());
    };
    let witness = PostgresWitness::connect(server.url()).await?;
    let (client, remote) = Client::new(namespace.url(&server)?);
    let partition = async {
        remote.ready.await?;
        namespace.lose(Direction::ToClient)?;
        let _ = remote.go.send(());
        assert!(remote.silent.await?);
        let held = async {
            while witness.holders(LockKey::from(1)).await?.len() != 1 {
                yield_now().await;
            }
            Ok::<_, WitnessError>(())
        };
        timeout(PATIENCE, held).await??;
        namespace.heal(Direction::ToClient)?;
        witness.until_free(LockKey::from(1)).await?;
        Ok::<_, Box<dyn Error>>(())
    };
    let (client, partition) = tokio::join!(namespace.run(|| client.run()), partition);
    partition?;
    Ok(client??)
}

#[tokio::test]
async fn a_partition_leaves_others_alone() -> TestResult {
    let Some((namespace, server)) = lab("a_partition_leaves_others_alone").await? else {
        return Ok(());
    };
    let other = Namespace::new()?;
    let (url, other_url) = (namespace.url(&server)?, other.url(&server)?);
    assert_ne!(url, other_url);
    for direction in Direction::BOTH {
        namespace.lose(direction)?;
    }
    let connect = |url: String, time| {
        move || async move { timeout(time, PostgresWitness::connect(&url)).await.is_ok() }
    };
    assert!(!namespace.run(connect(url.clone(), SILENCE)).await?);
    assert!(other.run(connect(other_url, PATIENCE)).await?);
    assert!(PostgresWitness::connect(server.url()).await.is_ok());
    for direction in Direction::BOTH {
        namespace.heal(direction)?;
    }
    assert!(namespace.run(connect(url, PATIENCE)).await?);
    Ok(())
}

#[tokio::test]
async fn a_dropped_namespace_is_gone() -> TestResult {
    let Some((namespace, _server)) = lab("a_dropped_namespace_is_gone").await? else {
        return Ok(());
    };
    let name = namespace.name();
    let before = index(&name).ok_or("no link")?;
    assert!(Path::new("/run/netns").join(&name).exists());
    drop(namespace);
    assert_ne!(index(&name), Some(before));
    Ok(())
}

/// The body of the process that the test below starts.
#[tokio::test]
async fn process() -> TestResult {
    if TestProcess::role().is_some() {
        let namespace = Namespace::new()?;
        TestProcess::print(&namespace.name());
        std::io::stdin().read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

#[tokio::test]
async fn what_a_killed_process_left_is_removed_by_the_next() -> TestResult {
    let test = "what_a_killed_process_left_is_removed_by_the_next";
    let Some(_) = allowed(test, Namespace::new())? else {
        return Ok(());
    };
    let mut process =
        TestProcess::start(&mut TestProcess::command("namespace::process", "owner")?)?;
    let name = process.line().await?;
    let left = index(&name).ok_or("no link")?;
    // The parent kills this process.
    drop(process);
    let _next = Namespace::new()?;
    assert_ne!(index(&name), Some(left));
    Ok(())
}

/// The index of a namespace's outer link; no two links ever have the same.
fn index(name: &str) -> Option<u32> {
    let index = fs::read_to_string(format!("/sys/class/net/{name}o/ifindex")).ok()?;
    index.trim().parse().ok()
}
