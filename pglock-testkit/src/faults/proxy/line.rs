//! One direction of one connection: what may pass, when, and what has been seen.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::framing::{Frame, Start};

/// One for each direction.
const FIRST_BYTES: usize = 64;

/// What applies to one direction of all connections of a proxy.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    pub(super) delay: Duration,
    pub(super) stalled: bool,
}

#[derive(Debug)]
pub(super) struct Line {
    weather: watch::Receiver<Weather>,
    faults: watch::Sender<Faults>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Faults {
    stalled: bool,
    closed: bool,
    cut: bool,
    hold: Hold,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hold {
    #[default]
    No,
    Next(char),
    Reached,
}

#[derive(Debug, Default)]
struct Seen {
    frames: BTreeMap<Frame, u64>,
    first: Vec<u8>,
}

/// What to do with bytes that are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Pass all of them.
    All,
    /// Pass those before that position, and no more until the frame at that position is
    /// [released](Line::released).
    Hold { at: usize, tag: char },
    /// Pass those before that position, then end the connection.
    Cut { at: usize },
    /// Pass none: the direction was closed.
    Nothing,
}

impl Line {
    pub(super) fn new(weather: watch::Receiver<Weather>) -> Self {
        Self { weather, faults: watch::Sender::default(), seen: Mutex::default() }
    }

    pub(super) fn delay(&self) -> Duration {
        self.weather.borrow().delay
    }

    pub(super) fn saw(&self, bytes: &[u8], starts: &[Start]) {
        let mut seen = self.seen();
        for start in starts {
            *seen.frames.entry(start.frame).or_default() += 1;
        }
        let missing = FIRST_BYTES - seen.first.len();
        seen.first.extend(bytes.iter().take(missing));
    }

    pub(super) fn frames(&self) -> BTreeMap<Frame, u64> {
        self.seen().frames.clone()
    }

    pub(super) fn first_bytes(&self) -> Vec<u8> {
        self.seen().first.clone()
    }

    pub(super) fn stall(&self, stalled: bool) {
        self.faults.send_modify(|faults| faults.stalled = stalled);
    }

    pub(super) fn close(&self) {
        self.faults.send_modify(|faults| faults.closed = true);
    }

    pub(super) fn cut(&self) {
        self.faults.send_modify(|faults| faults.cut = true);
    }

    pub(super) fn hold(&self, tag: char) {
        self.faults.send_modify(|faults| faults.hold = Hold::Next(tag));
    }

    pub(super) fn release(&self) {
        self.faults.send_modify(|faults| faults.hold = Hold::No);
    }

    pub(super) async fn until_held(&self) {
        self.until(|faults| faults.hold == Hold::Reached).await;
    }

    pub(super) async fn until_closed(&self) {
        self.until(|faults| faults.closed).await;
    }

    /// Waits while the direction is stalled, then decides about bytes in which these frames begin.
    pub(super) async fn pass(&self, starts: &[Start]) -> Pass {
        let mut weather = self.weather.clone();
        tokio::select! {
            // This cannot fail: the proxy owns the sender and lives longer.
            _ = weather.wait_for(|weather| !weather.stalled) => {}
            () = self.until_closed() => {}
        }
        self.until(|faults| !faults.stalled || faults.closed).await;
        self.decide(starts)
    }

    fn decide(&self, starts: &[Start]) -> Pass {
        let mut pass = Pass::All;
        self.faults.send_if_modified(|faults| {
            if faults.closed {
                pass = Pass::Nothing;
            } else if let (true, Some(first)) = (faults.cut, starts.first()) {
                faults.cut = false;
                pass = Pass::Cut { at: first.at + first.length / 2 };
            } else if let Hold::Next(tag) = faults.hold
                && let Some(held) = starts.iter().find(|start| start.frame == Frame::Message(tag))
            {
                pass = Pass::Hold { at: held.at, tag };
            }
            false
        });
        pass
    }

    /// Reports that everything before a held message has passed, and waits for its release.
    pub(super) async fn released(&self, tag: char) {
        self.faults.send_if_modified(|faults| {
            let reached = faults.hold == Hold::Next(tag);
            if reached {
                faults.hold = Hold::Reached;
            }
            reached
        });
        self.until(|faults| faults.hold != Hold::Reached || faults.closed).await;
    }

    async fn until(&self, reached: impl Fn(&Faults) -> bool) {
        // This cannot fail: this value owns the sender.
        let _ = self.faults.subscribe().wait_for(reached).await;
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
