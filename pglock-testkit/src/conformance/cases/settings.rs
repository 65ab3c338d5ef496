//! What a database or a role has set.

use std::sync::Arc;
use std::time::Duration;

use pglock_core::LockKey;
use tokio::time::{Instant, sleep};

use super::{connect, database, execute};
use crate::conformance::{Lab, Manager, Options, soon, start};
use crate::postgres::TestServer;
use crate::witness::{PostgresWitness, Witness};

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

pub async fn shadow_functions_and_operators_change_nothing(lab: &Lab) {
    let database = database().await;
    let name = database.name();
    let admin = connect(database.url()).await;
    execute(&admin, SHADOWS).await;
    execute(&admin, &format!("ALTER DATABASE {name} SET search_path = public, pg_catalog")).await;
    let witness = connect(database.url()).await;
    let row = witness.client().query_one("SELECT pg_backend_pid(), 1 = 2", &[]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), (1, true), "the shadows are in place");
    assert_excluding(lab, &witness, database.url()).await;
}

pub async fn shadow_types_change_nothing(lab: &Lab) {
    let database = database().await;
    let name = database.name();
    let admin = connect(database.url()).await;
    for shadow in ["int8", "int4", "int2", "text"] {
        execute(&admin, &format!("CREATE DOMAIN public.{shadow} AS pg_catalog.bool")).await;
    }
    execute(&admin, &format!("ALTER DATABASE {name} SET search_path = public, pg_catalog")).await;
    assert_excluding(lab, &admin, database.url()).await;
}

const TIMEOUTS: [&str; 4] = [
    "lock_timeout",
    "statement_timeout",
    "idle_session_timeout",
    "idle_in_transaction_session_timeout",
];

pub async fn timeouts_of_the_database_shorten_neither_waits_nor_holds(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let database = server.database().await.unwrap();
    let witness = connect(database.url()).await;
    for setting in TIMEOUTS {
        let name = database.name();
        execute(&witness, &format!("ALTER DATABASE {name} SET {setting} = '300ms'")).await;
    }
    assert_patient(lab, &witness, database.url()).await;
}

pub async fn timeouts_of_the_role_shorten_neither_waits_nor_holds(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let witness = connect(server.url()).await;
    execute(&witness, "CREATE ROLE hasty LOGIN").await;
    for setting in TIMEOUTS {
        execute(&witness, &format!("ALTER ROLE hasty SET {setting} = '300ms'")).await;
    }
    assert_patient(lab, &witness, &server.url().replace("test:test@", "hasty:x@")).await;
}

/// A guard and a waiter outlive the 300 ms of the settings by far.
async fn assert_patient(lab: &Lab, witness: &impl Witness, url: &str) {
    let check = connect(url).await;
    let key = LockKey::from("key");
    let (holder, other) = two_managers(lab, url);
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
    check.client().batch_execute("").await.unwrap_err();
    guard.release().await.unwrap();
    let guard = soon("the lock is free", wait).await.unwrap().unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(guard.is_held());
    guard.release().await.unwrap();
    witness.until_quiet().await.unwrap();
}

/// Two managers exclude each other, as the witness sees it too.
async fn assert_excluding(lab: &Lab, witness: &PostgresWitness, url: &str) {
    let (a, b) = two_managers(lab, url);
    let key = LockKey::from("excluded");
    let guard = a.rwlock(key).write().await.unwrap();
    assert_eq!(witness.holders(key).await.unwrap().len(), 1);
    assert!(b.rwlock(key).try_write().await.unwrap().is_none());
    assert!(b.rwlock(key).try_read().await.unwrap().is_none());
    let lock = b.rwlock(key);
    let wait = start(async move { lock.write().await });
    let waiter = witness.until_waiting(key, 1).await.unwrap()[0].pid;
    guard.release().await.unwrap();
    let guard = soon("the lock is free", wait).await.unwrap().unwrap();
    let holders = witness.holders(key).await.unwrap();
    assert_eq!(holders.iter().map(|row| row.pid).collect::<Vec<_>>(), [waiter]);
    assert!(a.rwlock(key).try_read().await.unwrap().is_none());
    guard.release().await.unwrap();
    witness.until_free(key).await.unwrap();
}

fn two_managers(lab: &Lab, url: &str) -> (Arc<dyn Manager>, Arc<dyn Manager>) {
    let manager = || lab.manager_at(url, &Options::default()).unwrap();
    (manager(), manager())
}
