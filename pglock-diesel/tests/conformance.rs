//! Runs the checks that every backend passes.

use pglock_diesel::DieselDriver;
use pglock_testkit::conformance::PostgresFixture;

pglock_testkit::conformance!(PostgresFixture<DieselDriver>);
