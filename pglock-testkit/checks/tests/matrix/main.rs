//! Every fault at every step of the driver interface, with every way in which a caller can leave:
//! no lock stays held, no caller stays in line, no session is left over, and the next caller gets
//! the lock.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pglock_testkit::faulty::Point;
use tokio::runtime;

use self::combination::{Combination, Scene};

mod combination;
mod play;

/// Pairs of point and fault, how long they last, and ways to leave.
const COMBINATIONS: usize = 117 * 2 * 17;

#[test]
fn first_caller_leaves_in_any_fault() {
    let unreached = [
        Point::Lock,
        Point::Probe,
        Point::Downgrade,
        Point::Upgrade,
        Point::Cancel,
        Point::UnlockAll,
        Point::Ping,
    ];
    run_all(Scene::First, &unreached);
}

#[test]
fn waiting_caller_leaves_in_any_fault() {
    let unreached = [Point::Probe, Point::Downgrade, Point::Upgrade, Point::Ping];
    run_all(Scene::Waiting, &unreached);
}

#[test]
fn caller_before_another_leaves_in_any_fault() {
    run_all(Scene::Followed, &[Point::Probe, Point::Downgrade, Point::Upgrade]);
}

#[test]
fn joining_reader_leaves_in_any_fault() {
    let unreached = [
        Point::TryLock,
        Point::Lock,
        Point::Downgrade,
        Point::Upgrade,
        Point::Cancel,
        Point::UnlockAll,
    ];
    run_all(Scene::Joining, &unreached);
}

#[test]
fn reader_of_a_shared_write_lock_leaves_in_any_fault() {
    let unreached = [
        Point::Connect,
        Point::Open,
        Point::TryLock,
        Point::Lock,
        Point::Probe,
        Point::Upgrade,
        Point::Cancel,
        Point::UnlockAll,
        Point::Ping,
    ];
    run_all(Scene::Sharing, &unreached);
}

#[test]
fn reader_that_upgrades_leaves_in_any_fault() {
    let unreached = [
        Point::Connect,
        Point::Open,
        Point::Lock,
        Point::Probe,
        Point::Downgrade,
        Point::Cancel,
        Point::UnlockAll,
        Point::Ping,
    ];
    run_all(Scene::Upgrading, &unreached);
}

/// Runs all combinations of a scene. Each fault must strike at each point, except for the
/// unreached points.
fn run_all(scene: Scene, unreached: &[Point]) {
    let (mut ran, mut struck, mut failures) = (0, 0, Vec::new());
    let mut missing = BTreeSet::new();
    for combination in Combination::all(scene) {
        if !unreached.contains(&combination.point) {
            missing.insert(combination.strike());
        }
    }
    for combination in Combination::all(scene) {
        ran += 1;
        match run(combination) {
            Ok(false) => {}
            Ok(true) => {
                struck += 1;
                missing.remove(&combination.strike());
            }
            Err(failure) => failures.push(format!("{combination:?}: {failure}")),
        }
    }
    println!("{scene:?}: {ran} combinations, the fault struck in {struck} of them");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(missing.is_empty(), "never struck: {missing:#?}");
    assert_eq!(ran, COMBINATIONS);
}

/// True if the fault has struck. The error says what is wrong.
fn run(combination: Combination) -> Result<bool, String> {
    let run = || {
        let mut runtime = runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play::play(combination))
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("panicked".to_owned()))
}
