//! The keys of migration tools, which an application should not use by accident.
//!
//! A service that locks 75474063 blocks Sqitch, and the other way round, if both use one database.
//! The first time that a process asks for a lock on one of these keys, the library logs a warning.
//!
//! Take such a key on purpose to keep a tool from migrating while you work, as
//! [`run_exclusively`](crate::migration::run_exclusively) does for sqlx.
//!
//! | tool | key |
//! |---|---|
//! | goose | [`GOOSE`] |
//! | Kysely | [`KYSELY`] |
//! | node-pg-migrate | [`NODE_PG_MIGRATE`] |
//! | postgres-migrations (npm) | [`POSTGRES_MIGRATIONS`] |
//! | Prisma Migrate | [`PRISMA`] |
//! | Sqitch | [`SQITCH`] |
//! | sqlx's tests | [`SQLX_TEST`] |
//! | sqlx's migrations | [`sqlx_migrate`] of the database |
//! | Rails | [`rails`] of the database |
//! | golang-migrate | [`golang_migrate`] of the database, schema and table |
//!
//! ```
//! use pglock_core::key::well_known;
//!
//! assert_eq!(well_known::name_of(well_known::GOOSE), Some("goose"));
//! assert_eq!(well_known::name_of(well_known::KYSELY), Some("Kysely"));
//! assert_eq!(well_known::name_of(well_known::NODE_PG_MIGRATE), Some("node-pg-migrate"));
//! assert_eq!(well_known::name_of(well_known::POSTGRES_MIGRATIONS), Some("postgres-migrations"));
//! assert_eq!(well_known::name_of(well_known::PRISMA), Some("Prisma Migrate"));
//! assert_eq!(well_known::name_of(well_known::SQITCH), Some("Sqitch"));
//! assert_eq!(well_known::name_of(well_known::SQLX_TEST), Some("sqlx's tests"));
//! ```

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tracing::warn;

use super::{LockKey, NamedKey, Space, hash};

/// goose: `DefaultLockID` of its package `lock`.
pub const GOOSE: LockKey = LockKey(Space::Bigint(4_097_083_626));
/// Kysely: `LOCK_ID` of its `PostgresAdapter`.
pub const KYSELY: LockKey = LockKey(Space::Bigint(3_853_314_791_062_309_107));
/// node-pg-migrate: `PG_MIGRATE_LOCK_ID`.
pub const NODE_PG_MIGRATE: LockKey = LockKey(Space::Bigint(7_241_865_325_823_964));
/// The npm package postgres-migrations: the number in its `with-lock.ts`.
pub const POSTGRES_MIGRATIONS: LockKey = LockKey(Space::Bigint(-8_525_285_245_963_000_605));
/// Prisma Migrate: the number in the timeout error of its schema engine.
pub const PRISMA: LockKey = LockKey(Space::Bigint(72_707_369));
/// Sqitch: the number in its engine `pg`.
pub const SQITCH: LockKey = LockKey(Space::Bigint(75_474_063));
/// sqlx, while `#[sqlx::test]` makes a database: `sqlxtest` in ASCII.
pub const SQLX_TEST: LockKey = LockKey(Space::Bigint(8_318_549_251_334_697_844));

const TOOLS: [(LockKey, &str); 7] = [
    (GOOSE, "goose"),
    (KYSELY, "Kysely"),
    (NODE_PG_MIGRATE, "node-pg-migrate"),
    (POSTGRES_MIGRATIONS, "postgres-migrations"),
    (PRISMA, "Prisma Migrate"),
    (SQITCH, "Sqitch"),
    (SQLX_TEST, "sqlx's tests"),
];

const SQLX_SALT: i64 = 0x3d32_ad9e;
const RAILS_SALT: i64 = 2_053_462_845;

/// The key under which sqlx migrates a database, by the name of the database:
/// `0x3d32ad9e * crc32(name)`.
///
/// Source: `generate_lock_id` in `sqlx-postgres/src/migrate.rs`.
///
/// # Examples
///
/// ```
/// use pglock_core::key::well_known;
///
/// assert_eq!(well_known::sqlx_migrate("postgres").as_bigint(), Some(368907709894077238));
/// ```
pub fn sqlx_migrate(database: &str) -> LockKey {
    LockKey::from(SQLX_SALT * i64::from(hash::crc32(database.as_bytes())))
}

/// The key under which Rails migrates a database, by the name of the database:
/// `2053462845 * crc32(name)`.
///
/// Source: `generate_migrator_advisory_lock_id` in `activerecord/lib/active_record/migration.rb`.
///
/// # Examples
///
/// ```
/// use pglock_core::key::well_known;
///
/// assert_eq!(well_known::rails("postgres").as_bigint(), Some(737815420147457505));
/// ```
pub fn rails(database: &str) -> LockKey {
    LockKey::from(RAILS_SALT * i64::from(hash::crc32(database.as_bytes())))
}

/// The key under which golang-migrate migrates a database:
/// `crc32(schema, NUL, table, NUL, database) * 1486364155`, modulo 2^32.
///
/// The schema is the current one when golang-migrate connects, usually `public`, and the table is
/// `schema_migrations` unless `x-migrations-table` names another. Source:
/// `GenerateAdvisoryLockId` in `database/util.go`, and `Lock` in `database/postgres/postgres.go`.
///
/// # Examples
///
/// ```
/// use pglock_core::key::well_known;
///
/// let key = well_known::golang_migrate("mydb", "public", "schema_migrations");
/// assert_eq!(key.as_bigint(), Some(2103762914));
/// assert_eq!(well_known::name_of(key), None);
/// ```
pub fn golang_migrate(database: &str, schema: &str, table: &str) -> LockKey {
    LockKey::from(golang_id([schema, table, database].join("\0").as_bytes()))
}

fn golang_id(names: &[u8]) -> u32 {
    hash::crc32(names).wrapping_mul(1_486_364_155)
}

/// The tool that takes this key.
///
/// The migration keys of sqlx and Rails depend on the name of the database: this function
/// recognizes those of any name. Two numbers can be keys of both, and count as sqlx's. It cannot
/// recognize keys of golang-migrate, because any number of 32 bits is one, for some database.
///
/// # Examples
///
/// ```
/// use pglock_core::key::well_known;
///
/// assert_eq!(well_known::name_of(4_097_083_626_i64.into()), Some("goose"));
/// assert_eq!(well_known::name_of(well_known::rails("mydb")), Some("Rails"));
/// assert_eq!(well_known::name_of(well_known::sqlx_migrate("mydb")), Some("sqlx's migrations"));
/// assert_eq!(well_known::name_of("my-lock".into()), None);
/// ```
pub fn name_of(key: LockKey) -> Option<&'static str> {
    let number = key.as_bigint()?;
    if let Some((_, tool)) = TOOLS.iter().find(|(known, _)| *known == key) {
        return Some(tool);
    }
    // 0 is a common number, and the key only of a database whose name has the CRC-32 0.
    let is_multiple_of =
        |salt| number > 0 && number % salt == 0 && number / salt <= i64::from(u32::MAX);
    match () {
        () if is_multiple_of(SQLX_SALT) => Some("sqlx's migrations"),
        () if is_multiple_of(RAILS_SALT) => Some("Rails"),
        () => None,
    }
}

/// Warns if a user takes the key of a tool: once for each key and process.
pub(crate) fn warn_of_tool(key: &NamedKey) {
    static WARNED: Mutex<BTreeSet<LockKey>> = Mutex::new(BTreeSet::new());

    // Most keys come from names.
    if key.is_derived() {
        return;
    }
    let key = key.key();
    let Some(tool) = name_of(key) else { return };
    if WARNED.lock().unwrap_or_else(PoisonError::into_inner).insert(key) {
        warn!(%key, tool, "the key of this lock is that of a tool: in one database, they exclude each other");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Golden values of programs that we do not control: never change them.
    #[test]
    fn sqlx_migrate_matches_sqlx() {
        let vectors = [("postgres", 368907709894077238), ("mydb", 293176876009260204), ("", 0_i64)];
        for (database, key) in vectors {
            assert_eq!(sqlx_migrate(database), LockKey::from(key), "{database:?}");
        }
    }

    #[test]
    fn rails_matches_ruby() {
        let vectors = [("postgres", 737815420147457505), ("mydb", 586353752304064290), ("", 0_i64)];
        for (database, key) in vectors {
            assert_eq!(rails(database), LockKey::from(key), "{database:?}");
        }
    }

    #[test]
    fn golang_migrate_matches_go() {
        assert_eq!(golang_id(b"mydb"), 3799279374);
        let key = golang_migrate("mydb", "public", "schema_migrations");
        assert_eq!(key, LockKey::from(2103762914_i64));
    }

    #[test]
    fn salted_keys_are_recognized_up_to_the_largest_checksum() {
        let max = i64::from(u32::MAX);
        assert_eq!(name_of((SQLX_SALT * max).into()), Some("sqlx's migrations"));
        assert_eq!(name_of((RAILS_SALT * max).into()), Some("Rails"));
        assert_eq!(name_of((SQLX_SALT * (max + 1)).into()), None);
        assert_eq!(name_of((-SQLX_SALT).into()), None);
        assert_eq!(name_of(0.into()), None);
        assert_eq!(name_of((0, 72_707_369).into()), None);
    }

    #[test]
    fn a_key_of_both_sqlx_and_rails_is_that_of_sqlx() {
        assert_eq!(name_of((SQLX_SALT * RAILS_SALT).into()), Some("sqlx's migrations"));
        assert_eq!(name_of((2 * SQLX_SALT * RAILS_SALT).into()), Some("sqlx's migrations"));
    }
}
