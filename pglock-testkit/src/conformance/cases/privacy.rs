//! What other users can see, what they may do, and which rights a role needs.

use std::sync::Arc;
use std::time::Duration;

use pglock_core::{Error, ErrorKind, LockKey, Mode};
use tracing::instrument::WithSubscriber;

use super::listening::Listener;
use super::{as_role, connect, execute};
use crate::conformance::{Lab, Manager, Options, group, shown, soon, start};
use crate::postgres::TestServer;
use crate::witness::{PostgresWitness, Witness};

group! { privacy:
    names_are_shown_escaped_and_cut,
    names_stay_in_the_process: Postgres,
    role_that_may_only_connect_is_enough: Postgres,
    hardened_database_keeps_strangers_out: Postgres,
}

/// The name breaks the line, colours the terminal, reverses the text, and is very long.
pub async fn names_are_shown_escaped_and_cut(lab: &Lab) {
    let name = format!("a\nb\r\u{1b}[31m\u{202e}{}", "x".repeat(1000));
    let other = format!("{name}y");
    let listener = Listener::start();
    let (manager, holder) = (lab.manager(), lab.lock(7));
    let lock = manager.lock(LockKey::from(7).named(name.clone()));
    let (texts, errors) = async {
        let guard = lock.write().await.unwrap();
        let texts = [format!("{guard:?}"), format!("{lock:?}"), format!("{manager:?}")];
        guard.release().await.unwrap();
        let held = holder.write().await.unwrap();
        let timeout = lock.try_write_for(Duration::from_millis(500)).await.unwrap_err();
        let collision = manager.lock(LockKey::from(7).named(other)).write().await;
        held.release().await.unwrap();
        manager.close().await.unwrap();
        let closed = lock.write().await.unwrap_err();
        (texts, [timeout, collision.unwrap_err(), closed])
    }
    .with_subscriber(listener.clone())
    .await;
    let kinds = errors.each_ref().map(Error::kind);
    assert_eq!(kinds, [ErrorKind::Timeout, ErrorKind::KeyCollision, ErrorKind::Closed]);
    let heard = listener.heard();
    let with_name = heard.iter().filter(|text| text.contains("[31m")).count();
    assert!(with_name >= 3, "each acquire is logged with its name: {heard:?}");
    for error in &errors {
        let text = error.to_string();
        assert!(text.contains(r"a\nb\r\u{1b}[31m\u{202e}xxx"), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
    for text in texts.into_iter().chain(errors.iter().map(shown)).chain(heard) {
        let acts = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!text.contains(acts) && !text.contains("a\nb"), "{text:?}");
        assert!(!text.contains(&"x".repeat(128)), "{text}");
    }
}

pub async fn names_stay_in_the_process(lab: &Lab) {
    const NAME: &str = "Kundin Yvonne-83";
    let settings = [
        ("log_connections", "on"),
        ("log_min_duration_statement", "0"),
        ("log_parameter_max_length_on_error", "-1"),
        ("log_statement", "all"),
    ];
    let server = TestServer::private_with(&settings).await.unwrap();
    let witness = connect(server.url()).await;
    execute(&witness, "CREATE ROLE curious LOGIN IN ROLE pg_monitor").await;
    let curious = connect(&as_role(server.url(), "curious")).await;
    let manager = || lab.manager_at(server.url(), &Options::default()).unwrap();
    let (holder, hasty, waiter) = (manager(), manager(), manager());
    let guard = holder.lock(NAME).write().await.unwrap();
    let lock = hasty.lock(NAME);
    assert!(lock.try_read().await.unwrap().is_none());
    let wait = start(async move { lock.write().await });
    witness.until_waiting(NAME.into(), 1).await.unwrap();
    wait.abort();
    // Otherwise its wait, which ends in the background, might be taken for the next one.
    hasty.close().await.unwrap();
    let lock = waiter.lock(NAME);
    let wait = start(async move { lock.write().await });
    witness.until_waiting(NAME.into(), 1).await.unwrap();
    let everything = "SELECT concat((SELECT string_agg(a::text, E'\\n') FROM pg_stat_activity AS a),\
        (SELECT string_agg(l::text, E'\\n') FROM pg_locks AS l))";
    let seen: String = curious.client().query_one(everything, &[]).await.unwrap().get(0);
    assert!(seen.contains("pg_advisory_lock"), "the curious see statements: {seen}");
    guard.release().await.unwrap();
    soon("the lock is free", wait).await.unwrap().unwrap().release().await.unwrap();
    holder.close().await.unwrap();
    waiter.close().await.unwrap();
    let log = server.log().unwrap();
    // The cancelled wait is in the log, with its parameters.
    assert!(log.contains("pg_advisory_lock") && log.contains("parameters: $1 = "));
    for text in [seen, log] {
        assert!(!text.contains("Yvonne"), "{text}");
    }
}

pub async fn role_that_may_only_connect_is_enough(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let witness = connect(server.url()).await;
    execute(
        &witness,
        "CREATE ROLE bare LOGIN;
        REVOKE ALL ON DATABASE pglock FROM PUBLIC;
        REVOKE ALL ON SCHEMA public FROM PUBLIC;
        GRANT CONNECT ON DATABASE pglock TO bare;",
    )
    .await;
    let rights = "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls \
        OR pg_has_role(oid, 'pg_monitor', 'MEMBER') OR pg_has_role(oid, 'pg_signal_backend', 'MEMBER') \
        OR has_database_privilege(oid, 'pglock', 'CREATE, TEMPORARY') \
        OR has_schema_privilege(oid, 'public', 'CREATE, USAGE') FROM pg_roles WHERE rolname = 'bare'";
    assert!(!witness.client().query_one(rights, &[]).await.unwrap().get::<_, bool>(0));
    assert_usable(lab, &witness, &as_role(server.url(), "bare")).await;
}

/// The statements of `GUARANTEES.md`; a test of this crate compares them.
const HARDENING: &str = include_str!("hardening.sql");

pub async fn hardened_database_keeps_strangers_out(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let admin = connect(server.url()).await;
    execute(&admin, "CREATE ROLE stranger LOGIN").await;
    let (first, second) = HARDENING.split_once("\\connect locks\n").unwrap();
    // Statement by statement: together they would be a transaction, in which no database can be
    // created.
    for statement in first.split_inclusive(";") {
        execute(&admin, statement).await;
    }
    let url = server.url().replace("/pglock", "/locks");
    let witness = connect(&url).await;
    execute(&witness, second).await;
    let rights = "SELECT count(*), count(*) FILTER (WHERE has_function_privilege('locker', oid, 'EXECUTE')),\
        count(*) FILTER (WHERE has_function_privilege('stranger', oid, 'EXECUTE')) FROM pg_proc \
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ 'advisory'";
    let row = witness.client().query_one(rights, &[]).await.unwrap();
    assert_eq!([0, 1, 2].map(|column| row.get::<_, i64>(column)), [21, 21, 0]);
    let (locker, stranger) = (as_role(&url, "locker"), as_role(&url, "stranger"));
    assert_usable(lab, &witness, &locker).await;

    assert_eq!(refusal(lab, &stranger).await.kind(), ErrorKind::PermissionDenied);
    // Even a role that may connect cannot lock.
    execute(&witness, "GRANT CONNECT ON DATABASE locks TO stranger").await;
    assert_eq!(refusal(lab, &stranger).await.kind(), ErrorKind::PermissionDenied);
    // In another database, keys are different.
    let manager = lab.manager_at(&locker, &Options::default()).unwrap();
    let guard = manager.lock("key").write().await.unwrap();
    let outside = lab.manager_at(&as_role(server.url(), "stranger"), &Options::default());
    drop(outside.unwrap().lock("key").try_write().await.unwrap().expect("another key"));

    // Some may still be closing.
    witness.until_sessions("pglock", manager.stats().sessions).await.unwrap();
    let mut others = Vec::new();
    while let Ok(other) = PostgresWitness::connect(&locker).await {
        others.push(other);
    }
    assert_eq!(others.len() + manager.stats().sessions, 40);
    assert_eq!(refusal(lab, &locker).await.kind(), ErrorKind::TooManyConnections);
    connect(&stranger).await;
    assert!(guard.is_held());
    guard.release().await.unwrap();
}

async fn refusal(lab: &Lab, url: &str) -> Error {
    let lock = lab.manager_at(url, &Options::default()).unwrap().lock("key");
    soon("the refusal", lock.try_write()).await.unwrap_err()
}

/// Checks that everything a manager does works at that URL.
async fn assert_usable(lab: &Lab, witness: &PostgresWitness, url: &str) {
    let manager = || lab.manager_at(url, &Options::default()).unwrap();
    let (a, b) = (manager(), manager());
    for key in [LockKey::from("key"), LockKey::from((1, 2))] {
        assert_excluding(witness, &a, &b, key).await;
    }
    let guard = a.lock("key").write().await.unwrap();
    for pid in witness.sessions("pglock").await.unwrap() {
        witness.terminate(pid).await.unwrap();
    }
    soon("the loss is reported", guard.lost()).await;
    soon("a new session", a.lock("key").write()).await.unwrap().release().await.unwrap();
    a.close().await.unwrap();
    b.close().await.unwrap();
}

async fn assert_excluding(
    witness: &PostgresWitness,
    a: &Arc<dyn Manager>,
    b: &Arc<dyn Manager>,
    key: LockKey,
) {
    let guard = a.lock(key).read().await.unwrap();
    let lock = b.lock(key);
    drop(lock.try_read().await.unwrap().expect("readers share"));
    assert!(lock.try_write().await.unwrap().is_none());
    let waiting = lock.clone();
    let wait = start(async move { waiting.write().await });
    witness.until_waiting(key, 1).await.unwrap();
    let seen = a.inspect(key.into()).await.unwrap();
    let modes: Vec<_> = seen.iter().map(|entry| (entry.mode, entry.granted)).collect();
    assert_eq!(modes, [(Mode::Read, true), (Mode::Write, false)]);
    assert_eq!(seen[1].blocked_by, [seen[0].pid]);
    assert!(!b.inspect_all().await.unwrap().is_empty());
    guard.release().await.unwrap();
    soon("the lock is free", wait).await.unwrap().unwrap().release().await.unwrap();
    // A wait that is cancelled at the server.
    let guard = a.lock(key).write().await.unwrap();
    let timeout = lock.try_read_for(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(timeout.kind(), ErrorKind::Timeout);
    guard.release().await.unwrap();
    soon("the lock is free", lock.write()).await.unwrap().release().await.unwrap();
}
