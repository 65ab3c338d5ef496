//! A unit test with locks in memory logs no warning.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};
use std::thread;

use pglock_testkit::memory;
use tokio::runtime;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Records each warning. Clones are handles to the same record.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_test_with_locks_in_memory_logs_no_warning() {
    let warnings = Warnings::default();
    tracing::subscriber::set_global_default(warnings.clone()).unwrap();
    for _ in 0..100 {
        let test = thread::spawn(|| {
            let runtime = runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let locks = memory();
                drop(locks.rwlock("key").write().await.unwrap());
            });
        });
        test.join().unwrap();
    }
    assert_eq!(*warnings.0.lock().unwrap(), [""; 0]);
}
