//! The proxy counts, delays and forwards what passes through it.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use pglock_core::{LockKey, Mode};
use pglock_testkit::faults::{Direction, FaultError, Frame, Proxy, ProxyConnection};
use pglock_testkit::postgres::{TestDatabase, TestServer};
use pglock_testkit::witness::{PostgresWitness, Witness};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::TestResult;
use crate::raw::RawClient;

mod ending;
mod holding;

/// The key of the lock that clients hold in these tests.
const KEY: i64 = 1;
const PATIENCE: Duration = Duration::from_secs(10);

/// A proxy to a database, and a witness that does not use it.
struct Lab {
    database: TestDatabase,
    witness: PostgresWitness,
    proxy: Proxy,
}

impl Lab {
    async fn new() -> Result<Self, Box<dyn Error>> {
        let database = TestServer::shared().await?.database().await?;
        let witness = PostgresWitness::connect(database.url()).await?;
        let proxy = Proxy::start(database.url())?;
        Ok(Self { database, witness, proxy })
    }

    /// A client through the proxy, and its connection there.
    async fn client(&self) -> Result<(PostgresWitness, ProxyConnection), Box<dyn Error>> {
        let client = PostgresWitness::connect(self.proxy.url()).await?;
        let connection = self.proxy.connections().pop().ok_or("no connection")?;
        Ok((client, connection))
    }

    async fn raw_client(&self) -> Result<(RawClient, ProxyConnection), Box<dyn Error>> {
        let client = RawClient::connect(self.proxy.url()).await?;
        let connection = self.proxy.connections().pop().ok_or("no connection")?;
        Ok((client, connection))
    }

    /// The same, and the client holds the lock.
    async fn raw_holder(&self) -> Result<(RawClient, ProxyConnection), Box<dyn Error>> {
        let (mut client, connection) = self.raw_client().await?;
        client.query(&format!("SELECT pg_advisory_lock({KEY})")).await?;
        client.until('Z').await?;
        Ok((client, connection))
    }

    async fn until_free(&self) -> TestResult {
        Ok(self.witness.until_free(LockKey::from(KEY)).await?)
    }
}

/// Prepares no statement: closing one would send further messages later.
async fn pid(client: &PostgresWitness) -> Result<i32, tokio_postgres::Error> {
    client.client().query_typed("SELECT pg_backend_pid()", &[]).await?[0].try_get(0)
}

async fn until(what: &str, reached: impl Fn() -> bool) -> TestResult {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        if Instant::now() > deadline {
            return Err(format!("not reached: {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

fn queries(connection: &ProxyConnection) -> u64 {
    connection.sent(Direction::ToServer).get(&Frame::Message('Q')).copied().unwrap_or(0)
}

fn answers(connection: &ProxyConnection) -> u64 {
    connection.sent(Direction::ToClient).get(&Frame::Message('Z')).copied().unwrap_or(0)
}

#[tokio::test]
async fn messages_are_counted() -> TestResult {
    let lab = Lab::new().await?;
    let (mut client, connection) = lab.raw_client().await?;
    client.query("SELECT 1; SELECT 2").await?;
    client.until('Z').await?;
    assert_eq!(
        connection.sent(Direction::ToServer),
        BTreeMap::from([(Frame::Startup, 1), (Frame::Message('Q'), 1)])
    );
    let sent = connection.sent(Direction::ToClient);
    for (message, count) in [('R', 1), ('K', 1), ('T', 2), ('D', 2), ('C', 2), ('Z', 2)] {
        assert_eq!(sent.get(&Frame::Message(message)), Some(&count), "{message}");
    }
    assert!(!sent.contains_key(&Frame::Unknown));
    assert_eq!(lab.proxy.sent(Direction::ToClient), sent);
    assert_eq!(connection.first_bytes(Direction::ToServer)[4..8], [0, 3, 0, 0]);
    Ok(())
}

#[tokio::test]
async fn connection_is_found_by_its_backend() -> TestResult {
    let lab = Lab::new().await?;
    let (first, second) = (lab.client().await?.0, lab.client().await?.0);
    assert_eq!(lab.proxy.open(), 2);
    for client in [&first, &second] {
        let pid = pid(client).await?;
        assert_eq!(lab.proxy.connection(pid).and_then(|found| found.pid()), Some(pid));
    }
    assert!(lab.proxy.connection(-1).is_none());
    drop((first, second));
    until("both to end", || lab.proxy.open() == 0).await?;
    assert_eq!(lab.proxy.connections().len(), 2);
    Ok(())
}

#[tokio::test]
async fn end_of_one_side_ends_the_other() -> TestResult {
    let lab = Lab::new().await?;
    let (mut left, _) = lab.raw_client().await?;
    let (right, ended) = lab.client().await?;
    right.hold(LockKey::from(KEY), Mode::Write).await?;
    drop(right);
    lab.until_free().await?;
    until("the end", || !ended.is_open()).await?;
    let pid = lab.proxy.connections()[0].pid().ok_or("no pid")?;
    assert!(lab.witness.terminate(pid).await?);
    assert_eq!(left.rest().await?.first(), Some(&b'E'));
    Ok(())
}

#[tokio::test]
async fn client_is_disconnected_if_there_is_no_server() -> TestResult {
    // No server listens on this port.
    let proxy = Proxy::start("postgres://test:test@127.0.0.1:1/pglock")?;
    assert!(RawClient::connect(proxy.url()).await.is_err());
    until("the end", || proxy.open() == 0).await
}

#[tokio::test]
async fn url_without_a_host_is_refused() {
    let refused = Proxy::start("postgres:///pglock?host=/run/postgresql");
    assert!(matches!(refused, Err(FaultError::NoAddress)));
    assert!(matches!(Proxy::start("mysql://h/db"), Err(FaultError::Server(_))));
}

/// The fastest of many round trips, and the median.
async fn round_trips(client: &PostgresWitness) -> Result<[Duration; 2], Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..200 {
        let start = Instant::now();
        client.client().simple_query("").await?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok([times[0], times[times.len() / 2]])
}

#[tokio::test]
async fn delay_applies_in_each_direction() -> TestResult {
    let lab = Lab::new().await?;
    let (client, _) = lab.client().await?;
    let without = round_trips(&client).await?;
    for direction in Direction::BOTH {
        lab.proxy.set_delay(direction, Duration::from_millis(1));
    }
    let with = round_trips(&client).await?;
    println!("quickest and median: {without:?} without delay, {with:?} with");
    // Other tests disturb the median, but not the fastest.
    assert!(with[0] >= Duration::from_millis(2), "{with:?}");
    assert!(with[0] < Duration::from_millis(3), "{with:?}");
    Ok(())
}

#[tokio::test]
async fn delayed_messages_overlap() -> TestResult {
    let lab = Lab::new().await?;
    let (mut client, _) = lab.raw_client().await?;
    lab.proxy.set_delay(Direction::ToServer, Duration::from_millis(200));
    let start = Instant::now();
    for _ in 0..20 {
        client.query("SELECT 1").await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..20 {
        client.until('Z').await?;
    }
    let taken = start.elapsed();
    assert!((Duration::from_millis(300)..Duration::from_secs(2)).contains(&taken), "{taken:?}");
    Ok(())
}

#[tokio::test]
async fn long_answers_pass_unchanged() -> TestResult {
    let lab = Lab::new().await?;
    let (client, connection) = lab.client().await?;
    let rows = client
        .client()
        .query("SELECT repeat(chr(65 + n % 26), n) FROM generate_series(1, 2000) n", &[])
        .await?;
    for (row, length) in rows.iter().zip(1_usize..) {
        let text: String = row.try_get(0)?;
        let expected = char::from(b'A' + u8::try_from(length % 26)?);
        assert!(text.len() == length && text.chars().all(|letter| letter == expected));
    }
    assert_eq!(connection.sent(Direction::ToClient)[&Frame::Message('D')], 2000);
    Ok(())
}

#[tokio::test]
async fn tls_requests_are_recognized() -> TestResult {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    let lab = Lab::new().await?;
    let mut client = TcpStream::connect(lab.proxy.address()).await?;
    client.write_all(&SSL_REQUEST).await?;
    let answer = char::from(client.read_u8().await?);
    let connection = &lab.proxy.connections()[0];
    assert_eq!(connection.first_bytes(Direction::ToServer), SSL_REQUEST);
    assert_eq!(connection.sent(Direction::ToServer), BTreeMap::from([(Frame::SslRequest, 1)]));
    assert_eq!(connection.sent(Direction::ToClient), BTreeMap::from([(Frame::Answer(answer), 1)]));
    Ok(())
}

#[tokio::test]
async fn dropped_proxy_ends_its_connections() -> TestResult {
    let lab = Lab::new().await?;
    let (client, connection) = lab.client().await?;
    client.hold(LockKey::from(KEY), Mode::Write).await?;
    drop(lab.proxy);
    assert!(!connection.is_open());
    lab.witness.until_free(LockKey::from(KEY)).await?;
    assert!(client.locks().await.is_err());
    drop(lab.database);
    Ok(())
}

#[tokio::test]
async fn retargeted_proxy_leads_to_the_new_server() -> TestResult {
    let (lab, other) = (Lab::new().await?, TestServer::private().await?);
    // Under the name that the proxy's URL contains.
    let database = format!("CREATE DATABASE {}", lab.database.name());
    PostgresWitness::connect(other.url()).await?.client().batch_execute(&database).await?;
    let (old, connection) = lab.client().await?;
    lab.proxy.retarget(other.url())?;
    let (new, _) = lab.client().await?;
    old.hold(LockKey::from(KEY), Mode::Write).await?;
    new.hold(LockKey::from(KEY), Mode::Write).await?;
    assert_eq!(lab.witness.holders(LockKey::from(KEY)).await?.len(), 1);
    assert!(connection.is_open());
    assert!(matches!(lab.proxy.retarget("postgres:///db?host=/tmp"), Err(FaultError::NoAddress)));
    Ok(())
}
