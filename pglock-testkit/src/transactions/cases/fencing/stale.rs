//! Fenced locks, and a holder that was stopped.

use std::env;
use std::io;
use std::time::Duration;

use pglock_core::ErrorKind;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use super::super::{begin, begin_at};
use super::{KEY, end_session, fence, gate, insert, make_table, start_fence, write, written};
use crate::faults::{Stopped, TestProcess};
use crate::transactions::{Client, Site};
use crate::witness::Witness;

/// Where the other process finds the database.
const URL: &str = "PGLOCK_TEST_FENCE_AT";

/// A transaction of an earlier holder, which has released the lock.
async fn left_open<C: Client>(site: &Site) -> C {
    make_table(site).await;
    fenced(site).await
}

async fn fenced<C: Client>(site: &Site) -> C {
    let earlier = write(&site.locks::<C>()).await;
    let mut tx = begin::<C>(site).await;
    fence(&earlier, &mut tx).await.unwrap();
    insert(&mut tx, "earlier").await;
    earlier.release().await.unwrap();
    tx
}

async fn commit_while_blocked<C: Client, T>(site: &Site, mut tx: C, wait: &JoinHandle<T>) {
    site.witness.until_waiting(gate(), 1).await.unwrap();
    assert!(!wait.is_finished());
    tx.commit().await.unwrap();
}

pub async fn fenced_lock_is_handed_out_after_the_last_transaction<C: Client>(site: Site) {
    let tx = left_open::<C>(&site).await;
    let lock = site.locks::<C>().rwlock(KEY).fenced();
    assert!(lock.try_write().await.unwrap().is_none());
    assert!(lock.try_read().await.unwrap().is_none());
    site.witness.until_free(KEY.into()).await.unwrap();
    let wait = tokio::spawn(async move { lock.write().await });
    commit_while_blocked(&site, tx, &wait).await;
    let _guard = wait.await.unwrap().unwrap();
    // Outside of any fence.
    assert_eq!(written(&mut begin::<C>(&site).await).await, "earlier");
}

pub async fn fenced_lock_is_handed_over_after_the_last_transaction<C: Client>(site: Site) {
    make_table(&site).await;
    let lock = site.locks::<C>().rwlock(KEY).fenced();
    let earlier = lock.write().await.unwrap();
    let mut tx = begin::<C>(&site).await;
    fence(&earlier, &mut tx).await.unwrap();
    insert(&mut tx, "earlier").await;
    let wait = tokio::spawn(async move { lock.write().await });
    drop(earlier);
    commit_while_blocked(&site, tx, &wait).await;
    let _guard = wait.await.unwrap().unwrap();
    assert_eq!(written(&mut begin::<C>(&site).await).await, "earlier");
}

/// The engine gives the lock to readers of the process at once, but they wait at its gate.
pub async fn fenced_lock_lets_readers_in_after_the_last_transaction<C: Client>(site: Site) {
    make_table(&site).await;
    let locks = site.locks::<C>();
    let lock = locks.rwlock(KEY).fenced();
    let earlier = lock.write().await.unwrap();
    let mut tx = begin::<C>(&site).await;
    fence(&earlier, &mut tx).await.unwrap();
    insert(&mut tx, "earlier").await;
    let wait = tokio::spawn(async move { lock.read().await });
    while locks.stats().waiting == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    drop(earlier);
    commit_while_blocked(&site, tx, &wait).await;
    let _guard = wait.await.unwrap().unwrap();
    assert_eq!(written(&mut begin::<C>(&site).await).await, "earlier");
}

/// A lock that is not fenced shows why such a transaction is refused by default.
pub async fn fenced_lock_shows_everything_to_an_old_snapshot<C: Client>(site: Site) {
    let tx = left_open::<C>(&site).await;
    let plain = write(&site.locks::<C>()).await;
    let mut old = begin::<C>(&site).await;
    old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let wait = tokio::spawn(async move {
        let fenced = plain.fence(old.locks().await.at_any_isolation()).await;
        plain.release().await.unwrap();
        fenced.map(|()| old)
    });
    commit_while_blocked(&site, tx, &wait).await;
    let mut old = wait.await.unwrap().unwrap();
    assert_eq!(written(&mut old).await, "", "it has missed what was committed meanwhile");
    insert(&mut old, "old").await;

    let lock = site.locks::<C>().rwlock(KEY).fenced();
    let wait = tokio::spawn(async move { lock.write().await });
    commit_while_blocked(&site, old, &wait).await;
    let guard = wait.await.unwrap().unwrap();
    let mut tx = begin::<C>(&site).await;
    tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    guard.fence(tx.locks().await.at_any_isolation()).await.unwrap();
    assert_eq!(written(&mut tx).await, "earlier old");
}

pub async fn fenced_lock_names_the_transaction_that_is_in_the_way<C: Client>(site: Site) {
    let mut tx = left_open::<C>(&site).await;
    let pid = tx.value("SELECT pg_backend_pid()::text").await.unwrap();
    let lock = site.locks::<C>().rwlock(KEY).fenced();
    // Long enough for the lock itself to be granted on a busy machine.
    for timeout in [Duration::ZERO, Duration::from_millis(500)] {
        let error = lock.try_write_for(timeout).await.unwrap_err();
        assert_eq!((error.kind(), error.key()), (ErrorKind::Timeout, Some(KEY.into())));
        assert!(error.to_string().contains("an earlier holder of the lock has fenced"), "{error}");
        let holders: Vec<_> = error.holders().iter().map(|row| row.pid.to_string()).collect();
        // The server names them in time, or not at all.
        assert!(holders.is_empty() || holders == [pid.clone()], "{error}");
        site.witness.until_free(KEY.into()).await.unwrap();
    }
    tx.roll_back().await.unwrap();
    lock.try_write_for(Duration::from_secs(20)).await.unwrap().release().await.unwrap();
}

/// A holder is stopped before its fence, while the fence waits at the gate, and before its commit.
pub async fn stopped_holder_cannot_write_after_its_successor<C: Client>(site: Site) {
    if let Some(role) = TestProcess::role() {
        return hold_in_a_process::<C>(&role).await;
    }
    make_table(&site).await;
    for (role, answer, seen) in [
        ("idle", "refused", "later"),
        ("waiting", "refused", "later earlier later"),
        ("fenced", "written", "later earlier later stale later"),
    ] {
        let earlier = match role {
            "waiting" => Some(fenced::<C>(&site).await),
            _ => None,
        };
        let test = "stopped_holder_cannot_write_after_its_successor";
        let mut command = TestProcess::command(test, role).unwrap();
        let mut process = TestProcess::start(command.env(URL, site.database.url())).unwrap();
        assert_eq!(process.line().await.unwrap(), "ready");
        if earlier.is_some() {
            site.witness.until_waiting(gate(), 1).await.unwrap();
        }
        let stopped = Stopped::stop(process.pid()).unwrap();
        end_session(&site.witness).await;
        process.write("write").unwrap();
        let wait = start_fence(write(&site.locks::<C>()).await, begin::<C>(&site).await);
        let mut stopped = Some(stopped);
        if role != "idle" {
            site.witness.until_waiting(gate(), 1).await.unwrap();
            if let Some(mut earlier) = earlier {
                earlier.commit().await.unwrap();
            }
            stopped = None;
        }
        let (guard, mut tx, fenced) = wait.await.unwrap();
        fenced.unwrap();
        insert(&mut tx, "later").await;
        tx.commit().await.unwrap();
        drop(stopped);
        assert_eq!(process.line().await.unwrap(), answer);
        assert_eq!(written(&mut begin::<C>(&site).await).await, seen);
        guard.release().await.unwrap();
    }
}

async fn hold_in_a_process<C: Client>(role: &str) {
    let url = env::var(URL).unwrap();
    let locks = pglock_core::Locks::new(url.parse::<C::Driver>().unwrap());
    let guard = write(&locks).await;
    let mut tx = begin_at::<C>(&url).await;
    if role == "fenced" {
        fence(&guard, &mut tx).await.unwrap();
    }
    TestProcess::print("ready");
    if role != "waiting" {
        // This process is stopped now.
        spawn_blocking(|| io::stdin().read_line(&mut String::new())).await.unwrap().unwrap();
    }
    if role != "fenced"
        && let Err(error) = fence(&guard, &mut tx).await
    {
        assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}");
        tx.roll_back().await.unwrap();
        return TestProcess::print("refused");
    }
    insert(&mut tx, "stale").await;
    tx.commit().await.unwrap();
    TestProcess::print("written");
}
