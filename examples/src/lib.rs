//! What pglock is for, one scenario at a time.
//!
//! Each scenario is written once, against [`DistributedRwLock`](pglock_core::DistributedRwLock); the examples give it a backend.

use std::error::Error;
use std::process::ExitCode;

use pglock_testkit::postgres::TestServer;

pub mod basic;

/// What a scenario returns.
pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// The database that the examples meet in: that of `DATABASE_URL`, or one on a PostgreSQL that is started for them.
///
/// # Errors
///
/// Says what is wrong with `DATABASE_URL`, or what to install if there is no PostgreSQL.
pub async fn database_url() -> Result<String, Box<dyn Error + Send + Sync>> {
    Ok(TestServer::shared().await?.url().to_owned())
}

/// Runs a scenario to its end, or until Ctrl-C.
///
/// Dropping the scenario drops its guards and lock managers, which gives back what they hold.
pub async fn run(scenario: impl Future<Output = Outcome>) -> ExitCode {
    let outcome = tokio::select! {
        outcome = scenario => outcome,
        _ = tokio::signal::ctrl_c() => {
            println!("Stopped.");
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

/// The error and what caused it, in one line.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        // Some errors show their cause themselves.
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = error.source();
    }
    text
}
