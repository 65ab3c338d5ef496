//! The SQL of the slots of scheduled jobs, in sessions of the application.

/// Makes the commit of this statement wait until it is flushed, and until a synchronous standby has
/// it, if there is one: a crash must not forget a slot that has begun.
macro_rules! flushed {
    () => {
        "pg_catalog.set_config('synchronous_commit', \
         CASE WHEN pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'remote_apply'::pg_catalog.text \
         THEN 'remote_apply' ELSE 'on' END, true) IS NOT NULL"
    };
}

/// The table that the other statements use.
pub(crate) const SLOT_TABLE: &str = "CREATE TABLE IF NOT EXISTS pglock_slot (\
job text PRIMARY KEY, slot bigint NOT NULL, version bigint NOT NULL, recorded_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp())";

/// `$1` job. One row: the time in microseconds since 1970, and the record or NULL.
pub(crate) const LOOK_AT_SLOT: &str = "\
SELECT pg_catalog.floor(pg_catalog.date_part('epoch'::pg_catalog.text, pg_catalog.clock_timestamp()) \
OPERATOR(pg_catalog.*) 1000000::float8)::int8, \
(SELECT pg_catalog.concat(s.slot, ' ', s.version) FROM pglock_slot AS s WHERE s.job OPERATOR(pg_catalog.=) $1::pg_catalog.text)";

/// `$1` job, `$2` slot, `$3` version. A row, unless the job has a record.
pub(crate) const FIRST_SLOT: &str = concat!(
    "INSERT INTO pglock_slot AS s (job, slot, version) SELECT $1::pg_catalog.text, $2::bigint, $3::bigint WHERE ",
    flushed!(),
    " ON CONFLICT (job) DO NOTHING RETURNING s.slot, NULL::pg_catalog.text"
);

/// `$1` slot, `$2` version, `$3` job, `$4` the slot that was seen, `$5` its version. A row, if the
/// record is still that.
pub(crate) const NEXT_SLOT: &str = concat!(
    "UPDATE pglock_slot AS s SET slot = $1::bigint, version = $2::bigint, recorded_at = pg_catalog.clock_timestamp() \
     WHERE s.job OPERATOR(pg_catalog.=) $3::pg_catalog.text \
     AND s.slot OPERATOR(pg_catalog.=) $4::bigint AND s.version OPERATOR(pg_catalog.=) $5::bigint AND ",
    flushed!(),
    " RETURNING s.slot, NULL::pg_catalog.text"
);
