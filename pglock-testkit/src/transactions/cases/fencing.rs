//! Transactions that guards fence, and what they keep a stale holder from.

use pglock_core::{ErrorKind, LockKey, Locks, NamedKey, ReadGuard, Result, WriteGuard};
use tokio::task::JoinHandle;

use super::{begin, begin_at};
use crate::faults::{PgBouncer, PoolMode, Standby, allowed};
use crate::postgres::{StopMode, TestServer};
use crate::transactions::{Client, Site};
use crate::witness::{PostgresWitness, Witness};

mod guards;
mod stale;
mod tokens;

pub use self::guards::*;
pub use self::stale::*;
pub use self::tokens::*;

const KEY: &str = "key";

/// The key that fenced transactions take.
pub(super) fn gate() -> LockKey {
    NamedKey::in_namespace("pglock-fence", &LockKey::from(KEY).to_string()).key()
}

async fn write(locks: &Locks) -> WriteGuard {
    locks.rwlock(KEY).write().await.unwrap()
}

pub(super) async fn fence<C: Client>(guard: &WriteGuard, tx: &mut C) -> Result<()> {
    guard.fence(tx.locks().await).await
}

/// Fences, which may take until another transaction has ended.
fn start_fence<C: Client>(guard: WriteGuard, mut tx: C) -> JoinHandle<(WriteGuard, C, Result<()>)> {
    tokio::spawn(async move {
        let fenced = fence(&guard, &mut tx).await;
        (guard, tx, fenced)
    })
}

async fn make_table(site: &Site) {
    let sql = "CREATE TABLE written (at serial, who text)";
    site.witness.client().batch_execute(sql).await.unwrap();
}

async fn insert<C: Client>(tx: &mut C, who: &str) {
    tx.execute(&format!("INSERT INTO written (who) VALUES ('{who}')")).await.unwrap();
}

/// What the transaction sees.
async fn written<C: Client>(tx: &mut C) -> String {
    let all = "SELECT coalesce(string_agg(who, ' ' ORDER BY at), '') FROM written";
    tx.value(all).await.unwrap()
}

/// Ends the session that holds the lock; its process does not know yet.
pub(super) async fn end_session(witness: &PostgresWitness) {
    end_session_of(witness, KEY.into()).await;
}

async fn end_session_of(witness: &PostgresWitness, key: LockKey) {
    let holders = witness.holders(key).await.unwrap();
    assert!(witness.terminate(holders[0].pid).await.unwrap());
    witness.until_free(key).await.unwrap();
}

pub async fn fence_lets_a_holder_write<C: Client>(site: Site) {
    make_table(&site).await;
    let guard = write(&site.locks::<C>()).await;
    for round in 0..2 {
        let mut tx = begin::<C>(&site).await;
        fence(&guard, &mut tx).await.unwrap();
        fence(&guard, &mut tx).await.unwrap();
        insert(&mut tx, "a").await;
        assert_eq!(site.witness.holders(gate()).await.unwrap().len(), 1, "{round}");
        tx.commit().await.unwrap();
        site.witness.until_free(gate()).await.unwrap();
    }
    assert_eq!(written(&mut begin::<C>(&site).await).await, "a a");
    guard.release().await.unwrap();
    let pair = site.locks::<C>().rwlock((5, -7)).write().await.unwrap();
    fence(&pair, &mut begin::<C>(&site).await).await.unwrap();
}

pub async fn fence_of_a_lost_lock_is_refused<C: Client>(site: Site) {
    let guard = write(&site.locks::<C>()).await;
    let mut tx = begin::<C>(&site).await;
    end_session(&site.witness).await;
    let error = fence(&guard, &mut tx).await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::Lost, Some(KEY.into())), "{error:?}");
    tx.roll_back().await.unwrap();
}

pub async fn fence_in_another_database_is_refused<C: Client>(site: Site) {
    let guard = write(&site.locks::<C>()).await;
    let other = site.server.database().await.unwrap();
    let mut tx = begin_at::<C>(other.url()).await;
    let error = fence(&guard, &mut tx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOptions, "{error:?}");
    assert!(error.to_string().contains("not in the database of the lock"), "{error}");
}

pub async fn fence_on_another_server_is_refused<C: Client>(site: Site) {
    let primary = TestServer::private().await.unwrap();
    let guard = write(&site.locks::<C>()).await;
    let error = fence(&guard, &mut begin_at::<C>(primary.url()).await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOptions, "{error:?}");
    let standby = Standby::of(&primary).await;
    let standby = allowed("fence_on_another_server_is_refused", standby).unwrap();
    let Some(standby) = standby else { return };
    // Both servers think that they are the primary.
    let guard = write(&site.locks_at::<C>(primary.url())).await;
    let mut tx = begin_at::<C>(standby.server().url()).await;
    let error = fence(&guard, &mut tx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedServer, "{error:?}");
    standby.promote().await.unwrap();
    let mut tx = begin_at::<C>(standby.server().url()).await;
    let error = fence(&guard, &mut tx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}");
}

pub async fn fence_after_a_crash_is_refused<C: Client>(site: Site) {
    let server = TestServer::private().await.unwrap();
    let stale = write(&site.locks_at::<C>(server.url())).await;
    fence(&stale, &mut begin_at::<C>(server.url()).await).await.unwrap();
    server.stop(StopMode::Immediate).await.unwrap();
    server.start().await.unwrap();
    let later = write(&site.locks_at::<C>(server.url())).await;
    let mut tx = begin_at::<C>(server.url()).await;
    let error = fence(&stale, &mut tx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}");
    tx.roll_back().await.unwrap();
    tx.begin().await.unwrap();
    fence(&later, &mut tx).await.unwrap();
}

pub async fn fence_outside_a_transaction_is_refused<C: Client>(site: Site) {
    let guard = write(&site.locks::<C>()).await;
    let mut connection = C::connect(site.database.url()).await.unwrap();
    let error = fence(&guard, &mut connection).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOptions, "{error:?}");
    assert!(site.witness.holders(gate()).await.unwrap().is_empty());
}

pub async fn fence_at_an_old_snapshot_is_refused_unless_allowed<C: Client>(site: Site) {
    let guard = write(&site.locks::<C>()).await;
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut tx = begin::<C>(&site).await;
        tx.execute(&format!("SET TRANSACTION ISOLATION LEVEL {level}")).await.unwrap();
        let error = fence(&guard, &mut tx).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOptions, "{error:?}");
        guard.fence(tx.locks().await.at_any_isolation()).await.unwrap();
        tx.roll_back().await.unwrap();
    }
}

pub async fn fence_waits_for_that_of_an_earlier_holder<C: Client>(site: Site) {
    make_table(&site).await;
    let earlier = write(&site.locks::<C>()).await;
    let mut tx = begin::<C>(&site).await;
    fence(&earlier, &mut tx).await.unwrap();
    insert(&mut tx, "earlier").await;
    // Before the commit.
    earlier.release().await.unwrap();
    let later = write(&site.locks::<C>()).await;
    let wait = start_fence(later, begin::<C>(&site).await);
    site.witness.until_waiting(gate(), 1).await.unwrap();
    tx.commit().await.unwrap();
    let (_later, mut tx, fenced) = wait.await.unwrap();
    fenced.unwrap();
    assert_eq!(written(&mut tx).await, "earlier");
}

pub async fn fence_that_has_waited_is_refused_if_the_lock_is_lost<C: Client>(site: Site) {
    let earlier = write(&site.locks::<C>()).await;
    let mut tx = begin::<C>(&site).await;
    fence(&earlier, &mut tx).await.unwrap();
    earlier.release().await.unwrap();
    let wait = start_fence(write(&site.locks::<C>()).await, begin::<C>(&site).await);
    site.witness.until_waiting(gate(), 1).await.unwrap();
    end_session(&site.witness).await;
    tx.commit().await.unwrap();
    let (_, _, fenced) = wait.await.unwrap();
    assert_eq!(fenced.unwrap_err().kind(), ErrorKind::Lost);
}

/// The session ends between the fence and the commit.
pub async fn fence_outlives_the_session_of_its_lock<C: Client>(site: Site) {
    make_table(&site).await;
    let stale = write(&site.locks::<C>()).await;
    let mut tx = begin::<C>(&site).await;
    fence(&stale, &mut tx).await.unwrap();
    end_session(&site.witness).await;
    let later = write(&site.locks::<C>()).await;
    let wait = start_fence(later, begin::<C>(&site).await);
    site.witness.until_waiting(gate(), 1).await.unwrap();
    insert(&mut tx, "stale").await;
    tx.commit().await.unwrap();
    let (later, mut tx, fenced) = wait.await.unwrap();
    fenced.unwrap();
    insert(&mut tx, "later").await;
    assert_eq!(written(&mut tx).await, "stale later");
    tx.commit().await.unwrap();
    let error = fence(&stale, &mut begin::<C>(&site).await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}");
    later.release().await.unwrap();
}

pub async fn fences_of_readers_share_and_exclude_those_of_writers<C: Client>(site: Site) {
    let read = async || site.locks::<C>().rwlock(KEY).read().await.unwrap();
    let readers: [ReadGuard; 2] = [read().await, read().await];
    let mut transactions = Vec::new();
    for reader in readers {
        let mut tx = begin::<C>(&site).await;
        reader.fence(tx.locks().await).await.unwrap();
        reader.release().await.unwrap();
        transactions.push(tx);
    }
    assert_eq!(site.witness.holders(gate()).await.unwrap().len(), 2);
    let wait = start_fence(write(&site.locks::<C>()).await, begin::<C>(&site).await);
    for mut tx in transactions {
        site.witness.until_waiting(gate(), 1).await.unwrap();
        assert!(!wait.is_finished());
        tx.roll_back().await.unwrap();
    }
    wait.await.unwrap().2.unwrap();
}

pub async fn fences_work_behind_a_transaction_pooler<C: Client>(site: Site) {
    let pooler = PgBouncer::start(&site.server, PoolMode::Transaction).await;
    let pooler = allowed("fences_work_behind_a_transaction_pooler", pooler).unwrap();
    let Some(pooler) = pooler else { return };
    let key = "fences behind a pooler";
    let witness = PostgresWitness::connect(site.server.url()).await.unwrap();
    let guard = site.locks_at::<C>(site.server.url()).rwlock(key).write().await.unwrap();
    let mut tx = C::connect(pooler.url()).await.unwrap();
    for _ in 0..5 {
        tx.begin().await.unwrap();
        fence(&guard, &mut tx).await.unwrap();
        tx.commit().await.unwrap();
    }
    witness.terminate(witness.holders(key.into()).await.unwrap()[0].pid).await.unwrap();
    witness.until_free(key.into()).await.unwrap();
    tx.begin().await.unwrap();
    assert_eq!(fence(&guard, &mut tx).await.unwrap_err().kind(), ErrorKind::Lost);
    tx.roll_back().await.unwrap();
}
