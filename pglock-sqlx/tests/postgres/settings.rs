//! What a database or a role has set.

use std::time::Duration;

use pglock_core::Mode;
use pglock_sqlx::sqlx::postgres::PgPoolOptions;
use pglock_sqlx::sqlx::{Connection, PgConnection, query_scalar};
use pglock_sqlx::{LockKey, Locks};
use pglock_testkit::conformance::{soon, start};
use pglock_testkit::postgres::TestServer;
use pglock_testkit::witness::Witness;
use tokio::time::{Instant, sleep};

use crate::{assert_excluding, database, execute, locks, witness};

#[tokio::test]
async fn server_derives_the_same_keys() {
    let database = database().await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let long = "long".repeat(1 << 18);
    let names = ["", "orders", "🔒 ключ", "caf\u{e9}", "cafe\u{301}", " orders", &long];
    for namespace in ["", "billing", "ключ🔒", &long] {
        for name in names {
            let key: i64 = query_scalar(LockKey::DERIVATION_SQL)
                .bind(namespace)
                .bind(name)
                .fetch_one(&mut connection)
                .await
                .unwrap();
            let ours = LockKey::in_namespace(namespace, name);
            assert_eq!(ours, LockKey::from(key));
            if namespace.is_empty() {
                assert_eq!(ours, LockKey::from(name));
            }
        }
    }
}

/// Stand before the real ones in the path, and say yes to everything.
const SHADOWS: &str = "
    CREATE FUNCTION public.pg_try_advisory_lock(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.pg_try_advisory_lock_shared(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.pg_advisory_unlock(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.pg_advisory_unlock_shared(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.pg_advisory_lock(bigint) RETURNS integer LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION public.pg_advisory_lock_shared(bigint) RETURNS integer LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION public.pg_try_advisory_lock(integer, integer) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.pg_advisory_unlock_all() RETURNS integer LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION public.pg_cancel_backend(integer) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.pg_backend_pid() RETURNS integer LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION public.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT ''1''::text';
    CREATE FUNCTION public.current_setting(text, boolean) RETURNS text LANGUAGE sql AS 'SELECT ''1''::text';
    CREATE FUNCTION public.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT ''1''::text';
    CREATE FUNCTION public.length(text) RETURNS integer LANGUAGE sql AS 'SELECT 100';
    CREATE FUNCTION public.same(integer, integer) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.same(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.same(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.shifted(bigint, integer) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint';
    CREATE OPERATOR public.= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = public.same);
    CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.same);
    CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = name, FUNCTION = public.same);
    CREATE OPERATOR public.>> (LEFTARG = bigint, RIGHTARG = integer, FUNCTION = public.shifted);
    CREATE VIEW public.pg_locks AS SELECT 1 AS nothing;
";

#[tokio::test]
async fn shadow_functions_and_operators_change_nothing() {
    let database = database().await;
    let name = database.name();
    let admin = witness(database.url()).await;
    execute(&admin, SHADOWS).await;
    execute(&admin, &format!("ALTER DATABASE {name} SET search_path = public, pg_catalog")).await;
    let witness = witness(database.url()).await;
    let row = witness.client().query_one("SELECT pg_backend_pid(), 1 = 2", &[]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), (1, true), "the shadows are in place");
    assert_excluding(&witness, &locks(database.url()), &locks(database.url())).await;
}

#[tokio::test]
async fn shadow_types_change_nothing() {
    let database = database().await;
    let name = database.name();
    let admin = witness(database.url()).await;
    for shadow in ["int8", "int4", "int2", "text"] {
        execute(&admin, &format!("CREATE DOMAIN public.{shadow} AS pg_catalog.bool")).await;
    }
    execute(&admin, &format!("ALTER DATABASE {name} SET search_path = public, pg_catalog")).await;
    assert_excluding(&admin, &locks(database.url()), &locks(database.url())).await;
}

const TIMEOUTS: [&str; 4] = [
    "lock_timeout",
    "statement_timeout",
    "idle_session_timeout",
    "idle_in_transaction_session_timeout",
];

#[tokio::test]
async fn timeouts_of_the_database_shorten_neither_waits_nor_holds() {
    let server = TestServer::private().await.unwrap();
    let database = server.database().await.unwrap();
    let witness = witness(database.url()).await;
    for setting in TIMEOUTS {
        let name = database.name();
        execute(&witness, &format!("ALTER DATABASE {name} SET {setting} = '300ms'")).await;
    }
    assert_patient(&witness, database.url()).await;
}

#[tokio::test]
async fn timeouts_of_the_role_shorten_neither_waits_nor_holds() {
    let server = TestServer::private().await.unwrap();
    let witness = witness(server.url()).await;
    execute(&witness, "CREATE ROLE hasty LOGIN").await;
    for setting in TIMEOUTS {
        execute(&witness, &format!("ALTER ROLE hasty SET {setting} = '300ms'")).await;
    }
    assert_patient(&witness, &server.url().replace("test:test@", "hasty:x@")).await;
}

/// A guard and a waiter outlive the 300 ms of the settings by far.
async fn assert_patient(witness: &impl Witness, url: &str) {
    let mut check = PgConnection::connect(url).await.unwrap();
    let key = LockKey::from("key");
    let (holder, other) = (locks(url), locks(url));
    let guard = holder.rwlock(key).write().await.unwrap();
    let lock = other.rwlock(key);
    let wait = start(async move { lock.write().await });
    let waiting = witness.until_waiting(key, 1).await.unwrap();
    let begin = Instant::now();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(witness.waiters(key).await.unwrap(), waiting);
    assert!(begin.elapsed() > Duration::from_millis(700));
    assert!(guard.is_held());
    // The settings do work, for everybody else.
    check.ping().await.unwrap_err();
    guard.release().await.unwrap();
    let guard = soon("the lock is free", wait).await.unwrap().unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(guard.is_held());
    guard.release().await.unwrap();
    witness.until_quiet().await.unwrap();
}

#[tokio::test]
async fn busy_pool_of_the_application_is_not_used() {
    let database = database().await;
    let witness = witness(database.url()).await;
    let pool = PgPoolOptions::new().max_connections(1).connect(database.url()).await.unwrap();
    let busy = pool.acquire().await.unwrap();
    let locks = Locks::new(pool.clone());
    for round in 0..1000 {
        let lock = locks.rwlock(round % 7);
        if round % 2 == 0 {
            lock.write().await.unwrap().release().await.unwrap();
        } else {
            drop(lock.read().await.unwrap());
        }
    }
    assert_eq!((pool.size(), pool.num_idle()), (1, 0));
    drop(busy);
    witness.until_quiet().await.unwrap();
}

#[tokio::test]
async fn settings_do_not_leak_into_sessions_of_the_application() {
    let database = database().await;
    let witness = witness(database.url()).await;
    let pool = PgPoolOptions::new().max_connections(1).connect(database.url()).await.unwrap();
    let locks = Locks::new(pool.clone());
    let _guard = locks.rwlock("key").write().await.unwrap();
    let path: String = query_scalar("SHOW search_path").fetch_one(&pool).await.unwrap();
    assert_eq!(path, "\"$user\", public");
    assert_eq!(witness.holders("key".into()).await.unwrap()[0].mode, Mode::Write);
}
