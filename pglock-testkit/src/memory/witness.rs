//! The witness of a server in memory.

use async_trait::async_trait;
use pglock_core::driver::Operation;
use pglock_core::{LockEntry, LockKey, Mode};

use super::MemoryServer;
use super::driver::MemorySession;
use crate::witness::{LockRow, Witness, WitnessError};

/// Sees all locks of a [`MemoryServer`], through a session of its own.
#[derive(Debug)]
pub struct MemoryWitness {
    server: MemoryServer,
    session: MemorySession,
}

impl MemoryWitness {
    /// Connects, acting as another process.
    ///
    /// # Errors
    ///
    /// [`WitnessError::SessionEnded`] if the server refuses connections.
    pub fn connect(server: &MemoryServer) -> Result<Self, WitnessError> {
        let session = MemorySession::start(server).map_err(|_| WitnessError::SessionEnded)?;
        Ok(Self { server: server.clone(), session })
    }

    async fn execute(&self, operation: Operation) -> Result<bool, WitnessError> {
        self.session.execute(operation, None).await.map_err(|_| WitnessError::SessionEnded)
    }
}

#[async_trait]
impl Witness for MemoryWitness {
    async fn locks(&self) -> Result<Vec<LockRow>, WitnessError> {
        let entries = self.server.state().table.entries(None);
        let row = |entry: LockEntry| LockRow {
            key: entry.key,
            mode: entry.mode,
            granted: entry.granted,
            pid: entry.pid,
        };
        Ok(entries.into_iter().map(row).collect())
    }

    async fn sessions(&self, application_name: &str) -> Result<Vec<i32>, WitnessError> {
        Ok(self.server.sessions(application_name))
    }

    async fn terminate(&self, pid: i32) -> Result<bool, WitnessError> {
        Ok(self.server.terminate(pid))
    }

    async fn cancel(&self, pid: i32) -> Result<bool, WitnessError> {
        Ok(self.server.cancel(pid))
    }

    async fn hold(&self, key: LockKey, mode: Mode) -> Result<(), WitnessError> {
        self.execute(Operation::Lock(key, mode)).await.map(drop)
    }

    async fn release(&self, key: LockKey, mode: Mode) -> Result<bool, WitnessError> {
        self.execute(Operation::Unlock(key, mode)).await
    }
}
