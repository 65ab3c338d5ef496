//! Processes whose guards change their modes all the time. The witness is the system's lock on a
//! file.

use std::fs::{File, TryLockError};
use std::sync::Arc;

use pglock_core::{DistributedRwLock, RwLock};
use tokio::task::yield_now;

use super::upgrading::{KEY, lock, until_free};
use crate::conformance::busy::{keep_busy, two_processes};
use crate::conformance::{Lab, group};
use crate::faults::TestProcess;

group! { mixing_modes:
    changed_modes_exclude_over_processes: Process,
    upgrades_exclude_and_never_deadlock_over_processes: Process,
}

/// Runs two processes for a while, which must both get their turns.
async fn run(lab: &Lab) {
    two_processes(lab, 10).await;
    until_free(lab).await;
}

fn enters(entered: Result<(), TryLockError>) {
    entered.expect("no excluding holder is inside");
}

pub async fn changed_modes_exclude_over_processes(lab: &Lab) {
    if lab.is_child() {
        let lock = lab.lock(KEY);
        let path = TestProcess::role().unwrap();
        return keep_busy(4, move |turn| change(lock.clone(), path.clone(), turn)).await;
    }
    run(lab).await;
}

async fn change(lock: Arc<dyn DistributedRwLock>, path: String, turn: usize) {
    let file = File::open(path).unwrap();
    let reader = if turn.is_multiple_of(2) {
        let writer = lock.write().await.unwrap();
        enters(file.try_lock());
        yield_now().await;
        file.unlock().unwrap();
        writer.downgrade()
    } else {
        lock.read().await.unwrap()
    };
    enters(file.try_lock_shared());
    yield_now().await;
    file.unlock().unwrap();
    match reader.try_upgrade().await.unwrap() {
        Ok(writer) => {
            enters(file.try_lock());
            yield_now().await;
            file.unlock().unwrap();
            writer.release().await.unwrap();
        }
        Err(reader) => {
            enters(file.try_lock_shared());
            file.unlock().unwrap();
            drop(reader);
        }
    }
}

/// The length of the file counts the writers: what a reader has read before its upgrade is still so
/// afterwards.
pub async fn upgrades_exclude_and_never_deadlock_over_processes(lab: &Lab) {
    if lab.is_child() {
        let manager = lab.manager();
        let path = TestProcess::role().unwrap();
        return keep_busy(4, move |turn| enter(lock(&manager), path.clone(), turn)).await;
    }
    run(lab).await;
}

async fn enter(lock: RwLock, path: String, turn: usize) {
    let file = File::options().append(true).open(path).unwrap();
    let count = || file.metadata().unwrap().len();
    let write = async || {
        enters(file.try_lock());
        std::io::Write::write_all(&mut &file, b".").unwrap();
        yield_now().await;
        file.unlock().unwrap();
    };
    match turn % 4 {
        0 => {
            let reader = lock.read().await.unwrap();
            enters(file.try_lock_shared());
            yield_now().await;
            file.unlock().unwrap();
            reader.release().await.unwrap();
        }
        1 => {
            let writer = lock.write().await.unwrap();
            write().await;
            writer.downgrade().release().await.unwrap();
        }
        _ => {
            let reader = lock.upgradable_read().await.unwrap();
            let before = count();
            yield_now().await;
            let writer = reader.upgrade().await.unwrap();
            assert_eq!(count(), before, "another one has written in between");
            write().await;
            writer.release().await.unwrap();
        }
    }
}
