//! A stand-in for systems other than Linux, which have no network namespaces.

#![expect(clippy::unused_async, reason = "the same calls as where there are namespaces")]

use std::convert::Infallible;
use std::ffi::OsStr;
use std::future::Future;
use std::process::Command;

use super::{Direction, FaultError};
use crate::postgres::TestServer;

/// A network namespace: there is none on this system, so [`new`](Self::new) always fails.
#[derive(Debug)]
pub struct Namespace {
    never: Infallible,
}

#[expect(missing_docs, clippy::missing_errors_doc, reason = "never called")]
impl Namespace {
    pub const LISTEN: (&str, &str) = ("listen_addresses", "0.0.0.0");

    pub fn new() -> Result<Self, FaultError> {
        Err(FaultError::NotAllowed { why: "network namespaces need Linux".to_owned() })
    }

    #[must_use]
    pub fn name(&self) -> String {
        match self.never {}
    }

    pub fn url(&self, _server: &TestServer) -> Result<String, FaultError> {
        match self.never {}
    }

    #[must_use]
    pub fn command(&self, _program: impl AsRef<OsStr>) -> Command {
        match self.never {}
    }

    pub async fn run<T, F>(
        &self,
        _inside: impl FnOnce() -> F + Send + 'static,
    ) -> Result<T, FaultError>
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        match self.never {}
    }

    pub fn lose(&self, _direction: Direction) -> Result<(), FaultError> {
        match self.never {}
    }

    pub fn heal(&self, _direction: Direction) -> Result<(), FaultError> {
        match self.never {}
    }
}
