//! Long waits, which end and begin anew.

use std::time::Duration;

use pglock_core::{LockKey, Mode};
use tokio::time::sleep;

use super::{connect, database, execute};
use crate::conformance::busy::{Busy, keep_busy};
use crate::conformance::{Lab, Options, group, is_long, soon, start};
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

/// Two managers wait for a key that stays held; only one of them renews its waits.
pub async fn waits_do_not_hold_back_vacuum(lab: &Lab) {
    let database = database().await;
    let witness = connect(database.url()).await;
    let key = LockKey::from(KEY);
    witness.hold(key, Mode::Write).await.unwrap();
    let names = ["renewing", "waiting"];
    let mut waits = Vec::new();
    for (name, renewal) in names.into_iter().zip([Some(RENEWAL), None]) {
        let application_name = name.to_owned();
        let wait_renewal = Some(renewal);
        let options = Options { application_name, wait_renewal, ..Options::default() };
        let lock = lab.manager_at(database.url(), &options).unwrap().lock(key);
        waits.push(start(async move { lock.write().await.map(drop) }));
    }
    witness.until_waiting(key, 2).await.unwrap();
    execute(&witness, "CREATE TABLE jobs (id int); INSERT INTO jobs VALUES (1)").await;
    for _ in 0..3 {
        let id = transaction_id(&witness).await;
        soon("the wait is renewed", async {
            while oldest_snapshot(&witness, names[0]).await.is_none_or(|xmin| xmin <= id) {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert!(oldest_snapshot(&witness, names[1]).await.is_some_and(|xmin| xmin <= id));
    }
    witness.release(key, Mode::Write).await.unwrap();
    for wait in waits {
        soon("the lock is free", wait).await.unwrap().unwrap();
    }
}

/// The id of a transaction that has ended.
async fn transaction_id(witness: &PostgresWitness) -> i64 {
    let query = "SELECT pg_catalog.pg_current_xact_id()::text::bigint";
    // The statement changes something, so that another transaction is the next.
    witness.client().query_one(query, &[]).await.unwrap().get(0)
}

/// The oldest transaction for whose sake the server keeps dead rows, because of that manager's
/// waits.
async fn oldest_snapshot(witness: &PostgresWitness, name: &str) -> Option<i64> {
    let query = "SELECT min(backend_xmin::text::bigint) FROM pg_catalog.pg_stat_activity \
                 WHERE application_name = $1 AND wait_event = 'advisory'";
    witness.client().query_one(query, &[&name]).await.unwrap().get(0)
}

/// Each wait is longer than the interval between renewals.
pub async fn processes_get_equal_shares_although_waits_are_renewed(lab: &Lab) {
    const HOLD: Duration = Duration::from_millis(50);
    if lab.is_child() {
        let lock = lab.manager_with(&renewing()).lock(KEY);
        let turn = move |_| {
            let lock = lock.clone();
            async move {
                let guard = lock.write().await.unwrap();
                sleep(HOLD).await;
                guard.release().await.unwrap();
            }
        };
        return keep_busy(1, turn).await;
    }
    let mut processes = Vec::new();
    for _ in 0..8 {
        processes.push(Busy::prepare(lab, "renewing").await);
    }
    processes.iter_mut().for_each(Busy::go);
    for process in &mut processes {
        process.begun().await;
    }
    sleep(HOLD * if is_long() { 1000 } else { 160 }).await;
    processes.iter_mut().for_each(Busy::stop);
    let mut done = Vec::new();
    for process in processes {
        done.push(process.done().await);
    }
    let shares: Vec<_> = done.iter().map(|done| done.turns).collect();
    let longest = done.iter().map(|done| done.longest).max().unwrap();
    println!("{shares:?} turns; the longest took {longest:.0?}");
    let least = shares.iter().sum::<usize>() / shares.len() / 4;
    assert!(shares.iter().all(|turns| *turns > least), "a process starves: {shares:?}");
}
