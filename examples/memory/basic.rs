//! Tests code that takes locks, without PostgreSQL. As a program, it shows that code at work.
//!
//! ```text
//! cargo run -p pglock-examples --example memory-basic
//! cargo test -p pglock-examples --example memory-basic
//! ```

use std::error::Error;

use pglock_sqlx::{Locks, Result};
use pglock_testkit::memory;

/// The code that is tested. In production, `locks` comes from `Locks::new(SqlxDriver::…)`.
///
/// True if this call has sent the invoices, false if another process is sending them.
async fn send_invoices(locks: &Locks) -> Result<bool> {
    let Some(guard) = locks.rwlock("invoices/send").try_write().await? else {
        return Ok(false);
    };
    guard.protect(async { /* send them */ }).await?; // stops the work if the lock is lost
    guard.release().await?;
    Ok(true)
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn Error>> {
    let locks = memory();
    let guard = locks.rwlock("invoices/send").write().await?;
    println!("while the lock is taken: sent = {}", send_invoices(&locks).await?);
    guard.release().await?;
    println!("when it is free:         sent = {}", send_invoices(&locks).await?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use pglock_sqlx::ErrorKind;
    use pglock_testkit::memory::MemoryServer;

    use super::*;

    #[tokio::test]
    async fn invoices_are_sent() {
        assert!(matches!(send_invoices(&memory()).await, Ok(true)));
    }

    #[tokio::test]
    async fn invoices_are_left_to_another_process() -> Result<()> {
        // One server, and two lock managers, as in two processes.
        let server = MemoryServer::new();
        let (here, there) = (server.locks(), server.locks());
        let guard = there.rwlock("invoices/send").write().await?;
        assert!(!send_invoices(&here).await?);
        guard.release().await?;
        assert!(send_invoices(&here).await?);
        Ok(())
    }

    #[tokio::test]
    async fn errors_reach_the_caller() {
        let server = MemoryServer::new();
        server.refuse_connections(true);
        let error = send_invoices(&server.locks()).await.expect_err("there is no server");
        assert_eq!(error.kind(), ErrorKind::Connection);
    }
}
