//! Progress messages on standard error. They appear even if the test harness captures output.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(5);

/// Prints one line.
pub(super) fn say(text: impl Display) {
    // One write, since other tests print too. If standard error is closed, there is no other way.
    let _ = io::stderr().write_all(format!("pglock-testkit: {text}\n").as_bytes());
}

/// Reports every few seconds, until dropped, that a download is still running.
#[derive(Debug)]
pub(super) struct Progress {
    end: Option<Sender<()>>,
    teller: Option<JoinHandle<()>>,
}

impl Progress {
    /// Reports what begins.
    pub(super) fn start(what: impl Display) -> Self {
        say(what);
        let start = Instant::now();
        let (end, ended) = mpsc::channel();
        let teller = thread::spawn(move || {
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                say(format_args!("still fetching after {} s", start.elapsed().as_secs()));
            }
        });
        Self { end: Some(end), teller: Some(teller) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end = None;
        if let Some(teller) = self.teller.take() {
            let _ = teller.join();
        }
    }
}
