//! Compares the cost of an uncontended lock with that of two prepared statements on a bare
//! connection of the same client.
//!
//! ```text
//! cargo bench --bench uncontended
//! cargo bench --bench uncontended -- sqlx
//! ```
//!
//! It starts a PostgreSQL of its own. Statements and locks run in turn, many times in one process,
//! and it compares the ratios of neighbouring runs, because the machine's speed drifts. It does so
//! once with client and server on [one CPU](Placement::OneCpu), where the work of both counts, and
//! once on [a CPU each](Placement::CpuEach).

use std::env;
use std::error::Error;
use std::time::{Duration, Instant};

use pglock_bench::cpus::{Cpus, Placement};
use pglock_core::{Locks, RwLock};
use pglock_testkit::postgres::TestServer;
use tokio::runtime::{self, Runtime};

use self::diesel::Diesel;
use self::sqlx::Sqlx;

mod diesel;
mod sqlx;

type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// A bare connection of a client.
trait Floor: Send + Sized + 'static {
    const NAME: &str;

    fn connect(url: &str) -> impl Future<Output = Result<Self>> + Send;

    /// Takes an advisory lock and releases it, with a prepared statement each.
    fn pair(&mut self) -> impl Future<Output = Result> + Send;

    /// Locks through the same client.
    fn locks(url: &str) -> pglock_core::Result<Locks>;
}

const ROUNDS: usize = 41;
const PAIRS: u32 = 500;

/// Keys used in turn. With a single one, a lock released by drop could be taken again before its
/// release has left the process, and nothing would be measured.
const KEYS: i64 = 16;

fn main() -> Result {
    // Cargo passes this flag.
    let wanted: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let known = [Sqlx::NAME, Diesel::NAME];
    if let Some(unknown) = wanted.iter().find(|wanted| !known.contains(&&***wanted)) {
        return Err(format!("no client {unknown}: there are {}", known.join(" and ")).into());
    }
    let bench = Bench::start()?;
    if is_wanted(Sqlx::NAME) {
        bench.compare::<Sqlx>()?;
    }
    if is_wanted(Diesel::NAME) {
        bench.compare::<Diesel>()?;
    }
    Ok(())
}

/// A server, and the CPUs to place it on.
struct Bench {
    cpus: Cpus,
    server: TestServer,
    /// The measured runtimes are built after the placement.
    unmeasured: Runtime,
}

impl Bench {
    fn start() -> Result<Self> {
        let cpus = Cpus::of_this_process()?;
        let unmeasured = runtime::Builder::new_current_thread().enable_all().build()?;
        let server = unmeasured.block_on(TestServer::private())?;
        Ok(Self { cpus, server, unmeasured })
    }

    /// Compares in each placement, on each of tokio's runtimes, and prints the medians.
    fn compare<F: Floor>(&self) -> Result {
        for wanted in [Placement::OneCpu, Placement::CpuEach] {
            let placement = self.cpus.place(wanted, &self.server)?;
            println!("{}: {placement}", F::NAME);
            for (name, mut runtime) in [
                ("current-thread runtime", runtime::Builder::new_current_thread()),
                ("multi-thread runtime", runtime::Builder::new_multi_thread()),
            ] {
                println!("  {name}");
                let database = self.unmeasured.block_on(self.server.database())?;
                let url = database.url().to_owned();
                let runtime = runtime.enable_all().build()?;
                runtime.block_on(async { tokio::spawn(rounds::<F>(url)).await? })?;
            }
            if placement == Placement::Anywhere {
                // The next placement would be the same.
                break;
            }
        }
        Ok(())
    }
}

async fn rounds<F: Floor>(url: String) -> Result {
    let mut bare = F::connect(&url).await?;
    let locks = F::locks(&url)?;
    // The key of the floor is a different one.
    let locks: Vec<_> = (100..100 + KEYS).map(|key| locks.rwlock(key)).collect();
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let figures = (floor(&mut bare).await?, confirmed(&locks).await?, dropped(&locks).await?);
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

async fn floor(bare: &mut impl Floor) -> Result<Duration> {
    let begin = Instant::now();
    for _ in 0..PAIRS {
        bare.pair().await?;
    }
    Ok(begin.elapsed() / PAIRS)
}

async fn confirmed(locks: &[RwLock]) -> Result<Duration> {
    let begin = Instant::now();
    for lock in in_turn(locks) {
        lock.try_write().await?.ok_or("the lock is free")?.release().await?;
    }
    Ok(begin.elapsed() / PAIRS)
}

async fn dropped(locks: &[RwLock]) -> Result<Duration> {
    let begin = Instant::now();
    for lock in in_turn(locks) {
        drop(lock.try_write().await?.ok_or("the lock is free")?);
    }
    let took = begin.elapsed() / PAIRS;
    // Otherwise the next round would pay for the leftovers of the last drops.
    for lock in locks {
        lock.try_write().await?.ok_or("the lock is free")?.release().await?;
    }
    Ok(took)
}

fn in_turn(locks: &[RwLock]) -> impl Iterator<Item = &RwLock> {
    locks.iter().cycle().take(PAIRS as usize)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
