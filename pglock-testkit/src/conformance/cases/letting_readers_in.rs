//! Readers that get the lock of a writer of their process at once when it leaves.

use std::sync::Arc;

use pglock_core::{DistributedRwLock, ErrorKind, LockKey, Mode, ReadGuard};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{holder, limited_to, until_modes, upgrading};
use crate::conformance::{Lab, Manager, Options, group, soon, start};
use crate::faulty::{Fault, Faults, Point};

group! { letting_readers_in:
    readers_behind_a_writer_come_in_before_the_server_knows: Engine,
    readers_of_another_process_come_in_with_them: Engine,
    readers_of_another_process_come_in_while_the_lock_passes_on: Engine,
    writer_of_another_process_comes_before_later_readers: Engine,
    lock_at_its_limit_goes_to_other_processes_first: Engine,
    writer_is_confirmed_although_readers_have_its_lock: Engine,
    readers_and_their_writer_report_the_loss: Sessions,
    upgradable_reader_behind_a_writer_upgrades: Engine,
}

const KEY: &str = "key";

/// A manager that hears nothing of changes of its locks until the faults are cleared. It holds the
/// lock by then.
fn unanswered(lab: &Lab) -> (Arc<dyn Manager>, Faults) {
    let faults = Faults::new();
    let options = Options { faults: Some(faults.clone()), ..limited_to(u32::MAX) };
    (lab.manager_with(&options), faults)
}

fn read(lock: Arc<dyn DistributedRwLock>) -> JoinHandle<ReadGuard> {
    start(async move { lock.read().await.unwrap() })
}

pub async fn readers_behind_a_writer_come_in_before_the_server_knows(lab: &Lab) {
    let (manager, faults) = unanswered(lab);
    let writer = manager.lock(KEY).write().await.unwrap();
    for point in [Point::Downgrade, Point::Unlock, Point::TryLock] {
        faults.strike(point, Fault::Silence { done: false });
    }
    let readers = [0; 3].map(|_| read(manager.lock(KEY)));
    lab.until_queued(&manager, 3).await;
    drop(writer);
    let mut guards = Vec::new();
    for reader in readers {
        guards.push(soon("it has the lock at once", reader).await.unwrap());
    }
    assert_eq!(manager.stats().hand_overs, 3);
    until_modes(lab, KEY, &[Mode::Write]).await;
    faults.clear();
    until_modes(lab, KEY, &[Mode::Read]).await;
    for guard in guards {
        guard.release().await.unwrap();
    }
    lab.witness().until_free(KEY.into()).await.unwrap();
}

pub async fn readers_of_another_process_come_in_with_them(lab: &Lab) {
    let ours = lab.manager_with(&limited_to(u32::MAX));
    let writer = ours.lock(KEY).write().await.unwrap();
    let there = read(lab.lock(KEY));
    lab.witness().until_waiting(KEY.into(), 1).await.unwrap();
    let here = read(ours.lock(KEY));
    lab.until_queued(&ours, 1).await;
    let lock = ours.lock(KEY);
    let next = start(async move { lock.write().await.unwrap() });
    lab.until_queued(&ours, 2).await;
    drop(writer);
    let here = soon("it has the lock at once", here).await.unwrap();
    // Although a writer here waits.
    let there = soon("readers share", there).await.unwrap();
    until_modes(lab, KEY, &[Mode::Read; 2]).await;
    assert!(here.is_held() && !next.is_finished());
    here.release().await.unwrap();
    there.release().await.unwrap();
    soon("the readers have gone", next).await.unwrap().release().await.unwrap();
}

pub async fn readers_of_another_process_come_in_while_the_lock_passes_on(lab: &Lab) {
    let (ours, faults) = unanswered(lab);
    let writer = ours.lock(KEY).write().await.unwrap();
    let first = read(ours.lock(KEY));
    lab.until_queued(&ours, 1).await;
    let [second, last] = [0; 2].map(|_| ours.lock(KEY));
    let second = start(async move { second.write().await.unwrap() });
    lab.until_queued(&ours, 2).await;
    let third = read(ours.lock(KEY));
    lab.until_queued(&ours, 3).await;
    let last = start(async move { last.write().await.unwrap() });
    lab.until_queued(&ours, 4).await;
    faults.strike(Point::Ping, Fault::Silence { done: true });
    drop(writer);
    drop(soon("a reader has it at once", first).await.unwrap());
    drop(soon("the next writer, too", second).await.unwrap());
    let third = soon("and the reader behind it", third).await.unwrap();
    until_modes(lab, KEY, &[Mode::Write]).await;
    let there = read(lab.lock(KEY));
    lab.witness().until_waiting(KEY.into(), 1).await.unwrap();
    faults.clear();
    let there = soon("readers share", there).await.unwrap();
    until_modes(lab, KEY, &[Mode::Read; 2]).await;
    assert!(third.is_held() && !last.is_finished());
    third.release().await.unwrap();
    assert!(!last.is_finished());
    there.release().await.unwrap();
    soon("the readers have gone", last).await.unwrap().release().await.unwrap();
    lab.witness().until_free(KEY.into()).await.unwrap();
}

pub async fn writer_of_another_process_comes_before_later_readers(lab: &Lab) {
    let (ours, theirs) = (lab.manager_with(&limited_to(1)), lab.lock(KEY));
    // A session that can ask is open already: without one, a reader joins after a while.
    let other = lab.lock("other").write().await.unwrap();
    let waits = ours.lock("other");
    let waits = start(async move { waits.write().await.unwrap() });
    lab.witness().until_waiting("other".into(), 1).await.unwrap();
    other.release().await.unwrap();
    soon("it is free", waits).await.unwrap().release().await.unwrap();
    let writer = ours.lock(KEY).write().await.unwrap();
    let there = start(async move { theirs.write().await.unwrap() });
    lab.witness().until_waiting(KEY.into(), 1).await.unwrap();
    let here = read(ours.lock(KEY));
    lab.until_queued(&ours, 1).await;
    drop(writer);
    let here = soon("the lock passes on once", here).await.unwrap();
    let late = read(ours.lock(KEY));
    lab.witness().until_waiting(KEY.into(), 2).await.unwrap();
    assert!(!there.is_finished() && !late.is_finished());
    here.release().await.unwrap();
    let there = soon("it was first", there).await.unwrap();
    assert!(!late.is_finished());
    there.release().await.unwrap();
    soon("its turn has come", late).await.unwrap().release().await.unwrap();
}

pub async fn lock_at_its_limit_goes_to_other_processes_first(lab: &Lab) {
    let (ours, theirs) = (lab.manager_with(&limited_to(0)), lab.lock(KEY));
    let writer = ours.lock(KEY).write().await.unwrap();
    let (served, mut order) = mpsc::unbounded_channel();
    let there = {
        let served = served.clone();
        start(async move {
            let guard = theirs.write().await.unwrap();
            served.send("there").unwrap();
            guard.release().await.unwrap();
        })
    };
    lab.witness().until_waiting(KEY.into(), 1).await.unwrap();
    let lock = ours.lock(KEY);
    let here = start(async move {
        let guard = lock.read().await.unwrap();
        served.send("here").unwrap();
        guard.release().await.unwrap();
    });
    lab.until_queued(&ours, 1).await;
    drop(writer);
    soon("it was first", there).await.unwrap();
    soon("its turn has come", here).await.unwrap();
    assert_eq!([order.recv().await, order.recv().await], [Some("there"), Some("here")]);
    assert_eq!(ours.stats().hand_overs, 0);
}

pub async fn writer_is_confirmed_although_readers_have_its_lock(lab: &Lab) {
    let (manager, faults) = unanswered(lab);
    let writer = manager.lock(KEY).write().await.unwrap();
    faults.strike(Point::Downgrade, Fault::Silence { done: true });
    let reader = read(manager.lock(KEY));
    lab.until_queued(&manager, 1).await;
    let release = start(writer.release());
    let reader = soon("it has the lock at once", reader).await.unwrap();
    until_modes(lab, KEY, &[Mode::Read]).await;
    assert!(!release.is_finished(), "the answer confirms it");
    faults.clear();
    soon("it is confirmed", release).await.unwrap().unwrap();
    assert!(reader.is_held());
    reader.release().await.unwrap();
    lab.witness().until_free(KEY.into()).await.unwrap();
}

pub async fn readers_and_their_writer_report_the_loss(lab: &Lab) {
    for done in [false, true] {
        let (manager, faults) = unanswered(lab);
        let writer = manager.lock(KEY).write().await.unwrap();
        faults.strike(Point::Downgrade, Fault::Silence { done });
        let reader = read(manager.lock(KEY));
        lab.until_queued(&manager, 1).await;
        let release = start(writer.release());
        let reader = soon("it has the lock at once", reader).await.unwrap();
        until_modes(lab, KEY, &[if done { Mode::Read } else { Mode::Write }]).await;
        let pid = holder(lab.witness(), KEY).await;
        assert!(lab.witness().terminate(pid).await.unwrap());
        soon("the loss is reported", reader.lost()).await;
        let released = soon("it is not confirmed", release).await.unwrap();
        assert_eq!(released.unwrap_err().kind(), ErrorKind::Lost);
        assert_eq!(reader.release().await.unwrap_err().kind(), ErrorKind::Lost);
        lab.witness().until_free(LockKey::from(KEY)).await.unwrap();
    }
}

pub async fn upgradable_reader_behind_a_writer_upgrades(lab: &Lab) {
    let manager = lab.manager();
    let lock = upgrading::lock(&manager);
    let writer = lock.write().await.unwrap();
    let waits = lock.clone();
    let reader = start(async move { waits.upgradable_read().await.unwrap() });
    lab.until_queued(&manager, 1).await;
    drop(writer);
    let reader = soon("it has the lock", reader).await.unwrap();
    let writer = soon("no other caller reads", reader.upgrade()).await.unwrap();
    assert!(lab.lock(KEY).try_read().await.unwrap().is_none());
    writer.release().await.unwrap();
    upgrading::until_free(lab).await;
}
