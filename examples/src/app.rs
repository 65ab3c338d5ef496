//! An application that stores its lock manager: `Locks` is one type, so the same code runs over
//! sqlx, over diesel-async and, in tests, in memory.

use std::time::Duration;

use futures::future::join_all;
use pglock_core::{Locks, NamedKey};
use tokio::time::sleep;

use crate::{Result, ensure};

const REQUESTS: usize = 3;

/// The state of a web service, which each of its handlers gets a reference to.
#[derive(Clone, Debug)]
pub struct App {
    locks: Locks,
}

impl App {
    /// The programs `sqlx-app` and `diesel-app` make `locks` from a URL; a test takes
    /// `pglock_testkit::memory()`.
    pub fn new(locks: Locks) -> Self {
        Self { locks }
    }

    /// Settles an account, which no two requests may do at the same time. False if another request
    /// is doing it, in this process or in another one.
    ///
    /// # Errors
    ///
    /// Those of the lock.
    pub async fn settle(&self, account: &str) -> pglock_core::Result<bool> {
        let lock = self.locks.rwlock(key(account));
        let Some(guard) = lock.try_write().await? else {
            return Ok(false);
        };
        // Stands for your transactions.
        guard.protect(sleep(Duration::from_millis(500))).await?;
        guard.release().await?;
        Ok(true)
    }
}

/// What is locked for an account.
pub fn key(account: &str) -> NamedKey {
    NamedKey::in_namespace("pglock-examples/app", account)
}

/// Sends three requests for one account at the same time, and one for another account.
///
/// # Errors
///
/// Those of the locks; and if an account is settled by two requests.
pub async fn run(locks: Locks) -> Result {
    let app = App::new(locks);
    let accounts = [["alice"; REQUESTS].as_slice(), &["bob"]].concat();
    let responses = join_all(accounts.iter().map(|account| app.settle(account))).await;

    let mut settled = Vec::new();
    for (account, response) in accounts.into_iter().zip(responses) {
        if response? {
            println!("{account}: settled");
            settled.push(account);
        } else {
            println!("{account}: another request is settling it");
        }
    }
    let count = settled.len();
    settled.dedup();
    ensure(settled.len() == count, "an account is settled by one request at a time")?;
    println!("no account was settled twice");
    Ok(())
}
