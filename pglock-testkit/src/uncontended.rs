//! What a lock costs that nobody else wants, next to the least it could cost: the benchmark of an
//! adapter.
//!
//! The floor is what the adapter gives: two prepared statements on one bare connection of its
//! client. Both run in turn, many times in one process, and the ratios of neighbours are compared,
//! because a machine's speed drifts; once with client and server on [one CPU](Placement::OneCpu),
//! where all the work of both counts, and once on [a CPU each](Placement::CpuEach).

use std::error::Error;
use std::future::Future;
use std::time::{Duration, Instant};

use pglock_core::RwLock;
use tokio::runtime;

use crate::cpus::{Cpus, Placement};
use crate::postgres::TestServer;

/// A bare connection of an adapter's client.
pub trait Floor: Send + Sized + 'static {
    /// Connects to the server and database of a URL.
    fn connect(url: &str) -> impl Future<Output = Result<Self, BoxError>> + Send;

    /// Takes an advisory lock and gives it back, by a prepared statement each.
    fn pair(&mut self) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// Whatever a client calls an error.
pub type BoxError = Box<dyn Error + Send + Sync>;

const ROUNDS: usize = 41;
const PAIRS: u32 = 500;

/// Compares in each placement, on each of tokio's runtimes, and prints the medians.
///
/// It uses the server of `DATABASE_URL`, which cannot be placed, or else one of its own.
///
/// `lock` makes a lock of the adapter on the server and database of a URL.
///
/// # Errors
///
/// Those of the server, the client and the lock.
pub fn compare<F: Floor>(lock: fn(&str) -> pglock_core::Result<RwLock>) -> Result<(), BoxError> {
    let cpus = Cpus::of_this_process()?;
    // Those that are measured are built where they are placed.
    let unmeasured = runtime::Builder::new_current_thread().enable_all().build()?;
    let server = match unmeasured.block_on(TestServer::given())? {
        Some(given) => given,
        None => unmeasured.block_on(TestServer::private())?,
    };
    for wanted in [Placement::OneCpu, Placement::CpuEach] {
        let placement = cpus.place(wanted, &server)?;
        println!("{placement}");
        for (name, mut runtime) in [
            ("current-thread runtime", runtime::Builder::new_current_thread()),
            ("multi-thread runtime", runtime::Builder::new_multi_thread()),
        ] {
            println!("  {name}");
            let runtime = runtime.enable_all().build()?;
            let database = unmeasured.block_on(server.database())?;
            let url = database.url().to_owned();
            runtime.block_on(async { tokio::spawn(rounds::<F>(url, lock)).await? })?;
        }
        if placement == Placement::Anywhere {
            // The next would be the same.
            break;
        }
    }
    Ok(())
}

async fn rounds<F: Floor>(
    url: String,
    lock: fn(&str) -> pglock_core::Result<RwLock>,
) -> Result<(), BoxError> {
    let mut bare = F::connect(&url).await?;
    let lock = lock(&url)?;
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let figures = (floor(&mut bare).await?, confirmed(&lock).await?, dropped(&lock).await?);
        // The first round prepares the statements.
        if round > 0 {
            rounds.push(figures);
        }
    }
    let of = |part: fn(&(Duration, Duration, Duration)) -> f64| {
        median(rounds.iter().map(part).collect())
    };
    println!("    floor                        {:7.1} us", of(|r| micros(r.0)));
    println!(
        "    acquire + confirmed release  {:7.1} us, {:.3} of the floor",
        of(|r| micros(r.1)),
        of(|r| micros(r.1) / micros(r.0))
    );
    println!(
        "    acquire + release by drop    {:7.1} us, {:.3} of the floor",
        of(|r| micros(r.2)),
        of(|r| micros(r.2) / micros(r.0))
    );
    Ok(())
}

async fn floor(bare: &mut impl Floor) -> Result<Duration, BoxError> {
    let begin = Instant::now();
    for _ in 0..PAIRS {
        bare.pair().await?;
    }
    Ok(begin.elapsed() / PAIRS)
}

async fn confirmed(lock: &RwLock) -> Result<Duration, BoxError> {
    let begin = Instant::now();
    for _ in 0..PAIRS {
        lock.try_write().await?.ok_or("the lock is free")?.release().await?;
    }
    Ok(begin.elapsed() / PAIRS)
}

async fn dropped(lock: &RwLock) -> Result<Duration, BoxError> {
    let begin = Instant::now();
    for _ in 0..PAIRS {
        drop(lock.try_write().await?.ok_or("the lock is free")?);
    }
    let took = begin.elapsed() / PAIRS;
    // What the last drop left behind is not to be paid by the next round.
    lock.try_write().await?.ok_or("the lock is free")?.release().await?;
    Ok(took)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
