//! For systems without Unix processes and permissions: only a running server can be used.

#![expect(clippy::unused_async, reason = "the same calls as where servers are started")]

use std::convert::Infallible;
use std::path::PathBuf;

use super::{StopMode, TestServerError};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) port: u16,
    never: Infallible,
}

impl Shared {
    pub(super) async fn of_this_process() -> Result<&'static Self, TestServerError> {
        Err(TestServerError::Unsupported)
    }

    pub(super) fn log(&self) -> PathBuf {
        match self.never {}
    }

    pub(super) fn socket(&self) -> PathBuf {
        match self.never {}
    }
}

#[derive(Debug)]
pub(super) struct Private {
    pub(super) port: u16,
    never: Infallible,
}

impl Private {
    pub(super) async fn start_new(_settings: &[(&str, &str)]) -> Result<Self, TestServerError> {
        Err(TestServerError::Unsupported)
    }

    pub(super) async fn stop(&self, _mode: StopMode) -> Result<(), TestServerError> {
        match self.never {}
    }

    pub(super) async fn start(&self) -> Result<(), TestServerError> {
        match self.never {}
    }

    pub(super) async fn kill(&self) -> Result<(), TestServerError> {
        match self.never {}
    }

    pub(super) fn log(&self) -> PathBuf {
        match self.never {}
    }

    pub(super) fn socket(&self) -> PathBuf {
        match self.never {}
    }
}
