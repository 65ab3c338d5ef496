//! Records what is traced, as a subscriber would print it.

use std::fmt::{self, Write as _};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};

/// Records every level. Clones are handles to the same record.
#[derive(Clone)]
pub(super) struct Listener {
    heard: Arc<Mutex<Vec<String>>>,
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

/// While there is only one subscriber, `tracing` assumes that every thread has it. Another test
/// that reaches a call site first would then turn that call site off for all.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Listener::silent()));

impl Listener {
    pub(super) fn start() -> Self {
        LazyLock::force(&SECOND);
        Self::silent()
    }

    fn silent() -> Self {
        Self { heard: Arc::default() }
    }

    /// A text for each event and each span so far.
    pub(super) fn heard(&self) -> Vec<String> {
        self.notes().clone()
    }

    /// A text for each warning so far.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.heard().into_iter().filter(|text| text.contains("level: Level(Warn)")).collect()
    }

    fn note(&self, metadata: Option<&Metadata<'_>>, record: impl FnOnce(&mut Text)) {
        let mut text = Text(metadata.map(|metadata| format!("{metadata:?}")).unwrap_or_default());
        record(&mut text);
        self.notes().push(text.0);
    }

    fn notes(&self) -> MutexGuard<'_, Vec<String>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.note(Some(span.metadata()), |text| span.record(text));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        self.note(None, |text| values.record(text));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.note(Some(event.metadata()), |text| event.record(text));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
