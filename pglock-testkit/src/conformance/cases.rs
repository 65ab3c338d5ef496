//! The cases, in one file for each subject. Each file begins with the list of its cases.
//!
//! A case runs on all backends, or only on those that have the [power](crate::conformance::Power)
//! after its name.

#![allow(clippy::unused_async, missing_docs)]

use std::time::Duration;

use pglock_core::{Error, ErrorKind, LockKey, Mode};
use tokio::time::sleep;

use crate::conformance::{Lab, Options, is_long, shown, soon};
use crate::postgres::{TestDatabase, TestServer};
use crate::witness::{PostgresWitness, Witness};

pub mod answers;
pub mod any_of_several;
pub mod believing;
pub mod campaigning;
pub mod cancelling;
pub mod closing;
pub mod connecting;
#[cfg(unix)]
pub mod continuing;
#[cfg(unix)]
pub mod converting;
pub mod deadlocks;
#[cfg(unix)]
pub mod deaths;
pub mod dedicated;
pub mod electing;
pub mod ending_deadlocks;
pub mod engines;
pub mod excluding;
pub mod failing;
#[cfg(unix)]
pub mod failing_upgrades;
#[cfg(unix)]
pub mod failovers;
#[cfg(unix)]
pub mod fairness;
#[cfg(unix)]
pub mod handing_over;
pub mod keys;
pub mod leading;
#[cfg(unix)]
pub mod leaks;
#[cfg(unix)]
pub mod leases;
#[cfg(unix)]
pub mod letting_readers_in;
pub mod limits;
mod listening;
pub mod loads;
pub mod looking;
#[cfg(unix)]
pub mod losing;
pub mod losing_permits;
pub mod losing_slots;
#[cfg(unix)]
pub mod mixing_modes;
pub mod no_deadlocks;
pub mod noticing_permits;
pub mod observing;
pub mod operators;
pub mod outages;
pub mod permits;
#[cfg(unix)]
pub mod poolers;
pub mod privacy;
pub mod protecting;
pub mod queueing;
pub mod reconnecting;
pub mod refusals;
pub mod releasing;
#[cfg(unix)]
pub mod renewing;
pub mod rights;
#[cfg(unix)]
pub mod rings;
pub mod rotating;
pub mod runtimes;
pub mod scheduling;
pub mod secrets;
pub mod sessions;
pub mod sets;
pub mod sets_losing;
pub mod sets_waiting;
pub mod settings;
pub mod settling_slots;
#[cfg(unix)]
pub mod sharing_permits;
pub mod sharing_sessions;
pub mod stopping;
pub mod strangers;
#[cfg(unix)]
pub mod succeeding;
pub mod threads;
pub mod threads_holding;
#[cfg(unix)]
pub mod tokens;
#[cfg(unix)]
pub mod tokens_crashing;
pub mod trying_permits;
pub mod turnstiles;
pub mod unreachable;
#[cfg(unix)]
pub mod upgrading;
pub mod waiting;

#[doc(hidden)]
#[macro_export]
macro_rules! __each_case {
    ($define:ident) => {
        $crate::__groups! {
            $define
            excluding,
            waiting,
            #[cfg(unix)] renewing,
            cancelling,
            failing,
            releasing,
            believing,
            runtimes,
            threads,
            threads_holding,
            strangers,
            #[cfg(unix)] tokens,
            #[cfg(unix)] tokens_crashing,
            queueing,
            rotating,
            #[cfg(unix)] fairness,
            #[cfg(unix)] handing_over,
            #[cfg(unix)] converting,
            #[cfg(unix)] upgrading,
            #[cfg(unix)] failing_upgrades,
            #[cfg(unix)] mixing_modes,
            keys,
            looking,
            protecting,
            closing,
            connecting,
            sessions,
            #[cfg(unix)] losing,
            #[cfg(unix)] leases,
            #[cfg(unix)] letting_readers_in,
            answers,
            loads,
            #[cfg(unix)] deaths,
            #[cfg(unix)] leaks,
            privacy,
            reconnecting,
            outages,
            unreachable,
            limits,
            refusals,
            operators,
            rights,
            #[cfg(unix)] failovers,
            #[cfg(unix)] poolers,
            engines,
            settings,
            secrets,
            electing,
            campaigning,
            leading,
            stopping,
            observing,
            #[cfg(unix)] succeeding,
            #[cfg(unix)] continuing,
            scheduling,
            settling_slots,
            losing_slots,
            permits,
            trying_permits,
            turnstiles,
            noticing_permits,
            losing_permits,
            #[cfg(unix)] sharing_permits,
            sets,
            sets_waiting,
            sets_losing,
            any_of_several,
            dedicated,
            sharing_sessions,
            deadlocks,
            ending_deadlocks,
            no_deadlocks,
            #[cfg(unix)] rings,
        }
    };
}

/// The time that a busy machine may add to a bound.
const SLACK: Duration = Duration::from_millis(400);

/// Leases of the server and of the guards.
fn lease() -> (Duration, Duration) {
    let (server, guards) = if is_long() { (15_000, 10_000) } else { (2_000, 1_200) };
    (Duration::from_millis(server), Duration::from_millis(guards))
}

fn leased() -> Options {
    let (server, guards) = lease();
    Options { server_lease: Some(server), guard_lease: Some(guards), ..Options::default() }
}

/// The only session that holds the key.
async fn holder(witness: &dyn Witness, key: impl Into<LockKey>) -> i32 {
    let holders = witness.holders(key.into()).await.unwrap();
    assert_eq!(holders.len(), 1);
    holders[0].pid
}

/// A manager passes each lock on at most this often, however long that takes.
fn limited_to(hand_overs: u32) -> Options {
    Options {
        hand_over_count: Some(hand_overs),
        hand_over_age: Some(Duration::MAX),
        ..Options::default()
    }
}

/// The modes in which the server sees the key held, by any process.
async fn modes(lab: &Lab, key: impl Into<LockKey>) -> Vec<Mode> {
    lab.witness().holders(key.into()).await.unwrap().iter().map(|row| row.mode).collect()
}

async fn until_modes(lab: &Lab, key: impl Into<LockKey>, expected: &[Mode]) {
    let key = key.into();
    soon("the server has the lock in these modes", async {
        while modes(lab, key).await != expected {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

async fn database() -> TestDatabase {
    TestServer::shared().await.unwrap().database().await.unwrap()
}

async fn connect(url: &str) -> PostgresWitness {
    PostgresWitness::connect(url).await.unwrap()
}

/// The smallest lock table that PostgreSQL allows, without sessions that take places in it
/// unexpectedly.
const SMALL_TABLE: [(&str, &str); 3] =
    [("autovacuum", "off"), ("max_connections", "20"), ("max_locks_per_transaction", "10")];

async fn fill_lock_table(witness: &PostgresWitness) {
    let all = "SELECT pg_catalog.pg_advisory_lock(99, n) FROM pg_catalog.generate_series(1, 1000000) AS n";
    let error = witness.client().batch_execute(all).await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("53200"), "{error}");
}

/// The same server, for a role that needs no password.
fn as_role(url: &str, role: &str) -> String {
    url.replace("test:test@", &format!("{role}:x@"))
}

async fn execute(witness: &PostgresWitness, sql: &str) {
    witness.client().batch_execute(sql).await.unwrap();
}

/// Checks the kind, and that the error says what is wrong and what to do.
fn assert_advice(error: &Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error:?}");
    let shown = shown(error);
    for words in words {
        assert!(shown.contains(words), "{words:?} is not in {shown}");
    }
}
