//! One lease of several locks, held as long as all of them are.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;

use super::{Lease, LeaseState};
use crate::error::Error;
use crate::key::LockKey;

impl Lease {
    /// The lease of all these locks together. If one of them is lost, all count as lost. It shows
    /// the key only if there is just one lock.
    pub(crate) fn all(key: LockKey, leases: Vec<Self>) -> Self {
        match <[Self; 1]>::try_from(leases) {
            Ok([one]) => one,
            Err(leases) => Self::new(All { key, leases }),
        }
    }
}

#[derive(Debug)]
struct All {
    key: LockKey,
    leases: Vec<Lease>,
}

#[async_trait]
impl LeaseState for All {
    fn key(&self) -> LockKey {
        self.key
    }

    fn valid_for(&self) -> Duration {
        self.leases.iter().map(Lease::valid_for).min().unwrap_or_default()
    }

    async fn lost(&self) {
        let mut losses: Vec<_> = self.leases.iter().map(|lease| Box::pin(lease.lost())).collect();
        poll_fn(|cx| {
            let is_lost = losses.iter_mut().any(|lost| lost.as_mut().poll(cx).is_ready());
            if is_lost { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn on_loss(&self, act: Box<dyn FnOnce() + Send>) {
        let act = Arc::new(Mutex::new(Some(act)));
        for lease in &self.leases {
            let act = act.clone();
            lease.on_loss(move || {
                // Not called under the mutex, which the next loss takes.
                let act = act.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(act) = act {
                    act();
                }
            });
        }
    }

    fn error(&self) -> Error {
        let lost = self.leases.iter().find(|lease| !lease.is_held());
        lost.map_or_else(Error::released, |lease| lease.state.error())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::watch;

    use super::*;
    use crate::error::ErrorKind;

    /// A lock of a test.
    #[derive(Debug, Default)]
    struct Fake {
        key: i64,
        is_lost: watch::Sender<bool>,
        listeners: Listeners,
    }

    #[derive(Default)]
    struct Listeners(Mutex<Vec<Box<dyn FnOnce() + Send>>>);

    impl std::fmt::Debug for Listeners {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Listeners")
        }
    }

    impl Fake {
        fn lose(&self) {
            self.is_lost.send_replace(true);
            let listeners = std::mem::take(&mut *self.listeners.0.lock().unwrap());
            listeners.into_iter().for_each(|act| act());
        }

        fn is_lost(&self) -> bool {
            *self.is_lost.borrow()
        }
    }

    #[async_trait]
    impl LeaseState for Arc<Fake> {
        fn key(&self) -> LockKey {
            self.key.into()
        }

        fn valid_for(&self) -> Duration {
            let valid_for = Duration::from_secs(self.key.unsigned_abs());
            if self.is_lost() { Duration::ZERO } else { valid_for }
        }

        async fn lost(&self) {
            self.is_lost.subscribe().wait_for(|is_lost| *is_lost).await.unwrap();
        }

        fn on_loss(&self, act: Box<dyn FnOnce() + Send>) {
            match self.is_lost() {
                true => act(),
                false => self.listeners.0.lock().unwrap().push(act),
            }
        }

        fn error(&self) -> Error {
            Error::lost().for_key(self.key.into())
        }
    }

    fn three() -> ([Arc<Fake>; 3], Lease) {
        let fakes = [3, 2, 4].map(|key| Arc::new(Fake { key, ..Fake::default() }));
        let leases = fakes.iter().map(|fake| Lease::new(fake.clone())).collect();
        (fakes, Lease::all(LockKey::from(7), leases))
    }

    #[tokio::test]
    async fn all_are_lost_with_one() {
        let (fakes, lease) = three();
        assert_eq!((lease.key(), lease.valid_for()), (7.into(), Duration::from_secs(2)));
        let work = lease.protect(std::future::pending::<()>());
        let (worked, ()) = tokio::join!(work, async { fakes[2].lose() });
        let error = worked.unwrap_err();
        assert_eq!((error.kind(), error.key()), (ErrorKind::Lost, Some(4.into())));
        assert!(!lease.is_held());
        lease.lost().await;
    }

    #[tokio::test]
    async fn loss_is_reported_once() {
        let calls = Arc::new(AtomicUsize::default());
        let ((first, lost), counter) = (three(), calls.clone());
        lost.on_loss(move || _ = counter.fetch_add(1, Ordering::SeqCst));
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        first.iter().for_each(|fake| fake.lose());
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        let counter = calls.clone();
        lost.on_loss(move || _ = counter.fetch_add(1, Ordering::SeqCst));
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn one_lease_is_its_own() {
        let fake = Arc::new(Fake { key: 3, ..Fake::default() });
        let lease = Lease::all(LockKey::from(7), vec![Lease::new(fake)]);
        assert_eq!(lease.key(), 3.into());
    }
}
