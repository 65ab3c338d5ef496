//! How soon a waiting caller notices a free permit.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::SLACK;
use super::permits::{release, semaphore, until_first};
use crate::conformance::latencies::Latencies;
use crate::conformance::{Lab, group, is_long, soon, start};

group! { noticing_permits:
    permit_of_another_process_is_soon_noticed,
    permit_of_the_same_process_is_noticed_at_once,
}

/// Measures how long a released permit lies idle while another process waits.
pub async fn permit_of_another_process_is_soon_noticed(lab: &Lab) {
    for held in [1, 20, 200, 1000].map(Duration::from_millis) {
        let turns = if is_long() { 100 } else { 200 / held.as_millis().max(10) + 1 };
        let [holder, waiter] = [(); 2].map(|()| semaphore(&lab.manager(), 8));
        let mut noticed = Latencies::default();
        for turn in 0..turns {
            let mut all = Vec::new();
            for _ in 0..8 {
                all.push(holder.try_acquire().await.unwrap().expect("it is free"));
            }
            let waiting = waiter.clone();
            let wait = start(async move {
                let permit = waiting.acquire().await.unwrap();
                (permit, Instant::now())
            });
            until_first(lab).await;
            // At a different phase of the pauses each time.
            sleep(held + held / 17 * (turn as u32 % 16)).await;
            all.remove(turn as usize % 8).release().await.unwrap();
            let freed = Instant::now();
            let (permit, had) = soon("a permit is free", wait).await.unwrap();
            noticed.push(had.saturating_duration_since(freed));
            permit.release().await.unwrap();
            release(all).await;
        }
        let what = format!("a permit that is free after {held:?} is noticed by another process");
        noticed.assert_below(&what, Duration::from_millis(60) + SLACK);
    }
}

/// However long the caller has waited.
pub async fn permit_of_the_same_process_is_noticed_at_once(lab: &Lab) {
    let _alone = lab.alone().await;
    let process = semaphore(&lab.manager(), 2);
    let mut noticed = Latencies::default();
    for _ in 0..5 {
        let both = process.acquire_many(2).await.unwrap();
        let waiting = process.clone();
        let wait = start(async move {
            let permit = waiting.acquire().await.unwrap();
            (permit, Instant::now())
        });
        until_first(lab).await;
        sleep(Duration::from_millis(500)).await;
        let begin = Instant::now();
        drop(both);
        let (permit, had) = soon("a permit is free", wait).await.unwrap();
        noticed.push(had - begin);
        permit.release().await.unwrap();
    }
    noticed.assert_percentile_below(
        "a permit of the same process is noticed",
        60,
        Duration::from_millis(25),
    );
}
