//! Runs the checks that every backend passes.

use pglock_sqlx::SqlxDriver;
use pglock_testkit::conformance::PostgresFixture;

pglock_testkit::conformance!(PostgresFixture<SqlxDriver>);
