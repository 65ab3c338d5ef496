//! Statements that take, release, convert and cancel locks.

/// Calls a function on the key of the operand `$o`, or on its pair: `bit(32)` keeps the low half of
/// a packed pair, and its sign.
macro_rules! call {
    ($function:literal, key $o:literal) => {
        concat!($function, "(", $o, ")")
    };
    ($function:literal, pair $o:literal) => {
        concat!($function, "((", $o, " >> 32)::int4, ", $o, "::bit(32)::int4)")
    };
}

/// Takes a read lock and releases it: true if no writer holds the key or waits for it.
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

/// Turns a write lock into a read lock. PostgreSQL grants the read lock to the holder of the write
/// lock at once, even if others wait. Taking the write lock a second time shows, without waiting,
/// that it is held.
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

/// Turns a write lock into a read lock, which lets in all that can share it, and then takes the write
/// lock back if it can be had at once. Without a write lock, nothing is held afterwards.
macro_rules! let_in {
    ($kind:ident $o:literal) => {
        concat!(
            "CASE WHEN NOT ",
            downgrade!($kind $o),
            " THEN ",
            call!("pg_catalog.pg_advisory_unlock_shared", $kind $o),
            " AND false WHEN ",
            call!("pg_catalog.pg_try_advisory_lock", $kind $o),
            " THEN ",
            call!("pg_catalog.pg_advisory_unlock_shared", $kind $o),
            " ELSE false END"
        )
    };
}

/// Tries a lock, and notes for the rest of the statement whether it was taken.
macro_rules! first_of_run {
    ($function:literal, $kind:ident $o:literal) => {
        concat!(
            "pg_catalog.set_config('pglock.taken', CASE WHEN ",
            call!($function, $kind $o),
            " THEN '1' ELSE '0' END, true) = '1'"
        )
    };
}

/// Whether another session holds the key `$o`; `$subid` is 1, or 2 for a pair.
macro_rules! others_hold {
    ($subid:literal, $o:literal) => {
        concat!(
            "EXISTS (SELECT FROM pg_catalog.pg_locks AS l WHERE l.locktype = 'advisory' AND l.granted \
 AND l.pid <> pg_catalog.pg_backend_pid() AND l.objsubid = ",
            $subid,
            " AND ((l.classid::int8 << 32) | l.objid::int8) = ",
            $o,
            " AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d \
 WHERE d.datname = pg_catalog.current_database()))"
        )
    };
}

/// Does so if the last lock that was tried was taken (`'1'`) or not (`'0'`).
macro_rules! next_of_run {
    ($taken:literal, $function:literal, $kind:ident $o:literal) => {
        concat!(
            "CASE WHEN pg_catalog.current_setting('pglock.taken', true) = ",
            $taken,
            " THEN ",
            first_of_run!($function, $kind $o),
            " ELSE false END"
        )
    };
}

/// Turns a read lock into a write lock, if no other session holds the key. Before version 17, the
/// try is refused while a writer waits. A session that holds the read lock alone is granted the
/// write lock all the same, at once, if it asks for it as one that would wait. If another one has
/// come since the look into `pg_locks`, the wait fails after a millisecond.
macro_rules! upgrade {
    ($kind:ident $subid:literal $o:literal) => {
        concat!(
            "CASE WHEN ",
            call!("pg_catalog.pg_try_advisory_lock", $kind $o),
            " THEN ",
            call!("pg_catalog.pg_advisory_unlock_shared", $kind $o),
            " WHEN ",
            others_hold!($subid, $o),
            " THEN false WHEN pg_catalog.set_config('lock_timeout', '1', true) IS NULL THEN false WHEN ",
            call!("pg_catalog.pg_advisory_lock", $kind $o),
            " IS NULL THEN false ELSE ",
            call!("pg_catalog.pg_advisory_unlock_shared", $kind $o),
            " END"
        )
    };
}

/// The meaning of an operation code, as a boolean expression over the operand `$o`.
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
    (21, $o:literal) => { upgrade!(key 1 $o) };
    (27, $o:literal) => { downgrade!(pair $o) };
    (22, $o:literal) => { let_in!(key $o) };
    (30, $o:literal) => { let_in!(pair $o) };
    (20, $o:literal) => { concat!("pg_catalog.set_config('lock_timeout', ", $o, "::text, true) IS NOT NULL") };
    (32, $o:literal) => { first_of_run!("pg_catalog.pg_try_advisory_lock", key $o) };
    (33, $o:literal) => { first_of_run!("pg_catalog.pg_try_advisory_lock_shared", key $o) };
    (34, $o:literal) => { next_of_run!("'1'", "pg_catalog.pg_try_advisory_lock", key $o) };
    (35, $o:literal) => { next_of_run!("'1'", "pg_catalog.pg_try_advisory_lock_shared", key $o) };
    (36, $o:literal) => { next_of_run!("'0'", "pg_catalog.pg_try_advisory_lock", key $o) };
    (37, $o:literal) => { next_of_run!("'0'", "pg_catalog.pg_try_advisory_lock_shared", key $o) };
    (40, $o:literal) => { first_of_run!("pg_catalog.pg_try_advisory_lock", pair $o) };
    (41, $o:literal) => { first_of_run!("pg_catalog.pg_try_advisory_lock_shared", pair $o) };
    (42, $o:literal) => { next_of_run!("'1'", "pg_catalog.pg_try_advisory_lock", pair $o) };
    (43, $o:literal) => { next_of_run!("'1'", "pg_catalog.pg_try_advisory_lock_shared", pair $o) };
    (44, $o:literal) => { next_of_run!("'0'", "pg_catalog.pg_try_advisory_lock", pair $o) };
    (45, $o:literal) => { next_of_run!("'0'", "pg_catalog.pg_try_advisory_lock_shared", pair $o) };
    (29, $o:literal) => { upgrade!(pair 2 $o) };
}

/// A statement that returns this in the session that it is meant for, and NULL in any other.
macro_rules! answer {
    ($($part:expr),*) => {
        concat!("SELECT CASE WHEN ", in_session!(), " THEN ", $($part,)* " END")
    };
}

/// The result of an operation.
macro_rules! digit {
    ($($done:expr),*) => {
        concat!("CASE WHEN ", $($done,)* " THEN '1'::text ELSE '0' END")
    };
}

/// Several operations, in the order of the arrays: `$1` nonce, `$2` codes, `$3` operands.
///
/// PostgreSQL runs the subquery when it first needs the value, so not in another session. Functions
/// in a select list produce one row after the other; in a `FROM` they would fill a table first.
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

/// Two operations, in their order: PostgreSQL evaluates the arguments of a function from left to
/// right. A setting that the first one makes for the transaction ends with the statement.
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

/// A text for each operation code, one for each pair that a lone caller sends when it drops a guard
/// and acquires the next lock, one for each limited wait, and two for all else. One text for everything would be slower: for
/// each execution, the executor prepares every branch of a `CASE`, and an aggregate, which costs
/// more than the lock.
macro_rules! operations {
    (common: [$($common:tt)*], alone: [$($alone:tt)*], alone in a row: [$($upgrade:tt)*],
     cancel: $cancel:tt, in a row: [$($code:tt)*], runs: [$($run:tt)*],
     together: [$([$first:tt $second:tt])*]) => {
        /// The operations with these codes, each with an operand of its own: `$1` nonce, `$2` the
        /// first operand, `$3` the second.
        ///
        /// A text that names its operand once needs no row for it.
        pub(crate) fn few(codes: &[i16]) -> Option<&'static str> {
            match codes {
                $([$common] => Some(one!($common, "$2::int8", "")),)*
                $([$alone] => Some(one!($alone, "$2::int8", "")),)*
                [$cancel] => Some(one!($cancel, "$2::int8", "")),
                $([$upgrade] => Some(one!($upgrade, "o.operand", " FROM (VALUES ($2::int8)) AS o(operand)")),)*
                $([$code] => Some(one!($code, "o.operand", " FROM (VALUES ($2::int8)) AS o(operand)")),)*
                $([$first, $second] => Some(two!($first, $second)),)*
                _ => None,
            }
        }

        /// Any number of operations: `$1` nonce, `$2` these codes, `$3` operands. A wait and an
        /// upgrade come alone. Cancels come with cancels only, so that a role without the right to
        /// call that function can do all else.
        pub(crate) fn many(codes: &[i16]) -> &'static str {
            if codes.iter().all(|code| [$($common),*].contains(code)) {
                several!($($common)*)
            } else if codes.iter().all(|code| *code == $cancel) {
                several!($cancel)
            } else if codes.iter().all(|code| [$($common,)* $($run),*].contains(code)) {
                several!($($common)* $($run)*)
            } else {
                several!($($common)* $($code)* $($run)*)
            }
        }
    };
}

operations!(
    common: [0 1 2 3],
    alone: [4 5],
    alone in a row: [21 29],
    cancel: 16,
    in a row: [6 8 9 10 11 12 13 14 17 18 19 22 27 30],
    runs: [32 33 34 35 36 37 40 41 42 43 44 45],
    together: [[2 0] [2 1] [3 0] [3 1] [20 4] [20 5] [20 12] [20 13]]
);
