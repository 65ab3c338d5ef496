//! The SQL of fencing tokens.

/// A number above those of all earlier holders of the lock: `$1` nonce. One row: 1 and the number,
/// or 0 and NULL in another session.
///
/// The number is a transaction id, plus the timeline and the epoch times 2^48. PostgreSQL does not
/// flush the commit of a transaction that writes nothing, so a crash could repeat its id. The
/// message makes the commit wait until it is flushed, and until a synchronous standby has it, if
/// there is one.
pub(crate) const TOKEN: &str = concat!(
    "SELECT s.is_ours::int4::int8, CASE WHEN s.is_ours \
     THEN CASE WHEN pg_catalog.set_config('synchronous_commit', \
     CASE pg_catalog.current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true) IS NOT NULL \
     THEN CASE WHEN pg_catalog.pg_logical_emit_message(true, 'pglock'::text, ''::text) IS NOT NULL \
     THEN (\
     (('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int8::numeric \
     + pg_catalog.concat('0', pg_catalog.current_setting('pglock.epoch', true))::int8::numeric) * 281474976710656 \
     + pg_catalog.pg_current_xact_id()::text::numeric)::text END END END \
     FROM (SELECT (",
    in_session!(),
    ") IS TRUE AS is_ours OFFSET 0) AS s"
);

/// Creates the table that [`SHOW_TOKEN`] writes to.
pub(crate) const TOKEN_TABLE: &str =
    "CREATE TABLE IF NOT EXISTS pglock_fence (resource text PRIMARY KEY, token bigint NOT NULL)";

/// In a transaction of the application: `$1` resource, `$2` token. A row, unless a higher token was
/// shown before.
pub(crate) const SHOW_TOKEN: &str = "\
INSERT INTO pglock_fence AS f (resource, token) VALUES ($1::pg_catalog.text, $2::bigint) \
ON CONFLICT (resource) DO UPDATE SET token = excluded.token WHERE pg_catalog.int8le(f.token, excluded.token) \
RETURNING f.token, NULL::pg_catalog.text";
