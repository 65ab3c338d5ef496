//! Tests the fault tools on a real server, through another client.

use std::error::Error;

mod namespace;
mod pgbouncer;
mod proxy;
mod raw;
mod signals;
mod standby;

type TestResult = Result<(), Box<dyn Error>>;
