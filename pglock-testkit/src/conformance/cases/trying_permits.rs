//! Tries for permits of a semaphore: they succeed if permits are free, and do not wait.

use std::time::{Duration, Instant};

use pglock_core::Mode;

use super::SLACK;
use super::permits::{gate, release, semaphore, turnstile};
use crate::conformance::{Lab, Options, group, is_long, soon, start};
use crate::faulty::{Fault, Faults, Point};

group! { trying_permits:
    tries_get_every_permit_that_is_free,
    try_finds_a_permit_that_moves,
    try_for_too_many_takes_nothing,
    try_finds_the_last_free_permit_of_a_large_semaphore,
    stopped_try_delays_others_for_a_bounded_time,
    try_waits_for_a_slow_connection: Engine,
}

/// As many callers as there are permits, at the same moment. If a try took more than it keeps, even
/// briefly, another one would fail.
pub async fn tries_get_every_permit_that_is_free(lab: &Lab) {
    let weights = [1, 2, 1, 3, 1, 2];
    let processes = weights.map(|_| semaphore(&lab.manager(), weights.iter().sum()));
    for round in 0..40 {
        let tries =
            processes.iter().cloned().zip(weights).map(|(process, count)| {
                start(async move { process.try_acquire_many(count).await })
            });
        let mut permits = Vec::new();
        for tried in tries.collect::<Vec<_>>() {
            let tried = soon("a try", tried).await.unwrap().unwrap();
            // In the first round, they also wait for connections: on a busy machine, too long.
            assert!(tried.is_some() || round == 0, "as many permits are free");
            permits.extend(tried);
        }
        release(permits).await;
    }
}

/// As many processes as permits, each with one permit at most. So whenever one tries, at least one
/// permit is free, but not always the same one.
pub async fn try_finds_a_permit_that_moves(lab: &Lab) {
    let turns = if is_long() { 1000 } else { 100 };
    for permits in [2, 5] {
        let processes: Vec<_> = (0..permits).map(|_| semaphore(&lab.manager(), permits)).collect();
        let processes = processes.into_iter().map(|process| {
            start(async move {
                for turn in 0..turns {
                    let permit = process.try_acquire().await.unwrap();
                    // In the first turn, they also wait for connections: on a busy machine, too long.
                    assert!(permit.is_some() || turn == 0, "one of {permits} is free, turn {turn}");
                    release(permit).await;
                }
            })
        });
        for process in processes.collect::<Vec<_>>() {
            soon("its turns", process).await.unwrap();
        }
    }
}

pub async fn try_for_too_many_takes_nothing(lab: &Lab) {
    let [one, other] = [(); 2].map(|()| semaphore(&lab.manager(), 3));
    let permits = one.try_acquire_many(2).await.unwrap().expect("they are free");
    assert!(other.try_acquire_many(2).await.unwrap().is_none());
    let last = one.try_acquire().await.unwrap().expect("it is free");
    release([permits, last]).await;
}

/// With more permits than one statement tries.
pub async fn try_finds_the_last_free_permit_of_a_large_semaphore(lab: &Lab) {
    let [one, other] = [(); 2].map(|()| semaphore(&lab.manager(), 150));
    let most = one.acquire_many(149).await.unwrap();
    let last = (0..150).find(|slot| !most.slots().contains(slot)).unwrap();
    for _ in 0..5 {
        let permit = other.try_acquire().await.unwrap().expect("one is free");
        assert_eq!(permit.slots(), [last]);
        assert!(one.try_acquire().await.unwrap().is_none());
        permit.release().await.unwrap();
    }
    most.release().await.unwrap();
}

pub async fn stopped_try_delays_others_for_a_bounded_time(lab: &Lab) {
    let [one, other] = [(); 2].map(|()| semaphore(&lab.manager(), 2));
    // As a process that was stopped in a try.
    lab.witness().hold(gate(), Mode::Read).await.unwrap();
    let [first, second] = [
        one.try_acquire().await.unwrap().expect("both are free"),
        other.try_acquire().await.unwrap().expect("one is free"),
    ];
    let begin = Instant::now();
    assert!(other.try_acquire().await.unwrap().is_none());
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(1) + SLACK * 5, "{took:?}");
    lab.witness().until_free(turnstile()).await.unwrap();
    first.release().await.unwrap();
    let first = other.try_acquire().await.unwrap().expect("one is free");
    lab.witness().release(gate(), Mode::Read).await.unwrap();
    release([first, second]).await;
}

/// Longer than it would wait for another process at the gate.
pub async fn try_waits_for_a_slow_connection(lab: &Lab) {
    for count in 1..=2 {
        let faults = Faults::new();
        faults.strike_once(Point::Connect, Fault::Slow(Duration::from_millis(1300)));
        let options = Options { faults: Some(faults.clone()), ..Options::default() };
        let process = semaphore(&lab.manager_with(&options), 2);
        let permits = process.try_acquire_many(count).await.unwrap().expect("all are free");
        assert_eq!(faults.strikes(), 1);
        permits.release().await.unwrap();
    }
}
