//! Fencing tokens, which grow from each holder of a lock to the next.

use std::error::Error as _;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use pglock_core::ErrorKind;
use tokio::task::yield_now;

use super::{as_role, assert_advice, connect, database, execute};
use crate::conformance::{Lab, Options, group, soon, start};
use crate::faults::Standby;
use crate::postgres::{StopMode, TestServer};

group! { tokens:
    tokens_grow_from_holder_to_holder: Tokens,
    tokens_grow_when_a_lock_passes_on_within_a_process: Tokens,
    guard_keeps_its_token: Tokens,
    callers_at_a_time_get_one_token_of_a_guard: Tokens,
    keys_at_a_time_get_tokens_that_hold_for_each: Tokens,
    dropped_call_for_a_token_leaves_the_guard_as_it_was: Tokens,
    token_of_a_lost_lock_is_an_error: Engine,
    token_of_a_closed_manager_is_an_error: Engine,
    tokens_grow_through_a_promotion: Postgres,
    token_waits_for_the_synchronous_standby: Postgres,
    tokens_grow_by_the_epoch_of_the_database: Postgres,
    role_with_connect_only_gets_tokens: Postgres,
}

pub async fn tokens_grow_from_holder_to_holder(lab: &Lab) {
    let locks = [lab.lock("key"), lab.lock("key"), lab.lock("key")];
    let mut last = None;
    for lock in locks.iter().cycle().take(12) {
        let guard = soon("the lock is free", lock.write()).await.unwrap();
        let token = Some(guard.fencing_token().await.unwrap());
        assert!(token > last, "{token:?} after {last:?}");
        last = token;
        guard.release().await.unwrap();
    }
}

pub async fn tokens_grow_when_a_lock_passes_on_within_a_process(lab: &Lab) {
    let manager = lab.manager();
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let held = manager.lock("key").write().await.unwrap();
    let work = |_| {
        let (lock, tokens) = (manager.lock("key"), tokens.clone());
        start(async move {
            let guard = lock.write().await.unwrap();
            let token = guard.fencing_token().await.unwrap();
            tokens.lock().unwrap().push(token);
        })
    };
    let tasks: Vec<_> = (0..20).map(work).collect();
    lab.until_queued(&manager, 20).await;
    let first = held.fencing_token().await.unwrap();
    tokens.lock().unwrap().push(first);
    drop(held);
    for task in tasks {
        soon("its turn", task).await.unwrap();
    }
    let tokens = tokens.lock().unwrap();
    assert!(tokens.len() == 21 && tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
}

pub async fn guard_keeps_its_token(lab: &Lab) {
    let lock = lab.lock("key");
    let guard = lock.write().await.unwrap();
    let token = guard.fencing_token().await.unwrap();
    lab.lock("other").write().await.unwrap().fencing_token().await.unwrap();
    assert_eq!(guard.fencing_token().await.unwrap(), token);
    guard.release().await.unwrap();
    let again = lock.write().await.unwrap();
    assert!(again.fencing_token().await.unwrap() > token);
}

pub async fn callers_at_a_time_get_one_token_of_a_guard(lab: &Lab) {
    let guard = lab.lock("key").write().await.unwrap();
    let (a, b, c) =
        tokio::join!(guard.fencing_token(), guard.fencing_token(), guard.fencing_token());
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    assert_eq!((a, a), (b, c));
}

pub async fn keys_at_a_time_get_tokens_that_hold_for_each(lab: &Lab) {
    let manager = lab.manager();
    let hold = async |name: &str| manager.lock(name).write().await.unwrap();
    let guards = [hold("a").await, hold("b").await, hold("c").await];
    let [a, b, c] = &guards;
    let (a, b, c) = tokio::join!(a.fencing_token(), b.fencing_token(), c.fencing_token());
    let tokens = [a.unwrap(), b.unwrap(), c.unwrap()];
    for (guard, token) in guards.into_iter().zip(tokens) {
        let lock = lab.lock(guard.key());
        guard.release().await.unwrap();
        let next = lock.write().await.unwrap();
        assert!(next.fencing_token().await.unwrap() > token);
    }
}

pub async fn dropped_call_for_a_token_leaves_the_guard_as_it_was(lab: &Lab) {
    let guard = lab.lock("key").write().await.unwrap();
    for polls in 0..3 {
        let mut call = pin!(guard.fencing_token());
        for _ in 0..polls {
            if poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready())).await {
                break;
            }
            yield_now().await;
        }
    }
    let token = guard.fencing_token().await.unwrap();
    assert_eq!(guard.fencing_token().await.unwrap(), token);
    guard.release().await.unwrap();
}

pub async fn token_of_a_lost_lock_is_an_error(lab: &Lab) {
    let guard = lab.lock("key").write().await.unwrap();
    let known = lab.lock("other").write().await.unwrap();
    known.fencing_token().await.unwrap();
    lab.end_sessions().await;
    let error = soon("it ends", guard.fencing_token()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}");
    assert_eq!(error.key(), Some(guard.key()));
    assert!(error.source().is_some(), "{error:?}");
}

pub async fn token_of_a_closed_manager_is_an_error(lab: &Lab) {
    let manager = lab.manager();
    let guard = manager.lock("key").write().await.unwrap();
    manager.close().await.unwrap();
    let error = soon("it ends", guard.fencing_token()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}");
}

/// The standby has not heard of the last tokens: its transaction ids are behind.
pub async fn tokens_grow_through_a_promotion(lab: &Lab) {
    let primary = TestServer::private().await.unwrap();
    let Some(standby) = lab.allowed(Standby::of(&primary).await).unwrap() else { return };
    standby.until_replayed().await.unwrap();
    standby.server().stop(StopMode::Fast).await.unwrap();
    let manager = lab.manager_at(primary.url(), &Options::default()).unwrap();
    let mut last = None;
    for _ in 0..20 {
        let guard = manager.lock("key").write().await.unwrap();
        last = last.max(Some(guard.fencing_token().await.unwrap()));
        guard.release().await.unwrap();
    }
    drop(primary);
    standby.server().start().await.unwrap();
    standby.promote().await.unwrap();
    let manager = lab.manager_at(standby.server().url(), &Options::default()).unwrap();
    let guard = manager.lock("key").write().await.unwrap();
    let token = Some(guard.fencing_token().await.unwrap());
    assert!(token > last, "{token:?} after {last:?}");
}

/// So it grows even without the new timeline, and for a role that does not want to wait.
pub async fn token_waits_for_the_synchronous_standby(lab: &Lab) {
    let primary = TestServer::private().await.unwrap();
    let witness = connect(primary.url()).await;
    execute(&witness, "CREATE ROLE hasty LOGIN; ALTER ROLE hasty SET synchronous_commit = off")
        .await;
    let Some(standby) = lab.allowed(Standby::of(&primary).await).unwrap() else { return };
    standby.until_replayed().await.unwrap();
    execute(&witness, "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    execute(&witness, "SELECT pg_reload_conf()").await;
    let manager = lab.manager_at(&as_role(primary.url(), "hasty"), &Options::default()).unwrap();
    let guard = soon("the server grants it", manager.lock("key").write()).await.unwrap();
    guard.fencing_token().await.unwrap();
    standby.server().stop(StopMode::Fast).await.unwrap();

    let guard = manager.lock("other").write().await.unwrap();
    let mut call = pin!(guard.fencing_token());
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    while witness.client().query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        let early = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        assert!(early.is_pending(), "{early:?}");
        yield_now().await;
    }
    standby.server().start().await.unwrap();
    let last = soon("the standby answers", call).await.unwrap();
    drop(primary);
    standby.promote().await.unwrap();
    let manager = lab.manager_at(standby.server().url(), &Options::default()).unwrap();
    let guard = manager.lock("key").write().await.unwrap();
    let token = guard.fencing_token().await.unwrap();
    let transaction = |token| i64::from(token) & ((1 << 48) - 1);
    assert!(token > last && transaction(token) > transaction(last), "{token:?} after {last:?}");
}

pub async fn tokens_grow_by_the_epoch_of_the_database(lab: &Lab) {
    let database = database().await;
    let witness = connect(database.url()).await;
    let token = async || {
        let manager = lab.manager_at(database.url(), &Options::default()).unwrap();
        let guard = manager.lock("key").write().await.unwrap();
        guard.fencing_token().await.map(i64::from)
    };
    let epoch = async |epoch: &str| {
        let name = "SELECT pg_catalog.quote_ident(pg_catalog.current_database())";
        let name: String = witness.client().query_one(name, &[]).await.unwrap().get(0);
        execute(&witness, &format!("ALTER DATABASE {name} SET pglock.epoch = '{epoch}'")).await;
    };
    let timeline = token().await.unwrap() >> 48;
    assert!((1..100).contains(&timeline), "{timeline}");
    epoch("7").await;
    assert_eq!(token().await.unwrap() >> 48, timeline + 7);
    epoch("32767").await;
    assert_advice(
        &token().await.unwrap_err(),
        ErrorKind::InvalidOptions,
        &["lower", "pglock.epoch"],
    );
    epoch("seven").await;
    assert_advice(&token().await.unwrap_err(), ErrorKind::Driver, &["0seven"]);
}

pub async fn role_with_connect_only_gets_tokens(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let witness = connect(server.url()).await;
    let role = "CREATE ROLE plain LOGIN; REVOKE ALL ON SCHEMA public FROM PUBLIC; \
                ALTER ROLE plain SET default_transaction_read_only = on";
    execute(&witness, role).await;
    let manager = lab.manager_at(&as_role(server.url(), "plain"), &Options::default()).unwrap();
    let guard = manager.lock("key").write().await.unwrap();
    guard.fencing_token().await.unwrap();
}
