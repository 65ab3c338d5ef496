//! What must be true after the caller has left.

use std::time::Duration;

use pglock_core::Locks;
use pglock_testkit::memory::MemoryServer;
use pglock_testkit::witness::Witness;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::{Guard, KEY, Outcome, PATIENCE, Play, bounded};
use crate::combination::Scene;

/// Longer than the lease of a silent session, and than an attempt to connect.
const SETTLED: Duration = Duration::from_secs(12);

/// What the server knows of the managers, without the witness.
#[derive(Debug)]
struct Seen {
    held: usize,
    waiting: usize,
    sessions: usize,
}

impl Play {
    /// No session of the manager waits in the server's queue, except for the next in line.
    pub(super) async fn check_queue(&self, is_followed: bool) -> Outcome {
        let may_wait = usize::from(is_followed);
        self.until("the caller that left is out of the queue", |seen| seen.waiting <= may_wait)
            .await
    }

    /// Checks that the guards agree with the server, then drops them.
    pub(super) async fn check_guards(&mut self, is_followed: bool) -> Outcome {
        sleep(SETTLED).await;
        let is_true = |seen: &Seen| match self.guards.iter().any(Guard::is_held) {
            true => seen.held > 0,
            // The next in line may hold it.
            false => seen.held == 0 || is_followed,
        };
        self.until("the guards agree with the server", is_true).await?;
        self.guards.clear();
        Ok(())
    }

    /// Nothing is left behind, and the next callers get the lock.
    pub(super) async fn check_locks(&self) -> Outcome {
        self.until("nothing is left", |seen| seen.held + seen.waiting == 0).await?;
        let next = [self.lock(), Some(here(&self.server).rwlock(KEY))];
        for lock in next.into_iter().flatten() {
            let guard = bounded("the next caller", lock.write()).await?;
            let guard = guard.map_err(|error| format!("the next caller: {error}"))?;
            if self.see().await.held != 1 || !guard.is_held() {
                return Err("the next caller does not hold the lock".to_owned());
            }
            let released = bounded("the next release", guard.release()).await?;
            released.map_err(|error| format!("the next release: {error}"))?;
        }
        self.until("nothing is left again", |seen| seen.held + seen.waiting == 0).await
    }

    pub(super) async fn check_sessions(&mut self) -> Outcome {
        if let Some(locks) = &self.locks {
            // Idle waiting sessions are closed. The shared session is kept, and so is the one that
            // was opened for a probe.
            let most = if self.combination.scene == Scene::Joining { 2 } else { 1 };
            let is_kept = |seen: &Seen| {
                seen.sessions == locks.stats().sessions && (1..=most).contains(&seen.sessions)
            };
            self.until("only shared sessions are kept", is_kept).await?;
            let stats = locks.stats();
            if stats.held + stats.waiting > 0 {
                return Err(format!("{stats:?}"));
            }
            self.close().await?;
        }
        self.locks = None;
        self.until("no session is left", |seen| seen.sessions == 0).await
    }

    async fn see(&self) -> Seen {
        let locks = self.witness.locks().await.unwrap();
        let own = || locks.iter().filter(|row| row.pid != self.witness_pid);
        let held = own().filter(|row| row.granted).count();
        // A session has no name before it is opened; one of these is the witness.
        let sessions = self.server.sessions("pglock").len() + self.server.sessions("").len() - 1;
        Seen { held, waiting: own().count() - held, sessions }
    }

    async fn until(&self, what: &str, reached: impl Fn(&Seen) -> bool) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.see().await;
            if reached(&seen) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("not reached: {what}: {seen:?}"));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A manager on the runtime of the test, which has a paused clock.
fn here(server: &MemoryServer) -> Locks {
    Locks::builder(server.driver()).runtime(Handle::current()).build().unwrap()
}
