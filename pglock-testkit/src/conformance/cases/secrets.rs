//! The password, which nothing may show.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use pglock_core::{Error, LockKey, Mode};

use super::listening::Listener;
use super::{SMALL_TABLE, connect, execute, fill_lock_table};
use crate::conformance::{Lab, Options, group, shown, soon};
use crate::postgres::TestServer;
use crate::witness::Witness;

group! { secrets:
    password_is_shown_nowhere: Postgres,
}

const CANARY: &str = "kanarienvogel-5tJ";

/// In a process of its own, because the listener hears all of it.
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
    execute(
        &witness,
        "CREATE ROLE guarded LOGIN PASSWORD 'right';
        CREATE ROLE kept_out LOGIN CONNECTION LIMIT 0;
        CREATE ROLE plain LOGIN;
        REVOKE EXECUTE ON FUNCTION pg_catalog.pg_try_advisory_lock_shared(bigint) FROM PUBLIC;
        ALTER FUNCTION pg_catalog.pg_advisory_lock_shared(bigint) RENAME TO renamed;
        CREATE FUNCTION pg_catalog.pg_advisory_lock_shared(bigint) RETURNS void LANGUAGE plpgsql
            AS $$ BEGIN RAISE 'no'; END $$;",
    )
    .await;
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
    let (lock, other) = (a.lock("key"), b.lock("key"));
    show(&a);
    show(&lock);
    let guard = lock.write().await.unwrap();
    let reader = a.lock("read").read().await.unwrap();
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
    // A wait that the server refuses.
    witness.hold("held".into(), Mode::Write).await.unwrap();
    errors.push(soon("the wait", b.lock("held").read()).await.unwrap_err());
    a.close().await.unwrap();
    show(&a);
    errors.push(lock.try_write().await.unwrap_err());

    // Limits and rights.
    let as_role = |role: &str| server.url().replace("test:test@", &format!("{role}:{CANARY}@"));
    let plain = lab.manager_at(&as_role("plain"), &Options::default()).unwrap();
    errors.push(plain.lock("key").read().await.unwrap_err());
    let options = [
        Options { max_locks: Some(0), ..Options::default() },
        Options { max_waiters: Some(0), ..Options::default() },
    ];
    for options in options {
        let manager = lab.manager_at(&url, &options).unwrap();
        errors.push(manager.lock("key").write().await.unwrap_err());
    }
    let named = b.lock(LockKey::from(7).named("one"));
    errors.push(b.lock(LockKey::from(7).named("two")).write().await.unwrap_err());
    show(&named);
    let greedy = connect(server.url()).await;
    fill_lock_table(&greedy).await;
    errors.push(other.try_write().await.unwrap_err());
    execute(&greedy, "SELECT pg_catalog.pg_advisory_unlock_all()").await;

    // Connections that fail.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for url in [
        format!("postgres://test:{CANARY}@127.0.0.1:{port}/db"),
        format!("postgres://test:{CANARY}@name.invalid/db"),
        format!("{url}_missing"),
        as_role("guarded"),
        as_role("kept_out"),
        format!("{url}?sslmode=require"),
    ] {
        let manager = lab.manager_at(&url, &Options::default()).unwrap();
        show(&manager);
        errors.push(soon("the refusal", manager.lock("key").write()).await.unwrap_err());
    }
    for rest in [
        "u:_@h:port/db",
        "u:_@[::1/db",
        "u:_@[_/_",
        "u:_@h:_/db",
        "_:_@h/db?sslmode=_",
        "u:_@h/db?port=_",
        "u:_@h/db?_=_&port=_",
        "u:_@h/%ff_",
    ] {
        let url = format!("postgres://{}", rest.replace('_', CANARY));
        errors.push(lab.manager_at(&url, &Options::default()).unwrap_err());
    }
    // A client may pass over what it does not know.
    for query in ["sslpassword=_", "_=1", "_", "sslmode=disable&sslcrl=_&_=_"] {
        let url = format!("postgres://u:_@h/db?{query}").replace('_', CANARY);
        match lab.manager_at(&url, &Options::default()) {
            Ok(manager) => show(&manager),
            Err(error) => errors.push(error),
        }
    }

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
    // All but those whose text has nothing to do with a connection: a deadlock, a server of the
    // wrong kind, no runtime.
    assert_eq!(kinds.len(), 11, "{kinds:?}");
    fs::remove_file(rules).unwrap();
    lab.ready().await;
}
