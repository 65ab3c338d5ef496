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

/// A connection through a [`Proxy`](super::Proxy), and what shall happen to it alone.
///
/// It can be asked about what passed also when it has ended; to do something to it then has no
/// effect.
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

    /// The server process, once the server has told it in plain text.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.shared.pid.get().copied()
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self.shared.state.borrow() != State::Ended
    }

    /// Lets nothing pass in that direction from now on; the connection stays open, and what comes
    /// is kept.
    ///
    /// The systems on both sides see no loss: to them, the proxy has taken the bytes. See
    /// [`Namespace`](crate::faults::Namespace) for packets that are lost.
    pub fn stall(&self, direction: Direction) {
        self.line(direction).stall(true);
    }

    /// Lets pass what was kept, and what comes.
    pub fn resume(&self, direction: Direction) {
        self.line(direction).stall(false);
    }

    /// Keeps the next message of that type, such as `D` for a row, and all that comes after it,
    /// until [`release`](Self::release). One type at a time: the last call counts.
    ///
    /// The side that sent it has done what the message says, and the other side does not know yet.
    pub fn hold(&self, direction: Direction, message: char) {
        self.line(direction).hold(message);
    }

    /// Waits until such a message has come and is kept.
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

    /// Ends a [`hold`](Self::hold), reached or not.
    pub fn release(&self, direction: Direction) {
        self.line(direction).release();
    }

    /// Resets the connection on both sides: neither gets what is under way, and both are told of an
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

    /// Ends one direction properly, as if the sender had: the receiver reads to an end. The other
    /// direction goes on.
    pub fn half_close(&self, direction: Direction) {
        self.line(direction).close();
    }

    /// Ends the connection in the middle of the next message: half of its bytes pass.
    pub fn cut(&self, direction: Direction) {
        self.line(direction).cut();
    }

    /// What was sent in that direction, by kind, whether it has passed or not.
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
        // It cannot fail: the sender is ours.
        let _ = self.state.subscribe().wait_for(|state| *state == State::Resetting).await;
    }

    pub(super) fn end(&self) {
        self.state.send_replace(State::Ended);
    }
}

/// Shows no bytes: there may be a password among them.
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
