//! Warnings: none in a unit test with locks in memory, one for the key of a tool.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};
use std::thread;

use pglock_core::LockKey;
use pglock_core::key::well_known;
use pglock_testkit::memory;
use tokio::runtime;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::with_default;
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

#[test]
fn a_lock_on_the_key_of_a_tool_is_warned_of_once() {
    let warnings = Warnings::default();
    with_default(warnings.clone(), || {
        let locks = memory();
        let other = memory();
        locks.rwlock("sqitch");
        locks.rwlock((0, 75_474_063));
        assert_eq!(*warnings.0.lock().unwrap(), [""; 0]);
        let sqitch = LockKey::from(75_474_063);
        locks.rwlock(sqitch);
        locks.rwlock(sqitch.named("nightly"));
        other.rwlock(sqitch);
        other.rwlock(well_known::rails("mydb").named("invoices"));
    });
    let warnings = warnings.0.lock().unwrap();
    let [sqitch, rails] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(sqitch.contains("key=75474063") && sqitch.contains("tool=\"Sqitch\""), "{sqitch}");
    assert!(rails.contains("key=586353752304064290") && rails.contains("\"Rails\""), "{rails}");
}
