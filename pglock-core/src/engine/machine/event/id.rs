//! What the machine and the runtime call each thing that there are many of.

/// A caller that awaits an [`Outcome`](super::Outcome).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct CallerId(usize);

impl CallerId {
    /// The caller at this place in the table of the runtime, which is free for another one once
    /// this one is resolved or abandoned.
    pub(crate) fn at(place: usize) -> Self {
        Self(place)
    }

    pub(crate) fn place(self) -> usize {
        self.0
    }
}

/// Counts a kind of thing up: no number comes twice.
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
    /// The coming of a caller for a lock: a reply of the server speaks to those who came before it
    /// was asked.
    Arrival(u64)
}
