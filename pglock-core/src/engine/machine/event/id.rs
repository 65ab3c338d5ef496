//! Identifiers for callers, sessions, grants and arrivals.

/// A caller that awaits an [`Outcome`](super::Outcome).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct CallerId(usize);

impl CallerId {
    /// The caller in this row of the runtime's table. The row is free for another caller once this
    /// one is resolved or abandoned.
    pub(crate) fn at(place: usize) -> Self {
        Self(place)
    }

    pub(crate) fn place(self) -> usize {
        self.0
    }
}

/// Counts upwards: no number is used twice.
macro_rules! counted {
    ($(#[$doc:meta])* $name:ident($number:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub(crate) struct $name(pub(crate) $number);

        impl $name {
            pub(crate) fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }
    };
}

counted! {
    /// A session of this engine.
    SessionId(u32)
}

counted! {
    /// A lock that the server granted to this process.
    GrantId(u64)
}

counted! {
    /// The arrival of a caller. A reply of the server concerns only callers that arrived before the
    /// request was sent.
    Arrival(u64)
}
