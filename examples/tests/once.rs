//! A lock and a record in the database make something happen once: the code of the README, run by
//! several processes, at the same time and one after the other.

use std::error::Error;
use std::sync::Mutex;
use std::time::Duration;

use futures::future::try_join_all;
use pglock_sqlx::sqlx::{self, PgPool, query};
use pglock_sqlx::{Locks, SqlxDriver};
use pglock_testkit::postgres::TestServer;
use tokio::time::sleep;

// The README shows it in these words.
// begin
async fn build_once(locks: &Locks, pool: &PgPool, day: &str) -> Result<(), Box<dyn Error>> {
    let Some(guard) = locks.rwlock("reports/daily").try_write().await? else {
        return Ok(()); // another process is building the report
    };
    let work = async {
        let record = query("SELECT FROM reports_built WHERE day = $1").bind(day);
        if record.fetch_optional(pool).await?.is_none() {
            build_report(day).await;
            query("INSERT INTO reports_built VALUES ($1)").bind(day).execute(pool).await?;
        }
        Ok::<_, sqlx::Error>(())
    };
    guard.protect(work).await??;
    guard.release().await?;
    Ok(())
}
// end

static BUILT: Mutex<Vec<String>> = Mutex::new(Vec::new());

async fn build_report(day: &str) {
    sleep(Duration::from_millis(20)).await;
    BUILT.lock().expect("no test panics under it").push(day.to_owned());
}

#[tokio::test]
async fn report_is_built_once_a_day() {
    let server = TestServer::shared().await.unwrap_or_else(|error| panic!("{error}"));
    let database = server.database().await.expect("a database is made");
    let pool = PgPool::connect(database.url()).await.expect("the server is there");
    let create = "CREATE TABLE reports_built (day text PRIMARY KEY)";
    query(create).execute(&pool).await.expect("the database is empty");
    let processes = [(); 3].map(|()| Locks::new(SqlxDriver::from_pool(&pool)));
    for day in ["monday", "tuesday"] {
        // Some find the lock taken, and those of the second round find it free.
        for _ in 0..2 {
            let calls = processes.iter().flat_map(|locks| [locks; 4]);
            let calls = calls.map(|locks| build_once(locks, &pool, day));
            try_join_all(calls).await.expect("no call fails");
        }
    }
    assert_eq!(*BUILT.lock().expect("no test panics under it"), ["monday", "tuesday"]);
}

#[test]
fn readme_shows_this_code() {
    let shown = include_str!("once.rs").split("// begin\n").nth(1).expect("it has a beginning");
    let (shown, _) = shown.split_once("// end\n").expect("it has an end");
    assert!(include_str!("../../README.md").contains(shown), "show in README.md:\n{shown}");
}
