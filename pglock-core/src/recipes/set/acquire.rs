//! Takes the locks of a set, in the order of their keys.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;

use super::{LockSet, SetGuard, lease_of_all};
use crate::error::{Error, Result};
use crate::guard::AnyGuard;
use crate::mode::Mode;
use crate::owner::Scope;

/// How far the set got.
enum Progress {
    Complete,
    Further,
    /// A lock that was taken is lost.
    Lost,
    Busy,
}

impl LockSet {
    /// Takes all locks. Without a timeout, `None` if one is busy.
    pub(super) async fn take(&self, timeout: Option<Duration>) -> Result<Option<SetGuard>> {
        let scope = Scope::of_set(self.gives_up);
        let mut take = pin!(self.take_all(timeout));
        poll_fn(|cx| scope.poll(take.as_mut(), cx)).await
    }

    async fn take_all(&self, timeout: Option<Duration>) -> Result<Option<SetGuard>> {
        if let Some(error) = &self.invalid {
            return Err(error.clone());
        }
        let Some((first, _)) = self.members.first() else {
            return Err(Error::no_keys());
        };
        let begin = Instant::now();
        let mut guards = Vec::with_capacity(self.members.len());
        loop {
            let left = timeout.unwrap_or_default().saturating_sub(begin.elapsed());
            match self.take_more(&mut guards, left, timeout.is_some()).await? {
                Progress::Complete => return Ok(Some(SetGuard::new(first.key(), guards))),
                Progress::Further => {}
                Progress::Lost => guards.clear(),
                Progress::Busy => return Ok(None),
            }
        }
    }

    /// Takes one or more of the next locks.
    async fn take_more(
        &self,
        guards: &mut Vec<AnyGuard>,
        left: Duration,
        waits: bool,
    ) -> Result<Progress> {
        let rest = &self.members[guards.len()..];
        let held = lease_of_all(self.members[0].0.key(), guards);
        let taken = tokio::select! {
            biased;
            () = held.lost() => return Ok(Progress::Lost),
            taken = self.locks.take_in_order(rest, left) => taken?,
        };
        match (&taken[..], rest) {
            ([], [_, ..]) if !waits => return Ok(Progress::Busy),
            // The time is over. The error of this try names the holder.
            ([], [(key, mode), ..]) => {
                let lock = self.locks.rwlock(key.clone());
                guards.push(match mode {
                    Mode::Read => lock.try_read_for(Duration::ZERO).await?.into(),
                    Mode::Write => lock.try_write_for(Duration::ZERO).await?.into(),
                });
            }
            _ => guards.extend(taken),
        }
        if guards.len() < self.members.len() {
            return Ok(Progress::Further);
        }
        match guards.iter().all(AnyGuard::is_held) {
            true => Ok(Progress::Complete),
            false => Ok(Progress::Lost),
        }
    }
}
