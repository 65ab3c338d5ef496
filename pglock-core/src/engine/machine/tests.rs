//! Tests of the machine: scenario by scenario, and against a model at random.

pub(super) mod model;
mod scenarios;
