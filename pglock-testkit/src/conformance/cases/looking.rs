//! Who holds and who waits, and what it is called.

use std::time::Duration;

use pglock_core::key::interop;
use pglock_core::{ErrorKind, LockKey, Mode};

use crate::conformance::{Lab, Options, start};

pub async fn holders_and_waiters_are_told(lab: &Lab) {
    let named = |name: &str| Options { application_name: name.to_owned(), ..Options::default() };
    let (holder, waiter) = (lab.manager_with(&named("holder")), lab.manager_with(&named("waiter")));
    let _guard = holder.rwlock("key".into()).read().await.unwrap();
    let _other = holder.rwlock((1, -2).into()).write().await.unwrap();
    let lock = waiter.rwlock("key".into());
    let wait = start(async move { lock.write().await.map(drop) });
    lab.witness().until_waiting("key".into(), 1).await.unwrap();

    let seen = waiter.holders("key".into()).await.unwrap();
    let told: Vec<_> = seen
        .iter()
        .map(|lock| (lock.key, lock.mode, lock.granted, &*lock.application_name))
        .collect();
    let key = LockKey::from("key");
    assert_eq!(told, [(key, Mode::Read, true, "holder"), (key, Mode::Write, false, "waiter")]);
    assert_eq!(seen[1].blocked_by, [seen[0].pid]);
    assert!(seen[0].pid != seen[1].pid);

    let all = holder.all().await.unwrap();
    assert_eq!(all.len(), 3);
    assert!(all.iter().any(|lock| lock.key == LockKey::from((1, -2)) && lock.granted));
    drop(_guard);
    wait.await.unwrap().unwrap();
    assert!(waiter.holders("never".into()).await.unwrap().is_empty());
}

pub async fn names_are_told_while_somebody_here_has_them(lab: &Lab) {
    let (manager, other) = (lab.manager(), lab.manager());
    let guard = manager.named_rwlock("reports/daily".into()).write().await.unwrap();
    let name = |locks: Vec<pglock_core::LockEntry>| locks[0].name.clone();
    let key = LockKey::from("reports/daily");
    // The lock has gone, and its guard has the name.
    assert_eq!(name(manager.holders(key).await.unwrap()).as_deref(), Some("reports/daily"));
    assert_eq!(name(other.holders(key).await.unwrap()), None);
    assert!(format!("{guard:?}").contains("reports/daily"));
    drop(guard);
}

pub async fn timeout_says_who_holds_the_lock(lab: &Lab) {
    let options = Options { application_name: "the holder".to_owned(), ..Options::default() };
    let holder = lab.manager_with(&options);
    let guard = holder.rwlock("key".into()).write().await.unwrap();
    // A busy server may not answer in time: then the error says nothing of it, and that is no
    // failure.
    let lock = lab.manager().named_rwlock("key".into());
    for _ in 0..50 {
        let error = lock.try_write_for(Duration::from_millis(10)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains("\"key\""), "{error}");
        if let [holder] = error.holders() {
            assert_eq!((holder.mode, &*holder.application_name), (Mode::Write, "the holder"));
            assert!(error.to_string().contains(&format!("pid {} \"the holder\"", holder.pid)));
            drop(guard);
            return;
        }
    }
    panic!("no time-out says who holds the lock");
}

pub async fn names_that_share_a_key_are_reported(lab: &Lab) {
    let manager = lab.manager();
    let names = ["tenant:036j5l85vu-h", "tenant:1-0z9b69xhfy"];
    let [first, second] = names.map(|name| interop::fnv1a(name).named(name));
    let lock = manager.named_rwlock(first.clone());
    let guard = lock.write().await.unwrap();
    drop(lock);
    let error = manager.named_rwlock(second.clone()).try_read().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyCollision);
    assert!(names.iter().all(|name| error.to_string().contains(name)), "{error}");
    // The same name is the same lock, and a number is no name.
    assert!(manager.named_rwlock(first).try_write().await.unwrap().is_none());
    assert!(manager.rwlock(interop::fnv1a(names[1])).try_write().await.unwrap().is_none());
    guard.release().await.unwrap();
    assert!(manager.named_rwlock(second).try_write().await.unwrap().is_some());
}

pub async fn stats_count_grants_and_hand_overs(lab: &Lab) {
    let manager = lab.manager();
    let lock = manager.rwlock("key".into());
    let guard = lock.write().await.unwrap();
    let waiting = lock.clone();
    let wait = start(async move { waiting.write().await.unwrap().release().await });
    lab.until_queued(&manager, 1).await;
    let stats = manager.stats();
    assert_eq!((stats.held, stats.waiting, stats.grants, stats.hand_overs), (1, 1, 1, 0));
    drop(guard);
    wait.await.unwrap().unwrap();
    let stats = manager.stats();
    assert_eq!((stats.held, stats.waiting, stats.grants, stats.hand_overs), (0, 0, 2, 1));
    assert_eq!((stats.losses, stats.reconnects), (0, 0));
    assert_ne!(stats.has_lease, Some(!lab.has_lease().await));
}
