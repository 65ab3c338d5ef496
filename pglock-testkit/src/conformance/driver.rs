//! Drivers whose type a case does not need to know.

use std::fmt;

use async_trait::async_trait;
use pglock_core::driver::{Driver, DriverError, Session};

/// A driver under test, beyond running statements. Every [`Driver`] is one.
#[async_trait]
pub trait AnyDriver: fmt::Debug + Send + Sync {
    /// The same as [`Driver::connect`].
    async fn open(&self) -> Result<Box<dyn AnySession>, DriverError>;
}

/// A session of a driver under test. Every [`Session`] is one.
#[async_trait]
pub trait AnySession: Send {
    /// The same as [`Session::closed`].
    async fn ended(&mut self) -> DriverError;

    /// The same as [`Session::close`].
    async fn end(self: Box<Self>);
}

#[async_trait]
impl<D: Driver> AnyDriver for D {
    async fn open(&self) -> Result<Box<dyn AnySession>, DriverError> {
        Ok(Box::new(self.connect().await?))
    }
}

#[async_trait]
impl<S: Session> AnySession for S {
    async fn ended(&mut self) -> DriverError {
        self.closed().await
    }

    async fn end(self: Box<Self>) {
        self.close().await;
    }
}

impl fmt::Debug for dyn AnySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnySession").finish_non_exhaustive()
    }
}
