//! One leader among equals: the holder of the lock leads and works periodically, the others wait to
//! take over.
//!
//! The next one takes over at once when the leader steps down, and when its process dies: the
//! server sees the connection end.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use pglock_core::{DistributedRwLock, ErrorKind};
use tokio::time::{interval, sleep};

use crate::{Result, ensure};

/// The key of the lock.
pub const NAME: &str = "pglock-examples/leader-election";

const CANDIDATES: usize = 3;
const ROUNDS: u32 = 3;
/// How long a candidate waits for a leader that may never step down, in a program that is meant to
/// end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Three candidates lead for a while, one after the other; `forever` is one candidate that leads
/// until it is stopped.
///
/// # Errors
///
/// Those of the lock; and if two candidates lead at the same time.
pub async fn run(lock: &dyn DistributedRwLock, forever: bool) -> Result {
    let id = process::id();
    if forever {
        return candidate_forever(&format!("candidate {id}"), lock).await;
    }
    let led = AtomicBool::new(false);
    let candidates = (1..=CANDIDATES).map(|n| candidate(format!("candidate {id}/{n}"), lock, &led));
    try_join_all(candidates).await?;
    println!("there was one leader at a time");
    Ok(())
}

async fn candidate_forever(name: &str, lock: &dyn DistributedRwLock) -> Result {
    loop {
        println!("{name}: following");
        let leadership = lock.write().await?;
        println!("{name}: leading");
        // Never continue to work without the lock: another candidate may lead by now.
        tokio::select! {
            () = work(name, u32::MAX) => {}
            () = leadership.lost() => println!("{name}: lost the leadership"),
        }
    }
}

async fn candidate(name: String, lock: &dyn DistributedRwLock, led: &AtomicBool) -> Result {
    println!("{name}: following");
    let leadership = match lock.try_write_for(PATIENCE).await {
        Err(error) if error.kind() == ErrorKind::Timeout => {
            println!("{name}: the leader stays on, leaving");
            return Ok(());
        }
        leadership => leadership?,
    };

    ensure(!led.swap(true, Ordering::SeqCst), "one candidate leads at a time")?;
    println!("{name}: leading");
    tokio::select! {
        () = work(&name, ROUNDS) => println!("{name}: stepping down"),
        () = leadership.lost() => println!("{name}: lost the leadership"),
    }
    led.store(false, Ordering::SeqCst);
    Ok(leadership.release().await?)
}

async fn work(name: &str, rounds: u32) {
    let mut rhythm = interval(Duration::from_millis(500));
    for round in 1..=rounds {
        rhythm.tick().await;
        println!("{name}: round {round} of the leader's work");
    }
    sleep(rhythm.period()).await;
}
