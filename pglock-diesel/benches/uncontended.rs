//! What a lock costs that nobody else wants, next to the least it could cost.
//!
//! `cargo bench -p pglock-diesel --bench uncontended`
//!
//! The floor is two prepared statements on one bare connection of the same driver. Both run in turn, many times in one
//! process, and the ratios of neighbours are compared, because a machine's speed drifts.

use std::error::Error;
use std::time::{Duration, Instant};

use pglock_diesel::diesel::sql_types::BigInt;
use pglock_diesel::diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use pglock_diesel::{Locks, RwLock, diesel};
use pglock_testkit::postgres::TestServer;

#[diesel::declare_sql_function]
extern "SQL" {
    /// The server's own.
    fn pg_try_advisory_lock(key: BigInt) -> Bool;
    /// The server's own.
    fn pg_advisory_unlock(key: BigInt) -> Bool;
}

const ROUNDS: usize = 41;
const PAIRS: u32 = 500;

fn main() -> Result<(), Box<dyn Error>> {
    for (name, mut runtime) in [
        ("current-thread runtime", tokio::runtime::Builder::new_current_thread()),
        ("multi-thread runtime", tokio::runtime::Builder::new_multi_thread()),
    ] {
        println!("{name}");
        runtime
            .enable_all()
            .build()?
            .block_on(async { tokio::spawn(compare()).await? })
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn compare() -> Result<(), Box<dyn Error + Send + Sync>> {
    let server = TestServer::shared().await?;
    let database = server.database().await?;
    let mut bare = AsyncPgConnection::establish(database.url()).await?;
    let locks = Locks::from_url(database.url())?;
    let lock = locks.rwlock(1);
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
    println!("  floor                        {:7.1} us", of(|r| micros(r.0)));
    println!(
        "  acquire + confirmed release  {:7.1} us, {:.3} of the floor",
        of(|r| micros(r.1)),
        of(|r| micros(r.1) / micros(r.0))
    );
    println!(
        "  acquire + release by drop    {:7.1} us, {:.3} of the floor",
        of(|r| micros(r.2)),
        of(|r| micros(r.2) / micros(r.0))
    );
    Ok(())
}

async fn floor(bare: &mut AsyncPgConnection) -> Result<Duration, Box<dyn Error + Send + Sync>> {
    let begin = Instant::now();
    for _ in 0..PAIRS {
        assert!(diesel::select(pg_try_advisory_lock(2)).get_result::<bool>(bare).await?);
        assert!(diesel::select(pg_advisory_unlock(2)).get_result::<bool>(bare).await?);
    }
    Ok(begin.elapsed() / PAIRS)
}

async fn confirmed(lock: &RwLock) -> Result<Duration, Box<dyn Error + Send + Sync>> {
    let begin = Instant::now();
    for _ in 0..PAIRS {
        lock.try_write().await?.ok_or("the lock is free")?.release().await?;
    }
    Ok(begin.elapsed() / PAIRS)
}

async fn dropped(lock: &RwLock) -> Result<Duration, Box<dyn Error + Send + Sync>> {
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
