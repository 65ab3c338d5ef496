//! Every SQL text of the library.
//!
//! The texts are constants: they bind keys and everything else, each parameter once and in
//! ascending order. They call functions by their qualified names, because a `search_path` may put
//! another schema before `pg_catalog`. [`OPEN`] sets the path for the later statements of its
//! session, so that no operator can be shadowed either.
//!
//! Operations return one row of one column, `text`: a digit for each in their order, 1 (yes) or 0
//! (no); or NULL if the statement ran in another session, where it did nothing. Questions return
//! rows of two columns, `int8 NOT NULL, text`.

/// Whether the statement runs in the session that it is meant for.
///
/// A transaction pooler may run a statement in any of its server sessions, but the nonce is in one
/// of them only.
macro_rules! in_session {
    () => {
        "pg_catalog.current_setting('pglock.session', true) = $1::text"
    };
}

// After the macro, which these modules use.
mod inspection;
mod opening;
mod operations;
mod slots;
mod token;
pub(crate) mod transaction;

pub(crate) use self::inspection::{DATABASE, HOLDINGS, LOCKS, LOCKS_ON_KEY};
pub(crate) use self::opening::{OPEN, PRELUDE};
pub(crate) use self::operations::{few, many};
pub(crate) use self::slots::{FIRST_SLOT, LOOK_AT_SLOT, NEXT_SLOT, SLOT_TABLE};
pub(crate) use self::token::{SHOW_TOKEN, TOKEN, TOKEN_TABLE};
