//! SQL for locks in a transaction of the application. Its `search_path` is the application's, so
//! functions stand for operators. Each parameter is named once and in order, because some clients
//! number them themselves.

/// A lock function on the key, or on the pair that it packs.
macro_rules! on_key {
    ($function:literal, key) => {
        concat!($function, "(p.key)")
    };
    ($function:literal, pair) => {
        concat!($function, "(pg_catalog.int8shr(p.key, 32)::integer, p.key::bit(32)::integer)")
    };
}

/// What is to be done if the server and the isolation level allow it, else an
/// [`Outcome`](crate::transaction::acquire::Outcome) that says why not.
macro_rules! allowed {
    ($($act:expr),*) => {
        concat!(
            "CASE WHEN pg_catalog.pg_is_in_recovery() THEN 3 \
             WHEN pg_catalog.int8eq(p.isolation, 1) OR pg_catalog.texteq(pg_catalog.current_setting('transaction_isolation'), 'read committed') \
             THEN ",
            $($act,)*
            " ELSE 2 END"
        )
    };
}

/// Takes the lock if it is free: `$1` key, `$2` 1 if any isolation level will do, else 0. Returns
/// one row with an [`Outcome`](crate::transaction::acquire::Outcome).
macro_rules! try_lock {
    ($function:literal, $kind:ident) => {
        concat!(
            "SELECT ",
            allowed!("CASE WHEN ", on_key!($function, $kind), " THEN 1 ELSE 0 END"),
            "::bigint, NULL::pg_catalog.text \
             FROM (VALUES ($1::bigint, $2::bigint)) AS p(key, isolation)"
        )
    };
}

/// Waits for the lock: `$1` key, `$2` the longest wait in milliseconds, `$3` and `$4` the values of
/// `lock_timeout` and `statement_timeout` afterwards. The conditions of a `CASE` are evaluated in
/// order.
macro_rules! lock {
    ($function:literal, $kind:ident) => {
        concat!(
            "SELECT CASE WHEN pg_catalog.set_config('lock_timeout', p.wait, true) IS NULL THEN 0 WHEN ",
            on_key!($function, $kind),
            " IS NULL THEN 0 \
             WHEN pg_catalog.set_config('lock_timeout', p.lock_timeout, true) IS NULL THEN 0 \
             WHEN pg_catalog.set_config('statement_timeout', p.statement_timeout, true) IS NULL THEN 0 \
             ELSE 1 END::bigint, NULL::pg_catalog.text \
             FROM (VALUES ($1::bigint, $2::pg_catalog.text, $3::pg_catalog.text, $4::pg_catalog.text)) \
             AS p(key, wait, lock_timeout, statement_timeout)"
        )
    };
}

/// Takes the gate of a lock if it is free, and then the mark: `$1` gate, `$2` as for a try, `$3`
/// mark. Answers as a try.
macro_rules! fence {
    ($function:literal) => {
        concat!(
            "SELECT ",
            allowed!(
                "CASE WHEN ",
                $function,
                "(p.gate) THEN CASE WHEN pg_catalog.pg_try_advisory_xact_lock(p.mark) THEN 1 ELSE 0 END ELSE 0 END"
            ),
            "::bigint, NULL::pg_catalog.text \
             FROM (VALUES ($1::bigint, $2::bigint, $3::bigint)) AS p(gate, isolation, mark)"
        )
    };
}

pub(crate) const TRY_READ: &str = try_lock!("pg_catalog.pg_try_advisory_xact_lock_shared", key);
pub(crate) const TRY_READ_PAIR: &str =
    try_lock!("pg_catalog.pg_try_advisory_xact_lock_shared", pair);
pub(crate) const TRY_WRITE: &str = try_lock!("pg_catalog.pg_try_advisory_xact_lock", key);
pub(crate) const TRY_WRITE_PAIR: &str = try_lock!("pg_catalog.pg_try_advisory_xact_lock", pair);

pub(crate) const READ: &str = lock!("pg_catalog.pg_advisory_xact_lock_shared", key);
pub(crate) const READ_PAIR: &str = lock!("pg_catalog.pg_advisory_xact_lock_shared", pair);
pub(crate) const WRITE: &str = lock!("pg_catalog.pg_advisory_xact_lock", key);
pub(crate) const WRITE_PAIR: &str = lock!("pg_catalog.pg_advisory_xact_lock", pair);

pub(crate) const FENCE_READ: &str = fence!("pg_catalog.pg_try_advisory_xact_lock_shared");
pub(crate) const FENCE_WRITE: &str = fence!("pg_catalog.pg_try_advisory_xact_lock");

/// Answers a row (fact, value) each for the system and the database, as the first question of a
/// session does.
pub(crate) const IDENTITY: &str = "\
SELECT v.fact::bigint, v.value FROM (VALUES \
 (8, (SELECT c.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() AS c)),\
 (9, (SELECT d.oid::pg_catalog.text FROM pg_catalog.pg_database AS d \
 WHERE pg_catalog.nameeq(d.datname, pg_catalog.current_database())))) AS v(fact, value)";

/// Returns three rows: `lock_timeout`, `statement_timeout` and `deadlock_timeout` (in seconds).
/// Then it switches off `statement_timeout`, which takes effect from the next statement on.
pub(crate) const BEFORE_WAIT: &str = "\
SELECT v.n::bigint, v.value FROM (SELECT \
 pg_catalog.current_setting('lock_timeout') AS lock_timeout,\
 pg_catalog.current_setting('statement_timeout') AS statement_timeout,\
 pg_catalog.date_part('epoch', pg_catalog.current_setting('deadlock_timeout')::pg_catalog.interval)::pg_catalog.text AS deadlock_timeout,\
 pg_catalog.set_config('statement_timeout', '0', true) AS switched_off OFFSET 0) AS s, LATERAL (VALUES (1, s.lock_timeout), (2, s.statement_timeout), (3, s.deadlock_timeout)) AS v(n, value)";

/// The savepoint to which a failed wait returns.
pub(crate) const SAVEPOINT: &str = "SAVEPOINT pglock";
/// Undoes the settings of a failed wait, and its effects at the server.
pub(crate) const ROLL_BACK: &str = "ROLLBACK TO SAVEPOINT pglock";
/// Keeps the work done since the savepoint.
pub(crate) const RELEASE: &str = "RELEASE SAVEPOINT pglock";
