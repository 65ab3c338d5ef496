//! What pglock is for, one scenario at a time.
//!
//! Each scenario is written once, against [`DistributedRwLock`](pglock_core::DistributedRwLock); the programs that run it on a backend
//! are in a folder per backend: `cargo run -p pglock-examples --example sqlx-basic`.

use std::error::Error;

pub mod basic;

/// An error and its causes in one line, without repeating what a text above has said already.
pub fn in_one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        source = cause.source();
    }
    line
}
