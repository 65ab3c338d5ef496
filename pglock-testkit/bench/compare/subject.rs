//! The interface of what is compared.

use std::pin::Pin;

use pglock_diesel::DieselDriver;
use pglock_sqlx::SqlxDriver;

use crate::Result;
use crate::outcome::Outcome;
use crate::subjects::connection_per_lock::ConnectionPerLock;
use crate::subjects::distributed_lock::DistributedLock;
use crate::subjects::floor::Floor;
use crate::subjects::pglock::Pglock;
use crate::subjects::sqlx_lock::SqlxLock;
use crate::workload::Slice;
use crate::workloads;

/// Every subject, in the order in which they run.
pub(crate) fn all() -> Vec<Entry> {
    vec![
        Entry::of::<Floor>("floor"),
        Entry::of::<ConnectionPerLock>("connection-per-lock"),
        Entry::of::<SqlxLock>("sqlx-pg-advisory-lock"),
        Entry::of::<DistributedLock>("distributed-lock"),
        Entry::of::<Pglock<SqlxDriver, false>>("pglock-sqlx"),
        Entry::of::<Pglock<SqlxDriver, true>>("pglock-sqlx-here"),
        Entry::of::<Pglock<DieselDriver, false>>("pglock-diesel"),
        Entry::of::<Pglock<DieselDriver, true>>("pglock-diesel-here"),
    ]
}

pub(crate) fn find(name: &str) -> Result<Entry> {
    all().into_iter().find(|entry| entry.name == name).ok_or_else(|| "no such subject".into())
}

/// The locks of one process.
pub(crate) trait Subject: Sized + Send + Sync + 'static {
    type Worker: Worker;

    fn connect(url: &str) -> impl Future<Output = Result<Self>> + Send;

    /// Lets readers of the process share write locks, where the subject can.
    fn connect_sharing(url: &str) -> impl Future<Output = Result<Self>> + Send {
        Self::connect(url)
    }

    /// What one task uses.
    fn worker(&self) -> impl Future<Output = Result<Self::Worker>> + Send;

    fn close(self) -> impl Future<Output = Result<()>> + Send;
}

pub(crate) trait Worker: Clone + Send + Sync + 'static {
    type Guard: Send + 'static;

    /// Waits for the write lock.
    fn write(&self, key: i64) -> impl Future<Output = Result<Self::Guard>> + Send;

    /// Waits for the read lock.
    fn read(&self, key: i64) -> impl Future<Output = Result<Self::Guard>> + Send;

    /// Releases the lock, and returns when the server has confirmed it.
    fn release(&self, guard: Self::Guard) -> impl Future<Output = Result<()>> + Send;

    /// Releases without waiting, where dropping a guard does so.
    fn let_go(&self, guard: Self::Guard) -> impl Future<Output = Result<()>> + Send;
}

type Run = fn(Slice) -> Pin<Box<dyn Future<Output = Result<Outcome>> + Send>>;

pub(crate) struct Entry {
    pub(crate) name: &'static str,
    run: Run,
    run_child: Run,
}

impl Entry {
    fn of<S: Subject>(name: &'static str) -> Self {
        Self {
            name,
            run: |slice| Box::pin(workloads::run::<S>(slice)),
            run_child: |slice| Box::pin(workloads::run_child::<S>(slice)),
        }
    }

    pub(crate) async fn run(&self, slice: Slice) -> Result<Outcome> {
        (self.run)(slice).await
    }

    /// Runs a process's part of a workload.
    pub(crate) async fn run_child(&self, slice: Slice) -> Result<Outcome> {
        (self.run_child)(slice).await
    }
}
