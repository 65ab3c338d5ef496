//! The scenarios check themselves: each fails if its lock does not exclude.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pglock_core::driver::{ErrorBuilder, Hold, LeaseState};
use pglock_core::recipes::schedule::MemorySlots;
use pglock_core::{
    DistributedRwLock, Error, ErrorKind, FencingToken, Lease, LockEntry, LockKey, LockProvider,
    NamedKey, ReadGuard, Result, WriteGuard,
};
use pglock_examples as examples;
use pglock_examples::fencing::Ledger;
use pglock_examples::threads::Invoices;
use pglock_examples::transaction::{Desk, Payment};

#[tokio::test(start_paused = true)]
async fn config_cache_fails_without_exclusion() {
    must_complain(examples::config_cache::run(&Lax(KEY)).await);
}

/// The ledger accepts whatever is written.
#[tokio::test(start_paused = true)]
async fn fencing_fails_without_a_check() {
    must_complain(examples::fencing::run(&LaxSource, &mut LaxLedger).await);
}

/// A candidate takes over by the engine's clock, which is not paused.
#[tokio::test]
async fn leader_election_fails_without_exclusion() {
    must_complain(examples::leader_election::run(Arc::new(LaxSource), false).await);
}

#[tokio::test(start_paused = true)]
async fn read_write_locks_fails_without_exclusion() {
    must_complain(examples::read_write_locks::run(&Lax(KEY)).await);
}

#[tokio::test(start_paused = true)]
async fn report_fails_without_exclusion() {
    must_complain(examples::report::run(&Lax(KEY)).await);
}

#[tokio::test(start_paused = true)]
async fn resource_pool_fails_without_exclusion() {
    must_complain(examples::resource_pool::run(Arc::new(LaxSource)).await);
}

/// A replica takes over by the engine's clock, and slots come by the system's.
#[tokio::test]
async fn scheduled_job_fails_without_exclusion() {
    let store = Arc::new(MemorySlots::new());
    must_complain(examples::scheduled_job::run(Arc::new(LaxSource), store, false).await);
}

#[tokio::test(start_paused = true)]
async fn several_keys_fails_without_exclusion() {
    must_complain(examples::several_keys::run(Arc::new(LaxSource)).await);
}

#[tokio::test(start_paused = true)]
async fn task_processing_fails_without_exclusion() {
    must_complain(examples::task_processing::run(&LaxSource).await);
}

#[test]
fn threads_fails_without_exclusion() {
    let invoices = Mutex::new(Vec::new());
    must_complain(examples::threads::run(&Lax(KEY), || Ok(MemoryInvoices(&invoices))));
}

#[tokio::test(start_paused = true)]
async fn timeout_fails_without_exclusion() {
    must_complain(examples::timeout::run(&Lax(KEY)).await);
}

#[tokio::test(start_paused = true)]
async fn transaction_fails_without_exclusion() {
    let receipts = Mutex::new(Vec::new());
    must_complain(examples::transaction::run([(); 4].map(|()| LaxDesk(&receipts))).await);
}

#[tokio::test(start_paused = true)]
async fn workers_fails_without_exclusion() {
    must_complain(examples::workers::run(&Lax(KEY)).await);
}

fn must_complain(outcome: examples::Result) {
    let error = outcome.expect_err("the scenario noticed nothing").to_string();
    assert!(error.starts_with("this should hold, and does not: "), "{error}");
}

const KEY: LockKey = LockKey::from_u64(1);

#[derive(Debug)]
struct LaxSource;

#[async_trait]
impl LockProvider for LaxSource {
    fn rwlock(&self, key: NamedKey) -> Box<dyn DistributedRwLock> {
        Box::new(Lax(key.key()))
    }

    async fn inspect(&self, _: NamedKey) -> Result<Vec<LockEntry>> {
        Ok(Vec::new())
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

struct LaxLedger;

impl Ledger for LaxLedger {
    async fn add_fenced(&mut self, _: &WriteGuard, _: &str) -> examples::Result {
        Ok(())
    }

    async fn add_with_token(&mut self, _: FencingToken, _: &str) -> examples::Result {
        Ok(())
    }

    async fn entries(&mut self) -> examples::Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn end_session(&mut self, _: i32) -> examples::Result {
        Ok(())
    }
}

struct MemoryInvoices<'a>(&'a Mutex<Vec<i32>>);

impl Invoices for MemoryInvoices<'_> {
    fn last(&mut self) -> examples::Result<i32> {
        Ok(self.numbers()?.into_iter().max().unwrap_or_default())
    }

    fn add(&mut self, number: i32) -> examples::Result {
        self.0.lock().map_err(|_| "poisoned")?.push(number);
        Ok(())
    }

    fn numbers(&mut self) -> examples::Result<Vec<i32>> {
        let mut numbers = self.0.lock().map_err(|_| "poisoned")?.clone();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

struct LaxDesk<'a>(&'a Mutex<Vec<(i32, i32)>>);

impl Desk for LaxDesk<'_> {
    async fn pay(&mut self, invoice: i32) -> examples::Result<Payment> {
        let receipts = || self.0.lock().map_err(|_| "poisoned");
        if receipts()?.iter().any(|(_, paid)| *paid == invoice) {
            return Ok(Payment::PaidBefore);
        }
        let number = receipts()?.len() as i32 + 1;
        tokio::time::sleep(examples::transaction::WORK).await;
        receipts()?.push((number, invoice));
        Ok(Payment::Receipt(number))
    }

    async fn close(&mut self, _: Duration) -> examples::Result<Vec<(i32, i32)>> {
        Ok(self.0.lock().map_err(|_| "poisoned")?.clone())
    }
}

/// Grants whatever is asked for.
#[derive(Clone, Debug)]
struct Lax(LockKey);

#[async_trait]
impl DistributedRwLock for Lax {
    fn key(&self) -> LockKey {
        self.0
    }

    async fn try_read(&self) -> Result<Option<ReadGuard>> {
        self.read().await.map(Some)
    }

    async fn read(&self) -> Result<ReadGuard> {
        Ok(ReadGuard::new(LaxHold(Lease::new(self.clone()))))
    }

    async fn try_read_for(&self, _: Duration) -> Result<ReadGuard> {
        self.read().await
    }

    async fn try_write(&self) -> Result<Option<WriteGuard>> {
        self.write().await.map(Some)
    }

    async fn write(&self) -> Result<WriteGuard> {
        Ok(WriteGuard::new(LaxHold(Lease::new(self.clone()))))
    }

    async fn try_write_for(&self, _: Duration) -> Result<WriteGuard> {
        self.write().await
    }
}

/// A lock that everybody has.
#[derive(Debug)]
struct LaxHold(Lease);

#[async_trait]
impl Hold for LaxHold {
    fn lease(&self) -> &Lease {
        &self.0
    }

    async fn fencing_token(&self) -> Result<FencingToken> {
        Ok(FencingToken::new(0).expect("not negative"))
    }

    fn downgrade(&mut self) {}

    async fn try_upgrade(&mut self) -> Result<bool> {
        Ok(true)
    }

    async fn release(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl LeaseState for Lax {
    fn key(&self) -> LockKey {
        self.0
    }

    fn valid_for(&self) -> Duration {
        Duration::MAX
    }

    async fn lost(&self) {
        std::future::pending().await
    }

    fn on_loss(&self, _: Box<dyn FnOnce() + Send>) {}

    fn error(&self) -> Error {
        ErrorBuilder::new(ErrorKind::Lost, "never").build()
    }
}
