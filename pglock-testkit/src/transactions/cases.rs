//! The cases. Each has a database of its own.

// Cases are tests: they fail by panicking, and the panic says what is wrong.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use pglock_core::Mode::{Read, Write};
use pglock_core::{ErrorKind, LockKey};

mod coming_back;
mod fencing;
mod settings;
mod waiting;

pub use self::coming_back::*;
pub use self::fencing::*;
pub use self::settings::*;
pub use self::waiting::*;

use super::Patience::{Try, TryAtAnyIsolation, Wait, WaitFor};
use super::{Client, Site};
use crate::faults::{PgBouncer, PoolMode, Standby, allowed};
use crate::postgres::{TestServer, connect};
use crate::witness::{PostgresWitness, Witness};

/// Long enough for a loaded machine, and too short for a wait that was cut short.
const SOON: Duration = Duration::from_secs(30);

async fn begin<C: Client>(site: &Site) -> C {
    begin_at::<C>(site.database.url()).await
}

async fn begin_at<C: Client>(url: &str) -> C {
    let mut tx = C::connect(url).await.unwrap();
    tx.begin().await.unwrap();
    tx
}

async fn setting<C: Client>(tx: &mut C, name: &str) -> String {
    tx.value(&format!("SELECT current_setting('{name}')")).await.unwrap()
}

pub async fn commit_and_rollback_release<C: Client>(site: Site) {
    let key = LockKey::from("key");
    for commits in [true, false] {
        let mut tx = begin::<C>(&site).await;
        assert!(tx.lock("key".into(), Write, Try).await.unwrap());
        assert_eq!(site.witness.holders(key).await.unwrap().len(), 1);
        match commits {
            true => tx.commit().await.unwrap(),
            false => tx.roll_back().await.unwrap(),
        }
        assert!(site.witness.holders(key).await.unwrap().is_empty());
    }
}

pub async fn transactions_and_guards_exclude_each_other<C: Client>(site: Site) {
    let key = LockKey::from("key");
    // A guard's lock belongs to its session.
    site.witness.hold(key, Write).await.unwrap();
    let mut tx = begin::<C>(&site).await;
    assert!(!tx.lock("key".into(), Read, Try).await.unwrap());
    assert!(site.witness.release(key, Write).await.unwrap());
    assert!(tx.lock("key".into(), Write, Try).await.unwrap());
    let other = connect(site.database.url()).await.unwrap();
    let row = other.query_one("SELECT pg_try_advisory_lock($1)", &[&bits(key)]).await.unwrap();
    assert!(!row.get::<_, bool>(0));
    tx.commit().await.unwrap();
}

fn bits(key: LockKey) -> i64 {
    key.as_bigint().unwrap()
}

pub async fn readers_share_and_exclude_writers<C: Client>(site: Site) {
    let (mut a, mut b, mut c) =
        (begin::<C>(&site).await, begin::<C>(&site).await, begin::<C>(&site).await);
    assert!(a.lock("key".into(), Read, Try).await.unwrap());
    assert!(b.lock("key".into(), Read, Wait).await.unwrap());
    assert!(!c.lock("key".into(), Write, Try).await.unwrap());
    // A transaction may take its lock again, and also in the other mode if no other session holds
    // it.
    assert!(a.lock("key".into(), Read, Try).await.unwrap());
    b.commit().await.unwrap();
    assert!(a.lock("key".into(), Write, Try).await.unwrap());
}

pub async fn pairs_and_negative_keys_are_keys_of_their_own<C: Client>(site: Site) {
    let mut tx = begin::<C>(&site).await;
    let keys = [LockKey::from(-42), LockKey::from((5, -7)), LockKey::from((-5, 7))];
    for key in keys {
        assert!(tx.lock(key.into(), Write, Try).await.unwrap());
        assert_eq!(site.witness.holders(key).await.unwrap().len(), 1, "{key:?}");
    }
    let mut other = begin::<C>(&site).await;
    for key in keys {
        assert!(!other.lock(key.into(), Write, Try).await.unwrap());
    }
    assert!(other.lock(LockKey::from((7, -5)).into(), Write, Try).await.unwrap());
}

pub async fn busy_try_leaves_no_trace<C: Client>(site: Site) {
    site.witness.hold("key".into(), Write).await.unwrap();
    let mut tx = begin::<C>(&site).await;
    tx.execute("SET LOCAL lock_timeout = '7s'").await.unwrap();
    assert!(!tx.lock("key".into(), Write, Try).await.unwrap());
    assert_unharmed(&site, &mut tx).await;
    assert_eq!(setting(&mut tx, "lock_timeout").await, "7s");
}

/// The transaction continues, and neither holds the key nor waits for it.
async fn assert_unharmed<C: Client>(site: &Site, tx: &mut C) {
    assert_eq!(tx.value("SELECT 'fine'").await.unwrap(), "fine");
    let key = LockKey::from("key");
    assert_eq!(site.witness.holders(key).await.unwrap().len(), 1);
    assert!(site.witness.waiters(key).await.unwrap().is_empty());
}

pub async fn outside_a_transaction_is_refused<C: Client>(site: Site) {
    let mut connection = C::connect(site.database.url()).await.unwrap();
    for patience in [Try, Wait, WaitFor(SOON), TryAtAnyIsolation] {
        let error = connection.lock("key".into(), Write, patience).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOptions, "{error:?}");
    }
    assert!(site.witness.holders("key".into()).await.unwrap().is_empty());
}

/// The client does not notice it, so it would not know when the lock ends.
pub async fn transaction_begun_by_text_is_refused<C: Client>(site: Site) {
    let mut connection = C::connect(site.database.url()).await.unwrap();
    connection.execute("BEGIN").await.unwrap();
    for patience in [Try, Wait, WaitFor(SOON), TryAtAnyIsolation] {
        let error = connection.lock("key".into(), Write, patience).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOptions, "{error:?}");
        assert!(error.to_string().contains("sent as SQL"), "{error}");
    }
    assert!(site.witness.holders("key".into()).await.unwrap().is_empty());
    connection.execute("ROLLBACK").await.unwrap();
}

pub async fn old_snapshot_is_refused_unless_allowed<C: Client>(site: Site) {
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut tx = begin::<C>(&site).await;
        tx.execute(&format!("SET TRANSACTION ISOLATION LEVEL {level}")).await.unwrap();
        for patience in [Try, Wait] {
            let error = tx.lock("key".into(), Write, patience).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOptions, "{error:?}");
            assert!(error.to_string().contains("READ COMMITTED"), "{error}");
        }
        assert!(site.witness.holders("key".into()).await.unwrap().is_empty());
        assert!(tx.lock("key".into(), Write, TryAtAnyIsolation).await.unwrap());
        tx.roll_back().await.unwrap();
    }
}

pub async fn nested_rollback_releases<C: Client>(site: Site) {
    let mut tx = begin::<C>(&site).await;
    assert!(tx.lock("outer".into(), Write, Try).await.unwrap());
    for commits in [false, true] {
        tx.begin().await.unwrap();
        assert!(tx.lock("inner".into(), Write, Try).await.unwrap());
        match commits {
            true => tx.commit().await.unwrap(),
            false => tx.roll_back().await.unwrap(),
        }
        let holders = site.witness.holders("inner".into()).await.unwrap();
        assert_eq!(holders.len(), usize::from(commits));
    }
    assert_eq!(site.witness.holders("outer".into()).await.unwrap().len(), 1);
}

pub async fn role_with_connect_only_can_lock<C: Client>(site: Site) {
    drop(site);
    // Roles belong to the whole server, not to a database.
    let server = TestServer::private().await.unwrap();
    let admin = connect(server.url()).await.unwrap();
    let sql = "CREATE ROLE plain LOGIN; REVOKE ALL ON SCHEMA public FROM PUBLIC";
    admin.batch_execute(sql).await.unwrap();
    let url = server.url().replace("test:test@", "plain:x@");
    let (mut a, mut b) = (begin_at::<C>(&url).await, begin_at::<C>(&url).await);
    assert!(a.lock("key".into(), Write, Try).await.unwrap());
    let wait = b.lock("key".into(), Write, WaitFor(Duration::from_millis(30))).await;
    assert_eq!(wait.unwrap_err().kind(), ErrorKind::Timeout);
    a.commit().await.unwrap();
    assert!(b.lock("key".into(), Write, Wait).await.unwrap());
}

pub async fn standby_is_refused<C: Client>(site: Site) {
    drop(site);
    let primary = TestServer::private().await.unwrap();
    let standby = allowed("standby_is_refused", Standby::of(&primary).await).unwrap();
    let Some(standby) = standby else { return };
    let mut tx = begin_at::<C>(standby.server().url()).await;
    let error = tx.lock("key".into(), Write, Try).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedServer, "{error:?}");
}

pub async fn locks_work_behind_a_transaction_pooler<C: Client>(site: Site) {
    let pooler = PgBouncer::start(&site.server, PoolMode::Transaction).await;
    let pooler = allowed("locks_work_behind_a_transaction_pooler", pooler).unwrap();
    let Some(pooler) = pooler else { return };
    let witness = PostgresWitness::connect(site.server.url()).await.unwrap();
    let key = LockKey::from("transactions behind a pooler");
    let (mut a, mut b) =
        (C::connect(pooler.url()).await.unwrap(), C::connect(pooler.url()).await.unwrap());
    for _ in 0..5 {
        a.begin().await.unwrap();
        b.begin().await.unwrap();
        assert!(a.lock(key.into(), Write, Wait).await.unwrap());
        assert!(!b.lock(key.into(), Write, Try).await.unwrap());
        let wait = b.lock(key.into(), Write, WaitFor(Duration::from_millis(30))).await;
        assert_eq!(wait.unwrap_err().kind(), ErrorKind::Timeout);
        a.commit().await.unwrap();
        assert!(b.lock(key.into(), Write, Wait).await.unwrap());
        b.commit().await.unwrap();
        assert!(witness.holders(key).await.unwrap().is_empty());
    }
}
