//! The password, which nothing may show.

use std::fmt::{self, Write as _};
use std::fs;
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pglock_core::{Error, Mode};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::{connect, execute};
use crate::conformance::{Lab, Options, shown, soon, start};
use crate::postgres::TestServer;
use crate::witness::Witness;

const CANARY: &str = "kanarienvogel-5tJ";

/// What contains the canary, of all that is traced in this process.
static LEAKS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static EVENTS: AtomicUsize = AtomicUsize::new(0);

struct Listener;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

fn look_at(metadata: &Metadata<'_>, record: impl FnOnce(&mut Text)) {
    let mut text = Text(format!("{metadata:?}"));
    record(&mut text);
    EVENTS.fetch_add(1, Ordering::Relaxed);
    if text.0.contains(CANARY) {
        LEAKS.lock().unwrap().push(text.0);
    }
}

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        look_at(span.metadata(), |text| span.record(text));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut text = Text(String::new());
        values.record(&mut text);
        if text.0.contains(CANARY) {
            LEAKS.lock().unwrap().push(text.0);
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        look_at(event.metadata(), |text| event.record(text));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// In a process of its own, because the listener hears all of it.
pub async fn password_is_shown_nowhere(lab: &Lab) {
    if !lab.is_child() {
        drop(lab.start_process());
        return;
    }
    tracing::subscriber::set_global_default(Listener).unwrap();
    tracing::trace!("heard");
    assert!(EVENTS.load(Ordering::Relaxed) > 0);

    let rules = std::env::temp_dir().join(format!("pglock-canary-hba-{}", std::process::id()));
    let text = "host all guarded all scram-sha-256\nhost all all all trust\nlocal all all trust\n";
    fs::write(&rules, text).unwrap();
    let settings = [("hba_file", rules.to_str().unwrap())];
    let server = TestServer::private_with(&settings).await.unwrap();
    let witness = connect(server.url()).await;
    execute(&witness, "CREATE ROLE guarded LOGIN PASSWORD 'right'").await;
    let url = server.url().replace("test:test@", &format!("test:{CANARY}@"));

    let mut debug = String::new();
    let mut show = |value: &dyn fmt::Debug| writeln!(debug, "{value:?}\n{value:#?}").unwrap();
    let mut errors: Vec<Error> = Vec::new();

    // Success, busy, timeout, loss.
    let named = |name: &str| {
        let options = Options { application_name: name.to_owned(), ..Options::default() };
        lab.manager_at(&url, &options).unwrap()
    };
    let (a, b) = (named("a"), named("b"));
    let (lock, other) = (a.rwlock("key".into()), b.rwlock("key".into()));
    show(&a);
    show(&lock);
    let guard = lock.write().await.unwrap();
    let reader = a.rwlock("read".into()).read().await.unwrap();
    show(&guard);
    show(&reader);
    show(&a);
    show(&other.try_write().await.unwrap());
    errors.push(other.try_write_for(Duration::from_millis(50)).await.unwrap_err());
    guard.release().await.unwrap();
    let guard = lock.write().await.unwrap();
    for pid in witness.sessions("a").await.unwrap() {
        witness.terminate(pid).await.unwrap();
    }
    soon("the loss is told", guard.lost()).await;
    show(&guard);
    errors.push(guard.release().await.unwrap_err());
    // A wait that the server cancels.
    witness.hold("held".into(), Mode::Write).await.unwrap();
    let held = b.rwlock("held".into());
    let wait = start(async move { held.write().await });
    let pid = witness.until_waiting("held".into(), 1).await.unwrap()[0].pid;
    witness.cancel(pid).await.unwrap();
    errors.push(soon("the wait has ended", wait).await.unwrap().unwrap_err());
    a.close().await.unwrap();
    show(&a);
    errors.push(lock.try_write().await.unwrap_err());

    // Connections that fail.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for url in [
        format!("postgres://test:{CANARY}@127.0.0.1:{port}/db"),
        format!("postgres://test:{CANARY}@name.invalid/db"),
        format!("{url}_missing"),
        server.url().replace("test:test@", &format!("guarded:{CANARY}@")),
        format!("{url}?sslmode=require"),
    ] {
        let manager = lab.manager_at(&url, &Options::default()).unwrap();
        show(&manager);
        errors.push(soon("the refusal", manager.rwlock("key".into()).write()).await.unwrap_err());
    }
    for url in
        [format!("postgres://u:{CANARY}@h:port/db"), format!("postgres://u:{CANARY}@[::1/db")]
    {
        errors.push(lab.manager_at(&url, &Options::default()).unwrap_err());
    }

    for error in &errors {
        debug.push_str(&shown(error));
    }
    assert!(!debug.contains(CANARY), "{debug}");
    let leaks = std::mem::take(&mut *LEAKS.lock().unwrap());
    assert!(leaks.is_empty(), "{leaks:#?}");
    assert!(!server.log().unwrap().contains(CANARY));
    println!("{} events, {} errors", EVENTS.load(Ordering::Relaxed), errors.len());
    fs::remove_file(rules).unwrap();
    lab.ready().await;
}
