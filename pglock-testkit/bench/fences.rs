//! What fences and fencing tokens cost, next to the same work without them.
//!
//! ```text
//! cargo bench --bench fences
//! ```
//!
//! It starts a PostgreSQL of its own and uses sqlx. All ways take turns, many times in one process,
//! and the differences of neighbours are compared, because a machine's speed drifts: once with
//! client and server on [one CPU](Placement::OneCpu), and once on [a CPU each](Placement::CpuEach).
//! The server flushes commits as by default.

use std::error::Error;
use std::time::{Duration, Instant};

use pglock_bench::cpus::{Cpus, Placement};
use pglock_sqlx::sqlx::postgres::PgConnection;
use pglock_sqlx::sqlx::{AssertSqlSafe, Connection, query, raw_sql};
use pglock_sqlx::{FencingToken, LockInTransaction, Locks, RwLock, SqlxDriver, WriteGuard};
use pglock_testkit::postgres::TestServer;
use tokio::runtime::{self, Runtime};

type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const ROUNDS: usize = 41;
const TIMES: u32 = 100;

fn main() -> Result {
    let cpus = Cpus::of_this_process()?;
    // Where it runs does not matter: what is measured runs on another one.
    let unmeasured = runtime::Builder::new_current_thread().enable_all().build()?;
    let server = unmeasured.block_on(TestServer::private_with(&[("fsync", "on")]))?;
    for wanted in [Placement::OneCpu, Placement::CpuEach] {
        let placement = cpus.place(wanted, &server)?;
        println!("{placement}");
        let database = unmeasured.block_on(server.database())?;
        let url = database.url().to_owned();
        measured()?.block_on(async { tokio::spawn(compare(url)).await? })?;
        if placement == Placement::Anywhere {
            // The next would be the same.
            break;
        }
    }
    Ok(())
}

fn measured() -> Result<Runtime> {
    Ok(runtime::Builder::new_multi_thread().enable_all().build()?)
}

async fn compare(url: String) -> Result {
    let mut subject = Subject::connect(&url).await?;
    let mut rounds = vec![Vec::new(); Way::ALL.len()];
    for round in 0..=ROUNDS {
        for (way, figures) in Way::ALL.into_iter().zip(&mut rounds) {
            let begin = Instant::now();
            for _ in 0..TIMES {
                subject.run(way).await?;
            }
            // The first round prepares the statements.
            if round > 0 {
                figures.push(micros(begin.elapsed() / TIMES));
            }
        }
    }
    for (way, figures) in Way::ALL.into_iter().zip(&rounds) {
        let floor = &rounds[way.floor() as usize];
        let more = figures.iter().zip(floor).map(|(one, floor)| one - floor).collect();
        println!(
            "  {:52} {:8.1} us, {:+8.1} us",
            way.name(),
            median(figures.clone()),
            median(more)
        );
    }
    Ok(())
}

/// What is timed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Reading,
    FencedReading,
    Writing,
    FencedWriting,
    CheckedWriting,
    Lock,
    FencedLock,
    LockWithToken,
}

impl Way {
    const ALL: [Self; 8] = [
        Self::Reading,
        Self::FencedReading,
        Self::Writing,
        Self::FencedWriting,
        Self::CheckedWriting,
        Self::Lock,
        Self::FencedLock,
        Self::LockWithToken,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Reading => "transaction that reads",
            Self::FencedReading => "  fenced",
            Self::Writing => "transaction that writes",
            Self::FencedWriting => "  fenced",
            Self::CheckedWriting => "  that checks a token",
            Self::Lock => "acquire + confirmed release",
            Self::FencedLock => "  of a fenced lock",
            Self::LockWithToken => "  with a fencing token",
        }
    }

    /// The same without a fence or token.
    fn floor(self) -> Self {
        match self {
            Self::Reading | Self::FencedReading => Self::Reading,
            Self::Writing | Self::FencedWriting | Self::CheckedWriting => Self::Writing,
            Self::Lock | Self::FencedLock | Self::LockWithToken => Self::Lock,
        }
    }
}

struct Subject {
    connection: PgConnection,
    guard: WriteGuard,
    token: FencingToken,
    lock: RwLock,
    fenced: RwLock,
}

impl Subject {
    async fn connect(url: &str) -> Result<Self> {
        let mut connection = PgConnection::connect(url).await?;
        let tables = format!(
            "{}; CREATE TABLE account (balance bigint NOT NULL) WITH (fillfactor = 10); \
             INSERT INTO account VALUES (0)",
            FencingToken::TABLE
        );
        raw_sql(AssertSqlSafe(tables)).execute(&mut connection).await?;
        let locks = Locks::new(SqlxDriver::from_url(url)?);
        let guard = locks.rwlock("account").write().await?;
        let token = guard.fencing_token().await?;
        let lock = locks.rwlock("other");
        let fenced = locks.rwlock("fenced").fenced();
        Ok(Self { connection, guard, token, lock, fenced })
    }

    async fn run(&mut self, way: Way) -> Result {
        match way {
            Way::Lock => Ok(self.lock.write().await?.release().await?),
            Way::FencedLock => Ok(self.fenced.write().await?.release().await?),
            Way::LockWithToken => {
                let guard = self.lock.write().await?;
                guard.fencing_token().await?;
                Ok(guard.release().await?)
            }
            _ => self.transaction(way).await,
        }
    }

    async fn transaction(&mut self, way: Way) -> Result {
        let mut tx = self.connection.begin().await?;
        match way {
            Way::FencedReading | Way::FencedWriting => self.guard.fence(tx.locks()).await?,
            Way::CheckedWriting => tx.locks().check_token(self.token, "account").await?,
            _ => {}
        }
        let statement = match way.floor() {
            Way::Reading => "SELECT balance FROM account",
            _ => "UPDATE account SET balance = balance + 1",
        };
        query(statement).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
