//! Fences of guards that stand for another: leaderships, guards of either mode, upgradable readers.

use pglock_core::{AnyGuard, ErrorKind, Mode};

use super::super::begin;
use super::{KEY, end_session, end_session_of, gate, insert, make_table, written};
use crate::transactions::{Client, Site};
use crate::witness::Witness;

pub async fn stale_leader_cannot_write<C: Client>(site: Site) {
    make_table(&site).await;
    let stale = site.locks::<C>().election("leader").campaign().await.unwrap();
    let old = stale.fencing_token().await.unwrap();
    let mut tx = begin::<C>(&site).await;
    stale.fence(tx.locks().await).await.unwrap();
    insert(&mut tx, "early").await;
    tx.commit().await.unwrap();
    end_session_of(&site.witness, stale.lease().key()).await;
    let leader = site.locks::<C>().election("leader").campaign().await.unwrap();
    assert!(leader.fencing_token().await.unwrap() > old);
    tx.begin().await.unwrap();
    leader.fence(tx.locks().await).await.unwrap();
    insert(&mut tx, "next").await;
    tx.commit().await.unwrap();
    tx.begin().await.unwrap();
    let error = stale.fence(tx.locks().await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}");
    tx.roll_back().await.unwrap();
    assert_eq!(written(&mut begin::<C>(&site).await).await, "early next");
}

pub async fn guard_of_either_mode_fences_in_its_mode<C: Client>(site: Site) {
    let lock = site.locks::<C>().rwlock(KEY);
    let mut tx = begin::<C>(&site).await;
    let writer = AnyGuard::from(lock.write().await.unwrap());
    writer.fence(tx.locks().await).await.unwrap();
    assert_eq!(mode_at_gate(&site).await, Mode::Write);
    writer.fencing_token().await.unwrap();
    writer.release().await.unwrap();
    tx.roll_back().await.unwrap();
    tx.begin().await.unwrap();
    let reader = AnyGuard::from(lock.read().await.unwrap());
    reader.fence(tx.locks().await).await.unwrap();
    assert_eq!(mode_at_gate(&site).await, Mode::Read);
    let error = reader.fencing_token().await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::InvalidOptions, Some(KEY.into())));
}

pub async fn upgradable_reader_fences_as_a_reader<C: Client>(site: Site) {
    let reader = site.locks::<C>().rwlock(KEY).upgradable_read().await.unwrap();
    let mut tx = begin::<C>(&site).await;
    reader.fence(tx.locks().await).await.unwrap();
    assert_eq!(mode_at_gate(&site).await, Mode::Read);
    tx.commit().await.unwrap();
    end_session(&site.witness).await;
    tx.begin().await.unwrap();
    let error = reader.fence(tx.locks().await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}");
}

/// The mode of the lock that the one fenced transaction has.
async fn mode_at_gate(site: &Site) -> Mode {
    let holders = site.witness.holders(gate()).await.unwrap();
    assert_eq!(holders.len(), 1);
    holders[0].mode
}
