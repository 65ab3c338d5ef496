//! Guards that change their mode: downgrade and upgrade.

use std::sync::Arc;

use pglock_core::{DistributedRwLock, ErrorKind, LockKey, Mode, ReadGuard, WriteGuard};

use super::cancelling::drop_after;
use super::{holder, modes, until_modes};
use crate::conformance::{Lab, Options, group, soon, start};
use crate::faulty::{Fault, Faults, Point};

group! { converting:
    downgrade_lets_readers_in_and_keeps_writers_out,
    downgrade_keeps_out_the_writer_that_waits,
    downgrade_lets_in_the_readers_that_wait_here,
    downgraded_guard_may_be_dropped_at_once,
    downgraded_guard_reports_the_loss: Sessions,
    only_reader_becomes_the_writer,
    reader_beside_others_stays_a_reader,
    upgrade_goes_ahead_of_the_writers_that_wait,
    guard_changes_its_mode_again_and_again,
    upgrade_may_be_dropped_at_any_poll,
    upgrade_of_a_lost_lock_reports_the_loss: Sessions,
    upgrade_that_fails_when_it_is_done_is_done: Engine,
    upgrade_that_the_server_refuses_leaves_nothing: Engine,
}

const KEY: &str = "key";

pub async fn downgrade_lets_readers_in_and_keeps_writers_out(lab: &Lab) {
    let (ours, theirs) = (lab.lock(KEY), lab.lock(KEY));
    let writer = ours.write().await.unwrap();
    let waits = theirs.clone();
    let reader = start(async move { waits.read().await.unwrap() });
    lab.witness().until_waiting(KEY.into(), 1).await.unwrap();
    let here = writer.downgrade();
    let there = soon("readers share", reader).await.unwrap();
    assert_eq!(modes(lab, KEY).await, [Mode::Read; 2]);
    assert!(theirs.try_write().await.unwrap().is_none());
    assert!(lab.lock(KEY).try_write().await.unwrap().is_none());
    assert!(here.is_held());
    here.release().await.unwrap();
    there.release().await.unwrap();
    lab.witness().until_free(KEY.into()).await.unwrap();
}

pub async fn downgrade_keeps_out_the_writer_that_waits(lab: &Lab) {
    let (ours, theirs) = (lab.lock(KEY), lab.lock(KEY));
    let writer = ours.write().await.unwrap();
    let next = start(async move { theirs.write().await.unwrap() });
    lab.witness().until_waiting(KEY.into(), 1).await.unwrap();
    let reader = writer.downgrade();
    until_modes(lab, KEY, &[Mode::Read]).await;
    lab.witness().until_waiting(KEY.into(), 1).await.unwrap();
    // It comes after the writer.
    assert!(lab.lock(KEY).try_read().await.unwrap().is_none());
    assert!(reader.is_held() && !next.is_finished());
    reader.release().await.unwrap();
    soon("the reader has gone", next).await.unwrap().release().await.unwrap();
    lab.witness().until_free(KEY.into()).await.unwrap();
}

pub async fn downgrade_lets_in_the_readers_that_wait_here(lab: &Lab) {
    let manager = lab.manager();
    let lock = manager.lock(KEY);
    let writer = lock.write().await.unwrap();
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let lock = lock.clone();
            start(async move { lock.read().await.unwrap() })
        })
        .collect();
    lab.until_queued(&manager, 3).await;
    let reader = writer.downgrade();
    for other in readers {
        soon("readers share", other).await.unwrap().release().await.unwrap();
    }
    assert!(lock.try_write().await.unwrap().is_none());
    reader.release().await.unwrap();
    let writer = lock.try_write().await.unwrap().expect("the readers have gone");
    writer.release().await.unwrap();
}

pub async fn downgraded_guard_may_be_dropped_at_once(lab: &Lab) {
    let (ours, theirs) = (lab.lock(KEY), lab.lock(KEY));
    for _ in 0..20 {
        drop(ours.write().await.unwrap().downgrade());
        soon("it is free", theirs.write()).await.unwrap().downgrade().release().await.unwrap();
    }
    lab.witness().until_free(KEY.into()).await.unwrap();
}

pub async fn downgraded_guard_reports_the_loss(lab: &Lab) {
    let reader = lab.lock(KEY).write().await.unwrap().downgrade();
    let lease = reader.lease().clone();
    until_modes(lab, KEY, &[Mode::Read]).await;
    assert!(lab.witness().terminate(holder(lab.witness(), KEY).await).await.unwrap());
    soon("the loss is reported", reader.lost()).await;
    assert!(!reader.is_held() && !lease.is_held());
    assert_eq!(reader.release().await.unwrap_err().kind(), ErrorKind::Lost);
}

async fn upgraded(reader: ReadGuard) -> WriteGuard {
    reader.try_upgrade().await.unwrap().expect("no other caller reads")
}

async fn refused(reader: ReadGuard) -> ReadGuard {
    reader.try_upgrade().await.unwrap().expect_err("another caller reads")
}

pub async fn only_reader_becomes_the_writer(lab: &Lab) {
    let (ours, theirs) = (lab.lock(KEY), lab.lock(KEY));
    let reader = ours.read().await.unwrap();
    let lease = reader.lease().clone();
    let writer = upgraded(reader).await;
    assert_eq!(modes(lab, KEY).await, [Mode::Write]);
    assert!(theirs.try_read().await.unwrap().is_none());
    assert!(ours.try_read().await.unwrap().is_none());
    assert!(writer.is_held() && lease.is_held());
    writer.release().await.unwrap();
    assert!(!lease.is_held());
    let next = soon("the writer has gone", theirs.read()).await.unwrap();
    next.release().await.unwrap();
    lab.witness().until_free(KEY.into()).await.unwrap();
}

pub async fn reader_beside_others_stays_a_reader(lab: &Lab) {
    let (ours, theirs) = (lab.lock(KEY), lab.lock(KEY));
    let first = ours.read().await.unwrap();
    // Of another process, and then of this one.
    for lock in [theirs, ours.clone()] {
        let other = lock.read().await.unwrap();
        let reader = ours.read().await.unwrap();
        drop(refused(reader).await);
        assert!(other.is_held());
        other.release().await.unwrap();
    }
    assert_eq!(modes(lab, KEY).await, [Mode::Read]);
    upgraded(first).await.release().await.unwrap();
    lab.witness().until_free(KEY.into()).await.unwrap();
}

/// Servers before PostgreSQL 17 refuse the try of a reader while a writer waits.
pub async fn upgrade_goes_ahead_of_the_writers_that_wait(lab: &Lab) {
    let manager = lab.manager();
    for key in [LockKey::from(KEY), LockKey::from((7, -8))] {
        let (ours, theirs) = (manager.lock(key), lab.lock(key));
        let reader = ours.read().await.unwrap();
        let visit = |lock: Arc<dyn DistributedRwLock>| {
            start(async move { lock.write().await.unwrap().release().await.unwrap() })
        };
        let there = visit(theirs);
        lab.witness().until_waiting(key, 1).await.unwrap();
        let here = visit(ours);
        lab.until_queued(&manager, 1).await;
        let writer = upgraded(reader).await;
        lab.witness().until_waiting(key, 1).await.unwrap();
        assert!(!there.is_finished() && !here.is_finished());
        writer.release().await.unwrap();
        for next in [there, here] {
            soon("the writer has gone", next).await.unwrap();
        }
        lab.witness().until_free(key).await.unwrap();
    }
}

pub async fn guard_changes_its_mode_again_and_again(lab: &Lab) {
    let lock = lab.lock(KEY);
    let mut reader = lock.read().await.unwrap();
    for _ in 0..50 {
        reader = upgraded(reader).await.downgrade();
    }
    until_modes(lab, KEY, &[Mode::Read]).await;
    reader.release().await.unwrap();
    // Each lock was taken once, whatever it was turned into.
    lab.witness().until_free(KEY.into()).await.unwrap();
}

pub async fn upgrade_may_be_dropped_at_any_poll(lab: &Lab) {
    for polls in 0..20 {
        let (manager, theirs) = (lab.manager(), lab.lock(KEY));
        let lock = manager.lock(KEY);
        let reader = lock.read().await.unwrap();
        drop_after(polls, || reader.try_upgrade()).await;
        lab.witness().until_free(KEY.into()).await.unwrap();
        let (reader, other) = (lock.read().await.unwrap(), theirs.read().await.unwrap());
        drop_after(polls, || reader.try_upgrade()).await;
        assert!(other.is_held());
        other.release().await.unwrap();
        soon("it is free", theirs.write()).await.unwrap().release().await.unwrap();
        lab.witness().until_free(KEY.into()).await.unwrap();
        lab.until("nothing is held here", || manager.stats().held == 0).await;
        assert_eq!(manager.stats().waiting, 0);
    }
}

pub async fn upgrade_of_a_lost_lock_reports_the_loss(lab: &Lab) {
    let lock = lab.lock(KEY);
    let reader = lock.read().await.unwrap();
    assert!(lab.witness().terminate(holder(lab.witness(), KEY).await).await.unwrap());
    soon("the loss is reported", reader.lost()).await;
    let error = reader.try_upgrade().await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::Lost, Some(lock.key())));
    // A loss is also reported while the upgrade is on its way.
    for _ in 0..20 {
        // A session reports its end before its locks are free.
        lab.witness().until_free(KEY.into()).await.unwrap();
        let reader = soon("a new session", lock.read()).await.unwrap();
        let pid = holder(lab.witness(), KEY).await;
        let (upgraded, _) = tokio::join!(reader.try_upgrade(), lab.witness().terminate(pid));
        match upgraded {
            Ok(upgraded) => soon("it is lost", upgraded.unwrap().lost()).await,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Lost),
        }
    }
}

pub async fn upgrade_that_fails_when_it_is_done_is_done(lab: &Lab) {
    let faults = Faults::new();
    let options = Options { faults: Some(faults.clone()), ..Options::default() };
    let lock = lab.manager_with(&options).lock(KEY);
    let reader = lock.read().await.unwrap();
    faults.strike_once(Point::Upgrade, Fault::Refused { done: true });
    let writer = upgraded(reader).await;
    assert_eq!(faults.strikes(), 1);
    assert_eq!(modes(lab, KEY).await, [Mode::Write]);
    writer.release().await.unwrap();
    lab.witness().until_free(KEY.into()).await.unwrap();
}

pub async fn upgrade_that_the_server_refuses_leaves_nothing(lab: &Lab) {
    let faults = Faults::new();
    let options = Options { faults: Some(faults.clone()), ..Options::default() };
    let lock = lab.manager_with(&options).lock(KEY);
    let reader = lock.read().await.unwrap();
    faults.strike(Point::Upgrade, Fault::Refused { done: false });
    let error = soon("it is refused", reader.try_upgrade()).await.unwrap_err();
    assert_eq!(error.key(), Some(lock.key()));
    faults.clear();
    lab.witness().until_free(KEY.into()).await.unwrap();
    upgraded(lock.read().await.unwrap()).await.release().await.unwrap();
}
