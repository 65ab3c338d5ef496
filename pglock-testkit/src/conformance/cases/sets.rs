//! Several keys as one lock: what a set takes, and what it leaves alone.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pglock_core::key::interop;
use pglock_core::{
    DistributedRwLock, ErrorKind, LockEntry, LockKey, LockProvider, LockSet, Mode, NamedKey,
    Result, SetGuard,
};

use crate::conformance::{Lab, Manager, Options, group, soon, start};
use crate::faulty::{Fault, Faults, Point};
use crate::witness::Witness;

group! { sets:
    set_holds_all_its_keys_each_in_its_mode,
    key_that_is_added_twice_counts_once_and_write_wins,
    busy_set_takes_nothing,
    busy_set_does_not_touch_what_is_behind,
    one_of_equal_sets_that_are_tried_at_once_is_taken,
    free_set_takes_one_round_trip: Engine,
    set_larger_than_the_room_takes_nothing: Engine,
    set_without_keys_is_refused,
    names_that_share_a_key_are_no_set,
    set_of_an_old_and_a_new_key_excludes_both,
    guards_of_a_set_are_released_one_by_one,
    locks_that_are_tried_one_by_one_make_a_set,
}

/// What is held: by whomever, in the order of the keys.
pub(super) async fn held(witness: &dyn Witness) -> Vec<(LockKey, Mode)> {
    let locks = witness.locks().await.unwrap();
    let held = locks.into_iter().filter(|row| row.granted);
    let mut held: Vec<_> = held.map(|row| (row.key, row.mode)).collect();
    held.sort_unstable();
    held
}

pub async fn set_holds_all_its_keys_each_in_its_mode(lab: &Lab) {
    let manager = lab.manager();
    let set = manager.set().write(3).read((1, 2)).read(1).write(2);
    let guard = set.acquire().await.unwrap();
    let expected = [
        (LockKey::from(1), Mode::Read),
        (2.into(), Mode::Write),
        (3.into(), Mode::Write),
        ((1, 2).into(), Mode::Read),
    ];
    assert_eq!(held(lab.witness()).await, expected);
    assert!(guard.keys().eq(expected.map(|(key, _)| key)));
    assert!(guard.is_held() && guard.lease().is_held());
    assert!(lab.lock(1).try_read().await.unwrap().is_some());
    assert!(lab.lock(1).try_write().await.unwrap().is_none());
    assert!(lab.lock(2).try_read().await.unwrap().is_none());
    guard.release().await.unwrap();
    lab.witness().until_quiet().await.unwrap();
    drop(set.acquire().await.unwrap());
    lab.witness().until_quiet().await.unwrap();
}

pub async fn key_that_is_added_twice_counts_once_and_write_wins(lab: &Lab) {
    let manager = lab.manager();
    for set in [manager.set().read("key").write("key"), manager.set().write("key").read("key")] {
        let guard = soon("it does not wait for itself", set.read("key").acquire()).await.unwrap();
        assert_eq!(held(lab.witness()).await, [("key".into(), Mode::Write)]);
        guard.release().await.unwrap();
    }
}

pub async fn busy_set_takes_nothing(lab: &Lab) {
    let (manager, witness) = (lab.manager(), lab.witness());
    let set = manager.set().write(1).read(2).write(3);
    for busy in 1..=3 {
        witness.hold(busy.into(), Mode::Write).await.unwrap();
        assert!(set.try_acquire().await.unwrap().is_none());
        // What it had taken is released at once.
        soon("the rest is free", async {
            while held(witness).await != [(busy.into(), Mode::Write)] {
                tokio::task::yield_now().await;
            }
        })
        .await;
        witness.release(busy.into(), Mode::Write).await.unwrap();
    }
    let guard = set.try_acquire().await.unwrap().expect("all are free");
    // Here, too.
    assert!(set.try_acquire().await.unwrap().is_none());
    assert!(guard.is_held());
    guard.release().await.unwrap();
}

/// Nothing behind a busy key is touched, so nobody finds a key busy that is free.
pub async fn busy_set_does_not_touch_what_is_behind(lab: &Lab) {
    let (manager, witness) = (lab.manager(), lab.witness());
    let other = lab.lock(3);
    drop(other.write().await.unwrap());
    witness.hold(1.into(), Mode::Write).await.unwrap();
    let tries = start(async move {
        let set = manager.set().write(1).write(2).write(3);
        for _ in 0..200 {
            assert!(set.try_acquire().await.unwrap().is_none());
        }
    });
    while !tries.is_finished() {
        let guard = other.try_write().await.unwrap().expect("the set does not reach it");
        guard.release().await.unwrap();
    }
    tries.await.unwrap();
    witness.release(1.into(), Mode::Write).await.unwrap();
}

pub async fn one_of_equal_sets_that_are_tried_at_once_is_taken(lab: &Lab) {
    let managers: Vec<_> = (0..4).map(|_| lab.manager()).collect();
    for manager in &managers {
        manager.check().await.unwrap();
    }
    for _ in 0..100 {
        let tries = managers.iter().map(|manager| {
            let set = manager.set().write(1).write(2).write(3);
            start(async move { set.try_acquire().await.unwrap() })
        });
        let mut taken = Vec::new();
        for tried in tries.collect::<Vec<_>>() {
            taken.extend(soon("nobody waits", tried).await.unwrap());
        }
        assert_eq!(taken.len(), 1, "all were free, and nobody else has them");
        for guard in taken {
            guard.release().await.unwrap();
        }
        lab.witness().until_quiet().await.unwrap();
    }
}

/// A manager whose statements with tries are counted.
pub(super) async fn counted(lab: &Lab, options: Options) -> (Arc<dyn Manager>, Faults) {
    let faults = Faults::new();
    let manager = lab.manager_with(&Options { faults: Some(faults.clone()), ..options });
    manager.lock("other").write().await.unwrap().release().await.unwrap();
    faults.strike(Point::TryLock, Fault::Slow(Duration::ZERO));
    (manager, faults)
}

fn numbered(manager: &Arc<dyn Manager>, count: i64) -> LockSet {
    (0..count).fold(manager.set(), LockSet::write)
}

pub async fn free_set_takes_one_round_trip(lab: &Lab) {
    let (manager, faults) = counted(lab, Options::default()).await;
    for (round_trips, keys) in [2, 10, 100, 800].into_iter().enumerate() {
        let set = numbered(&manager, keys);
        let guard = set.try_acquire().await.unwrap().expect("all are free");
        assert_eq!(held(lab.witness()).await.len(), keys as usize);
        assert_eq!(faults.strikes(), 2 * round_trips + 1);
        guard.release().await.unwrap();
        let guard = set.acquire().await.unwrap();
        assert_eq!(held(lab.witness()).await.len(), keys as usize);
        assert_eq!(faults.strikes(), 2 * round_trips + 2);
        guard.release().await.unwrap();
    }
    assert_eq!(manager.stats().sessions, 1);
}

pub async fn set_larger_than_the_room_takes_nothing(lab: &Lab) {
    let options = Options { max_locks: Some(5), ..Options::default() };
    let (manager, faults) = counted(lab, options).await;
    let single = manager.lock(100).read().await.unwrap();
    let before = faults.strikes();
    for timeout in [Duration::ZERO, Duration::MAX] {
        let error = numbered(&manager, 5).try_acquire_for(timeout).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LockTableFull);
        assert!(error.to_string().contains("needs 5 more locks"), "{error}");
    }
    assert_eq!(faults.strikes(), before, "the server was not asked");
    // What is held here already needs no room.
    let guard = soon("they fit", numbered(&manager, 4).read(100).acquire()).await.unwrap();
    assert_eq!(lab.witness().locks().await.unwrap().len(), 5);
    guard.release().await.unwrap();
    assert!(single.is_held());
    single.release().await.unwrap();
}

pub async fn set_without_keys_is_refused(lab: &Lab) {
    let manager = lab.manager();
    let error = manager.set().acquire().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOptions);
    assert_eq!(manager.set().try_acquire().await.unwrap_err().kind(), ErrorKind::InvalidOptions);
    assert_eq!(manager.write_any(&[]).await.unwrap_err().kind(), ErrorKind::InvalidOptions);
}

pub async fn names_that_share_a_key_are_no_set(lab: &Lab) {
    let manager = lab.manager();
    let key = LockKey::from(7);
    let set = manager.set().write(1).read(key.named("one")).write(key.named("another"));
    let error = set.acquire().await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::KeyCollision, Some(key)));
    assert!(error.to_string().contains(r#""one" and "another""#), "{error}");
    // A number is no other name.
    let set = manager.set().write(key).read(key.named("one"));
    set.acquire().await.unwrap().release().await.unwrap();
    let _other = manager.lock(key.named("another"));
    let error = set.write(1).acquire().await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::KeyCollision, Some(key)));
}

/// While some processes know the new key only, others the old one only, and others both.
pub async fn set_of_an_old_and_a_new_key_excludes_both(lab: &Lab) {
    let (old, new) = (interop::fnv1a("invoice/7"), "invoice/7");
    let guard = lab.manager().set().write(old).write(new).acquire().await.unwrap();
    assert!(lab.lock(old).try_write().await.unwrap().is_none());
    assert!(lab.lock(new).try_write().await.unwrap().is_none());
    guard.release().await.unwrap();
}

pub async fn guards_of_a_set_are_released_one_by_one(lab: &Lab) {
    let manager = lab.manager();
    let guard = manager.set().read(1).write(2).write(3).acquire().await.unwrap();
    let lease = guard.lease().clone();
    let mut guards = guard.into_guards();
    assert!(lease.is_held());
    guards.remove(0).release().await.unwrap();
    assert!(!lease.is_held());
    soon("the set is not held any more", lease.lost()).await;
    let left = [(LockKey::from(2), Mode::Write), (3.into(), Mode::Write)];
    assert_eq!(held(lab.witness()).await, left);
    assert!(guards.iter().all(|guard| guard.is_held() && guard.lease().is_held()));
}

/// Locks that cannot be tried together.
#[derive(Debug)]
struct OneByOne(Arc<dyn Manager>);

#[async_trait]
impl LockProvider for OneByOne {
    fn rwlock(&self, key: NamedKey) -> Box<dyn DistributedRwLock> {
        self.0.rwlock(key)
    }

    async fn inspect(&self, key: NamedKey) -> Result<Vec<LockEntry>> {
        LockProvider::inspect(&*self.0, key).await
    }

    async fn sleep(&self, time: Duration) {
        self.0.sleep(time).await;
    }
}

pub async fn locks_that_are_tried_one_by_one_make_a_set(lab: &Lab) {
    let (manager, witness) = (lab.manager(), lab.witness());
    let set = || LockSet::new(Arc::new(OneByOne(manager.clone()))).read(3).write(1).write(2);
    let modes = [(LockKey::from(1), Mode::Write), (2.into(), Mode::Write), (3.into(), Mode::Read)];
    let guard = set().acquire().await.unwrap();
    assert_eq!(held(witness).await, modes);
    guard.release().await.unwrap();
    witness.hold(2.into(), Mode::Write).await.unwrap();
    assert!(set().try_acquire().await.unwrap().is_none());
    let timeout = Duration::from_millis(20);
    assert_eq!(set().try_acquire_for(timeout).await.unwrap_err().kind(), ErrorKind::Timeout);
    let (one, wait) = (OneByOne(manager.clone()), set());
    let wait: tokio::task::JoinHandle<SetGuard> =
        start(async move { wait.acquire().await.unwrap() });
    witness.until_waiting(2.into(), 1).await.unwrap();
    witness.release(2.into(), Mode::Write).await.unwrap();
    let guard = soon("they are free", wait).await.unwrap();
    assert_eq!(held(witness).await, modes);
    let any = one.try_write_any(&[1.into(), 3.into(), 4.into()]).await.unwrap();
    assert_eq!(any.expect("one is free").key(), 4.into());
    guard.release().await.unwrap();
}
