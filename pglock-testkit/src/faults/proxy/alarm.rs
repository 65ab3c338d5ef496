//! A timer precise to a tenth of a millisecond. Tokio's timers count whole milliseconds.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::oneshot;

/// A thread that sleeps for tasks.
#[derive(Debug)]
pub(super) struct Alarm {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Desk {
    orders: Mutex<Orders>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Orders {
    /// The number distinguishes sleepers that wake at the same instant.
    sleepers: BTreeMap<(Instant, u64), oneshot::Sender<()>>,
    next: u64,
    closed: bool,
}

impl Alarm {
    pub(super) fn new() -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let at_desk = Arc::clone(&desk);
        let thread = thread::Builder::new()
            .name("pglock-proxy-alarm".to_owned())
            .spawn(move || at_desk.serve())?;
        Ok(Self { desk, thread: Some(thread) })
    }

    pub(super) async fn until(&self, due: Instant) {
        if due <= Instant::now() {
            return;
        }
        let (wake, woken) = oneshot::channel();
        self.desk.order(due, wake);
        // The receive fails when the alarm is dropped, and the proxy with it.
        let _ = woken.await;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.desk.lock().closed = true;
        self.desk.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, due: Instant, wake: oneshot::Sender<()>) {
        let mut orders = self.lock();
        orders.next += 1;
        let place = (due, orders.next);
        orders.sleepers.insert(place, wake);
        if orders.sleepers.first_key_value().is_some_and(|(first, _)| *first == place) {
            self.changed.notify_one();
        }
    }

    fn serve(&self) {
        // Linux deliberately wakes threads up to 50 µs late to save power.
        #[cfg(target_os = "linux")]
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        let mut orders = self.lock();
        while !orders.closed {
            let Some(first) = orders.sleepers.first_entry() else {
                orders = self.changed.wait(orders).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = first.key().0.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // The send fails if the sleeper was dropped.
                let _ = first.remove().send(());
                continue;
            }
            let waited = self.changed.wait_timeout(orders, left);
            orders = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
