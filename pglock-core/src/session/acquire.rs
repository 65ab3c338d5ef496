//! How a session asks for a lock, and what its errors name.

use std::time::Duration;

use tracing::field::display;
use tracing::{Instrument, debug, debug_span, trace};

use super::{DedicatedSession, Patience};
use crate::driver::Holding;
use crate::engine::DedicatedHold;
use crate::error::{Error, Result};
use crate::key::NamedKey;
use crate::mode::Mode;
use crate::names::Shown;

/// How an acquire waits.
enum Wait {
    Without(Patience),
    UpTo(Duration),
}

impl DedicatedSession {
    pub(super) async fn wait(
        &self,
        key: NamedKey,
        mode: Mode,
        timeout: Option<Duration>,
    ) -> Result<DedicatedHold> {
        let wait = timeout.map_or(Wait::Without(Patience::Wait), Wait::UpTo);
        // The session answers "busy" only to callers that do not wait.
        self.lock(key, mode, wait).await?.ok_or_else(Error::mismatched_reply)
    }

    pub(super) async fn acquire(
        &self,
        key: NamedKey,
        mode: Mode,
        patience: Patience,
    ) -> Result<Option<DedicatedHold>> {
        self.lock(key, mode, Wait::Without(patience)).await
    }

    async fn lock(&self, key: NamedKey, mode: Mode, wait: Wait) -> Result<Option<DedicatedHold>> {
        let (key, name) = key.into_parts();
        let name =
            match name {
                Some(name) => Some(self.client.names().enter(key, &name).map_err(|other| {
                    Error::key_collision(name.text(), other.text()).for_key(key)
                })?),
                None => None,
            };
        let lock = Holding { key, mode };
        let acquire = async {
            let acquired = match wait {
                Wait::Without(patience) => self.session.acquire(lock, patience).await,
                Wait::UpTo(time) => self.client.acquire_within(&self.session, lock, time).await,
            };
            match &acquired {
                Ok(Some(_)) => trace!("lock acquired"),
                Ok(None) => trace!("lock busy"),
                Err(error) => debug!(%error, "lock not acquired"),
            }
            acquired.map_err(|error| error.about(key, name.as_ref()))
        };
        let shown = name.as_ref().map(|name| display(Shown(name.text())));
        let span = debug_span!("pglock_acquire", %key, name = shown, %mode);
        let place = acquire.instrument(span).await?;
        Ok(place.map(|place| DedicatedHold::new(place, name)))
    }
}
