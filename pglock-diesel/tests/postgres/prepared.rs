//! Each text is parsed once per session.

use std::collections::HashSet;

use pglock_diesel::diesel::ConnectionResult;
use pglock_diesel::diesel::connection::CacheSize;
use pglock_diesel::diesel_async::{AsyncConnection, AsyncPgConnection};
use pglock_diesel::{DieselDriver, Locks};
use pglock_testkit::postgres::TestServer;

#[tokio::test]
async fn texts_are_parsed_once() {
    assert_parsed_once(|url| DieselDriver::from_url(url).unwrap()).await;
}

#[tokio::test]
async fn texts_are_parsed_once_even_if_the_set_up_turns_the_cache_off() {
    assert_parsed_once(|url| {
        let url = url.to_owned();
        DieselDriver::from_fn(move || {
            let url = url.clone();
            async move {
                let mut connection = AsyncPgConnection::establish(&url).await?;
                connection.set_prepared_statement_cache_size(CacheSize::Disabled);
                ConnectionResult::Ok(connection)
            }
        })
    })
    .await;
}

async fn assert_parsed_once(driver: impl FnOnce(&str) -> DieselDriver) {
    let settings = [("log_min_duration_statement", "0"), ("log_line_prefix", "%p ")];
    let server = TestServer::private_with(&settings).await.unwrap();
    let locks = Locks::new(driver(server.url()));
    for round in 0..100_i64 {
        let (a, b) = (locks.rwlock(round), locks.rwlock((1, 2)));
        let guard = a.write().await.unwrap();
        // Both in one statement, with the text for batches.
        let (released, read) = tokio::join!(guard.release(), b.read());
        released.unwrap();
        read.unwrap().release().await.unwrap();
    }
    locks.close().await.unwrap();
    let log = server.log().unwrap();
    // Only lock sessions name the setting of the nonce. Each step comes with the session's pid.
    let ours = |step: &str| -> Vec<(String, String)> {
        let steps = log.lines().filter(|line| line.contains("pglock.session"));
        let texts = steps.filter_map(|line| {
            let (pid, _) = line.split_once(' ')?;
            let (_, text) = line.split_once(step)?.1.split_once(": ")?;
            Some((pid.to_owned(), text.to_owned()))
        });
        texts.collect()
    };
    let (parsed, executed) = (ours(" ms  parse "), ours(" ms  execute "));
    let distinct: HashSet<_> = executed.iter().collect();
    println!(
        "{} texts of sessions parsed {} times, executed {} times",
        distinct.len(),
        parsed.len(),
        executed.len()
    );
    assert!(executed.len() >= 300 && distinct.len() >= 4, "{} {distinct:?}", executed.len());
    assert_eq!(parsed.iter().collect::<HashSet<_>>(), distinct);
    assert_eq!(parsed.len(), distinct.len());
}
