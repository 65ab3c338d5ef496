//! Settings of the database or the role under which transactions lock.

use std::time::Duration;

use pglock_core::Mode::Write;
use pglock_core::{ErrorKind, FencingToken, LockKey};
use tokio::time::{sleep, timeout};

use super::fencing::{end_session, fence, gate, tokens};
use super::{SOON, begin, begin_at, setting};
use crate::conformance::cases::settings::{SHADOWS, TIMEOUTS};
use crate::postgres::TestServer;
use crate::transactions::Patience::{Try, Wait, WaitFor};
use crate::transactions::{Client, Site};
use crate::witness::{PostgresWitness, Witness};

pub async fn timeouts_of_the_role_do_not_shorten_a_wait<C: Client>(site: Site) {
    drop(site);
    // Roles belong to the whole server, not to a database.
    let server = TestServer::private().await.unwrap();
    let witness = PostgresWitness::connect(server.url()).await.unwrap();
    let alter = async |settings: &str| witness.client().batch_execute(settings).await.unwrap();
    // So that a slice of a wait takes 1.1 s.
    alter("CREATE ROLE hasty LOGIN; ALTER ROLE hasty SET deadlock_timeout = '100ms'").await;
    let version = witness.major_version().await.unwrap();
    for (name, since) in TIMEOUTS {
        if since <= version && name != "transaction_timeout" {
            alter(&format!("ALTER ROLE hasty SET {name} = '1500ms'")).await;
        }
    }
    let url = server.url().replace("test:test@", "hasty:x@");
    for patience in [Wait, WaitFor(SOON)] {
        witness.hold("key".into(), Write).await.unwrap();
        let mut tx = begin_at::<C>(&url).await;
        let wait = tokio::spawn(async move {
            assert!(tx.lock("key".into(), Write, patience).await.unwrap());
            for name in ["lock_timeout", "statement_timeout"] {
                assert_eq!(setting(&mut tx, name).await, "1500ms");
            }
            // They still end what the application does.
            tx.execute("SELECT pg_sleep(20)").await.unwrap_err();
            tx.roll_back().await.unwrap();
        });
        witness.until_waiting("key".into(), 1).await.unwrap();
        // More than two slices.
        sleep(Duration::from_millis(2500)).await;
        witness.until_waiting("key".into(), 1).await.unwrap();
        witness.release("key".into(), Write).await.unwrap();
        timeout(SOON, wait).await.unwrap().unwrap();
        witness.until_free("key".into()).await.unwrap();
    }
    if version >= 17 {
        // Shorter than a slice, after which the server forgets it.
        alter("ALTER ROLE hasty SET transaction_timeout = '700ms'").await;
        witness.hold("key".into(), Write).await.unwrap();
        let mut tx = begin_at::<C>(&url).await;
        let wait = timeout(SOON, tx.lock("key".into(), Write, Wait)).await.unwrap();
        assert_eq!(wait.unwrap_err().kind(), ErrorKind::Connection);
    }
}

pub async fn shadow_functions_and_operators_do_not_matter<C: Client>(site: Site) {
    site.witness.client().batch_execute(FencingToken::TABLE).await.unwrap();
    site.witness.client().batch_execute(SHADOWS).await.unwrap();
    assert_excluding::<C>(&site).await;
}

pub async fn shadow_types_do_not_matter<C: Client>(site: Site) {
    site.witness.client().batch_execute(FencingToken::TABLE).await.unwrap();
    for shadow in ["int8", "int4", "int2", "text", "interval", "bit"] {
        let sql = format!("CREATE DOMAIN public.{shadow} AS pg_catalog.bool");
        site.witness.client().batch_execute(&sql).await.unwrap();
    }
    assert_excluding::<C>(&site).await;
}

/// Locks, waits, fences and tokens do what they should, although the schema with the shadows comes
/// first.
async fn assert_excluding<C: Client>(site: &Site) {
    let database = site.database.name();
    let path = format!("ALTER DATABASE {database} SET search_path = public, pg_catalog");
    site.witness.client().batch_execute(&path).await.unwrap();
    for key in [LockKey::from("excluded"), (5, -7).into()] {
        let (mut a, mut b) = (begin::<C>(site).await, begin::<C>(site).await);
        assert!(a.lock(key.into(), Write, Try).await.unwrap());
        assert_eq!(site.witness.holders(key).await.unwrap().len(), 1);
        assert!(!b.lock(key.into(), Write, Try).await.unwrap());
        let some_time = WaitFor(Duration::from_millis(30));
        let error = b.lock(key.into(), Write, some_time).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
        let wait = tokio::spawn(async move { b.lock(key.into(), Write, Wait).await.map(|_| b) });
        let waiter = site.witness.until_waiting(key, 1).await.unwrap()[0].pid;
        a.commit().await.unwrap();
        let mut b = timeout(SOON, wait).await.unwrap().unwrap().unwrap();
        assert_eq!(site.witness.holders(key).await.unwrap()[0].pid, waiter);
        b.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await.unwrap_err();
        b.roll_back().await.unwrap();
        b.begin().await.unwrap();
        b.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await.unwrap();
        let error = b.lock(key.into(), Write, Try).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOptions, "{error:?}");
    }
    let [(stale, old), (guard, new)] = tokens::<C>(site).await;
    let mut tx = begin::<C>(site).await;
    fence(&guard, &mut tx).await.unwrap();
    assert_eq!(site.witness.holders(gate()).await.unwrap().len(), 1);
    tx.locks().await.check_token(new, "invoices").await.unwrap();
    tx.commit().await.unwrap();
    tx.begin().await.unwrap();
    let error = tx.locks().await.check_token(old, "invoices").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}");
    assert_eq!(fence(&stale, &mut tx).await.unwrap_err().kind(), ErrorKind::Lost);
    tx.roll_back().await.unwrap();
    end_session(&site.witness).await;
    tx.begin().await.unwrap();
    assert_eq!(fence(&guard, &mut tx).await.unwrap_err().kind(), ErrorKind::Lost);
    tx.roll_back().await.unwrap();
}
