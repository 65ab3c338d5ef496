//! Tests of the machine: single scenarios, and random runs against a model.

pub(super) mod model;
mod scenarios;
