//! One connection through the proxy.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;
use tokio::time::timeout;

use super::Direction;
use super::framing::Frame;
use super::line::{Line, Weather};
use crate::faults::{FaultError, PATIENCE};

/// A connection through a [`Proxy`](super::Proxy). Its methods affect only this connection.
///
/// After it has ended, it still reports what passed, but faults have no effect.
#[derive(Clone)]
pub struct ProxyConnection {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) to_server: Line,
    pub(super) to_client: Line,
    pid: OnceLock<i32>,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Resetting,
    Ended,
}

impl ProxyConnection {
    pub(super) fn new([to_server, to_client]: [watch::Receiver<Weather>; 2]) -> Self {
        let shared = Shared {
            to_server: Line::new(to_server),
            to_client: Line::new(to_client),
            pid: OnceLock::new(),
            state: watch::Sender::new(State::Open),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The server process, once the server has sent its pid in plain text.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.shared.pid.get().copied()
    }

    /// Whether the connection is still open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self.shared.state.borrow() != State::Ended
    }

    /// Lets nothing pass in that direction from now on. The connection stays open, and the proxy
    /// keeps what arrives.
    ///
    /// The systems on both sides see no loss, because the proxy has accepted the bytes. To lose
    /// packets, use a [`Namespace`](crate::faults::Namespace).
    pub fn stall(&self, direction: Direction) {
        self.line(direction).stall(true);
    }

    /// Passes on what was kept, and everything after it.
    pub fn resume(&self, direction: Direction) {
        self.line(direction).stall(false);
    }

    /// Keeps the next message of that type, such as `D` for a row, and everything after it, until
    /// [`release`](Self::release). Only one type at a time: a second call replaces the first.
    ///
    /// While the message is kept, its sender has already acted, and the receiver does not know yet.
    pub fn hold(&self, direction: Direction, message: char) {
        self.line(direction).hold(message);
    }

    /// Waits until such a message has arrived and is kept.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// [`FaultError::TimedOut`] after 30 seconds.
    pub async fn until_held(&self, direction: Direction) -> Result<(), FaultError> {
        let held = timeout(PATIENCE, self.line(direction).until_held()).await;
        held.map_err(|_| FaultError::TimedOut { awaited: format!("a message to hold: {self:?}") })
    }

    /// Ends a [`hold`](Self::hold), whether the message has arrived or not.
    pub fn release(&self, direction: Direction) {
        self.line(direction).release();
    }

    /// Resets the connection on both sides. Whatever is under way is lost, and both sides get an
    /// error.
    pub fn reset(&self) {
        self.shared.state.send_if_modified(|state| {
            let open = *state == State::Open;
            if open {
                *state = State::Resetting;
            }
            open
        });
    }

    /// Ends one direction cleanly, as if its sender had closed it: the receiver reads end-of-file.
    /// The other direction continues.
    pub fn half_close(&self, direction: Direction) {
        self.line(direction).close();
    }

    /// Ends the connection in the middle of the next message, after half of its bytes.
    pub fn cut(&self, direction: Direction) {
        self.line(direction).cut();
    }

    /// What was sent in that direction, by kind, including what has not passed yet.
    #[must_use]
    pub fn sent(&self, direction: Direction) -> BTreeMap<Frame, u64> {
        self.line(direction).frames()
    }

    /// The first 64 bytes that were sent in that direction.
    #[must_use]
    pub fn first_bytes(&self, direction: Direction) -> Vec<u8> {
        self.line(direction).first_bytes()
    }

    fn line(&self, direction: Direction) -> &Line {
        match direction {
            Direction::ToServer => &self.shared.to_server,
            Direction::ToClient => &self.shared.to_client,
        }
    }
}

impl Shared {
    pub(super) fn learn(&self, pid: Option<i32>) {
        if let Some(pid) = pid {
            self.pid.get_or_init(|| pid);
        }
    }

    pub(super) async fn until_reset(&self) {
        // This cannot fail: this value owns the sender.
        let _ = self.state.subscribe().wait_for(|state| *state == State::Resetting).await;
    }

    pub(super) fn end(&self) {
        self.state.send_replace(State::Ended);
    }
}

/// Shows no bytes, since they may contain a password.
impl fmt::Debug for ProxyConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyConnection")
            .field("pid", &self.pid())
            .field("is_open", &self.is_open())
            .field("to_server", &self.sent(Direction::ToServer))
            .field("to_client", &self.sent(Direction::ToClient))
            .finish()
    }
}
