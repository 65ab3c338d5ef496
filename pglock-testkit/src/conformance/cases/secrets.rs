//! No error, log line or debug text shows a password.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use pglock_core::{Error, LockKey, Mode};

use super::listening::Listener;
use super::{SMALL_TABLE, connect, execute, fill_lock_table};
use crate::conformance::{Lab, Manager, Options, group, shown, soon};
use crate::postgres::TestServer;
use crate::witness::{PostgresWitness, Witness};

group! { secrets:
    password_is_shown_nowhere: Postgres,
}

const CANARY: &str = "kanarienvogel-5tJ";

/// Roles and functions that make acquires fail.
const ROLES: &str = "
    CREATE ROLE guarded LOGIN PASSWORD 'right';
    CREATE ROLE kept_out LOGIN CONNECTION LIMIT 0;
    CREATE ROLE plain LOGIN;
    REVOKE EXECUTE ON FUNCTION pg_catalog.pg_try_advisory_lock_shared(bigint) FROM PUBLIC;
    ALTER FUNCTION pg_catalog.pg_advisory_lock_shared(bigint) RENAME TO renamed;
    CREATE FUNCTION pg_catalog.pg_advisory_lock_shared(bigint) RETURNS void LANGUAGE plpgsql
        AS $$ BEGIN RAISE 'no'; END $$;";

/// URLs in which the secret stands where `_` is.
const UNREADABLE: [&str; 8] = [
    "u:_@h:port/db",
    "u:_@[::1/db",
    "u:_@[_/_",
    "u:_@h:_/db",
    "_:_@h/db?sslmode=_",
    "u:_@h/db?port=_",
    "u:_@h/db?_=_&port=_",
    "u:_@h/%ff_",
];

/// URL options that a client may not know, and may ignore.
const UNKNOWN: [&str; 4] = ["sslpassword=_", "_=1", "_", "sslmode=disable&sslcrl=_&_=_"];

/// Runs in a process of its own, because the listener hears all of it.
pub async fn password_is_shown_nowhere(lab: &Lab) {
    if !lab.is_child() {
        drop(lab.start_process());
        return;
    }
    let listener = Listener::start();
    tracing::subscriber::set_global_default(listener.clone()).unwrap();
    tracing::trace!("heard");
    assert_eq!(listener.heard().len(), 1);

    let rules = std::env::temp_dir().join(format!("pglock-canary-hba-{}", std::process::id()));
    let text = "host all guarded all scram-sha-256\nhost all all all trust\nlocal all all trust\n";
    fs::write(&rules, text).unwrap();
    let settings = [&SMALL_TABLE[..], &[("hba_file", rules.to_str().unwrap())]].concat();
    let server = TestServer::private_with(&settings).await.unwrap();
    let witness = connect(server.url()).await;
    execute(&witness, ROLES).await;
    let url = server.url().replace("test:test@", &format!("test:{CANARY}@"));
    let mut play = Play { lab, url, debug: String::new(), errors: Vec::new() };
    play.locks(&witness).await;
    play.limits_and_rights(&connect(server.url()).await).await;
    play.failing_connections().await;
    play.unreadable_urls();

    let Play { mut debug, errors, .. } = play;
    let kinds: HashSet<_> = errors.iter().map(Error::kind).collect();
    for error in &errors {
        debug.push_str(&shown(error));
    }
    assert!(!debug.contains(CANARY), "{debug}");
    let heard = listener.heard();
    let leak = heard.iter().find(|text| text.contains(CANARY));
    assert!(leak.is_none(), "{leak:#?}");
    assert!(!server.log().unwrap().contains(CANARY));
    println!("{} spans and events, {} errors of {} kinds", heard.len(), errors.len(), kinds.len());
    // All kinds except those unrelated to connections: a deadlock, a server of the wrong kind, no
    // runtime.
    assert_eq!(kinds.len(), 11, "{kinds:?}");
    fs::remove_file(rules).unwrap();
    lab.ready().await;
}

/// Uses managers in every way, and collects everything that they show.
struct Play<'a> {
    lab: &'a Lab,
    /// The URL, with the canary as its password.
    url: String,
    debug: String,
    errors: Vec<Error>,
}

impl Play<'_> {
    fn show(&mut self, value: &dyn fmt::Debug) {
        writeln!(self.debug, "{value:?}\n{value:#?}").unwrap();
    }

    fn manager(&self, options: &Options) -> Arc<dyn Manager> {
        self.lab.manager_at(&self.url, options).unwrap()
    }

    fn named(&self, name: &str) -> Arc<dyn Manager> {
        self.manager(&Options { application_name: name.to_owned(), ..Options::default() })
    }

    fn as_role(&self, role: &str) -> String {
        self.url.replace("test:", &format!("{role}:"))
    }

    /// Success, busy, timeout, loss, a refused wait, and close.
    async fn locks(&mut self, witness: &PostgresWitness) {
        let (a, b) = (self.named("a"), self.named("b"));
        let (lock, other) = (a.lock("key"), b.lock("key"));
        self.show(&a);
        self.show(&lock);
        let guard = lock.write().await.unwrap();
        let reader = a.lock("read").read().await.unwrap();
        self.show(&guard);
        self.show(&reader);
        self.show(&a);
        self.show(&other.try_write().await.unwrap());
        self.errors.push(other.try_write_for(Duration::from_millis(50)).await.unwrap_err());
        guard.release().await.unwrap();
        let guard = lock.write().await.unwrap();
        for pid in witness.sessions("a").await.unwrap() {
            witness.terminate(pid).await.unwrap();
        }
        soon("the loss is reported", guard.lost()).await;
        self.show(&guard);
        self.errors.push(guard.release().await.unwrap_err());
        witness.hold("held".into(), Mode::Write).await.unwrap();
        self.errors.push(soon("the wait", b.lock("held").read()).await.unwrap_err());
        a.close().await.unwrap();
        self.show(&a);
        self.errors.push(lock.try_write().await.unwrap_err());
    }

    async fn limits_and_rights(&mut self, greedy: &PostgresWitness) {
        let plain = self.lab.manager_at(&self.as_role("plain"), &Options::default()).unwrap();
        self.errors.push(plain.lock("key").read().await.unwrap_err());
        for options in [
            Options { max_locks: Some(0), ..Options::default() },
            Options { max_waiters: Some(0), ..Options::default() },
        ] {
            self.errors.push(self.manager(&options).lock("key").write().await.unwrap_err());
        }
        let manager = self.named("c");
        let named = manager.lock(LockKey::from(7).named("one"));
        let collision = manager.lock(LockKey::from(7).named("two")).write().await;
        self.errors.push(collision.unwrap_err());
        self.show(&named);
        manager.check().await.unwrap();
        fill_lock_table(greedy).await;
        self.errors.push(manager.lock("key").try_write().await.unwrap_err());
        execute(greedy, "SELECT pg_catalog.pg_advisory_unlock_all()").await;
    }

    async fn failing_connections(&mut self) {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        for url in [
            format!("postgres://test:{CANARY}@127.0.0.1:{port}/db"),
            format!("postgres://test:{CANARY}@name.invalid/db"),
            format!("{}_missing", self.url),
            self.as_role("guarded"),
            self.as_role("kept_out"),
            format!("{}?sslmode=require", self.url),
        ] {
            let manager = self.lab.manager_at(&url, &Options::default()).unwrap();
            self.show(&manager);
            self.errors.push(soon("the refusal", manager.lock("key").write()).await.unwrap_err());
        }
    }

    fn unreadable_urls(&mut self) {
        for rest in UNREADABLE {
            let url = format!("postgres://{}", rest.replace('_', CANARY));
            self.errors.push(self.lab.manager_at(&url, &Options::default()).unwrap_err());
        }
        for query in UNKNOWN {
            let url = format!("postgres://u:_@h/db?{query}").replace('_', CANARY);
            match self.lab.manager_at(&url, &Options::default()) {
                Ok(manager) => self.show(&manager),
                Err(error) => self.errors.push(error),
            }
        }
    }
}
