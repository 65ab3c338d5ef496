//! Lost permits, and callers that leave before they get one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pglock_core::ErrorKind;
use pglock_core::recipes::semaphore::Semaphore;
use tokio::time::sleep;

use super::cancelling::drop_after;
use super::permits::{semaphore, turnstile, until_first};
use crate::conformance::{Lab, Options, group, is_long, soon, start};

group! { losing_permits:
    acquire_may_be_dropped_at_any_poll_when_permits_are_free,
    acquire_may_be_dropped_at_any_poll_when_permits_are_held,
    release_may_be_dropped_at_any_poll,
    caller_that_leaves_lets_the_next_one_in,
    lost_permits_are_reported: Sessions,
    waiter_continues_when_its_sessions_end: Sessions,
    collectors_continue_when_their_sessions_end: Sessions,
    confirmed_permits_are_never_too_many_while_sessions_end: Sessions,
}

pub async fn acquire_may_be_dropped_at_any_poll_when_permits_are_free(lab: &Lab) {
    let other = semaphore(&lab.manager(), 3);
    for polls in 0..20 {
        let manager = lab.manager();
        let process = semaphore(&manager, 3);
        for count in 1..=2 {
            drop_after(polls, || process.acquire_many(count)).await;
            drop_after(polls, || process.try_acquire_many(count)).await;
            let long = Duration::from_secs(5);
            drop_after(polls, || process.try_acquire_many_for(count, long)).await;
        }
        drop_after(polls, || process.holders()).await;
        drop_after(polls, || process.available()).await;
        lab.witness().until_quiet().await.unwrap();
        let all = other.try_acquire_many(3).await.unwrap().expect("all permits are free");
        all.release().await.unwrap();
        process.acquire_many(3).await.unwrap().release().await.unwrap();
        assert_eq!((manager.stats().waiting, manager.stats().held), (0, 0));
    }
}

pub async fn acquire_may_be_dropped_at_any_poll_when_permits_are_held(lab: &Lab) {
    let holder = semaphore(&lab.manager(), 3);
    for polls in 0..20 {
        let manager = lab.manager();
        let process = semaphore(&manager, 3);
        let all = holder.acquire_many(3).await.unwrap();
        drop_after(polls, || process.try_acquire()).await;
        all.release().await.unwrap();
        let two = holder.acquire_many(2).await.unwrap();
        drop_after(polls, || process.acquire_many(2)).await;
        let behind = process.clone();
        let wait = start(async move { behind.acquire_many(2).await });
        for count in 1..=3 {
            drop_after(polls, || process.acquire_many(count)).await;
            drop_after(polls, || process.try_acquire_many(count)).await;
            let long = Duration::from_secs(5);
            drop_after(polls, || process.try_acquire_many_for(count, long)).await;
        }
        until_first(lab).await;
        two.release().await.unwrap();
        soon("the line moves on", wait).await.unwrap().unwrap().release().await.unwrap();
        lab.witness().until_quiet().await.unwrap();
        assert_eq!((manager.stats().waiting, manager.stats().held), (0, 0));
    }
}

pub async fn release_may_be_dropped_at_any_poll(lab: &Lab) {
    let process = semaphore(&lab.manager(), 3);
    for polls in 0..10 {
        let permits = process.acquire_many(3).await.unwrap();
        drop_after(polls, || permits.release()).await;
        lab.witness().until_quiet().await.unwrap();
    }
}

pub async fn caller_that_leaves_lets_the_next_one_in(lab: &Lab) {
    let [holder, first, second] = [(); 3].map(|()| semaphore(&lab.manager(), 2));
    let one = holder.acquire().await.unwrap();
    let own = first.clone();
    let leaves = start(async move { first.acquire_many(2).await });
    until_first(lab).await;
    let behind = start(async move { own.acquire().await });
    let other = start(async move { second.acquire().await });
    lab.witness().until_waiting(turnstile(), 1).await.unwrap();
    leaves.abort();
    assert!(leaves.await.unwrap_err().is_cancelled());
    // One permit is free. It goes to the other process first, and then to the caller's own.
    let permit = soon("a permit is free", other).await.unwrap().unwrap();
    until_first(lab).await;
    assert!(!behind.is_finished());
    permit.release().await.unwrap();
    let permit = soon("a permit is free", behind).await.unwrap().unwrap();
    permit.release().await.unwrap();
    one.release().await.unwrap();
}

pub async fn lost_permits_are_reported(lab: &Lab) {
    for count in 1..=3 {
        let process = semaphore(&lab.manager(), 3);
        let permits = soon("all are free", process.acquire_many(count)).await.unwrap();
        let lease = permits.lease().clone();
        let calls = Arc::<AtomicUsize>::default();
        let counter = calls.clone();
        permits.on_loss(move || _ = counter.fetch_add(1, Ordering::SeqCst));
        assert!(permits.is_held() && !permits.valid_for().is_zero());
        let work = permits.protect(std::future::pending::<()>());
        let (worked, ()) = tokio::join!(soon("the work is stopped", work), lab.end_sessions());
        assert_eq!(worked.unwrap_err().kind(), ErrorKind::Lost);
        soon("the loss is reported", permits.lost()).await;
        assert!(!permits.is_held() && !lease.is_held() && lease.valid_for().is_zero());
        lab.until("the function is called", || calls.load(Ordering::SeqCst) > 0).await;
        assert_eq!(permits.release().await.unwrap_err().kind(), ErrorKind::Lost);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}

fn options(name: &str) -> Options {
    Options { application_name: name.to_owned(), ..Options::default() }
}

async fn end_sessions(lab: &Lab, name: &str) {
    for pid in lab.witness().sessions(name).await.unwrap() {
        lab.witness().terminate(pid).await.unwrap();
    }
}

/// While it waits in the line of processes, while it is first in it, and while it has some of its
/// permits.
pub async fn waiter_continues_when_its_sessions_end(lab: &Lab) {
    let holder = semaphore(&lab.manager(), 3);
    for (held, is_second) in [(3, true), (3, false), (2, false)] {
        let permits = holder.acquire_many(held).await.unwrap();
        let process = semaphore(&lab.manager_with(&options("waiter")), 3);
        let first = is_second.then(|| {
            let first = semaphore(&lab.manager(), 3);
            start(async move { first.acquire().await })
        });
        if is_second {
            until_first(lab).await;
        }
        let wait = start(async move { process.acquire_many(2).await });
        match is_second {
            true => drop(lab.witness().until_waiting(turnstile(), 1).await.unwrap()),
            false => until_first(lab).await,
        }
        end_sessions(lab, "waiter").await;
        match is_second {
            true => drop(lab.witness().until_waiting(turnstile(), 1).await.unwrap()),
            false => until_first(lab).await,
        }
        assert!(!wait.is_finished());
        permits.release().await.unwrap();
        if let Some(first) = first {
            soon("it is first", first).await.unwrap().unwrap().release().await.unwrap();
        }
        let permits = soon("it has waited on", wait).await.unwrap().unwrap();
        assert!(permits.is_held());
        permits.release().await.unwrap();
    }
}

/// If both kept collecting, each might hold what the other waits for.
pub async fn collectors_continue_when_their_sessions_end(lab: &Lab) {
    let holder = semaphore(&lab.manager(), 4);
    for _ in 0..5 {
        let permits = holder.acquire_many(3).await.unwrap();
        let mut waits = Vec::new();
        for _ in 0..3 {
            let process = semaphore(&lab.manager_with(&options("collector")), 4);
            waits
                .push(start(async move { process.acquire_many(3).await.unwrap().release().await }));
        }
        until_first(lab).await;
        end_sessions(lab, "collector").await;
        permits.release().await.unwrap();
        for wait in waits {
            // The last session that was ended may have been this one's.
            let _ = soon("the callers do not block each other", wait).await.unwrap();
        }
        lab.witness().until_quiet().await.unwrap();
    }
}

/// The time during which this many permits were certainly held.
struct Span {
    begin: Instant,
    end: Instant,
    slots: Vec<u32>,
}

pub async fn confirmed_permits_are_never_too_many_while_sessions_end(lab: &Lab) {
    let end = Instant::now() + Duration::from_secs(if is_long() { 60 } else { 2 });
    let (over, confirmed) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let process = semaphore(&lab.manager(), 3);
        for count in [1, 1, 2] {
            let (process, over, confirmed) = (process.clone(), over.clone(), confirmed.clone());
            let holds = async move { hold_in_turn(&process, count, &over, &confirmed).await };
            tasks.push(start(holds));
        }
    }
    let mut ended = 0;
    while Instant::now() < end || ended <= 20 {
        sleep(Duration::from_millis(30)).await;
        let locks = lab.witness().locks().await.unwrap();
        if let Some(row) = locks.get(ended % locks.len().max(1)) {
            lab.witness().terminate(row.pid).await.unwrap();
            ended += 1;
        }
    }
    lab.until("permits are confirmed", || confirmed.load(Ordering::Relaxed) > 20).await;
    over.store(true, Ordering::Relaxed);
    let mut spans = Vec::new();
    for task in tasks {
        spans.extend(soon("permits come free", task).await.unwrap());
    }
    println!("{} confirmed permits, {ended} sessions ended", spans.len());
    assert_apart(&spans);
}

async fn hold_in_turn(
    process: &Semaphore,
    count: u32,
    over: &AtomicBool,
    confirmed: &AtomicUsize,
) -> Vec<Span> {
    let mut spans = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let Ok(permits) = process.acquire_many(count).await else { continue };
        let (begin, slots) = (Instant::now(), permits.slots().to_vec());
        sleep(Duration::from_millis(1)).await;
        let end = Instant::now();
        if permits.release().await.is_ok() {
            spans.push(Span { begin, end, slots });
            confirmed.fetch_add(1, Ordering::Relaxed);
        }
    }
    spans
}

/// No caller has a permit while another one has it.
fn assert_apart(spans: &[Span]) {
    for slot in 0..3 {
        let with = spans.iter().filter(|span| span.slots.contains(&slot));
        let mut held: Vec<_> = with.map(|span| (span.begin, span.end)).collect();
        held.sort_unstable();
        assert!(held.is_sorted_by(|(_, end), (begin, _)| end <= begin), "permit {slot}");
    }
    assert!(spans.iter().all(|span| span.slots.iter().all(|slot| *slot < 3)));
}
