//! The SQL in `docs/operating.md` does what the page says.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::Duration;

use pglock_sqlx::sqlx::postgres::PgRow;
use pglock_sqlx::sqlx::{AssertSqlSafe, Connection, PgConnection, Row, query};
use pglock_sqlx::{Locks, NamedKey, SqlxDriver, WriteGuard};
use pglock_testkit::postgres::TestServer;
use tokio::time::{sleep, timeout};

const PAGE: &str = include_str!("../../docs/operating.md");
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn sql_does_what_the_page_says() {
    let database = TestServer::shared().await.unwrap().database().await.unwrap();
    let mut dba = PgConnection::connect(database.url()).await.unwrap();
    let (orders, others) = (locks(database.url(), "orders"), locks(database.url(), "others"));
    let key = || NamedKey::in_namespace("billing", "invoice/42");
    let guard = orders.rwlock(key()).write().await.unwrap();
    let wait = tokio::spawn({
        let lock = others.rwlock(key());
        async move { lock.write().await }
    });
    until_one_waits(&mut dba).await;
    for block in blocks("sql") {
        let rows = rows(&mut dba, &block).await;
        check(block.lines().next().unwrap(), &rows, &guard);
    }
    timeout(PATIENCE, guard.lost()).await.unwrap();
    let next = timeout(PATIENCE, wait).await.unwrap().unwrap().unwrap();
    next.release().await.unwrap();
    orders.close().await.unwrap();
    others.close().await.unwrap();
}

/// What a block answers, by its first line, while one session holds a key for which another waits.
fn check(title: &str, rows: &[PgRow], guard: &WriteGuard) {
    let number = |column: &str| rows[0].get::<i64, _>(column);
    match title {
        "-- Connections: in use, allowed, and those of pglock." => {
            assert!(number("pglock") >= 2);
            assert!(number("in_use") > number("pglock"));
            assert!(rows[0].get::<i32, _>("allowed") > 0);
        }
        "-- The lock table: entries in use, those of advisory locks, and what it was made for." => {
            assert!(number("advisory") >= 2);
            assert!(number("in_use") >= number("advisory"));
            assert!(rows[0].get::<i32, _>("room") > 1000);
        }
        "-- Sessions that wait for an advisory lock, the longest wait first." => {
            assert!(names(rows).contains(&"others (pglock)".to_owned()), "{rows:?}");
            assert!(!names(rows).contains(&"orders (pglock)".to_owned()), "{rows:?}");
        }
        "-- Who holds and who waits: one line per session and key." => {
            assert_eq!(names(rows), ["orders (pglock)", "others (pglock)"]);
            assert!(rows.iter().all(|row| row.get::<String, _>("key") == guard.key().to_string()));
            let holder = rows[0].get::<i32, _>("pid");
            assert_eq!(rows[1].get::<Vec<i32>, _>("blocked_by"), [holder]);
        }
        "-- The key of a name." => assert_eq!(guard.key().as_bigint(), Some(number("key"))),
        "-- Ends the sessions that hold this key, and frees their locks." => {
            assert_eq!(rows.len(), 1);
            assert!(rows[0].get::<bool, _>("ended"));
        }
        _ => panic!("say here what this block must answer: {title}"),
    }
}

fn locks(url: &str, name: &str) -> Locks {
    let separator = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{separator}application_name={name}");
    Locks::new(SqlxDriver::from_url(&url).unwrap())
}

async fn rows(dba: &mut PgConnection, sql: &str) -> Vec<PgRow> {
    query(AssertSqlSafe(sql.trim_end().trim_end_matches(';')))
        .fetch_all(dba)
        .await
        .unwrap_or_else(|error| panic!("{error}:\n{sql}"))
}

async fn until_one_waits(dba: &mut PgConnection) {
    let sql = blocks("sql").into_iter().find(|sql| sql.starts_with("-- Who holds")).unwrap();
    let seen = async {
        // A session that opens holds a key for a moment, so counting rows would not do.
        while rows(dba, &sql).await.iter().all(|row| row.get("granted")) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, seen).await.unwrap();
}

fn names(rows: &[PgRow]) -> Vec<String> {
    rows.iter().map(|row| row.get("application_name")).collect()
}

/// The fenced blocks of a language.
fn blocks(language: &str) -> Vec<String> {
    let parts = PAGE.split("\n```").skip(1).step_by(2);
    parts
        .filter_map(|part| part.strip_prefix(&format!("{language}\n")))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_block_is_tested() {
    let tested = blocks("sql").len() + blocks("rust").len();
    assert_eq!(PAGE.matches("\n```").count(), 2 * tested);
}
