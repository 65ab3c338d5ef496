use super::state::State;

/// What a lock manager is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Sessions that are connected.
    pub sessions: usize,
    /// Locks that the server has granted to this process.
    pub held: usize,
    /// Callers that wait for a lock or its refusal.
    pub waiting: usize,
}

impl State {
    pub(crate) fn stats(&self) -> Stats {
        let open = self.sessions.iter().filter(|(_, session)| session.is_open());
        Stats {
            sessions: open.count(),
            held: self.sessions.iter().map(|(_, session)| session.held).sum(),
            waiting: self.entries.values().map(|entry| entry.queue.len()).sum(),
        }
    }
}
