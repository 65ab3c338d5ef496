//! Takes a write lock, works under it for five seconds, and releases it. A second one says that the
//! lock is held elsewhere.
//!
//! Run it in two terminals at once:
//!
//! ```text
//! cargo run -p pglock-examples --example diesel-basic
//! ```
//!
//! It uses the server of `DATABASE_URL` if that is set, and else starts an installed PostgreSQL,
//! which goes away with the last example.

use std::error::Error;
use std::process::ExitCode;

use pglock_diesel::Locks;
use pglock_examples::{basic, in_one_line};
use pglock_testkit::postgres::TestServer;
use tokio::signal::ctrl_c;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", in_one_line(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error + Send + Sync>> {
    // Your program has a server, and calls `Locks::new` with the pool it has.
    let server = tokio::select! {
        server = TestServer::shared() => server?,
        interrupted = ctrl_c() => return Ok(interrupted?),
    };
    let locks = Locks::from_url(server.url())?;
    let lock = locks.rwlock(basic::NAME);

    // Dropping a guard, here by dropping the future that owns it, releases the lock.
    let outcome = tokio::select! {
        outcome = basic::run(&lock) => outcome,
        interrupted = ctrl_c() => {
            interrupted?;
            println!("interrupted: releasing what is held");
            Ok(())
        }
    };

    // Optional, too: says farewell to the server instead of hanging up.
    locks.close().await?;
    Ok(outcome?)
}
