//! What a member of the fleet is ordered to do.

/// An order, sent as a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Take and release a lock of one's own, then report `connected`.
    Connect,
    /// Take the lock that all share, report `passed` and release it.
    Pass,
    /// Take a lock of one's own and report `holding`, then again after each loss.
    Hold,
    /// Campaign in the election of all, and report `leading`.
    Campaign,
}

impl Order {
    const ALL: [Self; 4] = [Self::Connect, Self::Pass, Self::Hold, Self::Campaign];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Pass => "pass",
            Self::Hold => "hold",
            Self::Campaign => "campaign",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|order| order.as_str() == name)
    }
}
