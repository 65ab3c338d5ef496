//! Replicas that migrate the schema at the same time.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::env;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use pglock_core::blocking::Wait;
use pglock_sqlx::key::well_known;
use pglock_sqlx::sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};
use pglock_sqlx::sqlx::{PgPool, SqlStr, query_scalar};
use pglock_sqlx::{ErrorKind, Locks, MigrationError, SqlxDriver, migrate, run_exclusively};
use pglock_testkit::postgres::{TestDatabase, TestServer};
use pglock_testkit::witness::{PostgresWitness, Witness};
use tokio::time::{sleep, timeout};

/// Passes the address of the database to a replica.
const URL: &str = "PGLOCK_TEST_REPLICA_OF";
const SOON: Duration = Duration::from_secs(60);

fn migrator(statements: &[&'static str]) -> Migrator {
    let migrations = statements.iter().enumerate().map(|(at, sql)| {
        let name = format!("step {at}").into();
        // An index can be built concurrently only outside a transaction.
        let no_tx = sql.contains("CONCURRENTLY");
        let sql = SqlStr::from_static(sql);
        Migration::new(at as i64 + 1, name, MigrationType::Simple, sql, no_tx)
    });
    Migrator::with_migrations(migrations.collect())
}

const STEPS: [&str; 3] = [
    "CREATE TABLE invoice (id bigint, paid_at timestamptz); CREATE TABLE run (step int)",
    "INSERT INTO invoice SELECT n FROM generate_series(1, 20000) AS n; INSERT INTO run VALUES (2)",
    "CREATE INDEX CONCURRENTLY invoice_paid_at ON invoice (paid_at)",
];

async fn place() -> (TestDatabase, PostgresWitness) {
    let server = TestServer::shared().await.unwrap();
    let database = server.database().await.unwrap();
    let witness = PostgresWitness::connect(database.url()).await.unwrap();
    (database, witness)
}

/// The body of the processes that [`three_processes_build_an_index_concurrently`] starts.
#[tokio::test]
async fn replica() {
    let Ok(url) = env::var(URL) else { return };
    let pool = PgPool::connect(&url).await.unwrap();
    migrate(&pool, migrator(&STEPS)).await.unwrap();
}

#[tokio::test]
async fn three_processes_build_an_index_concurrently() {
    let (database, witness) = place().await;
    let key = well_known::sqlx_migrate(database.name());
    let pool = PgPool::connect(database.url()).await.unwrap();
    // The server completes the index only when this snapshot has ended.
    let mut snapshot = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let _: i32 = query_scalar("SELECT 1").fetch_one(&mut *snapshot).await.unwrap();
    let replicas: Vec<_> = (0..3)
        .map(|_| {
            Command::new(env::current_exe().unwrap())
                .args(["--exact", "replica", "--nocapture"])
                .env(URL, database.url())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    until_index_waits(&witness).await;
    witness.until_sessions("pglock", 3).await.unwrap();
    for _ in 0..50 {
        // One migrates, and the others do not stand in the server's queue.
        assert_eq!(witness.holders(key).await.unwrap().len(), 1);
        assert!(witness.waiters(key).await.unwrap().is_empty());
        sleep(Duration::from_millis(10)).await;
    }
    snapshot.rollback().await.unwrap();
    let ended = tokio::task::spawn_blocking(|| {
        replicas.into_iter().all(|mut replica| replica.wait().unwrap().success())
    });
    assert!(timeout(SOON, ended).await.unwrap().unwrap());
    let valid: bool = query_scalar(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'invoice_paid_at'::regclass",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert!(valid);
    let runs: i64 = query_scalar("SELECT count(*) FROM run").fetch_one(&pool).await.unwrap();
    assert_eq!(runs, 1);
    witness.until_quiet().await.unwrap();
}

/// Waits until the server waits for older snapshots to end, before it completes an index.
async fn until_index_waits(witness: &PostgresWitness) {
    let waits = "SELECT FROM pg_stat_activity WHERE datname = current_database() \
                 AND wait_event = 'virtualxid' AND query LIKE 'CREATE INDEX CONCURRENTLY%'";
    let waiting = async {
        while witness.client().query(waits, &[]).await.unwrap().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, waiting).await.unwrap();
}

#[tokio::test]
async fn failed_migration_releases_the_lock() {
    let (database, witness) = place().await;
    let pool = PgPool::connect(database.url()).await.unwrap();
    let error = migrate(&pool, migrator(&["SELECT 1 / 0"])).await.unwrap_err();
    assert!(matches!(error, MigrationError::Migration(_)), "{error:?}");
    witness.until_quiet().await.unwrap();
    witness.until_sessions("pglock", 0).await.unwrap();
}

#[tokio::test]
async fn migration_waits_for_replicas_that_use_the_lock_of_sqlx() {
    let (database, witness) = place().await;
    let key = well_known::sqlx_migrate(database.name());
    // The lock as sqlx takes it in an older release.
    let old = PgPool::connect(database.url()).await.unwrap();
    let mut old = old.acquire().await.unwrap();
    old.lock().await.unwrap();
    assert_eq!(witness.holders(key).await.unwrap().len(), 1);
    let pool = PgPool::connect(database.url()).await.unwrap();
    let wait = tokio::spawn(async move { migrate(&pool, migrator(&STEPS)).await });
    witness.until_sessions("pglock", 1).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    assert!(!wait.is_finished());
    // It must not stand in the server's queue.
    assert!(witness.waiters(key).await.unwrap().is_empty());
    old.unlock().await.unwrap();
    timeout(SOON, wait).await.unwrap().unwrap().unwrap();
}

/// As migrations by synchronous diesel do.
#[tokio::test]
async fn work_that_blocks_runs_on_a_thread_without_a_runtime() {
    let (database, witness) = place().await;
    let driver = SqlxDriver::from_url(database.url()).unwrap();
    let work = async { thread::current().id() };
    let waits = move || (run_exclusively(driver, work).wait(), thread::current().id());
    let thread = thread::spawn(waits);
    let joined = tokio::task::spawn_blocking(|| thread.join().unwrap());
    let (worked_on, waited_on) = timeout(SOON, joined).await.unwrap().unwrap();
    assert_eq!(worked_on.unwrap(), waited_on);
    witness.until_quiet().await.unwrap();
}

#[tokio::test]
async fn work_stops_when_the_lock_is_lost() {
    let (database, witness) = place().await;
    let driver = SqlxDriver::from_url(database.url()).unwrap();
    let work = tokio::spawn(run_exclusively(driver, std::future::pending::<()>()));
    let key = well_known::sqlx_migrate(database.name());
    let pid = loop {
        if let [holder] = witness.holders(key).await.unwrap()[..] {
            break holder.pid;
        }
        tokio::task::yield_now().await;
    };
    witness.terminate(pid).await.unwrap();
    let error = timeout(SOON, work).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}");
    let locks = Locks::new(SqlxDriver::from_url(database.url()).unwrap());
    locks.rwlock(key).write().await.unwrap().release().await.unwrap();
}
