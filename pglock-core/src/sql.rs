//! Every SQL text of the library.
//!
//! The texts are constants: keys and everything else are bound, each parameter once and in ascending order. Functions are called by
//! their qualified names, because a `search_path` may put another schema before `pg_catalog`; [`OPEN`] then sets the path for the
//! session's own statements, so that operators cannot be shadowed either.
//!
//! Operations answer rows of one column, `int8`: twice the operation's place, counted from 1, plus its result, which is 1 (yes) or 0
//! (no); or NULL where the statement runs in another session, and nothing was done. Questions answer rows of two columns, `int8 NOT NULL, text`.

/// Whether this is the session that the statement is meant for.
///
/// A transaction pooler may run a statement in any of its server sessions; the nonce, which lives in one of them, tells.
macro_rules! in_session {
    () => {
        "pg_catalog.current_setting('pglock.session', true) = $1::text"
    };
}

/// What an operation code means, as a boolean expression over `o.operand`.
///
/// `bit(32)` keeps the low half of a packed pair, and its sign. A probe takes a read lock and gives it back: it succeeds if no writer
/// holds the key or waits for it.
macro_rules! operation {
    (0) => { "pg_catalog.pg_try_advisory_lock(o.operand)" };
    (1) => { "pg_catalog.pg_try_advisory_lock_shared(o.operand)" };
    (2) => { "pg_catalog.pg_advisory_unlock(o.operand)" };
    (3) => { "pg_catalog.pg_advisory_unlock_shared(o.operand)" };
    (4) => { "pg_catalog.pg_advisory_lock(o.operand) IS NOT NULL" };
    (5) => { "pg_catalog.pg_advisory_lock_shared(o.operand) IS NOT NULL" };
    (6) => { "CASE WHEN pg_catalog.pg_try_advisory_lock_shared(o.operand) THEN pg_catalog.pg_advisory_unlock_shared(o.operand) ELSE false END" };
    (8) => { "pg_catalog.pg_try_advisory_lock((o.operand >> 32)::int4, o.operand::bit(32)::int4)" };
    (9) => { "pg_catalog.pg_try_advisory_lock_shared((o.operand >> 32)::int4, o.operand::bit(32)::int4)" };
    (10) => { "pg_catalog.pg_advisory_unlock((o.operand >> 32)::int4, o.operand::bit(32)::int4)" };
    (11) => { "pg_catalog.pg_advisory_unlock_shared((o.operand >> 32)::int4, o.operand::bit(32)::int4)" };
    (12) => { "pg_catalog.pg_advisory_lock((o.operand >> 32)::int4, o.operand::bit(32)::int4) IS NOT NULL" };
    (13) => { "pg_catalog.pg_advisory_lock_shared((o.operand >> 32)::int4, o.operand::bit(32)::int4) IS NOT NULL" };
    (14) => { "CASE WHEN pg_catalog.pg_try_advisory_lock_shared((o.operand >> 32)::int4, o.operand::bit(32)::int4) THEN pg_catalog.pg_advisory_unlock_shared((o.operand >> 32)::int4, o.operand::bit(32)::int4) ELSE false END" };
    (16) => { "pg_catalog.pg_cancel_backend(o.operand::int4)" };
    (17) => { "pg_catalog.pg_advisory_unlock_all() IS NOT NULL" };
}

/// A text for each operation code, or one text for all of them.
macro_rules! operations {
    ($($code:tt)*) => {
        /// One operation, chosen by its code: `$1` nonce, `$2` operand. Answers one row.
        ///
        /// A text for each code, because the executor prepares every branch of a `CASE` for each execution, which costs more than the lock.
        /// The planner folds the one row of `VALUES` away.
        pub(crate) fn one(code: i16) -> Option<&'static str> {
            match code {
                $($code => Some(concat!(
                    "SELECT CASE WHEN ", in_session!(), " THEN (2 + (", operation!($code), ")::int4)::int8 END",
                    " FROM (VALUES ($2::int8)) AS o(operand)"
                )),)*
                _ => None,
            }
        }

        /// Several operations, in the order of the arrays: `$1` nonce, `$2` codes, `$3` operands. Answers a row each.
        pub(crate) const MANY: &str = concat!(
            "SELECT CASE WHEN ", in_session!(), " THEN o.place * 2 + (CASE o.code",
            $(" WHEN ", $code, " THEN ", operation!($code),)*
            " END)::int4::int8 END",
            " FROM ROWS FROM (pg_catalog.unnest($2::int2[]), pg_catalog.unnest($3::int8[]))",
            " WITH ORDINALITY AS o(code, operand, place)"
        );
    };
}

operations!(0 1 2 3 4 5 6 8 9 10 11 12 13 14 16 17);

/// First statement of a session: its settings, its nonce, and the facts about the server, in one round trip.
///
/// `$1` nonce, `$2` application name. A setting the server does not know (older versions) is passed over. The inner `SELECT` reads the
/// nonce of an earlier session before it writes its own: a select list is evaluated from left to right. Types are named so that
/// no schema can shadow them either: `bigint` and `integer` by the grammar, `text` by its schema.
pub(crate) const OPEN: &str = "\
SELECT f.fact, f.value::pg_catalog.text FROM (SELECT \
 pg_catalog.length(pg_catalog.current_setting('pglock.session', true)) AS earlier,\
 pg_catalog.set_config('pglock.session', $1::pg_catalog.text, false),\
 pg_catalog.set_config('application_name', $2::pg_catalog.text, false),\
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
 (1::bigint, s.pid::bigint),\
 (2, s.version::bigint),\
 (3, s.recovery::integer::bigint),\
 (4, coalesce(s.earlier, 0)::bigint)\
 ) AS f(fact, value)";

/// What the session holds: `$1` nonce.
///
/// The first row says, as 1 or 0, whether this is the session it is meant for; the others are locks as (operand, kind).
pub(crate) const HOLDINGS: &str = concat!(
    "SELECT (",
    in_session!(),
    ")::int4::int8, NULL::text \
UNION ALL \
SELECT (l.classid::int8 << 32) | l.objid::int8,\
 (CASE l.objsubid WHEN 2 THEN 2 ELSE 0 END + CASE l.mode WHEN 'ShareLock' THEN 1 ELSE 0 END)::text \
FROM pg_catalog.pg_locks AS l \
WHERE l.locktype = 'advisory' AND l.granted AND l.pid = pg_catalog.pg_backend_pid()\
 AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())"
);
