//! Who holds and who waits.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::driver::{Holding, Row};
use crate::key::LockKey;
use crate::mode::Mode;

/// A lock that somebody holds or waits for, as the server sees it: from
/// [`Locks::holders`](crate::Locks::holders), [`Locks::all`](crate::Locks::all) or
/// [`Error::holders`](crate::Error::holders).
///
/// It need not be a lock of this library: it may be anybody's advisory lock in the same database.
/// PostgreSQL hides address and time of sessions of other roles from ordinary ones.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LockEntry {
    /// What is locked.
    pub key: LockKey,
    /// The name of the key, if a lock or guard of this manager has it now.
    pub name: Option<Arc<str>>,
    /// How.
    pub mode: Mode,
    /// Whether the session holds the lock; otherwise it waits.
    pub granted: bool,
    /// Backend pid of the session.
    pub pid: i32,
    /// What the session calls itself; anybody can choose any text.
    pub application_name: String,
    /// Where the session comes from; `None` over a Unix socket, and for other roles.
    pub client_addr: Option<IpAddr>,
    /// Since when the session waits (PostgreSQL 14 or later), or has been connected if it holds the
    /// lock: the server does not record when it was granted.
    pub since: Option<SystemTime>,
    /// Backend pids of the sessions that are in the way of one that waits, those before it in the
    /// queue included.
    pub blocked_by: Vec<i32>,
}

impl LockEntry {
    /// What a backend that does not speak SQL knows of a lock; the rest can be set.
    pub fn new(holding: Holding, granted: bool, pid: i32) -> Self {
        Self {
            key: holding.key,
            name: None,
            mode: holding.mode,
            granted,
            pid,
            application_name: String::new(),
            client_addr: None,
            since: None,
            blocked_by: Vec::new(),
        }
    }

    /// As a row of an answer: the 64 bits of the key, and the other fields in lines.
    pub fn to_row(&self) -> Row {
        let (operand, kind) = Holding { key: self.key, mode: self.mode }.to_row();
        let since = self.since.and_then(|since| since.duration_since(UNIX_EPOCH).ok());
        let blocked_by: Vec<_> = self.blocked_by.iter().map(i32::to_string).collect();
        let fields = [
            kind.unwrap_or_default(),
            u8::from(self.granted).to_string(),
            self.pid.to_string(),
            since.map(|since| since.as_micros().to_string()).unwrap_or_default(),
            blocked_by.join(","),
            self.client_addr.map(|address| address.to_string()).unwrap_or_default(),
            self.application_name.clone(),
        ];
        (operand, Some(fields.join("\n")))
    }

    pub(crate) fn from_row((operand, fields): &Row) -> Option<Self> {
        // The last one is anybody's text.
        let mut fields = fields.as_deref()?.splitn(7, '\n');
        let holding = Holding::from_row(&(*operand, fields.next().map(str::to_owned)))?;
        let granted = fields.next()? == "1";
        let mut entry = Self::new(holding, granted, fields.next()?.parse().ok()?);
        let since = fields.next()?.parse().ok().map(Duration::from_micros);
        entry.since = since.and_then(|since| UNIX_EPOCH.checked_add(since));
        entry.blocked_by = fields.next()?.split(',').filter_map(|pid| pid.parse().ok()).collect();
        entry.client_addr = fields.next()?.parse().ok();
        fields.next()?.clone_into(&mut entry.application_name);
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_meaning_through_the_wire_form() {
        let holding = Holding { key: LockKey::from((-7, 9)), mode: Mode::Read };
        let held = LockEntry::new(holding, true, 4711);
        let waiting = LockEntry {
            granted: false,
            application_name: "two\nlines".to_owned(),
            client_addr: Some([10, 0, 0, 1].into()),
            since: UNIX_EPOCH.checked_add(Duration::from_micros(1_234_567)),
            blocked_by: vec![4711, 12],
            ..held.clone()
        };
        for entry in [held, waiting] {
            assert_eq!(LockEntry::from_row(&entry.to_row()), Some(entry));
        }
    }
}
