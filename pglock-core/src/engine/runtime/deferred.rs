//! What effects leave for the time when no mutex is held: calls to code of the application.

use std::sync::Arc;
use std::task::Waker;

use smallvec::SmallVec;
use tokio::sync::Notify;

use super::callers::Callers;
use super::liveness::Callbacks;
use super::log::Log;
use super::thread::{call_aside, catch_panic};

pub(super) struct Deferred<'a> {
    /// The table that receives the replies.
    pub(super) callers: &'a Callers,
    /// Wakers of callers and closers.
    pub(super) wakers: SmallVec<[Waker; 2]>,
    /// Sessions to wake.
    pub(super) kicks: SmallVec<[Arc<Notify>; 2]>,
    /// One entry for each session whose locks are lost.
    pub(super) losses: Vec<Callbacks>,
    pub(super) logs: Vec<Log>,
}

impl<'a> Deferred<'a> {
    pub(super) fn new(callers: &'a Callers) -> Self {
        Self {
            callers,
            wakers: SmallVec::new(),
            kicks: SmallVec::new(),
            losses: Vec::new(),
            logs: Vec::new(),
        }
    }

    pub(super) fn run(self) {
        self.wakers.into_iter().for_each(wake);
        self.kicks.iter().for_each(|kick| kick.notify_one());
        // Most steps have none.
        if !self.logs.is_empty() || !self.losses.is_empty() {
            report(self.logs, self.losses);
        }
    }
}

#[cold]
fn report(logs: Vec<Log>, losses: Vec<Callbacks>) {
    logs.into_iter().for_each(|log| {
        catch_panic(|| log.write());
    });
    let mut functions = Vec::new();
    for mut loss in losses {
        loss.wakers.into_iter().for_each(wake);
        functions.append(&mut loss.functions);
    }
    call_aside(functions);
}

/// Wakers belong to the application: one that panics must not affect others.
fn wake(waker: Waker) {
    catch_panic(|| waker.wake());
}
