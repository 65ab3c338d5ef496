//! Upgrades that end without the write lock, and what must be true in spite of that.

use std::time::Duration;

use pglock_core::{ErrorKind, LockKey, Mode, NamedKey, Refused, UpgradableReadGuard};

use super::cancelling::drop_after;
use super::upgrading::{KEY, lock, right, until_free, until_upgrading, upgrade};
use super::{holder, until_modes};
use crate::conformance::{Lab, Options, group, soon, start};

group! { failing_upgrades:
    upgradable_acquires_may_be_dropped_at_any_poll: Engine,
    waiting_upgrade_may_be_dropped_at_any_poll: Engine,
    upgrade_fails_when_the_read_lock_is_lost: Engine,
    upgrade_fails_when_the_right_is_lost: Engine,
    right_counts_towards_the_limit: Engine,
    upgrade_of_a_fenced_lock_passes_its_gate: Engine,
    timed_out_upgrade_names_what_is_in_the_way: Engine,
}

pub async fn upgradable_acquires_may_be_dropped_at_any_poll(lab: &Lab) {
    for polls in 0..20 {
        let (manager, theirs) = (lab.manager(), lab.lock(KEY));
        let lock = lock(&manager);
        drop_after(polls, || lock.upgradable_read()).await;
        drop_after(polls, || lock.try_upgradable_read()).await;
        let writer = theirs.write().await.unwrap();
        drop_after(polls, || lock.upgradable_read()).await;
        drop_after(polls, || lock.try_upgradable_read_for(Duration::from_secs(5))).await;
        writer.release().await.unwrap();
        until_free(lab).await;
        soon("it is free", lock.upgradable_read()).await.unwrap().release().await.unwrap();
        assert_eq!(manager.stats().waiting, 0);
    }
}

pub async fn waiting_upgrade_may_be_dropped_at_any_poll(lab: &Lab) {
    for polls in 0..30 {
        let (manager, theirs) = (lab.manager(), lab.lock(KEY));
        let lock = lock(&manager);
        let reader = lock.upgradable_read().await.unwrap();
        let other = theirs.read().await.unwrap();
        drop_after(polls, || reader.upgrade()).await;
        assert!(other.is_held());
        other.release().await.unwrap();
        until_free(lab).await;
        soon("it is free", theirs.write()).await.unwrap().release().await.unwrap();
        lab.until("nothing is held here", || manager.stats().held == 0).await;
        assert_eq!(manager.stats().waiting, 0);
    }
}

/// The session that holds this key.
async fn terminate_holder(lab: &Lab, key: LockKey) {
    for holder in lab.witness().holders(key).await.unwrap() {
        lab.witness().terminate(holder.pid).await.unwrap();
    }
}

pub async fn upgrade_fails_when_the_read_lock_is_lost(lab: &Lab) {
    let (ours, theirs) = (lab.manager(), lab.manager());
    let reader = lock(&ours).upgradable_read().await.unwrap();
    // Not the session of the other reader.
    let pid = holder(lab.witness(), KEY).await;
    let other = theirs.lock(KEY).read().await.unwrap();
    let upgraded = start(async move { reader.upgrade().await });
    until_upgrading(lab).await;
    assert!(lab.witness().terminate(pid).await.unwrap());
    let refused = soon("the loss is reported", upgraded).await.unwrap().unwrap_err();
    assert_eq!((refused.error.kind(), refused.error.key()), (ErrorKind::Lost, Some(KEY.into())));
    assert!(!refused.guard.is_held());
    drop(refused);
    assert!(other.is_held());
    other.release().await.unwrap();
    until_free(lab).await;
}

/// The right is in another session than the read lock, as it was waited for.
pub async fn upgrade_fails_when_the_right_is_lost(lab: &Lab) {
    let (ours, theirs) = (lab.manager(), lab.manager());
    lab.witness().hold(right(), Mode::Write).await.unwrap();
    let waits = lock(&ours);
    let reader = start(async move { waits.upgradable_read().await.unwrap() });
    lab.witness().until_waiting(right(), 1).await.unwrap();
    lab.witness().release(right(), Mode::Write).await.unwrap();
    let reader = soon("the right is free", reader).await.unwrap();
    let other = theirs.lock(KEY).read().await.unwrap();
    let upgraded = start(async move { reader.upgrade().await });
    until_upgrading(lab).await;
    terminate_holder(lab, right()).await;
    let refused = soon("the loss is reported", upgraded).await.unwrap().unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Lost);
    assert!(refused.guard.is_held(), "the read lock is another one");
    let next = soon("the right is free", lock(&theirs).upgradable_read()).await.unwrap();
    let again = refused.guard.upgrade().await.unwrap_err();
    assert_eq!(again.error.kind(), ErrorKind::Lost);
    drop((again, other));
    soon("it is alone", next.upgrade()).await.unwrap().release().await.unwrap();
    until_free(lab).await;
}

pub async fn right_counts_towards_the_limit(lab: &Lab) {
    let options = Options { max_locks: Some(1), ..Options::default() };
    let manager = lab.manager_with(&options);
    let error = lock(&manager).upgradable_read().await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::LockTableFull, Some(KEY.into())));
    until_free(lab).await;
    manager.lock(KEY).write().await.unwrap().release().await.unwrap();
}

/// The gate of the fenced lock.
fn gate() -> LockKey {
    NamedKey::in_namespace("pglock-fence", &LockKey::from(KEY).to_string()).key()
}

/// The witness is a transaction that a reader has fenced.
pub async fn upgrade_of_a_fenced_lock_passes_its_gate(lab: &Lab) {
    let gate = gate();
    let manager = lab.manager();
    let lock = lock(&manager).fenced();
    let reader = lock.read().await.unwrap();
    lab.witness().hold(gate, Mode::Read).await.unwrap();
    let reader = reader.try_upgrade().await.unwrap().expect_err("a fenced transaction is open");
    let other = soon("it is a read lock", lab.lock(KEY).read()).await.unwrap();
    drop((reader, other));
    let reader = lock.upgradable_read().await.unwrap();
    let refused = reader.try_upgrade_for(Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Timeout);
    let other = soon("it is a read lock", lab.lock(KEY).read()).await.unwrap();
    other.release().await.unwrap();
    let upgraded = upgrade(refused.guard);
    lab.witness().until_waiting(gate, 1).await.unwrap();
    assert!(!upgraded.is_finished());
    assert!(lab.witness().release(gate, Mode::Read).await.unwrap());
    soon("the transaction has ended", upgraded).await.unwrap().release().await.unwrap();
    until_free(lab).await;
    lab.witness().until_free(gate).await.unwrap();
}

/// First another reader, and then a transaction that it has fenced: the witness.
pub async fn timed_out_upgrade_names_what_is_in_the_way(lab: &Lab) {
    let manager = lab.manager();
    let other = lab.lock(KEY).read().await.unwrap();
    lab.witness().hold(gate(), Mode::Read).await.unwrap();
    let reader = lock(&manager).fenced().upgradable_read().await.unwrap();
    let reader = assert_upgrade_names(lab, reader, KEY.into(), 2).await;
    other.release().await.unwrap();
    let reader = assert_upgrade_names(lab, reader, gate(), 1).await;
    lab.witness().release(gate(), Mode::Read).await.unwrap();
    soon("nothing is in the way", reader.upgrade()).await.unwrap().release().await.unwrap();
}

/// Upgrades time out until two of them have named what they wait for. A busy machine may take a
/// while to get to the gate, or to answer.
async fn assert_upgrade_names(
    lab: &Lab,
    mut reader: UpgradableReadGuard,
    awaited: LockKey,
    holders: usize,
) -> UpgradableReadGuard {
    const FENCED: &str = "a transaction that an earlier holder of the lock has fenced";
    let mut named = 0;
    for millis in [0, 50, 200, 800, 3200] {
        let timeout = Duration::from_millis(millis);
        let Refused { guard, error } = reader.try_upgrade_for(timeout).await.unwrap_err();
        reader = guard;
        until_modes(lab, KEY, &vec![Mode::Read; holders]).await;
        assert_eq!(error.key(), Some(KEY.into()));
        let is_at_gate = error.to_string().contains(FENCED);
        assert!(!is_at_gate || awaited == gate(), "{error}");
        if error.kind() == ErrorKind::Timeout && is_at_gate == (awaited == gate()) {
            // The server names them in time, or not at all.
            assert!([0, holders].contains(&error.holders().len()), "{error}");
            assert!(error.holders().iter().all(|row| row.key == awaited), "{error}");
            named += 1;
        }
        if named == 2 {
            return reader;
        }
    }
    panic!("no upgrade says that it waits for {awaited}");
}
