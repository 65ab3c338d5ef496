//! A holder that has lost its lock cannot write: the database refuses its transaction.
//!
//! A process may be stopped for any time between its last check of the lock and its write: it is
//! suspended, or the machine swaps. Meanwhile the server gives the lock to the next process. The
//! scenario ends the session of the first holder, as the server does after 15 seconds without a sign
//! of life, and lets it write after the second holder has written.
//!
//! There are two ways. A *fence* needs nothing but the lock, in the database of the lock. A *token*
//! works in any other resource that keeps the highest one that it has seen, here in a table.

use pglock_core::{DistributedRwLock, ErrorKind, FencingToken, LockProvider, WriteGuard};

use crate::{Result, ensure};

/// The key of the lock.
pub const NAME: &str = "pglock-examples/fencing";

/// Stands for the data of your application. The programs implement it with transactions of their
/// clients.
pub trait Ledger {
    /// Adds an entry, in a transaction that the guard fences.
    ///
    /// # Errors
    ///
    /// [`Lost`](ErrorKind::Lost) if the lock is lost; and those of the client.
    fn add_fenced(&mut self, guard: &WriteGuard, entry: &str) -> impl Future<Output = Result>;

    /// Adds an entry, in a transaction that checks the token: the ledger may be in any database.
    ///
    /// # Errors
    ///
    /// [`Lost`](ErrorKind::Lost) if the ledger has seen a higher token; and those of the client.
    fn add_with_token(&mut self, token: FencingToken, entry: &str) -> impl Future<Output = Result>;

    /// All entries, in the order in which they were added.
    ///
    /// # Errors
    ///
    /// Those of the client.
    fn entries(&mut self) -> impl Future<Output = Result<Vec<String>>>;

    /// Ends a session of the server.
    ///
    /// # Errors
    ///
    /// Those of the client.
    fn end_session(&mut self, pid: i32) -> impl Future<Output = Result>;
}

/// Lets two holders write, one after the other, and then the first one again.
///
/// # Errors
///
/// Those of the locks and of the ledger; and if the first holder can write after the second one.
pub async fn run(locks: &dyn LockProvider, ledger: &mut impl Ledger) -> Result {
    let lock = locks.rwlock(NAME.into());
    let (first, first_token) = take("first holder", &*lock).await?;
    ledger.add_fenced(&first, "first, fenced").await?;
    ledger.add_with_token(first_token, "first, with its token").await?;

    println!("first holder: stopped; the server ends its session");
    for holder in locks.inspect(NAME.into()).await? {
        ledger.end_session(holder.pid).await?;
    }

    let (second, second_token) = take("second holder", &*lock).await?;
    ledger.add_fenced(&second, "second, fenced").await?;
    ledger.add_with_token(second_token, "second, with its token").await?;

    println!("first holder: continues, and writes");
    must_be_refused(ledger.add_fenced(&first, "stale, fenced").await)?;
    must_be_refused(ledger.add_with_token(first_token, "stale, with its token").await)?;
    second.release().await?;

    let entries = ledger.entries().await?;
    ensure(entries.len() == 4, "the ledger has what was written in time, and nothing else")?;
    println!("the ledger: {}", entries.join("; "));
    Ok(())
}

async fn take(who: &str, lock: &dyn DistributedRwLock) -> Result<(WriteGuard, FencingToken)> {
    let guard = lock.write().await?;
    let token = guard.fencing_token().await?;
    println!("{who}: has the lock, and token {token}");
    Ok((guard, token))
}

fn must_be_refused(written: Result) -> Result {
    let Err(error) = written else {
        return ensure(false, "a stale write is refused");
    };
    match error.downcast_ref::<pglock_core::Error>() {
        Some(lost) if lost.kind() == ErrorKind::Lost => {
            println!("refused: {lost}");
            Ok(())
        }
        _ => Err(error),
    }
}
