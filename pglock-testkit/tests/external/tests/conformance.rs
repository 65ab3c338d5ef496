//! Runs the cases that every backend passes.

use pglock_external::ExternalDriver;
use pglock_testkit::conformance::PostgresFixture;

pglock_testkit::conformance!(PostgresFixture<ExternalDriver>);
