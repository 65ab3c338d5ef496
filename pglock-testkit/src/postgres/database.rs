//! A database for one test.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::timeout;

use super::{TestServerError, url};

const PATIENCE: Duration = Duration::from_secs(10);

/// A database of one test. Dropping it drops the database.
///
/// Advisory keys are per database, so tests in different databases cannot meet.
pub struct TestDatabase {
    name: String,
    url: String,
    /// The server on which to create and drop it; empty once dropped.
    server: String,
}

impl TestDatabase {
    pub(super) async fn create(server: &str) -> Result<Self, TestServerError> {
        let name = fresh_name();
        let url = url::with_database(server, &name)?;
        let client = url::connect(server).await?;
        // No session connects to template0, so none blocks copying it.
        let statement = format!("CREATE DATABASE {name} TEMPLATE template0");
        client
            .batch_execute(&statement)
            .await
            .map_err(|source| TestServerError::Database { name: name.clone(), source })?;
        Ok(Self { name, url, server: server.to_owned() })
    }

    /// The URL to connect to it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends all sessions of the database and drops it.
    ///
    /// Dropping the value does the same, but cannot report errors.
    ///
    /// # Errors
    ///
    /// [`TestServerError::Connect`] and [`TestServerError::Database`].
    pub async fn close(mut self) -> Result<(), TestServerError> {
        let server = std::mem::take(&mut self.server);
        drop_database(&server, &self.name).await
    }
}

/// Shows only the name, since the URL contains a password.
impl fmt::Debug for TestDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestDatabase").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if self.server.is_empty() {
            return;
        }
        let (server, name) = (std::mem::take(&mut self.server), self.name.clone());
        // The test's runtime cannot wait here, and is about to end.
        let dropper = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            // Best effort, and bounded: the test may have stopped the server.
            let _ = runtime.map(|runtime| {
                runtime.block_on(async { timeout(PATIENCE, drop_database(&server, &name)).await })
            });
        });
        let _ = dropper.join();
    }
}

async fn drop_database(server: &str, name: &str) -> Result<(), TestServerError> {
    let client = url::connect(server).await?;
    client
        .batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        .await
        .map_err(|source| TestServerError::Database { name: name.to_owned(), source })
}

/// Unique even on a server that processes of other machines use for tests.
fn fresh_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("pglock_test_{now:x}_{}_{next}", std::process::id())
}
