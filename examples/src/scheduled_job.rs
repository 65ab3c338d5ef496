//! A job with a timetable that every server of a service knows: each time, one server runs it.
//!
//! The times are those of the database's clock, and the record of the last run is in a table. So
//! the job runs once for each time, even if the work is over before the next server looks.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use pglock_core::LockProvider;
use pglock_core::recipes::schedule::{Job, Slot, SlotStore, Turn};
use tokio::time::sleep;

use crate::{Result, ensure};

/// The name of the job.
const NAME: &str = "pglock-examples";

const SERVERS: usize = 3;
const PERIOD: Duration = Duration::from_secs(1);
/// How long the example lasts.
const TIME: Duration = Duration::from_secs(4);

/// Starts the servers, for some times of the timetable or `forever`.
///
/// # Errors
///
/// Those of the locks and the store; and if the job is run twice for one time, or two runs overlap.
pub async fn run(locks: Arc<dyn LockProvider>, store: Arc<dyn SlotStore>, forever: bool) -> Result {
    let report = Report::default();
    let serve = |server| serve(server, locks.clone(), store.clone(), forever, &report);
    try_join_all((1..=SERVERS).map(serve)).await?;
    report.check()?;
    println!("the job never ran twice for one time");
    Ok(())
}

async fn serve(
    server: usize,
    locks: Arc<dyn LockProvider>,
    store: Arc<dyn SlotStore>,
    forever: bool,
    report: &Report,
) -> Result {
    // With a lock manager at hand: `locks.job(NAME, store)`.
    let job = Job::builder(locks, NAME, store).every(PERIOD);
    // Lets a run finish when the program ends.
    let job = job.grace(PERIOD).at_least_once()?;
    let end = async {
        match forever {
            true => pending().await,
            false => sleep(TIME).await,
        }
    };
    let work = |turn: Turn| async move {
        let second = turn.slot().as_micros() / 1_000_000 % 60;
        println!("server {server}: the job of second {second:02}");
        report.build(turn.slot()).await;
        Ok::<_, Infallible>(())
    };
    job.run(end, work).await?;
    Ok(())
}

/// What the job builds. It also checks the example.
#[derive(Default)]
struct Report(Mutex<Runs>);

#[derive(Default)]
struct Runs {
    last: Option<Slot>,
    is_running: bool,
    have_overlapped: bool,
    have_repeated: bool,
}

impl Report {
    async fn build(&self, slot: Slot) {
        self.see(|runs| {
            runs.have_overlapped |= runs.is_running;
            runs.have_repeated |= runs.last >= Some(slot);
            (runs.is_running, runs.last) = (true, Some(slot));
        });
        sleep(Duration::from_millis(300)).await;
        self.see(|runs| runs.is_running = false);
    }

    fn check(&self) -> Result {
        let (overlapped, repeated) = self.see(|runs| (runs.have_overlapped, runs.have_repeated));
        ensure(!overlapped, "one server runs the job at a time")?;
        ensure(!repeated, "the job is run once for each time")
    }

    fn see<T>(&self, look: impl FnOnce(&mut Runs) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
