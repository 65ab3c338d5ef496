//! A wait of a dedicated session in the server's queue, and how it is cancelled.

use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep_until;

use super::Dedicated;
use super::task::{DEADLOCK_MARGIN, Task, survived};
use crate::driver::{Answer, Driver, DriverError, Holding, Operation, Reason, Request, Session};
use crate::engine::machine::event::Moment;
use crate::engine::machine::part_of;
use crate::engine::runtime::log::{self, Log};
use crate::engine::runtime::tasks::opening::new_nonce;
use crate::engine::runtime::tasks::{CLOSE_TIMEOUT, farewell, spawn};
use crate::engine::runtime::tenure::Keeper;
use crate::error::{Error, Result};

/// The result of a statement.
type Outcome = Result<Answer, DriverError>;

impl<D: Driver> Task<'_, D> {
    /// Waits until the server grants the lock, the lease must be renewed, the time is over, or the
    /// session has something else to do.
    pub(super) async fn wait(
        &mut self,
        connection: &mut D::Session,
        lock: Holding,
        end: Option<Moment>,
    ) -> Result<()> {
        let sent = self.session.now();
        let (limit, millis) = self.limit(sent, end);
        let operations = [Operation::LimitWait(millis), Operation::Lock(lock.key, lock.mode)];
        let request = Request::operations(self.nonce.clone(), operations.into_iter());
        let (outcome, is_cancelled) = self.unless_interrupted(connection.run(&request)).await;
        let error = match outcome {
            Ok(answer) => {
                let is_ours = answer.results(operations.len()).is_some();
                if !is_ours {
                    return Err(Error::session_moved());
                }
                self.answered(sent);
                self.session.with_desk(|desk, _| desk.granted());
                return Ok(());
            }
            Err(error) => error,
        };
        let is_over = error.is_lock_timeout(self.session.now() >= limit);
        let reason = error.reason();
        let error = survived(error)?;
        self.answered(sent);
        let goes_on =
            is_over || reason == Reason::Cancelled || reason == Reason::Unknown && is_cancelled;
        if reason == Reason::Cancelled && !is_cancelled {
            let pid = Some(self.server.pid);
            Log::WaitCancelled { pid, key: lock.key, error: error.clone() }.write();
        }
        self.session.with_desk(|desk, _| desk.refused((!goes_on).then_some(error)));
        Ok(())
    }

    /// When the wait has to end: the moment, and the time until then in milliseconds.
    fn limit(&self, sent: Moment, end: Option<Moment>) -> (Moment, u32) {
        let lease = self.session.liveness.leased_until().before(self.session.heartbeat());
        let limit = lease.min(sent + self.longest());
        let limit = end.map_or(limit, |end| end.min(limit));
        // Rounded up, so that the time is over when the wait ends; zero would mean no limit.
        let millis = limit.since(sent).as_millis() + 1;
        (limit, u32::try_from(millis).unwrap_or(u32::MAX).min(i32::MAX as u32))
    }

    /// How long a wait may be, apart from the lease.
    fn longest(&self) -> Duration {
        let renewal = self.session.registry.limits.wait_renewal;
        let deadlock = self.server.deadlock_timeout + DEADLOCK_MARGIN * 2;
        if self.server.can_cancel {
            // So that sessions do not fall into step.
            let random = RandomState::new().hash_one(());
            renewal.map_or(Duration::MAX, |time| part_of(time, random).max(deadlock))
        } else {
            // Releases and tries must wait for the end of this wait.
            deadlock
        }
    }

    /// Runs the statement of a wait to its end. Also returns whether it was cancelled.
    async fn unless_interrupted(
        &self,
        statement: impl Future<Output = Outcome>,
    ) -> (Outcome, bool) {
        let mut statement = std::pin::pin!(statement);
        tokio::select! {
            biased;
            outcome = &mut statement => return (outcome, false),
            () = self.session.until_interrupted() => {}
        }
        (self.cancel(statement).await, true)
    }

    /// Cancels the statement over a second connection, and returns when both have been answered.
    async fn cancel(&self, mut statement: Pin<&mut impl Future<Output = Outcome>>) -> Outcome {
        if !self.server.can_cancel {
            return statement.await;
        }
        let nonce = new_nonce();
        let connected = tokio::select! {
            biased;
            outcome = &mut statement => return outcome,
            connected = self.opener.connect(&nonce) => connected,
        };
        let mut second = match connected {
            Ok((second, _)) => second,
            Err(error) => {
                log::wait_not_cancelled(self.server.pid, &error);
                // It ends at its limit.
                return statement.await;
            }
        };
        let cancel = [Operation::Cancel(self.server.pid)];
        let request = Request::operations(nonce, cancel.into_iter());
        let (cancelled, outcome) = tokio::join!(second.run(&request), statement);
        if let Err(error) = cancelled {
            log::wait_not_cancelled(self.server.pid, &error.into());
        }
        spawn(&Handle::current(), farewell(second, CLOSE_TIMEOUT));
        outcome
    }
}

impl Dedicated {
    /// Completes when the wait at the server has to end.
    async fn until_interrupted(&self) {
        loop {
            let (interrupts, deadline) =
                self.with_desk(|desk, now| (desk.interrupts(now), desk.next_deadline()));
            if interrupts {
                return;
            }
            match deadline {
                Some(end) => {
                    tokio::select! {
                        () = self.kick.notified() => {}
                        () = sleep_until(self.shared.clock().instant(end)) => {}
                    }
                }
                None => self.kick.notified().await,
            }
        }
    }
}
