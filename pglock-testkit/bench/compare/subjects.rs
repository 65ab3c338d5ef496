//! The subjects: the ways to take a lock that are compared.

pub(crate) mod connection_per_lock;
pub(crate) mod distributed_lock;
pub(crate) mod floor;
pub(crate) mod pglock;
pub(crate) mod sqlx_lock;
