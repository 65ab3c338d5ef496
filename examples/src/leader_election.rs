//! One leader among equals: one candidate leads and works periodically, the others wait to take
//! over.
//!
//! The next one takes over at once when the leader steps down, and when its process dies: the
//! server sees the connection end.

use std::convert::Infallible;
use std::future::pending;
use std::ops::ControlFlow::{self, Break, Continue};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use pglock_core::LockProvider;
use pglock_core::recipes::election::{Election, Role, Term};
use tokio::time::{interval, sleep, timeout};

use crate::{Result, ensure};

/// The name of the election.
const NAME: &str = "pglock-examples";

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
/// Those of the locks; and if two candidates lead at the same time.
pub async fn run(locks: Arc<dyn LockProvider>, forever: bool) -> Result {
    let id = process::id();
    if forever {
        return candidate_forever(&format!("candidate {id}"), locks).await;
    }
    let led = AtomicBool::new(false);
    let candidates =
        (1..=CANDIDATES).map(|n| candidate(format!("candidate {id}/{n}"), locks.clone(), &led));
    try_join_all(candidates).await?;
    println!("there was one leader at a time");
    Ok(())
}

async fn candidate_forever(name: &str, locks: Arc<dyn LockProvider>) -> Result {
    let election = Election::new(locks, NAME);
    println!("{name}: following");
    // If it loses the leadership, `run` stops the work, and campaigns again.
    let work = |term: Term| async move {
        println!("{name}: leading, term {}", term.number());
        work(name, u32::MAX).await;
        Ok::<ControlFlow<()>, Infallible>(Continue(()))
    };
    election.run(pending(), work).await?;
    Ok(())
}

async fn candidate(name: String, locks: Arc<dyn LockProvider>, led: &AtomicBool) -> Result {
    // With a lock manager at hand: `locks.election(NAME)`.
    let election = Election::new(locks, NAME);
    println!("{name}: following");
    let lead = |_: Term| async {
        let is_alone = !led.swap(true, Ordering::SeqCst);
        if let Err(claim) = ensure(is_alone, "one candidate leads at a time") {
            return Ok::<_, Infallible>(Break(Err(claim)));
        }
        println!("{name}: leading");
        work(&name, ROUNDS).await;
        println!("{name}: stepping down");
        led.store(false, Ordering::SeqCst);
        // The work is done: `Continue` would go to the end of the line.
        Ok(Break(Ok(())))
    };
    match election.run(impatience(&election), lead).await? {
        Some(outcome) => outcome,
        None => {
            println!("{name}: the leader stays on, leaving");
            Ok(())
        }
    }
}

/// Completes if the candidate still follows after a while.
async fn impatience(election: &Election) {
    let mut roles = election.watch();
    if timeout(PATIENCE, roles.wait_for(Role::is_leading)).await.is_ok() {
        pending().await
    }
}

async fn work(name: &str, rounds: u32) {
    let mut rhythm = interval(Duration::from_millis(500));
    for round in 1..=rounds {
        rhythm.tick().await;
        println!("{name}: round {round} of the leader's work");
    }
    sleep(rhythm.period()).await;
}
