//! Statements that list locks: those of one session, and all of them.

/// What the session holds: `$1` nonce.
///
/// The first row is 1 in the session that the statement is meant for, else 0; the others are locks
/// as (operand, kind). A session holds advisory locks in its own database only. The statement reads
/// no catalog of the whole cluster, which would take an entry of the lock table, so it works when
/// that table is full.
pub(crate) const HOLDINGS: &str = concat!(
    "SELECT ((",
    in_session!(),
    ") IS TRUE)::int4::int8, NULL::text \
UNION ALL \
SELECT (l.classid::int8 << 32) | l.objid::int8,\
 (CASE l.objsubid WHEN 2 THEN 2 ELSE 0 END + CASE l.mode WHEN 'ShareLock' THEN 1 ELSE 0 END)::text \
FROM pg_catalog.pg_locks AS l \
WHERE l.locktype = 'advisory' AND l.granted AND l.pid = pg_catalog.pg_backend_pid()"
);

/// The holders and waiters in this database: one row (operand, fields in lines) for each, in the
/// server's order.
///
/// The statement reads `waitstart` by its name, because versions before 14 have no such column.
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

/// All locks. The names are those of `pg_catalog`: [`OPEN`](super::OPEN) has set the path.
pub(crate) const LOCKS: &str = locks!("");

/// The locks on one key: `$1` its 64 bits, `$2` is 1, or 2 for a pair.
pub(crate) const LOCKS_ON_KEY: &str =
    locks!(" AND ((l.classid::int8 << 32) | l.objid::int8) = $1::int8 AND l.objsubid = $2::int8");

/// The name of the database, in a row of its own.
pub(crate) const DATABASE: &str =
    "SELECT 0::bigint, pg_catalog.current_database()::pg_catalog.text";
