//! Acquires that are given up while the server is answering.

use std::time::{Duration, Instant};

use pglock_core::Mode;
use pglock_sqlx::{LockKey, Locks};
use pglock_testkit::conformance::{soon, start};
use pglock_testkit::witness::Witness;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use crate::{database, locks, witness};

/// What the server answers comes this much later, and not while the gate is shut.
const DELAY: Duration = Duration::from_millis(200);

/// Between the client and the server of a URL.
struct Proxy {
    url: String,
    open: watch::Sender<bool>,
}

impl Proxy {
    async fn before(url: &str) -> Self {
        let (user, rest) = url.rsplit_once('@').unwrap();
        let (address, path) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, gate) = watch::channel(true);
        let address = address.to_owned();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&address).await.unwrap();
                tokio::spawn(carry(client, server, gate.clone()));
            }
        });
        Self { url: format!("{user}@127.0.0.1:{port}/{path}"), open }
    }
}

async fn carry(client: TcpStream, server: TcpStream, mut gate: watch::Receiver<bool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move {
        let _ = copy(&mut from_client, &mut to_server).await;
        let _ = to_server.shutdown().await;
    });
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
        sleep(DELAY).await;
        if gate.wait_for(|open| *open).await.is_err()
            || to_client.write_all(&buffer[..read]).await.is_err()
        {
            break;
        }
    }
}

#[tokio::test]
async fn acquire_dropped_between_grant_and_answer_leaves_nothing() {
    let database = database().await;
    let witness = witness(database.url()).await;
    let proxy = Proxy::before(database.url()).await;
    let locks = locks(&proxy.url);
    let lock = locks.rwlock("key");
    // So that there is a session.
    locks.rwlock("other").write().await.unwrap().release().await.unwrap();
    witness.until_quiet().await.unwrap();
    for wait in [true, false] {
        // The answer is not only late but withheld, so that the drop comes before it on a busy machine too.
        proxy.open.send_replace(false);
        let waiter = lock.clone();
        let acquire = start(async move {
            if wait { waiter.write().await.map(Some) } else { waiter.try_write().await }
        });
        until_held(&witness, "key".into()).await;
        acquire.abort();
        assert!(acquire.await.unwrap_err().is_cancelled(), "the answer came through");
        proxy.open.send_replace(true);
        witness.until_free("key".into()).await.unwrap();
        let guard = soon("the lock is free", lock.write()).await.unwrap();
        guard.release().await.unwrap();
    }
    assert_eq!((locks.stats().held, locks.stats().waiting), (0, 0));
}

#[tokio::test]
async fn acquire_behind_a_dropped_one_gets_the_lock() {
    let database = database().await;
    let witness = witness(database.url()).await;
    let proxy = Proxy::before(database.url()).await;
    let locks = locks(&proxy.url);
    let lock = locks.rwlock("key");
    locks.rwlock("other").write().await.unwrap().release().await.unwrap();
    witness.until_quiet().await.unwrap();
    proxy.open.send_replace(false);
    let waiter = lock.clone();
    let dropped = start(async move { waiter.write().await });
    until_held(&witness, "key".into()).await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    let waiter = lock.clone();
    let next = start(async move { waiter.read().await });
    while locks.stats().waiting == 0 {
        yield_now().await;
    }
    proxy.open.send_replace(true);
    let guard = soon("the lock is free", next).await.unwrap().unwrap();
    let holders = witness.holders("key".into()).await.unwrap();
    assert_eq!(holders.iter().map(|row| row.mode).collect::<Vec<_>>(), [Mode::Read]);
    guard.release().await.unwrap();
    witness.until_quiet().await.unwrap();
}

async fn until_held(witness: &impl Witness, key: LockKey) {
    soon("the server grants the lock", async {
        while witness.holders(key).await.unwrap().is_empty() {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_waits_hit_no_later_operation() {
    let database = database().await;
    let witness = witness(database.url()).await;
    let locks: Locks = locks(database.url());
    let key = LockKey::from("key");
    let lock = locks.rwlock(key);
    let mut given_up = 0;
    for round in 0..300_u64 {
        witness.hold(key, Mode::Write).await.unwrap();
        witness.hold("next".into(), Mode::Write).await.unwrap();
        let begin = Instant::now();
        let patience = Duration::from_millis(5);
        // From 3 ms before the cancel to 3 ms after it.
        let release_at = patience - Duration::from_millis(3) + Duration::from_micros(20 * round);
        let given = async {
            if timeout(patience, lock.write()).await.is_err() {
                given_up += 1;
            }
            // At once: the same key, another one, and a wait that takes the session of the cancelled one.
            let (other, next) = (locks.rwlock("other"), locks.rwlock("next"));
            let (same, other, wait) = tokio::join!(
                lock.try_read(),
                other.write(),
                next.try_write_for(Duration::from_secs(10)),
            );
            same.map(drop).unwrap();
            drop(other.unwrap());
            wait.unwrap().release().await.unwrap();
            lock.write().await.unwrap().release().await.unwrap();
        };
        let release = async {
            while begin.elapsed() < release_at {
                yield_now().await;
            }
            assert!(witness.release(key, Mode::Write).await.unwrap());
            sleep(Duration::from_millis(3)).await;
            assert!(witness.release("next".into(), Mode::Write).await.unwrap());
        };
        soon("the round ends", async { tokio::join!(given, release) }).await;
    }
    println!("{given_up} of 300 waits were given up");
    assert!(given_up > 30, "{given_up}");
    witness.until_quiet().await.unwrap();
}
