//! `docs/operating.md` keeps up with the library: its SQL does what it says, and every error,
//! figure, metric and log line has its place there.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::{Path, PathBuf};
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

#[test]
fn every_error_kind_is_explained() {
    let kinds = names_in_body("pub enum ErrorKind {", |line| line.strip_suffix(','));
    assert!(kinds.len() >= 14, "{kinds:?}");
    for kind in kinds {
        assert!(PAGE.contains(&format!("\n| `{kind}` | ")), "{kind}");
    }
}

#[test]
fn every_figure_is_explained() {
    let figures = names_in_body("pub struct Stats {", |line| {
        Some(line.strip_prefix("pub ")?.split_once(':')?.0)
    });
    assert!(figures.len() >= 12, "{figures:?}");
    for figure in figures {
        assert!(PAGE.contains(&format!(" | `{figure}` | ")), "{figure}");
    }
}

#[test]
fn every_metric_is_explained() {
    let mut found = 0;
    for (_, source) in sources() {
        for macro_name in ["counter!(", "gauge!(", "histogram!("] {
            for name in source.split(macro_name).skip(1).filter_map(first_text) {
                assert!(PAGE.contains(&format!("\n| `{name}` | ")), "{name}");
                found += 1;
            }
        }
    }
    assert!(found >= 9, "{found}");
}

#[test]
fn every_log_line_is_explained() {
    let page = normalised(PAGE);
    let mut found = 0;
    for (file, source) in sources() {
        for level in ["error!(", "warn!(", "info!(", "debug!(", "trace!(", "span!("] {
            for call in source.split(level).skip(1) {
                let call = &call[..end_of_call(call)];
                // Nothing of ours has a quotation mark in a log line.
                let Some(text) = call.split('"').skip(1).step_by(2).last() else { continue };
                let text = normalised(&text.replace("\\\n", "\n"));
                assert!(page.contains(&format!("`{text}`")), "{text}, in {}", file.display());
                found += 1;
            }
        }
    }
    assert!(found >= 19, "{found}");
}

/// The names of the lines in the body of the item that begins with this, in the core.
fn names_in_body(head: &str, name: fn(&str) -> Option<&str>) -> Vec<String> {
    let all = sources();
    let (_, source) = all.iter().find(|(_, source)| source.contains(head)).unwrap();
    let (_, body) = source.split_once(head).unwrap();
    let body = &body[..body.find("\n}").unwrap()];
    let lines = body.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    lines.filter_map(name).map(str::to_owned).collect()
}

/// What the libraries are made of, without their tests.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for library in ["pglock-core", "pglock-sqlx", "pglock-diesel"] {
        collect(&root.join(library).join("src"), &mut files);
    }
    assert!(files.len() > 40);
    files
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests" {
            let source = fs::read_to_string(&path).unwrap();
            files.push((path, source));
        }
    }
}

/// The first text between quotation marks.
fn first_text(call: &str) -> Option<&str> {
    call.split('"').nth(1)
}

/// Where the parenthesis closes that is open at the beginning.
fn end_of_call(source: &str) -> usize {
    let (mut depth, mut in_text) = (1, false);
    for (place, c) in source.char_indices() {
        match c {
            '"' => in_text = !in_text,
            '(' if !in_text => depth += 1,
            ')' if !in_text => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return place;
        }
    }
    source.len()
}

/// With one space for any space.
fn normalised(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
