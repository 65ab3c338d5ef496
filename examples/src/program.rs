//! What the programs have in common: a server, a lock manager, and a clean end.

use std::env;
use std::pin::pin;
use std::process::ExitCode;

use pglock_core::Locks;
use pglock_testkit::postgres::TestServer;
use tokio::signal::ctrl_c;

use crate::{Result, in_one_line};

/// Runs a scenario on the locks that `locks` makes of a URL, until it is done or Ctrl-C is pressed.
///
/// Both count as success. It prints an error in one line.
pub async fn run(
    locks: fn(&str) -> pglock_core::Result<Locks>,
    scenario: impl AsyncFnOnce(&Locks) -> Result,
) -> ExitCode {
    match try_run(locks, scenario).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", in_one_line(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn try_run(
    locks: fn(&str) -> pglock_core::Result<Locks>,
    scenario: impl AsyncFnOnce(&Locks) -> Result,
) -> Result {
    let mut interrupted = pin!(ctrl_c());
    let server = tokio::select! {
        server = TestServer::shared() => server?,
        interrupted = &mut interrupted => {
            println!("interrupted");
            return Ok(interrupted?);
        }
    };
    let locks = locks(server.url())?;

    // Dropping the scenario half-way drops its guards, and so releases its locks.
    let outcome = tokio::select! {
        outcome = scenario(&locks) => outcome,
        interrupted = interrupted => {
            interrupted?;
            println!("interrupted: releasing what is held");
            Ok(())
        }
    };
    let closed = locks.close().await;
    outcome?;
    Ok(closed?)
}

/// Whether the program was called with `--forever`, the only argument there is.
///
/// # Errors
///
/// Any other argument.
pub fn forever() -> Result<bool> {
    let mut forever = false;
    for argument in env::args().skip(1) {
        if argument != "--forever" {
            return Err(format!("unknown argument {argument}: there is only --forever").into());
        }
        forever = true;
    }
    Ok(forever)
}
