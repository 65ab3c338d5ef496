//! What the programs have in common: a server, a lock manager, and a clean end.

use std::env;
use std::process::ExitCode;

use pglock_core::Locks;
use pglock_testkit::postgres::TestServer;
use tokio::runtime::Runtime;
use tokio::signal::ctrl_c;

use crate::{Result, in_one_line};

/// Runs a scenario on the locks that `locks` makes of a URL, until it is done or Ctrl-C is pressed.
///
/// Both count as success. It prints an error in one line.
pub async fn run(
    locks: fn(&str) -> pglock_core::Result<Locks>,
    scenario: impl AsyncFnOnce(&Locks) -> Result,
) -> ExitCode {
    run_on(async |url| {
        let locks = locks(url)?;
        // Dropping the scenario half-way drops its guards, and so releases its locks.
        let outcome = until_interrupted(scenario(&locks)).await;
        let closed = locks.close().await;
        outcome?;
        Ok(closed?)
    })
    .await
}

/// Runs a scenario on the URL of a database, as [`run`] does.
pub async fn run_on(scenario: impl AsyncFnOnce(&str) -> Result) -> ExitCode {
    let outcome = async {
        let Some(server) =
            until_interrupted(async { Ok(Some(TestServer::shared().await?)) }).await?
        else {
            return Ok(());
        };
        until_interrupted(scenario(server.url())).await
    };
    exit_code(outcome.await)
}

/// Runs a scenario of threads on the URL of a database. Ctrl-C ends the program at once.
pub fn run_on_threads(scenario: impl FnOnce(&str) -> Result) -> ExitCode {
    // Only the server needs a runtime, and only to start.
    let server = || Ok(Runtime::new()?.block_on(TestServer::shared())?);
    exit_code(server().and_then(|server: TestServer| scenario(server.url())))
}

fn exit_code(outcome: Result) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", in_one_line(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Ends with the default output if Ctrl-C is pressed first.
async fn until_interrupted<T: Default>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        outcome = work => outcome,
        interrupted = ctrl_c() => {
            interrupted?;
            println!("interrupted");
            Ok(T::default())
        }
    }
}

/// The address in `--serve ADDRESS`, the only arguments there are.
///
/// # Errors
///
/// Any other argument.
pub fn address() -> Result<Option<String>> {
    let args: Vec<_> = env::args().skip(1).collect();
    match &args[..] {
        [] => Ok(None),
        [serve, address] if serve == "--serve" => Ok(Some(address.clone())),
        _ => Err("unknown arguments: there is only --serve ADDRESS".into()),
    }
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
