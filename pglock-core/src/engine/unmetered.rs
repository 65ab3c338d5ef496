//! Measures nothing: what takes the place of `meters` without the feature `metrics`.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::mode::Mode;

pub(crate) struct Meters;

pub(crate) struct WaitTimer;

pub(crate) struct HoldTimer;

impl Meters {
    pub(crate) fn new(_: Arc<str>) -> Self {
        Self
    }

    pub(crate) fn register(&self) {}

    pub(crate) fn start_wait(&self, _: Mode) -> WaitTimer {
        WaitTimer
    }

    pub(crate) fn end_wait<T>(&self, _: WaitTimer, _: &Result<Option<T>>) -> Option<HoldTimer> {
        None
    }

    pub(crate) fn start_hold(&self, _: Mode) -> HoldTimer {
        HoldTimer
    }

    pub(crate) fn count_failure(&self, _: &Error) {}
}
