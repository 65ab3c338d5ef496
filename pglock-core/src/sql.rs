//! Every SQL text of the library.
//!
//! The texts are constants: keys and everything else are bound, each parameter once and in ascending order. Functions are called by
//! their qualified names, because a `search_path` may put another schema before `pg_catalog`; [`OPEN`] then sets the path for the
//! session's own statements, so that operators cannot be shadowed either.
//!
//! All statements answer rows of two columns, `int8 NOT NULL, int8`.

/// The two halves of a packed pair, as `int4, int4`. `bit(32)` keeps the low bits and their sign.
macro_rules! pair {
    ($operand:literal) => {
        concat!(
            "(",
            $operand,
            " >> 32)::int4, ",
            $operand,
            "::bit(32)::int4"
        )
    };
}

/// The operation, if the statement runs in the session it is meant for: 1 (yes), 0 (no), or NULL where it is another session and nothing was done.
///
/// A transaction pooler may run a statement in any of its server sessions; backend pid and nonce together tell. The probe takes and gives back
/// a read lock: it succeeds if no writer holds the key or waits for it. The codes are those of `Operation::code`.
macro_rules! guarded {
    ($operation:literal, $operand:literal) => {
        concat!(
            "CASE WHEN pg_catalog.pg_backend_pid() = $1::int4 AND pg_catalog.current_setting('pglock.session', true) = $2::text THEN (CASE ", $operation,
            " WHEN 0 THEN pg_catalog.pg_try_advisory_lock(", $operand, ")",
            " WHEN 1 THEN pg_catalog.pg_try_advisory_lock_shared(", $operand, ")",
            " WHEN 2 THEN pg_catalog.pg_advisory_unlock(", $operand, ")",
            " WHEN 3 THEN pg_catalog.pg_advisory_unlock_shared(", $operand, ")",
            " WHEN 4 THEN pg_catalog.pg_advisory_lock(", $operand, ") IS NOT NULL",
            " WHEN 5 THEN pg_catalog.pg_advisory_lock_shared(", $operand, ") IS NOT NULL",
            " WHEN 6 THEN CASE WHEN pg_catalog.pg_try_advisory_lock_shared(", $operand, ")",
            " THEN pg_catalog.pg_advisory_unlock_shared(", $operand, ") ELSE false END",
            " WHEN 8 THEN pg_catalog.pg_try_advisory_lock(", pair!($operand), ")",
            " WHEN 9 THEN pg_catalog.pg_try_advisory_lock_shared(", pair!($operand), ")",
            " WHEN 10 THEN pg_catalog.pg_advisory_unlock(", pair!($operand), ")",
            " WHEN 11 THEN pg_catalog.pg_advisory_unlock_shared(", pair!($operand), ")",
            " WHEN 12 THEN pg_catalog.pg_advisory_lock(", pair!($operand), ") IS NOT NULL",
            " WHEN 13 THEN pg_catalog.pg_advisory_lock_shared(", pair!($operand), ") IS NOT NULL",
            " WHEN 14 THEN CASE WHEN pg_catalog.pg_try_advisory_lock_shared(", pair!($operand), ")",
            " THEN pg_catalog.pg_advisory_unlock_shared(", pair!($operand), ") ELSE false END",
            " WHEN 16 THEN pg_catalog.pg_cancel_backend(", $operand, "::int4)",
            " WHEN 17 THEN pg_catalog.pg_advisory_unlock_all() IS NOT NULL",
            " END)::int4::int8 END"
        )
    };
}

/// First statement of a session: its settings, its nonce, and the facts about the server, in one round trip.
///
/// `$1` nonce, `$2` application name. A setting the server does not know (older versions) is passed over. The inner `SELECT` reads the
/// nonce of an earlier session before it writes its own: a select list is evaluated from left to right.
pub(crate) const OPEN: &str = "\
SELECT f.fact, f.value FROM (SELECT \
 pg_catalog.length(pg_catalog.current_setting('pglock.session', true)) AS earlier,\
 pg_catalog.set_config('pglock.session', $1::text, false),\
 pg_catalog.set_config('application_name', $2::text, false),\
 pg_catalog.set_config('search_path', 'pg_catalog', false),\
 pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', false),\
 pg_catalog.set_config('statement_timeout', '0', false),\
 pg_catalog.set_config('lock_timeout', '0', false),\
 pg_catalog.set_config('idle_in_transaction_session_timeout', '0', false),\
 pg_catalog.set_config('tcp_keepalives_idle', '15', false),\
 pg_catalog.set_config('tcp_keepalives_interval', '5', false),\
 pg_catalog.set_config('tcp_keepalives_count', '3', false),\
 pg_catalog.set_config('tcp_user_timeout', '30000', false),\
 CASE WHEN pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL THEN pg_catalog.set_config('transaction_timeout', '0', false) END,\
 CASE WHEN pg_catalog.current_setting('idle_session_timeout', true) IS NOT NULL THEN pg_catalog.set_config('idle_session_timeout', '0', false) END,\
 CASE WHEN pg_catalog.current_setting('client_connection_check_interval', true) IS NOT NULL THEN pg_catalog.set_config('client_connection_check_interval', '1000', false) END,\
 pg_catalog.pg_backend_pid() AS pid,\
 pg_catalog.current_setting('server_version_num') AS version,\
 pg_catalog.pg_is_in_recovery() AS recovery\
 ) AS s, LATERAL (VALUES \
 (1::int8, s.pid::int8),\
 (2, s.version::int8),\
 (3, s.recovery::int4::int8),\
 (4, coalesce(s.earlier, 0)::int8)\
 ) AS f(fact, value)";

/// One lock operation: `$1` backend pid, `$2` nonce, `$3` operation, `$4` operand.
///
/// The planner folds the one row of `VALUES` away; a function scan, as below, would cost more than the lock.
pub(crate) const ONE: &str = concat!(
    "SELECT 1::int8, ",
    guarded!("o.operation", "o.operand"),
    " FROM (VALUES ($3::int2, $4::int8)) AS o(operation, operand)"
);

/// Several lock operations, in the order of the arrays: `$1` backend pid, `$2` nonce, `$3` operations, `$4` operands.
///
/// The first column is the place in the arrays, from 1.
pub(crate) const MANY: &str = concat!(
    "SELECT o.place, ",
    guarded!("o.operation", "o.operand"),
    " FROM ROWS FROM (pg_catalog.unnest($3::int2[]), pg_catalog.unnest($4::int8[]))",
    " WITH ORDINALITY AS o(operation, operand, place)"
);

/// What the session holds: `$1` backend pid, `$2` nonce.
///
/// The first row says, as 1 or 0, whether this is the session it is meant for; the others are locks as (operand, kind).
pub(crate) const HOLDINGS: &str = "\
SELECT (pg_catalog.pg_backend_pid() = $1::int4 AND pg_catalog.current_setting('pglock.session', true) = $2::text)::int4::int8, NULL::int8 \
UNION ALL \
SELECT (l.classid::int8 << 32) | l.objid::int8,\
 (CASE l.objsubid WHEN 2 THEN 2 ELSE 0 END + CASE l.mode WHEN 'ShareLock' THEN 1 ELSE 0 END)::int8 \
FROM pg_catalog.pg_locks AS l \
WHERE l.locktype = 'advisory' AND l.granted AND l.pid = pg_catalog.pg_backend_pid()\
 AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())";
