//! Checks the options of a lock manager, and makes it.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::LocksBuilder;
use crate::engine::{Client, Settings, WaitStrategy};
use crate::error::{Error, ErrorKind, Result};
use crate::locks::Locks;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl LocksBuilder {
    /// Makes the manager. It connects when the first lock is asked for.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions`](ErrorKind::InvalidOptions) if an option is out of range.
    pub fn build(mut self) -> Result<Locks> {
        let invalid = |message: &'static str| Err(Error::new(ErrorKind::InvalidOptions, message));
        if self.config.max_shared_sessions == 0 {
            return invalid(
                "max_shared_sessions must be at least 1: without a session nothing can be locked",
            );
        }
        if let WaitStrategy::Poll { interval } = self.config.wait_strategy
            && interval < Duration::from_millis(1)
        {
            return invalid("the interval of WaitStrategy::Poll must be at least one millisecond");
        }
        if self.config.wait_renewal.is_some_and(|time| time < Duration::from_millis(100)) {
            return invalid(
                "renew_waits_after must be at least 100 milliseconds: call never_renew_waits for waits without a bound",
            );
        }
        let lease = self.config.lease;
        // PostgreSQL counts milliseconds in an int4.
        let countable = Duration::from_millis(100)..=Duration::from_millis(i32::MAX as u64);
        if !countable.contains(&lease.server) {
            return invalid("server_lease must be between 100 milliseconds and 24 days");
        }
        if !lease.is_safe() {
            return invalid(
                "guard_lease must be shorter than server_lease: by a hundredth of its own, and a tenth of server_lease",
            );
        }
        let sensible = Duration::from_millis(10)..=lease.guard / 2;
        if !sensible.contains(&lease.heartbeat) {
            return invalid("heartbeat must be between 10 milliseconds and half of guard_lease");
        }
        let printable = self.application_name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if self.application_name.len() > 63 || !printable {
            return invalid("application_name must be at most 63 printable ASCII characters");
        }
        self.config.cap_times();
        Ok(self.assemble())
    }

    /// The manager with these options, which are known to be in range.
    pub(in crate::locks) fn assemble(self) -> Locks {
        let settings = Settings {
            application_name: self.application_name.into(),
            connect_timeout: CONNECT_TIMEOUT,
            lease: self.config.lease,
            runtime: self.runtime,
        };
        let seed = RandomState::new().hash_one(std::process::id());
        Locks { client: Arc::new(Client::new(self.driver, self.config, settings, seed)) }
    }
}
