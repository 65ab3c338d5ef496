//! Many locks, and what they cost the server.

use std::time::{Duration, Instant};

use pglock_core::LockKey;

use super::connect;
use crate::conformance::{Lab, Options, is_long, soon, start};
use crate::postgres::TestServer;
use crate::witness::Witness;

pub async fn many_held_and_awaited_keys_need_few_sessions(lab: &Lab) {
    let witness = lab.witness();
    let named = |name: &str| {
        let options = Options {
            application_name: name.to_owned(),
            max_locks: Some(2000),
            ..Options::default()
        };
        lab.manager_with(&options)
    };
    let (ours, others) = (named("ours"), named("others"));
    let mut most = 0;
    let mut elsewhere = Vec::new();
    for key in 0..200 {
        elsewhere.push(others.lock((1, key)).write().await.unwrap());
    }
    let takes: Vec<_> = (0..1000_i64)
        .map(|key| {
            let lock = ours.lock(key);
            start(async move { lock.write().await })
        })
        .collect();
    let waits: Vec<_> = (0..200)
        .map(|key| {
            let lock = ours.lock((1, key));
            start(async move { lock.write().await })
        })
        .collect();
    let mut held = Vec::new();
    for (taken, take) in takes.into_iter().enumerate() {
        held.push(soon("the key is free", take).await.unwrap().unwrap());
        if taken % 20 == 0 {
            most = most.max(witness.sessions("ours").await.unwrap().len());
        }
    }
    let mut waiters = 0;
    for _ in 0..100 {
        most = most.max(witness.sessions("ours").await.unwrap().len());
        let locks = witness.locks().await.unwrap();
        waiters = waiters.max(locks.iter().filter(|row| !row.granted).count());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!((1..=4).contains(&waiters), "{waiters} sessions wait");
    let mut granted = Vec::new();
    for (guard, wait) in elsewhere.into_iter().zip(waits) {
        guard.release().await.unwrap();
        granted.push(wait);
        if granted.len() % 10 == 0 {
            most = most.max(witness.sessions("ours").await.unwrap().len());
        }
    }
    for wait in granted {
        held.push(soon("the key is free", wait).await.unwrap().unwrap());
        most = most.max(witness.sessions("ours").await.unwrap().len());
    }
    println!("at most {most} sessions");
    assert!(most <= 8, "{most} sessions");
    assert!(held.iter().all(|guard| guard.is_held()));
    assert_eq!(witness.locks().await.unwrap().len(), 1200);
    drop(held);
    witness.until_quiet().await.unwrap();
}

pub async fn normal_use_writes_only_cancelled_waits_into_the_servers_log(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let witness = connect(server.url()).await;
    let manager = || lab.manager_at(server.url(), &Options::default()).unwrap();
    let (a, b) = (manager(), manager());
    let key = LockKey::from("key");
    let most = if is_long() { 100_000 } else { 2000 };
    let (mut rounds, mut timeouts) = (0, 0);
    let begin = Instant::now();
    // On a busy machine, a part of them has to do.
    while rounds < most && (is_long() || rounds < 100 || begin.elapsed() < Duration::from_secs(20))
    {
        let round = rounds;
        rounds += 1;
        let (holder, other) = (a.lock(key), b.lock(key));
        let guard = holder.write().await.unwrap();
        match round % 5 {
            0 => {
                assert!(other.try_write_for(Duration::from_millis(1)).await.is_err());
                timeouts += 1;
            }
            1 => assert!(other.try_write().await.unwrap().is_none()),
            2 => assert!(other.try_read().await.unwrap().is_none()),
            3 => {
                let (released, read) = tokio::join!(guard.release(), other.read());
                released.unwrap();
                drop(read.unwrap());
                continue;
            }
            _ => {}
        }
        drop(guard);
    }
    a.close().await.unwrap();
    b.close().await.unwrap();
    witness.until_quiet().await.unwrap();
    let log = server.log().unwrap();
    let mut cancelled = 0;
    for line in log.lines() {
        for bad in ["WARNING:", "FATAL:", "PANIC:"] {
            assert!(!line.contains(bad), "{line}");
        }
        if let Some((_, text)) = line.split_once("ERROR:") {
            assert_eq!(text.trim(), "canceling statement due to user request");
            cancelled += 1;
        }
    }
    println!(
        "{rounds} cycles with {timeouts} timeouts wrote {cancelled} errors into the log, and no warning"
    );
    assert!(cancelled <= timeouts);
}
