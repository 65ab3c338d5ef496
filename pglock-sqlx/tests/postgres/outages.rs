//! Holders that die and servers that go and come.

use std::env;
use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pglock_core::Mode;
use pglock_sqlx::{ErrorKind, LockKey};
use pglock_testkit::conformance::{soon, start};
use pglock_testkit::postgres::{StopMode, TestServer};
use pglock_testkit::witness::Witness;

use crate::{database, locks, witness};

const HOLDER: &str = "PGLOCK_TEST_HOLDER_URL";

/// The process that the next test starts and kills; on its own it has nothing to do.
#[tokio::test]
async fn holder_process() {
    let Ok(url) = env::var(HOLDER) else {
        return;
    };
    let locks = locks(&url);
    let _guard = locks.rwlock("key").write().await.unwrap();
    println!("\n@held");
    // Until the other process ends.
    let _ = io::stdin().read_to_end(&mut Vec::new());
}

#[cfg(unix)]
#[tokio::test]
async fn lock_of_a_killed_process_goes_to_the_next() {
    let database = database().await;
    let witness = witness(database.url()).await;
    let mut holder = Command::new(env::current_exe().unwrap())
        .args(["--exact", "outages::holder_process", "--nocapture"])
        .env(HOLDER, database.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "@held"));
    assert_eq!(witness.holders("key".into()).await.unwrap().len(), 1);
    let lock = locks(database.url()).rwlock("key");
    let wait = start(async move { lock.write().await });
    witness.until_waiting("key".into(), 1).await.unwrap();
    holder.kill().unwrap();
    let begin = Instant::now();
    let guard = soon("the lock is free", wait).await.unwrap().unwrap();
    println!("granted {:?} after kill -9", begin.elapsed());
    holder.wait().unwrap();
    guard.release().await.unwrap();
}

#[derive(Clone, Copy)]
enum Outage {
    Restart(StopMode),
    Kill,
}

#[tokio::test]
async fn fast_restart_is_told_and_got_over() {
    assert_got_over(Outage::Restart(StopMode::Fast)).await;
}

#[tokio::test]
async fn immediate_restart_is_told_and_got_over() {
    assert_got_over(Outage::Restart(StopMode::Immediate)).await;
}

#[tokio::test]
async fn killed_server_is_told_and_got_over() {
    assert_got_over(Outage::Kill).await;
}

async fn assert_got_over(outage: Outage) {
    let server = TestServer::private().await.unwrap();
    let observer = witness(server.url()).await;
    let key = LockKey::from("key");
    let (a, b) = (locks(server.url()), locks(server.url()));
    let write = a.rwlock(key).write().await.unwrap();
    let read = a.rwlock("other").read().await.unwrap();
    let lock = b.rwlock(key);
    let wait = start(async move { lock.write().await });
    observer.until_waiting(key, 1).await.unwrap();
    match outage {
        Outage::Restart(mode) => server.stop(mode).await.unwrap(),
        Outage::Kill => server.kill().await.unwrap(),
    }
    soon("the loss is told", write.lost()).await;
    soon("the loss is told", read.lost()).await;
    assert!(!write.is_held() && !read.is_held());
    server.start().await.unwrap();
    let begin = Instant::now();
    let guard = soon("the server is back", a.rwlock("new").write()).await.unwrap();
    let measured = begin.elapsed();
    println!("first acquire {measured:?} after the server was back");
    assert!(measured < Duration::from_secs(5), "{measured:?}");
    let granted = soon("the waiter is not forgotten", wait).await.unwrap().unwrap();
    let witness = witness(server.url()).await;
    let holders = witness.holders(key).await.unwrap();
    assert_eq!(holders.iter().map(|row| row.mode).collect::<Vec<_>>(), [Mode::Write]);
    assert_eq!(write.release().await.unwrap_err().kind(), ErrorKind::Lost);
    assert_eq!(read.release().await.unwrap_err().kind(), ErrorKind::Lost);
    assert!(granted.is_held() && guard.is_held());
    granted.release().await.unwrap();
    guard.release().await.unwrap();
    witness.until_quiet().await.unwrap();
}

#[tokio::test]
async fn server_that_was_never_there_is_told_at_once() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let locks = locks(&format!("postgres://test:test@127.0.0.1:{port}/pglock"));
    let lock = locks.rwlock("key");
    let begin = Instant::now();
    let errors = [
        soon("try_write", lock.try_write()).await.map(drop).unwrap_err(),
        soon("write", lock.write()).await.map(drop).unwrap_err(),
        soon("try_read", lock.try_read()).await.map(drop).unwrap_err(),
        soon("read", lock.read()).await.map(drop).unwrap_err(),
        soon("try_write_for", lock.try_write_for(Duration::from_secs(60))).await.unwrap_err(),
    ];
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Connection, "{error:?}");
    }
}
