//! What a guard has the session of its lock do, to prove that the lock was held at that time.

use super::Held;
use super::call::Call;
use super::commands::Command;
use crate::engine::machine::event::{CallerId, Event, GrantId, Proof};
use crate::engine::runtime::Reply;
use crate::error::{Error, Result};
use crate::key::LockKey;
use crate::token::FencingToken;

impl Held {
    /// Whether the session of the lock sees that another session has this key.
    pub(crate) async fn sees(&self, mark: LockKey) -> Result<bool> {
        let grant = self.grant.ok_or_else(|| self.loss())?;
        let sees = Sees { key: self.key, grant, mark };
        Call::new(&self.client, sees).await.map_err(|error| self.loss_or(error))
    }

    /// The same each time.
    pub(crate) async fn fencing_token(&self) -> Result<FencingToken> {
        if let Some(token) = self.token.get() {
            return Ok(*token);
        }
        let grant = self.grant.ok_or_else(|| self.loss())?;
        let mint = Mint { key: self.key, grant };
        let minted = Call::new(&self.client, mint).await.map_err(|error| self.loss_or(error))?;
        Ok(*self.token.get_or_init(|| minted))
    }

    /// Why the lock is not held any more.
    pub(crate) fn loss(&self) -> Error {
        self.loss_or(Error::lost())
    }

    /// The loss, if the lock is lost: it is the cause of whatever else has failed.
    fn loss_or(&self, error: Error) -> Error {
        let reason = self.liveness.reason();
        self.about(reason.map_or(error, |reason| Error::lost_by(reason.clone())))
    }

    /// The server and the database of the lock, as far as they are known.
    pub(crate) fn server(&self) -> Option<(i64, i64)> {
        self.client.shared.server()
    }
}

/// Has the session that holds a lock look for a key that another session has.
struct Sees {
    key: LockKey,
    grant: GrantId,
    mark: LockKey,
}

impl Command for Sees {
    type Reply = bool;

    fn event(&mut self, caller: CallerId) -> Event {
        let Self { key, grant, mark } = *self;
        Event::Prove { caller, key, grant, proof: Proof::Sees(mark) }
    }

    fn abandon(&self, caller: CallerId) -> Event {
        Event::AbandonInquiry { caller }
    }

    fn read(&self, reply: Reply) -> Result<bool> {
        match reply {
            Reply::Seen(seen) => Ok(seen),
            other => Err(other.into_error()),
        }
    }
}

/// Has the session that holds a lock get a fencing token.
struct Mint {
    key: LockKey,
    grant: GrantId,
}

impl Command for Mint {
    type Reply = FencingToken;

    fn event(&mut self, caller: CallerId) -> Event {
        let Self { key, grant } = *self;
        Event::Prove { caller, key, grant, proof: Proof::Token }
    }

    fn abandon(&self, caller: CallerId) -> Event {
        Event::AbandonInquiry { caller }
    }

    fn read(&self, reply: Reply) -> Result<FencingToken> {
        match reply {
            Reply::Token(token) => Ok(token),
            other => Err(other.into_error()),
        }
    }
}
