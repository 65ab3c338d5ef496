//! Statements that open a session: its settings, its nonce, and the facts about its server.

/// Sets a session setting, or resets it if an earlier lock session left its mark. Some settings
/// depend on a condition.
macro_rules! setting {
    ($name:literal, $value:literal) => {
        concat!(setting!(@ $name, $value), ", ")
    };
    ($name:literal, $value:literal, if $condition:literal) => {
        concat!(
            "CASE WHEN pg_catalog.current_setting('",
            $name,
            "', true) IS NULL THEN NULL WHEN ",
            $condition,
            " THEN ",
            setting!(@ $name, $value),
            " END, "
        )
    };
    (@ $name:literal, $value:literal) => {
        concat!(
            "pg_catalog.set_config('",
            $name,
            "', CASE WHEN p.earlier THEN NULL ELSE ",
            $value,
            " END, false)"
        )
    };
}

/// The name of the session: the given one, or else that of the connection, with a mark. A name with
/// the mark, such as that of a pooler's session, stays as it is. The server cuts names after 63
/// bytes, and lets only ASCII in.
macro_rules! name {
    () => {
        "\
 CASE WHEN pg_catalog.textne(v.name, '') THEN v.name \
 WHEN pg_catalog.texteq(pg_catalog.current_setting('application_name'), '') THEN 'pglock' \
 WHEN pg_catalog.int4gt(pg_catalog.strpos(pg_catalog.current_setting('application_name'), 'pglock'), 0) \
 THEN pg_catalog.current_setting('application_name') \
 ELSE pg_catalog.textcat(pg_catalog.substr(pg_catalog.current_setting('application_name'), 1, 54), ' (pglock)') END"
    };
}

/// Whether this role may cancel the statements of a session with the same login.
///
/// PostgreSQL compares the current role, which `SET ROLE` changes, with the one that logged in. It
/// requires the rights of that role, or those of `pg_signal_backend` unless a superuser logged in.
macro_rules! can_cancel {
    () => {
        "\
 (SELECT CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_cancel_backend(pg_catalog.int4)'::pg_catalog.text, 'EXECUTE'::pg_catalog.text) \
 THEN me.rolsuper OR login.rolsuper IS NOT TRUE AND (pg_catalog.pg_has_role(a.usesysid, 'USAGE'::pg_catalog.text) \
 OR pg_catalog.pg_has_role('pg_signal_backend'::pg_catalog.name, 'USAGE'::pg_catalog.text)) ELSE false END \
 FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS a \
 LEFT JOIN pg_catalog.pg_roles AS login ON pg_catalog.oideq(login.oid, a.usesysid) \
 LEFT JOIN pg_catalog.pg_roles AS me ON pg_catalog.nameeq(me.rolname, current_user))"
    };
}

/// Runs before [`OPEN`], by the simple protocol, because of the settings that a role may have.
///
/// A serializable, read-only, deferrable transaction waits for its first snapshot while others
/// write, and so does a single statement. Every statement that returns rows takes a snapshot, even
/// to be parsed; these take none. Compiling [`OPEN`] takes longer than some timeouts.
///
/// A pooler in transaction mode may keep these settings for its other clients if it then refuses
/// [`OPEN`], so they are settings that no client misses.
pub(crate) const PRELUDE: &str =
    "SET SESSION CHARACTERISTICS AS TRANSACTION NOT DEFERRABLE; SET jit = off";

/// Second statement of a session: its settings, its nonce, and the facts about the server, in one
/// round trip. What is set, and why, is in `docs/settings.md`.
///
/// `$1` nonce, `$2` application name, or an empty text for the connection's own, `$3` lease and
/// `$4` time for acknowledgements, both in milliseconds, `$5` a key for the trial, 0 to 2^63-1.
/// Returns one row (fact, value) for each fact.
///
/// If an earlier lock session has left its mark, a pooler owns this server session. The statement
/// then resets the settings, so that the pooler's other clients do not get them. The mark remains,
/// and so does the lease, which ends the server session once no client uses it.
///
/// The first keepalive goes out 6 seconds before the time for acknowledgements is over, and three
/// without a reply end the session. Systems accept at most 32767 seconds.
///
/// The statement skips a setting that the server does not know (older versions). It skips
/// `client_connection_check_interval` also where PostgreSQL refuses it, because the operating
/// system cannot do it: version 14 has it on Linux, and 15 where epoll or kqueue is. `OFFSET 0`
/// makes PostgreSQL read the nonce of an earlier session once, before it writes the new one. It
/// evaluates a select list from left to right: the trial takes the lock, looks for it and releases
/// it. Functions stand for operators, and types are named, so that no schema can shadow them:
/// `bigint` and `integer` by the grammar, `text` by its schema.
pub(crate) const OPEN: &str = concat!(
    "SELECT f.fact, f.value::pg_catalog.text FROM (SELECT p.earlier, pg_catalog.set_config('pglock.session', p.nonce, false), ",
    setting!("application_name", "p.name"),
    setting!("search_path", "'pg_catalog'"),
    setting!("plan_cache_mode", "'force_generic_plan'"),
    setting!("default_transaction_isolation", "'read committed'"),
    setting!("default_transaction_deferrable", "'off'"),
    setting!("exit_on_error", "'off'"),
    setting!("jit", "'off'"),
    setting!("max_parallel_workers_per_gather", "'0'"),
    setting!("work_mem", "'64MB'"),
    setting!("statement_timeout", "'0'"),
    setting!("lock_timeout", "'0'"),
    setting!("idle_in_transaction_session_timeout", "'0'"),
    setting!(
        "tcp_keepalives_idle",
        "\
 pg_catalog.int8smaller(32767, pg_catalog.int8larger(5, pg_catalog.int8mi(\
 pg_catalog.int8div(pg_catalog.int8pl(p.acknowledgement::bigint, 999), 1000), 6)))::pg_catalog.text"
    ),
    setting!("tcp_keepalives_interval", "'2'"),
    setting!("tcp_keepalives_count", "'3'"),
    setting!("tcp_user_timeout", "p.acknowledgement"),
    setting!("transaction_timeout", "'0'", if "true"),
    setting!("client_connection_check_interval", "'1000'", if
        "pg_catalog.textregexeq(pg_catalog.version(), CASE WHEN \
 pg_catalog.int4ge(pg_catalog.current_setting('server_version_num')::integer, 150000) \
 THEN 'linux|darwin|bsd|dragonfly' ELSE 'linux' END)"),
    "\
 CASE WHEN pg_catalog.current_setting('idle_session_timeout', true) IS NULL THEN 0 \
 WHEN pg_catalog.set_config('idle_session_timeout', p.lease, false) IS NULL THEN 0 ELSE p.lease::bigint END AS lease,\
 pg_catalog.pg_try_advisory_lock(p.trial) AS taken,\
 (SELECT pg_catalog.max(l.database::bigint) FROM pg_catalog.pg_locks AS l \
 WHERE pg_catalog.texteq(l.locktype, 'advisory') AND pg_catalog.int4eq(l.pid, pg_catalog.pg_backend_pid()) \
 AND pg_catalog.int2eq(l.objsubid, 1::smallint) AND l.granted \
 AND pg_catalog.int8eq(l.classid::bigint, pg_catalog.int8shr(p.trial, 32)) \
 AND pg_catalog.int8eq(l.objid::bigint, pg_catalog.int8and(p.trial, 4294967295))) AS database,\
 pg_catalog.pg_advisory_unlock(p.trial) AS given_back,\
 pg_catalog.pg_backend_pid() AS pid,\
 pg_catalog.current_setting('server_version_num') AS version,\
 pg_catalog.int8mul(pg_catalog.current_setting('max_locks_per_transaction')::bigint, pg_catalog.int8pl(\
 pg_catalog.current_setting('max_connections')::bigint, pg_catalog.current_setting('max_prepared_transactions')::bigint)) AS lock_table,\
 (SELECT c.system_identifier FROM pg_catalog.pg_control_system() AS c) AS system,\
 CASE WHEN pg_catalog.pg_is_in_recovery() THEN 0 ELSE pg_catalog.textcat('x', pg_catalog.substr(\
 pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::bigint END AS timeline,\
 pg_catalog.pg_is_in_recovery() AS recovery,\
 ",
    can_cancel!(),
    " AS can_cancel,\
 pg_catalog.float8mul(pg_catalog.date_part('epoch', pg_catalog.current_setting('deadlock_timeout', true)::interval), 1000)::bigint AS deadlock_timeout \
 FROM (SELECT v.nonce, ",
    name!(),
    " AS name, v.lease, v.acknowledgement, v.trial,\
 pg_catalog.int4gt(pg_catalog.length(pg_catalog.current_setting('pglock.session', true)), 0) IS TRUE AS earlier \
 FROM (VALUES ($1::pg_catalog.text, $2::pg_catalog.text, $3::pg_catalog.text, $4::pg_catalog.text, $5::bigint)) AS v(nonce, name, lease, acknowledgement, trial) OFFSET 0) AS p\
 ) AS s, LATERAL (VALUES \
 (1::bigint, s.pid::bigint),\
 (2, s.version::bigint),\
 (3, s.recovery::integer::bigint),\
 (4, s.earlier::integer::bigint),\
 (5, coalesce((s.taken AND s.database IS NOT NULL AND s.given_back)::integer, 0)::bigint),\
 (6, s.lease),\
 (7, s.lock_table),\
 (8, s.system),\
 (9, s.database),\
 (10, s.timeline),\
 (11, s.can_cancel::integer::bigint),\
 (12, s.deadlock_timeout)\
 ) AS f(fact, value)"
);
