//! A session outside the machine: its task and its connection.

use super::server::Pid;
use crate::driver::{Answer, Holding, Operation, Reason};
use crate::engine::machine::event::Moment;
use crate::looking::LockEntry;
use crate::token::FencingToken;

/// The runtime's task for a session, and its connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) pid: Pid,
    pub(crate) stage: Stage,
    pub(super) kicked: bool,
    /// When the server last received something.
    pub(super) heard: Moment,
    /// The server has ended the session because of its silence.
    pub(super) lapsed: bool,
    /// Until when guards count as held.
    pub(super) believed: Moment,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Stage {
    Connecting,
    Idle,
    /// A request is on its way to the server.
    Sent(Vec<Operation>),
    SentHoldings,
    SentLook,
    SentToken,
    /// Waiting in the server's queue, or granted from there.
    Waiting,
    /// An answer is on its way back.
    Answer(Answer),
    Found(Vec<Holding>),
    Seen(Vec<LockEntry>),
    Minted(FencingToken),
    /// Nothing arrives any more, not even that the session has ended.
    Silent,
    Refusal(Reason),
    Closing,
    Broken,
}
