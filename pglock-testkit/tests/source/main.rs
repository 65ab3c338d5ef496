//! Rules for the source of this repository, checked on its text: where SQL stands, which module may
//! know which, and how long files and functions are.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod sizes;
mod sql;
mod text;
mod walls;
