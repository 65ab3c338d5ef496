//! Long waits, which end and begin anew.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pglock_core::{DistributedRwLock, LockKey, Mode, Result};
use tempfile::NamedTempFile;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::connect;
use crate::conformance::busy::{Busy, keep_busy};
use crate::conformance::latencies::Latencies;
use crate::conformance::{Lab, Manager, Options, group, is_long, soon, start};
use crate::faults::TestProcess;
use crate::postgres::TestServer;
use crate::witness::{PostgresWitness, Witness};

group! { renewing:
    wait_that_is_renewed_gets_its_lock_when_it_comes_free,
    waiter_may_be_dropped_while_its_wait_is_renewed,
    waits_do_not_hold_back_vacuum: Postgres,
    processes_get_equal_shares_although_waits_are_renewed: Process,
}

const KEY: &str = "key";
const RENEWAL: Duration = Duration::from_millis(200);

fn renewing() -> Options {
    Options { wait_renewal: Some(Some(RENEWAL)), ..Options::default() }
}

pub async fn wait_that_is_renewed_gets_its_lock_when_it_comes_free(lab: &Lab) {
    let manager = lab.manager_with(&renewing());
    for (turn, mode) in [Mode::Write, Mode::Read].into_iter().cycle().take(10).enumerate() {
        lab.witness().hold(KEY.into(), Mode::Write).await.unwrap();
        let lock = manager.lock(KEY);
        let waits = start(async move {
            match mode {
                Mode::Read => lock.read().await.map(drop),
                Mode::Write => lock.write().await.map(drop),
            }
        });
        lab.witness().until_waiting(KEY.into(), 1).await.unwrap();
        // After several renewals. Each time, the lock comes free at another point of a renewal.
        sleep(RENEWAL * 2 + RENEWAL / 10 * turn as u32).await;
        lab.witness().release(KEY.into(), Mode::Write).await.unwrap();
        soon("the lock is free", waits).await.unwrap().unwrap();
    }
}

pub async fn waiter_may_be_dropped_while_its_wait_is_renewed(lab: &Lab) {
    let manager = lab.manager_with(&renewing());
    lab.witness().hold(KEY.into(), Mode::Write).await.unwrap();
    for turn in 0..10 {
        let lock = manager.lock(KEY);
        let waits = start(async move { lock.write().await.map(drop) });
        lab.witness().until_waiting(KEY.into(), 1).await.unwrap();
        sleep(RENEWAL / 2 + RENEWAL / 20 * turn).await;
        waits.abort();
        lab.until_queued(&manager, 0).await;
    }
    lab.witness().release(KEY.into(), Mode::Write).await.unwrap();
    let guard = manager.lock(KEY).try_write_for(Duration::from_secs(20)).await.unwrap();
    guard.release().await.unwrap();
}

/// One manager waits in every way there is, another one never renews its waits.
pub async fn waits_do_not_hold_back_vacuum(lab: &Lab) {
    const RENEWAL: Duration = Duration::from_secs(1);
    const BOUND: Duration = Duration::from_secs(3);
    let _alone = lab.alone().await;
    // Snapshots include the transactions of all databases.
    let server = TestServer::private().await.unwrap();
    let witness = connect(server.url()).await;
    let (key, other) = (LockKey::from(KEY), LockKey::from("other"));
    witness.hold(key, Mode::Write).await.unwrap();
    witness.hold(other, Mode::Read).await.unwrap();
    let names = ["renewing", "waiting"];
    let [renewing, waiting] = [(names[0], Some(RENEWAL)), (names[1], None)].map(|(name, time)| {
        let (application_name, wait_renewal) = (name.to_owned(), Some(time));
        let options = Options { application_name, wait_renewal, ..Options::default() };
        lab.manager_at(server.url(), &options).unwrap()
    });
    let waits = [
        start_write(renewing.lock(key)),
        start_write(waiting.lock(key)),
        start_in_session(&renewing, key).await,
        start_upgrade(&renewing, other).await,
    ];
    witness.until_waiting(key, 3).await.unwrap();
    witness.until_waiting(other, 1).await.unwrap();

    let mut ended = Vec::new();
    let mut oldest = [Duration::ZERO; 2];
    let (begin, time) = (Instant::now(), RENEWAL * if is_long() { 60 } else { 6 });
    while begin.elapsed() < time {
        ended.push((transaction_id(&witness).await, Instant::now()));
        for (name, oldest) in names.into_iter().zip(&mut oldest) {
            *oldest = age_of_snapshot(&witness, name, &ended).await.max(*oldest);
        }
        sleep(Duration::from_millis(10)).await;
    }
    println!("the oldest snapshots of {names:?}: {oldest:.1?}");
    assert!(oldest[0] < BOUND && oldest[1] > BOUND, "{oldest:?}");
    assert!(!waits.iter().any(JoinHandle::is_finished));
    witness.release(key, Mode::Write).await.unwrap();
    witness.release(other, Mode::Read).await.unwrap();
    for wait in waits {
        soon("the lock is free", wait).await.unwrap().unwrap();
    }
}

fn start_write(lock: Arc<dyn DistributedRwLock>) -> JoinHandle<Result<()>> {
    start(async move { lock.write().await.map(drop) })
}

async fn start_in_session(manager: &Arc<dyn Manager>, key: LockKey) -> JoinHandle<Result<()>> {
    let session = manager.session().await.unwrap();
    start(async move {
        session.write(key).await.map(drop)?;
        session.close().await
    })
}

async fn start_upgrade(manager: &Arc<dyn Manager>, key: LockKey) -> JoinHandle<Result<()>> {
    let reader = manager.engine_lock(key.into()).upgradable_read().await.unwrap();
    start(async move { reader.upgrade().await.map(drop).map_err(|refused| refused.error) })
}

/// The id of a transaction that has ended.
async fn transaction_id(witness: &PostgresWitness) -> i64 {
    let query = "SELECT pg_catalog.pg_current_xact_id()::text::bigint";
    // The statement changes something, so that another transaction is the next.
    witness.client().query_one(query, &[]).await.unwrap().get(0)
}

/// For how long, at least, a session with this name has kept vacuum from the rows that others have
/// deleted. `ended`: transactions, and when they had ended.
async fn age_of_snapshot(
    witness: &PostgresWitness,
    name: &str,
    ended: &[(i64, Instant)],
) -> Duration {
    let query = "SELECT min(backend_xmin::text::bigint) FROM pg_catalog.pg_stat_activity \
                 WHERE application_name = $1";
    let now = Instant::now();
    let row = witness.client().query_one(query, &[&name]).await.unwrap();
    let Some(xmin) = row.get::<_, Option<i64>>(0) else { return Duration::ZERO };
    let first = ended.iter().find(|(id, _)| *id >= xmin);
    first.map_or(Duration::ZERO, |(_, ended)| now - *ended)
}

const HOLD: Duration = Duration::from_millis(50);

/// With waits that are longer than the interval between renewals, and with waits that are not
/// renewed.
pub async fn processes_get_equal_shares_although_waits_are_renewed(lab: &Lab) {
    if lab.is_child() {
        return take_turns(lab).await;
    }
    for (renewal, most) in [("renewed", 10), ("unbroken", 3)] {
        let turns = NamedTempFile::new().unwrap();
        let role = format!("{renewal} {}", turns.path().display());
        let mut processes = Vec::new();
        for _ in 0..8 {
            processes.push(Busy::prepare(lab, &role).await);
        }
        processes.iter_mut().for_each(Busy::go);
        for process in &mut processes {
            process.begun().await;
        }
        // The first turn of each process does not count.
        let wanted = if is_long() { 1000 } else { 120 } + processes.len();
        while turns.as_file().metadata().unwrap().len() < wanted as u64 {
            sleep(HOLD).await;
        }
        processes.iter_mut().for_each(Busy::stop);
        let mut done = Vec::new();
        for process in processes {
            done.push(process.done().await);
        }
        let shares: Vec<_> = done.iter().map(Latencies::len).collect();
        println!("{shares:?} turns, {renewal}");
        let least = shares.iter().sum::<usize>() / shares.len() / 4;
        assert!(shares.iter().all(|turns| *turns > least), "a process starves: {shares:?}");
        let all: Latencies = done.into_iter().flatten().collect();
        // In order of arrival, a turn takes as long as all processes hold the lock.
        let bound = HOLD * shares.len() as u32 * most;
        all.assert_percentile_below("a turn of eight processes", 99, bound);
    }
}

/// For the child. Each turn appends to the file that the parent has named.
async fn take_turns(lab: &Lab) {
    let role = TestProcess::role().unwrap();
    let (renewal, path) = role.split_once(' ').unwrap();
    let wait_renewal = Some((renewal == "renewed").then_some(RENEWAL));
    let lock = lab.manager_with(&Options { wait_renewal, ..Options::default() }).lock(KEY);
    let path = path.to_owned();
    keep_busy(1, move |_| {
        let (lock, path) = (lock.clone(), path.clone());
        async move {
            let guard = lock.write().await.unwrap();
            let mut turns = OpenOptions::new().append(true).open(path).unwrap();
            turns.write_all(b".").unwrap();
            sleep(HOLD).await;
            guard.release().await.unwrap();
        }
    })
    .await;
}
