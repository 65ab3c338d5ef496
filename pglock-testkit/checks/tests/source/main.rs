//! Rules for the source and the documentation of this repository, checked on their text: where SQL
//! may stand, which module may use which, how long files and functions may be, and what the pages
//! must explain.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod cases;
mod examples;
mod markdown;
mod metrics;
mod operating;
mod sizes;
mod sql;
mod text;
mod walls;
