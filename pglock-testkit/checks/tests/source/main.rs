//! Rules for the source and the documentation of this repository, checked on their text: where SQL
//! stands, which module may know which, how long files and functions are, and what the pages must
//! explain.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod cases;
mod examples;
mod markdown;
mod operating;
mod sizes;
mod sql;
mod text;
mod walls;
