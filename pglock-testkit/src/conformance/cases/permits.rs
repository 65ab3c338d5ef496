//! The permits of a semaphore: how many there are, and who holds them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pglock_core::recipes::semaphore::{Permit, Semaphore};
use pglock_core::{ErrorKind, LockKey, Mode, NamedKey};
use tokio::time::sleep;

use super::SLACK;
use crate::conformance::{Lab, Manager, Options, group, soon, start};
use crate::witness::LockRow;

group! { permits:
    no_more_are_held_than_there_are,
    permit_is_free_when_its_release_returns,
    dropped_permit_is_free,
    several_permits_are_taken_together,
    all_permits_of_a_large_semaphore_are_taken_together,
    few_permits_of_a_large_semaphore_fit_below_the_cap,
    largest_size_is_the_bound,
    impossible_numbers_are_refused,
    holders_and_free_permits_are_listed,
    keys_are_neighbours,
    timeout_names_the_holders_and_leaves_nothing,
    permit_that_comes_free_in_time_is_taken,
    zero_timeout_tries_once,
}

pub(super) const NAME: &str = "pool";

pub(super) fn semaphore(manager: &Arc<dyn Manager>, permits: u32) -> Semaphore {
    Semaphore::new(manager.clone(), NAME, permits).unwrap()
}

/// Keys of the semaphore as documented: the permits begin at 0.
pub(super) fn key(offset: i64) -> LockKey {
    let hash = NamedKey::in_namespace("pglock-semaphore", NAME).key().as_bigint().unwrap();
    LockKey::from((hash & !0xffff) + offset)
}

pub(super) fn gate() -> LockKey {
    key(65_534)
}

pub(super) fn turnstile() -> LockKey {
    key(65_535)
}

/// Waits until a caller is first in line for permits. It then holds the turnstile exclusively,
/// while a try only shares it.
pub(super) async fn until_first(lab: &Lab) {
    until_written(lab, turnstile()).await;
}

async fn until_written(lab: &Lab, key: LockKey) {
    let is_written = |row: &LockRow| row.granted && row.mode == Mode::Write;
    soon("the key is held", async {
        while !lab.witness().holders(key).await.unwrap().iter().any(is_written) {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub(super) async fn release(permits: impl IntoIterator<Item = Permit>) {
    for permit in permits {
        permit.release().await.unwrap();
    }
}

pub async fn no_more_are_held_than_there_are(lab: &Lab) {
    let processes = [(); 3].map(|()| semaphore(&lab.manager(), 4));
    let mut permits = Vec::new();
    for process in processes.iter().cycle().take(4) {
        permits.push(process.try_acquire().await.unwrap().expect("a permit is free"));
    }
    let mut slots: Vec<_> = permits.iter().flat_map(|permit| permit.slots().to_vec()).collect();
    slots.sort_unstable();
    assert_eq!(slots, [0, 1, 2, 3]);
    for process in &processes {
        assert!(process.try_acquire().await.unwrap().is_none());
    }
    let slot = permits[2].slots().to_vec();
    permits.remove(2).release().await.unwrap();
    let permit = processes[0].try_acquire().await.unwrap().expect("it is free");
    assert_eq!(permit.slots(), slot);
    release(permits).await;
    permit.release().await.unwrap();
}

pub async fn permit_is_free_when_its_release_returns(lab: &Lab) {
    let [one, other] = [(); 2].map(|()| semaphore(&lab.manager(), 2));
    for turn in 0..50 {
        let count = turn % 2 + 1;
        let permit = one.try_acquire_many(count).await.unwrap().expect("all are free");
        let rest = one.try_acquire_many(2 - count).await;
        assert!(count == 1 || rest.as_ref().is_err_and(|e| e.kind() == ErrorKind::InvalidOptions));
        assert!(other.try_acquire().await.unwrap().is_none());
        permit.release().await.unwrap();
        let freed = other.try_acquire_many(count).await.unwrap().expect("they are free");
        freed.release().await.unwrap();
        if let Ok(Some(rest)) = rest {
            rest.release().await.unwrap();
        }
    }
}

pub async fn dropped_permit_is_free(lab: &Lab) {
    let semaphore = semaphore(&lab.manager(), 2);
    let permit = semaphore.acquire_many(2).await.unwrap();
    let lease = permit.lease().clone();
    assert!(permit.is_held() && lease.is_held());
    drop(permit);
    assert!(!lease.is_held());
    lab.witness().until_quiet().await.unwrap();
}

pub async fn several_permits_are_taken_together(lab: &Lab) {
    let [one, other] = [(); 2].map(|()| semaphore(&lab.manager(), 3));
    let permits = one.acquire_many(2).await.unwrap();
    let [a, b] = *permits.slots() else { panic!("two permits: {permits:?}") };
    assert!(a < b && b < 3);
    let waiting = other.clone();
    let wait = start(async move { waiting.acquire_many(2).await });
    // It has the turnstile and the free permit.
    let key = key(i64::from(3 - a - b));
    until_written(lab, key).await;
    assert!(!wait.is_finished());
    permits.release().await.unwrap();
    let permits = soon("the others are free", wait).await.unwrap().unwrap();
    assert_eq!(permits.slots().len(), 2);
    permits.release().await.unwrap();
}

pub async fn all_permits_of_a_large_semaphore_are_taken_together(lab: &Lab) {
    let manager = lab.manager();
    let large = semaphore(&manager, 150);
    let all = large.acquire_many(150).await.unwrap();
    assert!(all.slots().iter().copied().eq(0..150));
    assert!(semaphore(&lab.manager(), 150).try_acquire().await.unwrap().is_none());
    assert!(manager.stats().sessions <= 4, "{:?}", manager.stats());
    all.release().await.unwrap();
}

/// It tries more permits at a time than the manager may hold.
pub async fn few_permits_of_a_large_semaphore_fit_below_the_cap(lab: &Lab) {
    let options = Options { max_locks: Some(20), ..Options::default() };
    let semaphore = semaphore(&lab.manager_with(&options), 64);
    let few = semaphore.try_acquire_many(2).await.unwrap().expect("all are free");
    let more = soon("all others are free", semaphore.acquire_many(3)).await.unwrap();
    assert_eq!((few.slots().len(), more.slots().len()), (2, 3));
    release([few, more]).await;
    let error = soon("it ends", semaphore.acquire_many(21)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LockTableFull, "{error}");
    lab.witness().until_quiet().await.unwrap();
}

pub async fn largest_size_is_the_bound(lab: &Lab) {
    let (small, large) = (semaphore(&lab.manager(), 2), semaphore(&lab.manager(), 3));
    let two = small.acquire_many(2).await.unwrap();
    assert!(small.try_acquire().await.unwrap().is_none());
    let third = large.try_acquire().await.unwrap().expect("it has one more");
    assert_eq!(third.slots(), [2]);
    assert!(large.try_acquire().await.unwrap().is_none());
    two.release().await.unwrap();
    let all = [
        large.try_acquire().await.unwrap().expect("one is free"),
        small.try_acquire().await.unwrap().expect("another one is free"),
    ];
    assert!(small.try_acquire().await.unwrap().is_none());
    release(all).await;
    third.release().await.unwrap();
}

pub async fn impossible_numbers_are_refused(lab: &Lab) {
    let manager = lab.manager();
    for permits in [0, Semaphore::MAX_PERMITS + 1, u32::MAX] {
        let error = Semaphore::new(manager.clone(), NAME, permits).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOptions);
        assert!(error.to_string().contains("1 to 10000 permits"), "{error}");
    }
    let semaphore = semaphore(&manager, 3);
    let soon = Duration::from_secs(1);
    for count in [0, 4, u32::MAX] {
        for error in [
            semaphore.acquire_many(count).await.unwrap_err(),
            semaphore.try_acquire_many(count).await.unwrap_err(),
            semaphore.try_acquire_many_for(count, soon).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidOptions);
            assert!(error.to_string().contains("1 to 3 permits"), "{error}");
        }
    }
}

pub async fn holders_and_free_permits_are_listed(lab: &Lab) {
    let [one, other] = [(); 2].map(|()| semaphore(&lab.manager(), 4));
    assert_eq!(one.available().await.unwrap(), 4);
    let (ours, theirs) = (one.acquire_many(2).await.unwrap(), other.acquire().await.unwrap());
    for process in [&one, &other] {
        assert_eq!(process.available().await.unwrap(), 1);
    }
    let holders = one.holders().await.unwrap();
    let slots_of = |is_ours: bool| {
        let of = holders.iter().filter(|(_, holder)| holder.is_ours == is_ours);
        of.map(|(slot, _)| *slot).collect::<Vec<_>>()
    };
    assert_eq!(slots_of(true), ours.slots());
    assert_eq!(slots_of(false), theirs.slots());
    release([ours, theirs]).await;
    assert_eq!(one.available().await.unwrap(), 4);
}

pub async fn keys_are_neighbours(lab: &Lab) {
    let semaphore = semaphore(&lab.manager(), 5);
    let permits = semaphore.acquire_many(3).await.unwrap();
    for &slot in permits.slots() {
        assert_eq!(lab.witness().holders(key(slot.into())).await.unwrap().len(), 1);
    }
    let shown = format!("{permits:?} {semaphore:?}");
    assert!(shown.contains("pglock-semaphore/pool"), "{shown}");
    permits.release().await.unwrap();
}

pub async fn timeout_names_the_holders_and_leaves_nothing(lab: &Lab) {
    let [one, other] = [(); 2].map(|()| semaphore(&lab.manager(), 2));
    let permits = one.acquire_many(2).await.unwrap();
    assert_eq!(other.available().await.unwrap(), 0);
    for (count, behind) in [(1, false), (2, false), (1, true)] {
        let waiter = one.clone();
        let first = behind.then(|| start(async move { waiter.acquire().await }));
        if behind {
            until_first(lab).await;
        }
        let (begin, time) = (Instant::now(), Duration::from_millis(300));
        let error = other.try_acquire_many_for(count, time).await.unwrap_err();
        let took = begin.elapsed();
        assert!(took >= time && took <= time + Duration::from_millis(50) + SLACK, "{took:?}");
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        // A busy machine may not answer in time which processes hold them.
        assert!([0, 2].contains(&error.holders().len()), "{error}");
        assert!(error.to_string().starts_with("lock \"pglock-semaphore/pool\""), "{error}");
        if let Some(first) = first {
            first.abort();
        }
        lab.witness().until_free(turnstile()).await.unwrap();
    }
    permits.release().await.unwrap();
}

pub async fn permit_that_comes_free_in_time_is_taken(lab: &Lab) {
    let [one, other] = [(); 2].map(|()| semaphore(&lab.manager(), 1));
    let permit = one.acquire().await.unwrap();
    let wait = start(async move { other.try_acquire_for(Duration::from_secs(20)).await });
    until_first(lab).await;
    permit.release().await.unwrap();
    soon("it is free", wait).await.unwrap().unwrap().release().await.unwrap();
}

pub async fn zero_timeout_tries_once(lab: &Lab) {
    let [one, other] = [(); 2].map(|()| semaphore(&lab.manager(), 1));
    let permit = one.try_acquire_for(Duration::ZERO).await.unwrap();
    let error = other.try_acquire_for(Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(lab.witness().waiters(turnstile()).await.unwrap().is_empty());
    permit.release().await.unwrap();
}
