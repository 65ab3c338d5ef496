//! Lock entries as rows of an answer.

use std::time::{Duration, UNIX_EPOCH};

use super::{Holding, Row};
use crate::looking::LockEntry;

/// A lock entry with these fields, for a backend that does not use SQL; set the other fields if
/// they are known. [`lock_row`] turns it into an answer to [`Topic::Locks`](super::Topic::Locks).
pub fn lock_entry(holding: Holding, granted: bool, pid: i32) -> LockEntry {
    LockEntry {
        key: holding.key,
        name: None,
        mode: holding.mode,
        granted,
        pid,
        is_ours: false,
        application_name: String::new(),
        client_addr: None,
        since: None,
        blocked_by: Vec::new(),
        deadlock: None,
    }
}

/// A lock entry as a row of an answer: the 64 bits of the key, and a text with the other fields,
/// one per line.
pub fn lock_row(entry: &LockEntry) -> Row {
    let (operand, kind) = Holding { key: entry.key, mode: entry.mode }.to_row();
    let since = entry.since.and_then(|since| since.duration_since(UNIX_EPOCH).ok());
    let blocked_by: Vec<_> = entry.blocked_by.iter().map(i32::to_string).collect();
    let fields = [
        kind.unwrap_or_default(),
        u8::from(entry.granted).to_string(),
        entry.pid.to_string(),
        since.map(|since| since.as_micros().to_string()).unwrap_or_default(),
        blocked_by.join(","),
        entry.client_addr.map(|address| address.to_string()).unwrap_or_default(),
        entry.application_name.clone(),
    ];
    (operand, Some(fields.join("\n")))
}

/// The lock entry from which [`lock_row`] made this row.
pub(crate) fn read_lock_row((operand, fields): &Row) -> Option<LockEntry> {
    // The last field may be any text.
    let mut fields = fields.as_deref()?.splitn(7, '\n');
    let holding = Holding::from_row(&(*operand, fields.next().map(str::to_owned)))?;
    let granted = fields.next()? == "1";
    let mut entry = lock_entry(holding, granted, fields.next()?.parse().ok()?);
    let since = fields.next()?.parse().ok().map(Duration::from_micros);
    entry.since = since.and_then(|since| UNIX_EPOCH.checked_add(since));
    entry.blocked_by = fields.next()?.split(',').filter_map(|pid| pid.parse().ok()).collect();
    entry.client_addr = fields.next()?.parse().ok();
    fields.next()?.clone_into(&mut entry.application_name);
    Some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::LockKey;
    use crate::mode::Mode;

    #[test]
    fn entries_keep_their_meaning_through_the_wire_form() {
        let holding = Holding { key: LockKey::from((-7, 9)), mode: Mode::Read };
        let held = lock_entry(holding, true, 4711);
        let waiting = LockEntry {
            granted: false,
            application_name: "two\nlines".to_owned(),
            client_addr: Some([10, 0, 0, 1].into()),
            since: UNIX_EPOCH.checked_add(Duration::from_micros(1_234_567)),
            blocked_by: vec![4711, 12],
            ..held.clone()
        };
        for entry in [held, waiting] {
            assert_eq!(read_lock_row(&lock_row(&entry)), Some(entry));
        }
    }
}
