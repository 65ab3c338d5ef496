//! Proofs that a lock is held: what only the session that holds it can do.

use super::Machine;
use super::answers::moved;
use super::inquiry::Inquiry;
use crate::engine::machine::event::{CallerId, GrantId, Outcome, Proof, SessionId};
use crate::engine::machine::sessions::{InFlight, Session};
use crate::engine::machine::step::Step;
use crate::error::Error;
use crate::key::LockKey;
use crate::token::FencingToken;

impl Machine {
    /// The server and the database of the session that was opened last.
    pub(crate) fn server(&self) -> Option<(i64, i64)> {
        self.sessions.server.map(|server| server.identity)
    }

    /// Resolves the caller with a proof of the session that holds the lock.
    pub(super) fn prove(
        &mut self,
        caller: CallerId,
        key: LockKey,
        grant: GrantId,
        proof: Proof,
        step: &mut Step<'_>,
    ) {
        let grants = self.keys.get(&key).map_or(&[][..], |state| &state.grants);
        let grant = grants.iter().find(|of_key| of_key.id == grant);
        match grant.filter(|_| self.closed.is_none()).map(|grant| grant.session) {
            Some(session) => self.inquire_of(session, Inquiry::Proof { caller, proof }, step),
            None => step.fail(caller, key, &Error::lost()),
        }
    }

    /// The session was given a token, which is higher than those of all earlier holders of each key
    /// that it holds.
    pub(super) fn minted(
        &mut self,
        id: SessionId,
        token: Option<FencingToken>,
        step: &mut Step<'_>,
    ) {
        let Some(token) = token else {
            return self.ended(id, &moved(), step);
        };
        let answered = self.sessions.get_mut(id).and_then(Session::take_answered);
        let Some(InFlight::Inquiries(inquiries)) = answered else {
            return;
        };
        for caller in inquiries.into_iter().filter_map(Inquiry::caller) {
            step.resolve(caller, Outcome::Token(token));
        }
        self.sessions.note_answer(id, step);
        self.sessions.rest(id, step.now);
    }
}
