//! Load on the server and on the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pglock_core::{DistributedRwLock, LockKey};
use tokio::time::sleep;

use super::{connect, leased};
use crate::conformance::{Lab, Options, group, is_long, soon, start};
use crate::postgres::TestServer;
use crate::witness::Witness;

group! { loads:
    many_held_and_awaited_keys_need_few_sessions: Sessions,
    no_lock_is_lost_on_an_overloaded_machine: Postgres,
    normal_use_writes_only_cancelled_waits_into_the_servers_log: Postgres,
}

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
    let mut sessions = MostSessions { witness, most: 0 };
    let (ours_alone, of_others) = (0..1000_i64, 0..200);
    let mut held_by_others = Vec::new();
    for key in of_others.clone() {
        held_by_others.push(others.lock((1, key)).write().await.unwrap());
    }
    let write = |lock: Arc<dyn DistributedRwLock>| start(async move { lock.write().await });
    let takes: Vec<_> = ours_alone.map(|key| write(ours.lock(key))).collect();
    let waits: Vec<_> = of_others.map(|key| write(ours.lock((1, key)))).collect();
    let mut held = Vec::new();
    for (taken, take) in takes.into_iter().enumerate() {
        held.push(soon("the key is free", take).await.unwrap().unwrap());
        if taken % 20 == 0 {
            sessions.count().await;
        }
    }
    let mut waiting = 0;
    for _ in 0..100 {
        sessions.count().await;
        let locks = witness.locks().await.unwrap();
        waiting = waiting.max(locks.iter().filter(|row| !row.granted).count());
        sleep(Duration::from_millis(5)).await;
    }
    assert!((1..=4).contains(&waiting), "{waiting} sessions wait");
    for (released, guard) in held_by_others.into_iter().enumerate() {
        guard.release().await.unwrap();
        if released % 10 == 0 {
            sessions.count().await;
        }
    }
    for wait in waits {
        held.push(soon("the key is free", wait).await.unwrap().unwrap());
        sessions.count().await;
    }
    println!("at most {} sessions", sessions.most);
    assert!(sessions.most <= 8, "{} sessions", sessions.most);
    assert!(held.iter().all(|guard| guard.is_held()));
    assert_eq!(witness.locks().await.unwrap().len(), 1200);
    drop(held);
    witness.until_quiet().await.unwrap();
}

/// The largest number of sessions of `ours` that the witness has seen.
struct MostSessions<'a> {
    witness: &'a dyn Witness,
    most: usize,
}

impl MostSessions<'_> {
    async fn count(&mut self) {
        self.most = self.most.max(self.witness.sessions("ours").await.unwrap().len());
    }
}

/// Twice as many busy threads as there are processors.
pub async fn no_lock_is_lost_on_an_overloaded_machine(lab: &Lab) {
    let _alone = lab.alone().await;
    let length = Duration::from_secs(if is_long() { 600 } else { 4 });
    let managers = [lab.manager_with(&leased()), lab.manager_with(&leased())];
    let mut guards = Vec::new();
    for (number, manager) in managers.iter().enumerate() {
        for key in 0..10 {
            guards.push(manager.lock((number as i32, key)).write().await.unwrap());
        }
    }
    let over = Arc::new(AtomicBool::new(false));
    let processors = thread::available_parallelism().map_or(2, usize::from);
    let busy: Vec<_> = (0..2 * processors)
        .map(|_| {
            let over = over.clone();
            thread::spawn(move || while !over.load(Ordering::Relaxed) {})
        })
        .collect();
    let end = Instant::now() + length;
    let mut cycles = 0;
    while Instant::now() < end {
        for manager in &managers {
            let guard = soon("the lock is free", manager.lock("cycled").write()).await;
            guard.unwrap().release().await.expect("nothing was lost");
            cycles += 1;
        }
        sleep(Duration::from_millis(5)).await;
    }
    over.store(true, Ordering::Relaxed);
    let lost = guards.iter().filter(|guard| !guard.is_held()).count();
    println!("{lost} of {} locks lost in {length:?}, {cycles} cycles", guards.len());
    assert_eq!(lost, 0);
    for thread in busy {
        thread.join().unwrap();
    }
    for guard in guards {
        guard.release().await.unwrap();
    }
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
    // On a busy machine, fewer rounds must suffice.
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
