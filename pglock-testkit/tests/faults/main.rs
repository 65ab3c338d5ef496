//! The fault tools, proven on a real server through another client.

use std::error::Error;

mod namespace;
mod proxy;
mod raw;
mod signals;

type TestResult = Result<(), Box<dyn Error>>;
