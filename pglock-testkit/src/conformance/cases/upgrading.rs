//! Upgradable read locks.

use std::sync::Arc;
use std::time::Duration;

use pglock_core::{
    DistributedRwLock, ErrorKind, LockKey, Mode, NamedKey, RwLock, UpgradableReadGuard, WriteGuard,
};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::conformance::{Lab, Manager, Options, group, soon, start};

group! { upgrading:
    upgradable_reader_reads_beside_others: Engine,
    second_upgradable_reader_waits_for_the_first: Engine,
    upgrade_waits_for_the_readers_of_other_processes: Engine,
    upgrade_waits_for_the_readers_of_its_process: Engine,
    upgrade_keeps_out_the_readers_that_come_later: Engine,
    upgrade_that_waits_goes_ahead_of_writers: Engine,
    upgrade_waits_in_no_session_that_holds_a_lock: Engine,
    upgrade_that_times_out_returns_the_guard: Engine,
    upgrades_through_one_session_are_made: Engine,
    downgraded_reader_gives_up_the_right: Engine,
}

pub(super) const KEY: &str = "key";

pub(super) fn right() -> LockKey {
    NamedKey::in_namespace("pglock-upgrade", &LockKey::from(KEY).to_string()).key()
}

pub(super) fn lock(manager: &Arc<dyn Manager>) -> RwLock {
    manager.engine_lock(KEY.into())
}

pub(super) async fn until_free(lab: &Lab) {
    for key in [LockKey::from(KEY), right()] {
        lab.witness().until_free(key).await.unwrap();
    }
}

pub(super) fn upgrade(reader: UpgradableReadGuard) -> JoinHandle<WriteGuard> {
    start(async move { reader.upgrade().await.unwrap() })
}

/// Until a session waits for the write lock, which keeps other readers out.
pub(super) async fn until_upgrading(lab: &Lab) {
    lab.witness().until_waiting(KEY.into(), 1).await.unwrap();
}

pub async fn upgradable_reader_reads_beside_others(lab: &Lab) {
    let (ours, theirs) = (lab.manager(), lab.manager());
    let first = theirs.lock(KEY).read().await.unwrap();
    let reader = lock(&ours).upgradable_read().await.unwrap();
    let others = [ours.lock(KEY).read().await.unwrap(), theirs.lock(KEY).read().await.unwrap()];
    assert!(reader.is_held() && theirs.lock(KEY).try_write().await.unwrap().is_none());
    assert_eq!(reader.key(), LockKey::from(KEY));
    let reader = reader.try_upgrade().await.unwrap().expect_err("others read");
    drop((first, others));
    reader.release().await.unwrap();
    until_free(lab).await;
}

pub async fn second_upgradable_reader_waits_for_the_first(lab: &Lab) {
    let (ours, theirs) = (lab.manager(), lab.manager());
    let first = lock(&ours).upgradable_read().await.unwrap();
    for manager in [&ours, &theirs] {
        assert!(lock(manager).try_upgradable_read().await.unwrap().is_none());
        // Long enough for another session on a busy machine.
        let wait = lock(manager).try_upgradable_read_for(Duration::from_millis(500)).await;
        let error = wait.unwrap_err();
        assert_eq!((error.kind(), error.key()), (ErrorKind::Timeout, Some(KEY.into())));
    }
    let waits = lock(&theirs);
    let second = start(async move { waits.upgradable_read().await.unwrap() });
    lab.witness().until_waiting(right(), 1).await.unwrap();
    first.upgrade().await.unwrap().release().await.unwrap();
    soon("the first has gone", second).await.unwrap().release().await.unwrap();
    let free = lock(&ours).try_upgradable_read_for(Duration::ZERO).await.unwrap();
    free.release().await.unwrap();
    until_free(lab).await;
}

pub async fn upgrade_waits_for_the_readers_of_other_processes(lab: &Lab) {
    let (ours, theirs) = (lab.manager(), lab.lock(KEY));
    let reader = lock(&ours).upgradable_read().await.unwrap();
    let others = [theirs.read().await.unwrap(), lab.lock(KEY).read().await.unwrap()];
    let upgraded = upgrade(reader);
    until_upgrading(lab).await;
    assert!(!upgraded.is_finished());
    for other in others {
        assert!(other.is_held());
        other.release().await.unwrap();
    }
    let writer = soon("the readers have gone", upgraded).await.unwrap();
    let holders = lab.witness().holders(KEY.into()).await.unwrap();
    assert_eq!(holders.iter().map(|row| row.mode).collect::<Vec<_>>(), [Mode::Write]);
    assert!(writer.is_held());
    writer.release().await.unwrap();
    until_free(lab).await;
}

pub async fn upgrade_waits_for_the_readers_of_its_process(lab: &Lab) {
    let manager = lab.manager();
    let reader = lock(&manager).upgradable_read().await.unwrap();
    let other = manager.lock(KEY).read().await.unwrap();
    let upgraded = upgrade(reader);
    lab.until_queued(&manager, 1).await;
    // It would come after the upgrade.
    assert!(manager.lock(KEY).try_read().await.unwrap().is_none());
    other.release().await.unwrap();
    soon("the reader has gone", upgraded).await.unwrap().release().await.unwrap();
    until_free(lab).await;
}

pub async fn upgrade_keeps_out_the_readers_that_come_later(lab: &Lab) {
    let (ours, theirs) = (lab.manager(), lab.lock(KEY));
    let reader = lock(&ours).upgradable_read().await.unwrap();
    let other = theirs.read().await.unwrap();
    let upgraded = upgrade(reader);
    until_upgrading(lab).await;
    for late in [lab.lock(KEY), ours.lock(KEY)] {
        assert!(late.try_read().await.unwrap().is_none());
    }
    let late = lab.lock(KEY);
    let late = start(async move { late.read().await.unwrap() });
    lab.witness().until_waiting(KEY.into(), 2).await.unwrap();
    other.release().await.unwrap();
    let writer = soon("the reader has gone", upgraded).await.unwrap();
    assert!(!late.is_finished());
    writer.release().await.unwrap();
    soon("the writer has gone", late).await.unwrap().release().await.unwrap();
    until_free(lab).await;
}

pub async fn upgrade_that_waits_goes_ahead_of_writers(lab: &Lab) {
    let (ours, theirs) = (lab.manager(), lab.lock(KEY));
    let reader = lock(&ours).upgradable_read().await.unwrap();
    let other = theirs.read().await.unwrap();
    let visit = |lock: Arc<dyn DistributedRwLock>| {
        start(async move { lock.write().await.unwrap().release().await.unwrap() })
    };
    let there = visit(lab.lock(KEY));
    lab.witness().until_waiting(KEY.into(), 1).await.unwrap();
    let here = visit(ours.lock(KEY));
    lab.until_queued(&ours, 1).await;
    let upgraded = upgrade(reader);
    lab.until_queued(&ours, 2).await;
    other.release().await.unwrap();
    let writer = soon("the reader has gone", upgraded).await.unwrap();
    assert!(!there.is_finished() && !here.is_finished());
    writer.release().await.unwrap();
    for next in [there, here] {
        soon("the writer has gone", next).await.unwrap();
    }
    until_free(lab).await;
}

pub async fn upgrade_waits_in_no_session_that_holds_a_lock(lab: &Lab) {
    let (ours, theirs) = (lab.manager(), lab.lock(KEY));
    let reader = lock(&ours).upgradable_read().await.unwrap();
    let other = theirs.read().await.unwrap();
    let upgraded = upgrade(reader);
    until_upgrading(lab).await;
    for _ in 0..50 {
        let locks = lab.witness().locks().await.unwrap();
        for waiter in locks.iter().filter(|row| !row.granted) {
            assert!(!locks.iter().any(|row| row.granted && row.pid == waiter.pid), "{locks:?}");
        }
        sleep(Duration::from_millis(2)).await;
    }
    other.release().await.unwrap();
    soon("the reader has gone", upgraded).await.unwrap().release().await.unwrap();
    until_free(lab).await;
}

pub async fn upgrade_that_times_out_returns_the_guard(lab: &Lab) {
    let (ours, theirs) = (lab.manager(), lab.lock(KEY));
    let mut reader = lock(&ours).upgradable_read().await.unwrap();
    let other = theirs.read().await.unwrap();
    for timeout in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(50)] {
        let refused = reader.try_upgrade_for(timeout).await.unwrap_err();
        assert_eq!(refused.error.kind(), ErrorKind::Timeout);
        assert_eq!(refused.error.key(), Some(KEY.into()));
        reader = refused.guard;
        assert!(reader.is_held());
    }
    // No wait is left behind that keeps readers out.
    let late = lab.lock(KEY);
    soon("readers share", late.read()).await.unwrap().release().await.unwrap();
    other.release().await.unwrap();
    let writer = reader.try_upgrade_for(Duration::from_secs(10)).await.unwrap();
    writer.downgrade().release().await.unwrap();
    until_free(lab).await;
}

/// Without a session to wait in, it polls only.
pub async fn upgrades_through_one_session_are_made(lab: &Lab) {
    let options = Options { max_waiting_sessions: 0, ..Options::default() };
    let (ours, theirs) = (lab.manager_with(&options), lab.lock(KEY));
    for _ in 0..3 {
        let reader = lock(&ours).upgradable_read().await.unwrap();
        let other = theirs.read().await.unwrap();
        let upgraded = upgrade(reader);
        lab.until_queued(&ours, 1).await;
        other.release().await.unwrap();
        soon("the reader has gone", upgraded).await.unwrap().release().await.unwrap();
    }
    until_free(lab).await;
}

pub async fn downgraded_reader_gives_up_the_right(lab: &Lab) {
    let (ours, theirs) = (lab.manager(), lab.manager());
    let reader = lock(&ours).upgradable_read().await.unwrap().downgrade();
    let next = soon("the right is free", lock(&theirs).upgradable_read()).await.unwrap();
    assert!(reader.is_held());
    let next = next.try_upgrade().await.unwrap().expect_err("another one reads");
    reader.release().await.unwrap();
    let writer = next.upgrade().await.unwrap();
    // The right is free as soon as it has been used.
    lab.witness().until_free(right()).await.unwrap();
    writer.release().await.unwrap();
    until_free(lab).await;
}
