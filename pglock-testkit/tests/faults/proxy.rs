use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::time::{Duration, Instant};

use pglock_core::{LockKey, Mode};
use pglock_testkit::faults::{Direction, FaultError, Frame, Proxy, ProxyConnection};
use pglock_testkit::postgres::{TestDatabase, TestServer};
use pglock_testkit::witness::{PostgresWitness, Witness};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::TestResult;
use crate::raw::RawClient;

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
}

/// Without a prepared statement, whose end would be told and answered later.
async fn pid(client: &PostgresWitness) -> Result<i32, tokio_postgres::Error> {
    client.client().query_typed("SELECT pg_backend_pid()", &[]).await?[0].try_get(0)
}

async fn until(what: &str, reached: impl Fn() -> bool) -> TestResult {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        if Instant::now() > deadline {
            return Err(format!("waited in vain for {what}").into());
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
async fn what_passes_is_counted() -> TestResult {
    let lab = Lab::new().await?;
    let (mut client, connection) = lab.raw_client().await?;
    client.query("SELECT 1; SELECT 2").await?;
    client.until('Z').await?;
    assert_eq!(
        connection.sent(Direction::ToServer),
        BTreeMap::from([(Frame::Startup, 1), (Frame::Message('Q'), 1)])
    );
    let told = connection.sent(Direction::ToClient);
    for (message, count) in [('R', 1), ('K', 1), ('T', 2), ('D', 2), ('C', 2), ('Z', 2)] {
        assert_eq!(told.get(&Frame::Message(message)), Some(&count), "{message}");
    }
    assert!(!told.contains_key(&Frame::Unknown));
    assert_eq!(lab.proxy.sent(Direction::ToClient), told);
    assert_eq!(connection.first_bytes(Direction::ToServer)[4..8], [0, 3, 0, 0]);
    Ok(())
}

#[tokio::test]
async fn connections_are_found_by_their_server_process() -> TestResult {
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
async fn an_end_at_one_side_is_an_end_at_the_other() -> TestResult {
    let lab = Lab::new().await?;
    let (mut left, _) = lab.raw_client().await?;
    let (right, ended) = lab.client().await?;
    right.hold(LockKey::from(1), Mode::Write).await?;
    drop(right);
    lab.witness.until_free(LockKey::from(1)).await?;
    until("the end", || !ended.is_open()).await?;
    let pid = lab.proxy.connections()[0].pid().ok_or("no pid")?;
    assert!(lab.witness.terminate(pid).await?);
    assert_eq!(left.rest().await?.first(), Some(&b'E'));
    Ok(())
}

#[tokio::test]
async fn a_client_without_a_server_is_disconnected() -> TestResult {
    // Nobody listens there.
    let proxy = Proxy::start("postgres://test:test@127.0.0.1:1/pglock")?;
    assert!(RawClient::connect(proxy.url()).await.is_err());
    until("the end", || proxy.open() == 0).await
}

#[tokio::test]
async fn a_url_without_a_host_is_refused() {
    let refused = Proxy::start("postgres:///pglock?host=/run/postgresql");
    assert!(matches!(refused, Err(FaultError::NoAddress)));
    assert!(matches!(Proxy::start("mysql://h/db"), Err(FaultError::Server(_))));
}

/// The quickest of many round trips, and the one in the middle.
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
async fn a_millisecond_each_way_is_two_in_the_round_trip() -> TestResult {
    let lab = Lab::new().await?;
    let (client, _) = lab.client().await?;
    let without = round_trips(&client).await?;
    for direction in Direction::BOTH {
        lab.proxy.set_delay(direction, Duration::from_millis(1));
    }
    let with = round_trips(&client).await?;
    println!("quickest and median: {without:?} without delay, {with:?} with");
    // Other tests disturb the median, but not the quickest.
    assert!(with[0] >= Duration::from_millis(2), "{with:?}");
    assert!(with[0] < Duration::from_millis(3), "{with:?}");
    Ok(())
}

#[tokio::test]
async fn a_delay_is_not_a_queue() -> TestResult {
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
async fn a_stalled_client_does_not_learn_what_the_server_has_done() -> TestResult {
    let lab = Lab::new().await?;
    let (client, connection) = lab.client().await?;
    let server_process = pid(&client).await?;
    let before = answers(&connection);
    connection.stall(Direction::ToClient);
    let asking = tokio::spawn(async move {
        client.client().batch_execute("SELECT pg_advisory_lock(1)").await.map(|()| client)
    });
    until("the answer", || answers(&connection) > before).await?;
    assert_eq!(lab.witness.holders(LockKey::from(1)).await?[0].pid, server_process);
    assert!(!asking.is_finished());
    connection.resume(Direction::ToClient);
    asking.await??;
    Ok(())
}

#[tokio::test]
async fn a_stalled_server_does_not_learn_what_the_client_asks() -> TestResult {
    let lab = Lab::new().await?;
    let (mut client, connection) = lab.raw_client().await?;
    lab.proxy.stall(Direction::ToServer);
    client.query("SELECT pg_try_advisory_lock(1)").await?;
    until("the query", || queries(&connection) == 1).await?;
    // Whoever comes later is first.
    lab.witness.hold(LockKey::from(1), Mode::Write).await?;
    lab.proxy.resume(Direction::ToServer);
    client.until('T').await?;
    assert_eq!(client.message().await?.last(), Some(&b'f'));
    Ok(())
}

#[tokio::test]
async fn an_answer_can_be_held_back_on_one_connection() -> TestResult {
    let lab = Lab::new().await?;
    let (client, connection) = lab.client().await?;
    let (other, _) = lab.client().await?;
    connection.hold(Direction::ToClient, 'D');
    let asking = tokio::spawn(async move {
        client.client().simple_query("SELECT pg_advisory_lock(1)").await.map(|_| client)
    });
    connection.until_held(Direction::ToClient).await?;
    let holder = lab.witness.holders(LockKey::from(1)).await?[0].pid;
    assert_eq!(Some(holder), connection.pid());
    assert_ne!(pid(&other).await?, holder);
    assert!(!asking.is_finished());
    connection.release(Direction::ToClient);
    let client = asking.await??;
    // Only that one answer.
    assert_eq!(pid(&client).await?, holder);
    Ok(())
}

#[tokio::test]
async fn what_comes_before_a_held_message_passes() -> TestResult {
    let lab = Lab::new().await?;
    let (mut client, connection) = lab.raw_client().await?;
    for _ in 0..2 {
        connection.hold(Direction::ToClient, 'C');
        client.query("SELECT 1").await?;
        connection.until_held(Direction::ToClient).await?;
        for expected in *b"TD" {
            assert_eq!(client.message().await?[0], expected);
        }
        connection.release(Direction::ToClient);
        connection.hold(Direction::ToClient, 'C');
        for expected in *b"CZ" {
            assert_eq!(client.message().await?[0], expected);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_reset_is_an_error_for_both_sides() -> TestResult {
    let lab = Lab::new().await?;
    let (mut client, connection) = lab.raw_client().await?;
    client.query("SELECT pg_advisory_lock(1)").await?;
    client.until('Z').await?;
    connection.reset();
    let error = client.rest().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    lab.witness.until_free(LockKey::from(1)).await?;
    until("the end", || !connection.is_open()).await
}

#[tokio::test]
async fn a_reset_ends_connections_that_are_stalled_or_held() -> TestResult {
    let lab = Lab::new().await?;
    let (mut held, holding) = lab.raw_client().await?;
    let (mut stalled, stalling) = lab.raw_client().await?;
    holding.hold(Direction::ToClient, 'D');
    stalling.stall(Direction::ToClient);
    for (client, key) in [(&mut held, 1), (&mut stalled, 2)] {
        client.query(&format!("SELECT pg_advisory_lock({key})")).await?;
    }
    holding.until_held(Direction::ToClient).await?;
    lab.proxy.reset();
    for client in [&mut held, &mut stalled] {
        assert!(client.rest().await.is_err());
    }
    lab.witness.until_quiet().await?;
    Ok(())
}

#[tokio::test]
async fn a_half_closed_connection_lives_on_at_the_server() -> TestResult {
    let lab = Lab::new().await?;
    let (mut client, connection) = lab.raw_client().await?;
    client.query("SELECT pg_advisory_lock(1)").await?;
    client.until('Z').await?;
    connection.half_close(Direction::ToClient);
    assert!(client.rest().await?.is_empty());
    assert_eq!(lab.witness.holders(LockKey::from(1)).await?.len(), 1);
    client.query("SELECT pg_advisory_unlock(1)").await?;
    lab.witness.until_free(LockKey::from(1)).await?;
    Ok(())
}

#[tokio::test]
async fn a_half_closed_connection_ends_at_the_server() -> TestResult {
    let lab = Lab::new().await?;
    let (mut client, connection) = lab.raw_client().await?;
    client.query("SELECT pg_advisory_lock(1)").await?;
    client.until('Z').await?;
    connection.half_close(Direction::ToServer);
    lab.witness.until_free(LockKey::from(1)).await?;
    // The server takes it for a client that has left.
    assert!(client.rest().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_message_can_be_cut() -> TestResult {
    let lab = Lab::new().await?;
    let (mut client, connection) = lab.raw_client().await?;
    client.query("SELECT pg_advisory_lock(1)").await?;
    client.until('Z').await?;
    connection.cut(Direction::ToClient);
    client.query("SELECT repeat('x', 100000)").await?;
    let received = client.rest().await?;
    assert_eq!(received[0], b'T');
    let length = u32::from_be_bytes([received[1], received[2], received[3], received[4]]);
    assert_eq!(received.len(), (length as usize).div_ceil(2));
    lab.witness.until_free(LockKey::from(1)).await?;
    Ok(())
}

#[tokio::test]
async fn long_answers_pass_unharmed() -> TestResult {
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
async fn clients_that_ask_for_tls_are_recognized() -> TestResult {
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
async fn a_dropped_proxy_ends_its_connections() -> TestResult {
    let lab = Lab::new().await?;
    let (client, connection) = lab.client().await?;
    client.hold(LockKey::from(1), Mode::Write).await?;
    drop(lab.proxy);
    assert!(!connection.is_open());
    lab.witness.until_free(LockKey::from(1)).await?;
    assert!(client.locks().await.is_err());
    drop(lab.database);
    Ok(())
}

#[tokio::test]
async fn moved_proxy_leads_new_clients_to_its_new_server() -> TestResult {
    let (lab, other) = (Lab::new().await?, TestServer::private().await?);
    // By the name that the proxy's URL has.
    let database = format!("CREATE DATABASE {}", lab.database.name());
    PostgresWitness::connect(other.url()).await?.client().batch_execute(&database).await?;
    let (old, connection) = lab.client().await?;
    lab.proxy.retarget(other.url())?;
    let (new, _) = lab.client().await?;
    old.hold(LockKey::from(1), Mode::Write).await?;
    new.hold(LockKey::from(1), Mode::Write).await?;
    assert_eq!(lab.witness.holders(LockKey::from(1)).await?.len(), 1);
    assert!(connection.is_open());
    assert!(matches!(lab.proxy.retarget("postgres:///db?host=/tmp"), Err(FaultError::NoAddress)));
    Ok(())
}
