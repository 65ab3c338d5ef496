//! The sessions that hold one lock.

use std::collections::BTreeMap;

use crate::mode::Mode;

/// The sessions that hold a lock, and how often.
#[derive(Debug, Default)]
pub(super) struct Holders {
    pub(super) readers: BTreeMap<i32, u32>,
    pub(super) writer: Option<(i32, u32)>,
}

impl Holders {
    pub(super) fn has(&self, pid: i32, mode: Mode) -> bool {
        self.count(pid, mode) > 0
    }

    pub(super) fn count(&self, pid: i32, mode: Mode) -> u32 {
        match mode {
            Mode::Read => self.readers.get(&pid).copied().unwrap_or(0),
            Mode::Write => self.writer.filter(|(writer, _)| *writer == pid).map_or(0, |(_, n)| n),
        }
    }

    /// Whether no other session holds it in a conflicting mode.
    pub(super) fn are_compatible_with(&self, pid: i32, mode: Mode) -> bool {
        self.writer.is_none_or(|(writer, _)| writer == pid)
            && (mode == Mode::Read || self.readers.keys().all(|reader| *reader == pid))
    }

    pub(super) fn add(&mut self, pid: i32, mode: Mode) {
        match mode {
            Mode::Read => *self.readers.entry(pid).or_default() += 1,
            Mode::Write => self.writer.get_or_insert((pid, 0)).1 += 1,
        }
    }

    /// `None` if the session does not hold it in this mode.
    pub(super) fn take(&mut self, pid: i32, mode: Mode) -> Option<()> {
        let count = match mode {
            Mode::Read => self.readers.get_mut(&pid)?,
            Mode::Write => &mut self.writer.as_mut().filter(|(writer, _)| *writer == pid)?.1,
        };
        *count -= 1;
        if *count == 0 {
            match mode {
                Mode::Read => drop(self.readers.remove(&pid)),
                Mode::Write => self.writer = None,
            }
        }
        Some(())
    }

    pub(super) fn remove(&mut self, pid: i32) {
        self.readers.remove(&pid);
        self.writer = self.writer.filter(|(writer, _)| *writer != pid);
    }
}
