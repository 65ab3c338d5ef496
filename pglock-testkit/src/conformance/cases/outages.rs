//! Servers that stop and come back.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use pglock_core::{ErrorKind, LockKey, Mode};

use super::connect;
use crate::conformance::{Lab, Options, group, soon, start};
use crate::postgres::{StopMode, TestServer};
use crate::witness::Witness;

group! { outages:
    fast_restart_is_reported_and_survived: Postgres,
    immediate_restart_is_reported_and_survived: Postgres,
    killed_server_is_reported_and_survived: Postgres,
    missing_server_is_reported_at_once: Postgres,
}

#[derive(Clone, Copy)]
enum Outage {
    Restart(StopMode),
    Kill,
}

pub async fn fast_restart_is_reported_and_survived(lab: &Lab) {
    assert_got_over(lab, Outage::Restart(StopMode::Fast)).await;
}

pub async fn immediate_restart_is_reported_and_survived(lab: &Lab) {
    assert_got_over(lab, Outage::Restart(StopMode::Immediate)).await;
}

pub async fn killed_server_is_reported_and_survived(lab: &Lab) {
    assert_got_over(lab, Outage::Kill).await;
}

async fn assert_got_over(lab: &Lab, outage: Outage) {
    let server = TestServer::private().await.unwrap();
    let observer = connect(server.url()).await;
    let key = LockKey::from("key");
    let options = Options::default();
    let a = lab.manager_at(server.url(), &options).unwrap();
    let b = lab.manager_at(server.url(), &options).unwrap();
    let write = a.lock(key).write().await.unwrap();
    let read = a.lock("other").read().await.unwrap();
    let lock = b.lock(key);
    let wait = start(async move { lock.write().await });
    observer.until_waiting(key, 1).await.unwrap();
    match outage {
        Outage::Restart(mode) => server.stop(mode).await.unwrap(),
        Outage::Kill => server.kill().await.unwrap(),
    }
    soon("the loss is reported", write.lost()).await;
    soon("the loss is reported", read.lost()).await;
    assert!(!write.is_held() && !read.is_held());
    server.start().await.unwrap();
    let begin = Instant::now();
    let guard = soon("the server is back", a.lock("new").write()).await.unwrap();
    let measured = begin.elapsed();
    println!("first acquire {measured:?} after the server was back");
    assert!(measured <= Duration::from_secs(2), "{measured:?}");
    let granted = soon("the waiter is not forgotten", wait).await.unwrap().unwrap();
    let witness = connect(server.url()).await;
    let holders = witness.holders(key).await.unwrap();
    assert_eq!(holders.iter().map(|row| row.mode).collect::<Vec<_>>(), [Mode::Write]);
    assert_eq!(write.release().await.unwrap_err().kind(), ErrorKind::Lost);
    assert_eq!(read.release().await.unwrap_err().kind(), ErrorKind::Lost);
    assert!(granted.is_held() && guard.is_held());
    granted.release().await.unwrap();
    guard.release().await.unwrap();
    witness.until_quiet().await.unwrap();
}

pub async fn missing_server_is_reported_at_once(lab: &Lab) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://test:test@127.0.0.1:{port}/pglock");
    let manager = lab.manager_at(&url, &Options::default()).unwrap();
    let lock = manager.lock("key");
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
