//! Every SQL text of the library.
//!
//! The texts are constants: keys and everything else are bound, each parameter once and in
//! ascending order. Functions are called by their qualified names, because a `search_path` may put
//! another schema before `pg_catalog`; [`OPEN`] then sets the path for the session's own
//! statements, so that operators cannot be shadowed either.
//!
//! Operations answer one row of one column, `text`: a digit for each in their order, 1 (yes) or 0
//! (no); or NULL where the statement runs in another session, and nothing was done. Questions
//! answer rows of two columns, `int8 NOT NULL, text`.

/// Whether this is the session that the statement is meant for.
///
/// A transaction pooler may run a statement in any of its server sessions; the nonce, which lives
/// in one of them, tells.
macro_rules! in_session {
    () => {
        "pg_catalog.current_setting('pglock.session', true) = $1::text"
    };
}

/// A function on the key that the operand `$o` is, or on the pair: `bit(32)` keeps the low half of
/// a packed one, and its sign.
macro_rules! call {
    ($function:literal, key $o:literal) => {
        concat!($function, "(", $o, ")")
    };
    ($function:literal, pair $o:literal) => {
        concat!($function, "((", $o, " >> 32)::int4, ", $o, "::bit(32)::int4)")
    };
}

/// Takes a read lock and gives it back: succeeds if no writer holds the key or waits for it.
macro_rules! probe {
    ($kind:ident $o:literal) => {
        concat!(
            "CASE WHEN ",
            call!("pg_catalog.pg_try_advisory_lock_shared", $kind $o),
            " THEN ",
            call!("pg_catalog.pg_advisory_unlock_shared", $kind $o),
            " ELSE false END"
        )
    };
}

/// Turns a write lock into a read lock. Whoever holds the one is granted the other at once, though
/// others wait. To take the write lock once more is how to see without waiting that it is held.
macro_rules! downgrade {
    ($kind:ident $o:literal) => {
        concat!(
            "CASE WHEN NOT ",
            call!("pg_catalog.pg_try_advisory_lock", $kind $o),
            " THEN false WHEN ",
            call!("pg_catalog.pg_advisory_lock_shared", $kind $o),
            " IS NULL THEN false WHEN ",
            call!("pg_catalog.pg_advisory_unlock", $kind $o),
            " THEN ",
            call!("pg_catalog.pg_advisory_unlock", $kind $o),
            " ELSE false END"
        )
    };
}

/// What an operation code means, as a boolean expression over the operand `$o`.
#[rustfmt::skip]
macro_rules! operation {
    (0, $o:literal) => { call!("pg_catalog.pg_try_advisory_lock", key $o) };
    (1, $o:literal) => { call!("pg_catalog.pg_try_advisory_lock_shared", key $o) };
    (2, $o:literal) => { call!("pg_catalog.pg_advisory_unlock", key $o) };
    (3, $o:literal) => { call!("pg_catalog.pg_advisory_unlock_shared", key $o) };
    (4, $o:literal) => { concat!(call!("pg_catalog.pg_advisory_lock", key $o), " IS NOT NULL") };
    (5, $o:literal) => { concat!(call!("pg_catalog.pg_advisory_lock_shared", key $o), " IS NOT NULL") };
    (6, $o:literal) => { probe!(key $o) };
    (8, $o:literal) => { call!("pg_catalog.pg_try_advisory_lock", pair $o) };
    (9, $o:literal) => { call!("pg_catalog.pg_try_advisory_lock_shared", pair $o) };
    (10, $o:literal) => { call!("pg_catalog.pg_advisory_unlock", pair $o) };
    (11, $o:literal) => { call!("pg_catalog.pg_advisory_unlock_shared", pair $o) };
    (12, $o:literal) => { concat!(call!("pg_catalog.pg_advisory_lock", pair $o), " IS NOT NULL") };
    (13, $o:literal) => { concat!(call!("pg_catalog.pg_advisory_lock_shared", pair $o), " IS NOT NULL") };
    (14, $o:literal) => { probe!(pair $o) };
    (16, $o:literal) => { concat!("pg_catalog.pg_cancel_backend(", $o, "::int4)") };
    (17, $o:literal) => { "pg_catalog.pg_advisory_unlock_all() IS NOT NULL" };
    (18, $o:literal) => { "true" };
    (19, $o:literal) => { downgrade!(key $o) };
    (27, $o:literal) => { downgrade!(pair $o) };
}

/// A statement that answers this in the session that it is meant for, and NULL in any other.
macro_rules! answer {
    ($($part:expr),*) => {
        concat!("SELECT CASE WHEN ", in_session!(), " THEN ", $($part,)* " END")
    };
}

/// How an operation went.
macro_rules! digit {
    ($($done:expr),*) => {
        concat!("CASE WHEN ", $($done,)* " THEN '1'::text ELSE '0' END")
    };
}

/// Several operations, in the order of the arrays: `$1` nonce, `$2` codes, `$3` operands.
///
/// The subquery is run when it is first asked for its value, so not in another session. Functions
/// in a select list give row after row; in a `FROM` they would fill a table first.
macro_rules! several {
    ($($code:tt)*) => {
        answer!(
            "(SELECT pg_catalog.string_agg(",
            digit!("CASE o.code", $(" WHEN ", $code, " THEN ", operation!($code, "o.operand"),)* " END"),
            ", '') FROM (SELECT",
            " pg_catalog.unnest($2::int2[]) AS code, pg_catalog.unnest($3::int8[]) AS operand) AS o)"
        )
    };
}

/// One operation, and where its operand comes from.
macro_rules! one {
    ($code:tt, $operand:literal, $from:literal) => {
        concat!(answer!(digit!(operation!($code, $operand))), $from)
    };
}

/// Two operations, in their order: the arguments of a function are evaluated from left to right.
macro_rules! two {
    ($first:tt, $second:tt) => {
        answer!(
            "pg_catalog.textcat(",
            digit!(operation!($first, "$2::int8")),
            ", ",
            digit!(operation!($second, "$3::int8")),
            ")"
        )
    };
}

/// A text for each operation code, one for each pair that a lone caller sends who drops a guard and
/// asks for the next lock, and two for all else, because the executor prepares every branch of a
/// `CASE`, and an aggregate, for each execution, which costs more than the lock.
macro_rules! operations {
    (common: [$($common:tt)*], alone: [$($alone:tt)*], cancel: $cancel:tt, in a row: [$($code:tt)*],
     together: [$([$first:tt $second:tt])*]) => {
        /// The operations with these codes, each with an operand of its own: `$1` nonce, `$2` the
        /// first operand, `$3` the second.
        ///
        /// Where an operand is named once, no row is made of it.
        pub(crate) fn few(codes: &[i16]) -> Option<&'static str> {
            match codes {
                $([$common] => Some(one!($common, "$2::int8", "")),)*
                $([$alone] => Some(one!($alone, "$2::int8", "")),)*
                [$cancel] => Some(one!($cancel, "$2::int8", "")),
                $([$code] => Some(one!($code, "o.operand", " FROM (VALUES ($2::int8)) AS o(operand)")),)*
                $([$first, $second] => Some(two!($first, $second)),)*
                _ => None,
            }
        }

        /// Any number of operations: `$1` nonce, `$2` these codes, `$3` operands. A wait comes
        /// alone, and cancels travel with cancels only: whoever may not call that function can do
        /// all else.
        pub(crate) fn many(codes: &[i16]) -> &'static str {
            if codes.iter().all(|code| [$($common),*].contains(code)) {
                several!($($common)*)
            } else if codes.iter().all(|code| *code == $cancel) {
                several!($cancel)
            } else {
                several!($($common)* $($code)*)
            }
        }
    };
}

operations!(
    common: [0 1 2 3],
    alone: [4 5],
    cancel: 16,
    in a row: [6 8 9 10 11 12 13 14 17 18 19 27],
    together: [[2 0] [2 1] [3 0] [3 1]]
);

/// Sets something for the session, or back to what it was if the session has an earlier one's mark.
/// Some settings not everywhere.
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

/// The name of the session: the given one, or else that of the connection, with a mark. What has the
/// mark keeps its name, such as a session of a pooler. Longer names than 63 bytes would be cut by
/// the server; they are ASCII, because it lets nothing else in.
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

/// Whether this role may cancel what a session of the same log-in is doing.
///
/// PostgreSQL compares the current role, which `SET ROLE` changes, with the one that logged in:
/// it wants the rights of that role, or those of `pg_signal_backend` unless a superuser logged in.
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

/// Runs before [`OPEN`], by the simple protocol, because of what a role may have set.
///
/// A serializable, read-only, deferrable transaction waits for its first snapshot while others
/// write, and so does each statement by itself. Every statement that returns rows takes a snapshot,
/// even to be parsed; these take none. To compile [`OPEN`] takes longer than some time-outs.
///
/// A pooler in transaction mode may keep these two for its other clients, if it then refuses
/// [`OPEN`], so that nothing is here that others would miss.
pub(crate) const PRELUDE: &str =
    "SET SESSION CHARACTERISTICS AS TRANSACTION NOT DEFERRABLE; SET jit = off";

/// Second statement of a session: its settings, its nonce, and the facts about the server, in one
/// round trip. What is set, and why, is in `docs/settings.md`.
///
/// `$1` nonce, `$2` application name, or an empty text for the connection's own, `$3` lease and `$4` time for acknowledgements, both in
/// milliseconds, `$5` a key for the trial, 0 to 2^63-1. Answers a row (fact, value) each.
///
/// Where an earlier session is found, whose server session this is a pooler's, it takes the
/// settings of that one back, so that the pooler's other clients do not get them. The mark remains,
/// and so does the lease, by which the server session ends once nobody uses it.
///
/// Keepalives end the session of a client that says nothing after 6 seconds, and let it be silent
/// for the rest of the time for acknowledgements before; systems take at most 32767 seconds.
///
/// A setting the server does not know (older versions) is passed over, and so is
/// `client_connection_check_interval` where the server's system cannot do it, because PostgreSQL
/// refuses it there: 14 has it on Linux, and 15 where epoll or kqueue is. `OFFSET 0` has the nonce
/// of an earlier session read once, before this one's is written. A select list is evaluated from
/// left to right: the trial takes the lock, looks for it and gives it back. Functions stand for
/// operators, and types are named, so that no schema can shadow them: `bigint` and `integer` by the
/// grammar, `text` by its schema.
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
    " AS can_cancel \
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
 (11, s.can_cancel::integer::bigint)\
 ) AS f(fact, value)"
);

/// What the session holds: `$1` nonce.
///
/// The first row says, as 1 or 0, whether this is the session it is meant for; the others are locks
/// as (operand, kind). A session holds advisory locks in its own database only. No catalog of the
/// whole cluster is read, which would take a place in the lock table: this works when that is full.
pub(crate) const HOLDINGS: &str = concat!(
    "SELECT (",
    in_session!(),
    ")::int4::int8, NULL::text \
UNION ALL \
SELECT (l.classid::int8 << 32) | l.objid::int8,\
 (CASE l.objsubid WHEN 2 THEN 2 ELSE 0 END + CASE l.mode WHEN 'ShareLock' THEN 1 ELSE 0 END)::text \
FROM pg_catalog.pg_locks AS l \
WHERE l.locktype = 'advisory' AND l.granted AND l.pid = pg_catalog.pg_backend_pid()"
);

/// Who holds and who waits, in this database: a row (operand, fields in lines) each, in the
/// server's order.
///
/// `waitstart` is read by its name, because versions before 14 have no such column.
macro_rules! locks {
    ($where:literal) => {
        concat!(
            "SELECT (l.classid::int8 << 32) | l.objid::int8, pg_catalog.concat_ws(E'\\n',\
 CASE l.objsubid WHEN 2 THEN 2 ELSE 0 END + CASE l.mode WHEN 'ShareLock' THEN 1 ELSE 0 END,\
 l.granted::int4, l.pid,\
 coalesce((pg_catalog.date_part('epoch', CASE WHEN l.granted THEN s.backend_start ELSE (pg_catalog.to_jsonb(l) ->> 'waitstart')::timestamptz END) * 1000000)::int8::text, ''),\
 CASE WHEN l.granted THEN '' ELSE pg_catalog.array_to_string(pg_catalog.pg_blocking_pids(l.pid), ',') END,\
 coalesce(pg_catalog.host(s.client_addr), ''), coalesce(s.application_name, '')) \
FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS s ON s.pid = l.pid \
WHERE l.locktype = 'advisory' AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())",
            $where,
            " ORDER BY l.objsubid, l.classid, l.objid, l.granted DESC, pg_catalog.to_jsonb(l) ->> 'waitstart', l.pid"
        )
    };
}

/// All locks. The names are those of `pg_catalog`: [`OPEN`] has set the path.
pub(crate) const LOCKS: &str = locks!("");

/// The locks on one key: `$1` its 64 bits, `$2` is 1, or 2 for a pair.
pub(crate) const LOCKS_ON_KEY: &str =
    locks!(" AND ((l.classid::int8 << 32) | l.objid::int8) = $1::int8 AND l.objsubid = $2::int8");
