//! Settings of a database or a role.

use std::sync::Arc;
use std::time::Duration;

use pglock_core::{ErrorKind, LockKey, Mode};
use tokio::time::{Instant, sleep};

use super::{as_role, connect, database, execute};
use crate::conformance::{Lab, Manager, Options, group, soon, start};
use crate::postgres::TestServer;
use crate::witness::{PostgresWitness, Witness};

group! { settings:
    shadow_functions_and_operators_change_nothing: Postgres,
    shadow_types_change_nothing: Postgres,
    timeouts_of_the_database_shorten_neither_waits_nor_holds: Postgres,
    timeouts_of_the_role_shorten_neither_waits_nor_holds: Postgres,
    all_settings_of_the_role_at_once_change_nothing: Postgres,
}

/// Functions that precede the real ones in the search path, and always succeed.
pub(crate) const SHADOWS: &str = "
    CREATE FUNCTION public.pg_try_advisory_lock(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.pg_try_advisory_lock_shared(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.pg_advisory_unlock(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.pg_advisory_unlock_shared(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.pg_advisory_lock(bigint) RETURNS integer LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION public.pg_advisory_lock_shared(bigint) RETURNS integer LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION public.pg_try_advisory_lock(integer, integer) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.pg_try_advisory_xact_lock(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.pg_try_advisory_xact_lock_shared(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.pg_advisory_xact_lock(bigint) RETURNS integer LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION public.pg_advisory_xact_lock_shared(bigint) RETURNS integer LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION public.texteq(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.int8eq(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.int8le(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.date_part(text, interval) RETURNS double precision LANGUAGE sql AS 'SELECT 0::float8';
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
    CREATE FUNCTION public.same(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.shifted(bigint, integer) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint';
    CREATE OPERATOR public.= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = public.same);
    CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.same);
    CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = name, FUNCTION = public.same);
    CREATE OPERATOR public.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = public.same);
    CREATE OPERATOR public.<= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = public.same);
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

/// Each with the first version that has it.
pub(crate) const TIMEOUTS: [(&str, i32); 5] = [
    ("lock_timeout", 9),
    ("statement_timeout", 9),
    ("idle_in_transaction_session_timeout", 9),
    ("idle_session_timeout", 14),
    ("transaction_timeout", 17),
];

/// `owner` is the object that has the settings, such as `ROLE name`.
async fn set_timeouts(witness: &PostgresWitness, owner: &str) {
    let version = witness.major_version().await.unwrap();
    for (setting, _) in TIMEOUTS.iter().filter(|(_, since)| *since <= version) {
        execute(witness, &format!("ALTER {owner} SET {setting} = '600ms'")).await;
    }
}

pub async fn timeouts_of_the_database_shorten_neither_waits_nor_holds(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let database = server.database().await.unwrap();
    let witness = connect(database.url()).await;
    set_timeouts(&witness, &format!("DATABASE {}", database.name())).await;
    assert_patient(lab, &witness, database.url()).await;
}

pub async fn timeouts_of_the_role_shorten_neither_waits_nor_holds(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let witness = connect(server.url()).await;
    execute(&witness, "CREATE ROLE hasty LOGIN").await;
    set_timeouts(&witness, "ROLE hasty").await;
    assert_patient(lab, &witness, &server.url().replace("test:test@", "hasty:x@")).await;
}

/// Everything that `docs/settings.md` lists, with the worst values. Skips settings that the server
/// does not have, and those that only a superuser may set if there is no superuser.
///
/// `statement_timeout` and `transaction_timeout` also limit the statement that opens a session,
/// which the other settings make slow. They end the waits of these cases all the same.
const HOSTILE: &str = "
    default_transaction_isolation=serializable default_transaction_read_only=on
    default_transaction_deferrable=on exit_on_error=on statement_timeout=900ms lock_timeout=300ms
    idle_in_transaction_session_timeout=300ms idle_session_timeout=300ms transaction_timeout=900ms
    jit=on jit_above_cost=0 jit_inline_above_cost=0 jit_optimize_above_cost=0
    work_mem=64kB hash_mem_multiplier=1 temp_file_limit=0 max_stack_depth=100kB
    force_parallel_mode=on debug_parallel_query=on parallel_setup_cost=0 parallel_tuple_cost=0
    min_parallel_table_scan_size=0 max_parallel_workers_per_gather=8
    parallel_leader_participation=off plan_cache_mode=force_custom_plan geqo_threshold=2
    from_collapse_limit=1 join_collapse_limit=1 cursor_tuple_fraction=0
    client_min_messages=debug5 client_encoding=LATIN1 DateStyle=German IntervalStyle=sql_standard
    TimeZone=Pacific/Chatham extra_float_digits=-15 bytea_output=escape array_nulls=off
    transform_null_equals=on standard_conforming_strings=off backslash_quote=off
    quote_all_identifiers=on operator_precedence_warning=on search_path=nowhere row_security=off
    restrict_nonsystem_relation_kind=view session_replication_role=replica
    stats_fetch_consistency=snapshot compute_query_id=on track_activities=off deadlock_timeout=1ms
    log_statement=all log_min_duration_statement=0 log_min_messages=debug5 log_lock_waits=on
    log_executor_stats=on debug_print_parse=on debug_print_rewritten=on debug_print_plan=on
    client_connection_check_interval=0 tcp_keepalives_idle=1 tcp_keepalives_interval=1
    tcp_keepalives_count=1 tcp_user_timeout=100 synchronous_commit=off ignore_checksum_failure=on
    zero_damaged_pages=on event_triggers=off application_name=hostile";

pub async fn all_settings_of_the_role_at_once_change_nothing(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let (witness, writer) = (connect(server.url()).await, connect(server.url()).await);
    execute(&witness, "CREATE ROLE hostile LOGIN").await;
    let exists = "SELECT name FROM pg_catalog.pg_settings";
    let rows = witness.client().query(exists, &[]).await.unwrap();
    let known: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let enabled = known.iter().filter(|name| name.starts_with("enable_"));
    let hostile = HOSTILE.split_whitespace().filter_map(|setting| setting.split_once('='));
    let hostile: Vec<_> = hostile
        .filter(|(name, _)| known.iter().any(|known| known == name))
        .chain(enabled.map(|name| (&**name, "off")))
        .collect();
    for (name, value) in &hostile {
        execute(&witness, &format!("ALTER ROLE hostile SET {name} = '{value}'")).await;
    }
    println!("{} settings", hostile.len());
    // Until this ends, no deferrable transaction gets its snapshot.
    execute(&writer, "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT FROM pg_catalog.pg_class").await;
    // The server's list of locks must not fit in `work_mem`.
    let many =
        "SELECT pg_catalog.pg_advisory_lock(99, n) FROM pg_catalog.generate_series(1, 2000) AS n";
    execute(&witness, many).await;
    let url = as_role(server.url(), "hostile");
    connect(&url).await.client().query("SELECT 1", &[]).await.expect_err("it is hostile");
    assert_unharmed(lab, &witness, &url).await;
    execute(&writer, "ROLLBACK").await;
}

/// Every kind of statement does what it should, and ends in time.
async fn assert_unharmed(lab: &Lab, witness: &PostgresWitness, url: &str) {
    assert_excluding(lab, witness, url).await;
    let [server_lease, guard_lease] = [3, 2].map(|seconds| Some(Duration::from_secs(seconds)));
    let options = Options { server_lease, guard_lease, ..Options::default() };
    let manager = lab.manager_at(url, &options).unwrap();
    let (key, held) = (LockKey::from("busy"), manager.lock("held").read().await.unwrap());
    witness.hold(key, Mode::Write).await.unwrap();
    for _ in 0..2 {
        let lock = manager.lock(key);
        let wait = start(async move { lock.try_write_for(Duration::from_secs(3)).await });
        let waiter = witness.until_waiting(key, 1).await.unwrap()[0].pid;
        let error = soon("the wait is given up", wait).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
        // The server ends it in the background.
        while !witness.waiters(key).await.unwrap().is_empty() {
            sleep(Duration::from_millis(2)).await;
        }
        let sessions = witness.sessions("pglock").await.unwrap();
        assert!(sessions.contains(&waiter), "a session outlives a wait that is given up");
    }
    assert_eq!(manager.inspect_all().await.unwrap().len(), 2000 + 2);
    assert_eq!(manager.inspect(key.into()).await.unwrap().len(), 1);
    witness.release(key, Mode::Write).await.unwrap();
    let statistics = manager.stats();
    assert!(held.is_held());
    assert_eq!((statistics.losses, statistics.reconnects), (0, 0));
    held.release().await.unwrap();
}

/// A guard and a waiter far outlive the 300 ms of the settings.
async fn assert_patient(lab: &Lab, witness: &PostgresWitness, url: &str) {
    let check = connect(url).await;
    let key = LockKey::from("key");
    let (holder, other) = two_managers(lab, url);
    let guard = holder.lock(key).write().await.unwrap();
    let lock = other.lock(key);
    let wait = start(async move { lock.write().await });
    let waiting = witness.until_waiting(key, 1).await.unwrap();
    let begin = Instant::now();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(witness.waiters(key).await.unwrap(), waiting);
    assert!(begin.elapsed() > Duration::from_millis(700));
    assert!(guard.is_held());
    // The settings do affect all other sessions.
    let may_idle = witness.major_version().await.unwrap() < 14;
    let statement = if may_idle { "SELECT pg_catalog.pg_sleep(1)" } else { "" };
    check.client().batch_execute(statement).await.unwrap_err();
    guard.release().await.unwrap();
    let guard = soon("the lock is free", wait).await.unwrap().unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(guard.is_held());
    guard.release().await.unwrap();
    witness.until_quiet().await.unwrap();
}

/// Two managers exclude each other, and the witness agrees.
async fn assert_excluding(lab: &Lab, witness: &PostgresWitness, url: &str) {
    let (a, b) = two_managers(lab, url);
    let key = LockKey::from("excluded");
    let guard = a.lock(key).write().await.unwrap();
    assert_eq!(witness.holders(key).await.unwrap().len(), 1);
    assert!(b.lock(key).try_write().await.unwrap().is_none());
    assert!(b.lock(key).try_read().await.unwrap().is_none());
    let lock = b.lock(key);
    let wait = start(async move { lock.write().await });
    let waiter = witness.until_waiting(key, 1).await.unwrap()[0].pid;
    guard.release().await.unwrap();
    let guard = soon("the lock is free", wait).await.unwrap().unwrap();
    let holders = witness.holders(key).await.unwrap();
    assert_eq!(holders.iter().map(|row| row.pid).collect::<Vec<_>>(), [waiter]);
    assert!(a.lock(key).try_read().await.unwrap().is_none());
    guard.release().await.unwrap();
    witness.until_free(key).await.unwrap();
}

fn two_managers(lab: &Lab, url: &str) -> (Arc<dyn Manager>, Arc<dyn Manager>) {
    let manager = || lab.manager_at(url, &Options::default()).unwrap();
    (manager(), manager())
}
