//! A web service that runs in replicas, with everything that it needs locks for:
//!
//! * one payment of an invoice at a time: a request that finds it locked gets a 409 that names the
//!   holder ([`Exclusive`]);
//! * one leader, which works in the background, and `GET /leader`;
//! * a nightly job, which one of the replicas runs once for each night;
//! * `GET /ready`, `GET /metrics`, and an orderly shutdown.
//!
//! The lock manager and the record of the nights are values, so that tests run the service without
//! PostgreSQL.

mod background;
mod exclusive;
mod metrics;
#[cfg(unix)]
mod process;
mod replica;
#[cfg(unix)]
mod replicas;
mod routes;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use axum::serve;
use pglock_core::Locks;
use pglock_core::recipes::election::Election;
use pglock_core::recipes::schedule::{Job, SlotStore};
use tokio::join;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::exclusive::{Exclusive, Refusal};
pub use self::replica::run as run_replica;
#[cfg(unix)]
pub use self::replicas::run as run_replicas;
use crate::Result;

/// How long a night is in this example.
const NIGHT: Duration = Duration::from_millis(500);

/// How long background work may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// The state of a replica, which each handler gets a clone of.
#[derive(Clone, Debug)]
pub struct Service {
    locks: Locks,
    election: Election,
    nightly: Job,
    /// How often the leader's work has been done here.
    rounds: Arc<AtomicU64>,
    nights: Arc<Mutex<Vec<SystemTime>>>,
}

impl Service {
    /// A replica that uses these locks, and keeps record of its nights in this store.
    ///
    /// # Errors
    ///
    /// If the metrics cannot be collected, or an option is out of range.
    pub fn new(locks: Locks, slots: Arc<dyn SlotStore>) -> Result<Self> {
        // Before the first acquire.
        metrics::recorder()?;
        let election = locks.election("pglock-examples/service").grace(GRACE);
        let nightly = locks.job("pglock-examples/nightly", slots).every(NIGHT).at_most_once()?;
        Ok(Self { locks, election, nightly, rounds: Arc::default(), nights: Arc::default() })
    }

    /// Serves requests and works in the background, until `shutdown` is cancelled or one of the
    /// parts fails. Then it answers the requests that it has accepted, stops the background work,
    /// and releases its locks.
    ///
    /// # Errors
    ///
    /// Those of the parts.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> Result {
        let web = serve(listener, self.router())
            .with_graceful_shutdown(shutdown.clone().cancelled_owned());
        let (web, led, ran) = join!(
            ends_all(&shutdown, web.into_future()),
            ends_all(&shutdown, self.lead(&shutdown)),
            ends_all(&shutdown, self.run_nightly(&shutdown)),
        );
        self.locks.close().await?;
        web?;
        led?;
        Ok(ran?)
    }
}

/// Runs one part of the service, and shuts down the others when it ends.
async fn ends_all<T>(shutdown: &CancellationToken, part: impl Future<Output = T>) -> T {
    let _guard = shutdown.clone().drop_guard();
    part.await
}
