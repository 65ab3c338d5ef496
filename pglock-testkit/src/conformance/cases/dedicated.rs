//! Dedicated sessions: locks that stack, several keys, deadlocks, and the end.

use std::time::Duration;

use pglock_core::Mode::{Read, Write};
use pglock_core::{DedicatedSession, ErrorKind, LockKey, WriteGuard};

use super::holder;
use crate::conformance::{Lab, Options, group, soon, start};

group! { dedicated:
    last_guard_frees_the_lock: Engine,
    modes_of_a_key_are_counted_apart: Engine,
    one_session_holds_several_keys: Engine,
    session_excludes_locks_of_its_manager: Engine,
    only_reader_upgrades: Engine,
    victim_of_a_deadlock_keeps_its_locks: Engine,
    two_upgrades_end_as_a_deadlock: Engine,
    timed_wait_finds_a_deadlock: Engine,
    timed_out_wait_leaves_nothing: Engine,
    lost_session_is_reported: Engine,
    close_closes_the_connection: Engine,
    session_outlives_its_handle_until_the_last_guard: Engine,
    closed_manager_closes_its_sessions: Engine,
    locks_count_against_the_limit: Engine,
}

/// Longer than any deadlock takes to be found.
const LONG: Duration = Duration::from_secs(15);

pub(super) async fn session(lab: &Lab) -> DedicatedSession {
    soon("a session", lab.manager().session()).await.unwrap()
}

/// Whether another process could write the key now.
async fn is_free(lab: &Lab, key: &str) -> bool {
    lab.witness().locks().await.unwrap().iter().all(|row| row.key != LockKey::from(key))
}

pub async fn last_guard_frees_the_lock(lab: &Lab) {
    let session = session(lab).await;
    for mode in [Write, Read] {
        let mut guards = Vec::new();
        for _ in 0..3 {
            guards.push(match mode {
                Write => (Some(session.write("key").await.unwrap()), None),
                Read => (None, Some(session.read("key").await.unwrap())),
            });
        }
        let mut leases = Vec::new();
        while let Some((write, read)) = guards.pop() {
            assert_eq!(lab.witness().holders("key".into()).await.unwrap().len(), 1);
            let lease = write.as_ref().map(|guard| guard.lease().clone());
            leases.extend(lease.or_else(|| read.as_ref().map(|guard| guard.lease().clone())));
            match (write, read, guards.len()) {
                (write, _, 1) => drop(write),
                (Some(write), ..) => write.release().await.unwrap(),
                (_, read, _) => read.unwrap().release().await.unwrap(),
            }
            assert!(leases.iter().all(|lease| !lease.is_held()));
        }
        // The server has confirmed it.
        assert!(is_free(lab, "key").await);
    }
    session.close().await.unwrap();
}

pub async fn modes_of_a_key_are_counted_apart(lab: &Lab) {
    let (session, other) = (session(lab).await, session(lab).await);
    let (write, read) = (session.write("key").await.unwrap(), session.read("key").await.unwrap());
    assert!(other.try_read("key").await.unwrap().is_none());
    write.release().await.unwrap();
    let theirs = other.try_read("key").await.unwrap().expect("readers share");
    assert!(other.try_write("key").await.unwrap().is_none());
    read.release().await.unwrap();
    drop(other.try_write("key").await.unwrap().expect("the lock is free"));
    theirs.release().await.unwrap();
}

pub async fn one_session_holds_several_keys(lab: &Lab) {
    let session = session(lab).await;
    let keys = ["a", "b", "c", "d"];
    let mut guards = Vec::new();
    for key in keys {
        guards.push(session.write(key).await.unwrap());
    }
    for key in keys {
        assert_eq!(holder(lab.witness(), key).await, session.backend_pid());
    }
    drop(guards.remove(1));
    lab.witness().until_free("b".into()).await.unwrap();
    assert_eq!(lab.witness().locks().await.unwrap().len(), 3);
    assert!(guards.iter().all(|guard| guard.is_held() && !guard.valid_for().is_zero()));
}

pub async fn session_excludes_locks_of_its_manager(lab: &Lab) {
    let manager = lab.manager();
    let session = manager.session().await.unwrap();
    let lock = manager.lock("key");
    let guard = session.write("key").await.unwrap();
    assert!(lock.try_read().await.unwrap().is_none());
    let error = lock.try_write_for(Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.holders().iter().all(|entry| entry.is_ours), "{error}");
    guard.release().await.unwrap();
    let guard = lock.write().await.unwrap();
    assert!(session.try_read("key").await.unwrap().is_none());
    let wait = start(async move { session.write("key").await });
    lab.witness().until_waiting("key".into(), 1).await.unwrap();
    guard.release().await.unwrap();
    drop(soon("the session has it", wait).await.unwrap().unwrap());
}

pub async fn only_reader_upgrades(lab: &Lab) {
    let (session, other) = (session(lab).await, session(lab).await);
    let read = session.read("key").await.unwrap();
    let theirs = other.read("key").await.unwrap();
    assert!(session.try_write("key").await.unwrap().is_none());
    let wait = start(async move { (session.write("key").await, session) });
    lab.witness().until_waiting("key".into(), 1).await.unwrap();
    drop(theirs);
    let (write, _session) = soon("it is the only reader", wait).await.unwrap();
    let write = write.unwrap();
    assert!(read.is_held() && write.is_held());
    assert!(other.try_read("key").await.unwrap().is_none());
}

pub async fn victim_of_a_deadlock_keeps_its_locks(lab: &Lab) {
    let (first, second) = (session(lab).await, session(lab).await);
    let (a, b) = (first.write("a").await.unwrap(), second.write("b").await.unwrap());
    let both = async { tokio::join!(cross(&first, a, "b"), cross(&second, b, "a")) };
    let (one, two) = soon("the server finds it", both).await;
    let victims: Vec<_> = [one, two].into_iter().flatten().collect();
    assert_eq!(victims, [ErrorKind::Deadlock]);
}

/// Takes the other lock. A victim has kept its own, and gives way.
async fn cross(session: &DedicatedSession, own: WriteGuard, other: &str) -> Option<ErrorKind> {
    let error = session.write(other).await.err();
    assert!(own.is_held());
    // The session is still of use.
    drop(session.write("another").await.unwrap());
    own.release().await.unwrap();
    error.map(|error| error.kind())
}

pub async fn two_upgrades_end_as_a_deadlock(lab: &Lab) {
    let mut readers = Vec::new();
    for _ in 0..2 {
        let session = session(lab).await;
        readers.push((session.read("key").await.unwrap(), session));
    }
    let mut upgrades = Vec::new();
    for (read, session) in readers {
        upgrades.push(start(async move {
            let write = session.write("key").await.map(drop);
            // A victim still holds the read lock, and gives it up.
            assert!(read.is_held());
            read.release().await.unwrap();
            write.map_err(|error| error.kind())
        }));
    }
    let mut results = Vec::new();
    for upgrade in upgrades {
        results.push(soon("an upgrade", upgrade).await.unwrap());
    }
    results.sort_by_key(Result::is_err);
    assert_eq!(results, [Ok(()), Err(ErrorKind::Deadlock)]);
}

pub async fn timed_wait_finds_a_deadlock(lab: &Lab) {
    let mut waits = Vec::new();
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(2));
    for (own, other) in [("a", "b"), ("b", "a")] {
        let (session, barrier) = (session(lab).await, barrier.clone());
        waits.push(start(async move {
            let own = session.write(own).await.unwrap();
            barrier.wait().await;
            let other = session.try_write_for(other, LONG).await.map(drop);
            own.release().await.unwrap();
            other.map_err(|error| error.kind())
        }));
    }
    let mut results = Vec::new();
    for wait in waits {
        results.push(soon("a result", wait).await.unwrap());
    }
    results.sort_by_key(Result::is_err);
    assert_eq!(results, [Ok(()), Err(ErrorKind::Deadlock)]);
}

pub async fn timed_out_wait_leaves_nothing(lab: &Lab) {
    let session = session(lab).await;
    let held = session.write("held").await.unwrap();
    let read = session.read("key").await.unwrap();
    lab.witness().hold("key".into(), Read).await.unwrap();
    for timeout in [0, 1, 100] {
        let timeout = Duration::from_millis(timeout);
        let begin = std::time::Instant::now();
        let mut error = session.try_write_for("key", timeout).await.unwrap_err();
        assert!(begin.elapsed() >= timeout);
        // A busy server may not answer in time.
        while error.kind() == ErrorKind::Connection {
            error = session.try_write_for("key", timeout).await.unwrap_err();
        }
        assert_eq!((error.kind(), error.key()), (ErrorKind::Timeout, Some("key".into())));
        assert_eq!(error.holders().len(), 2, "{error}");
        // Exactly what it did not hold before is gone.
        let rows = lab.witness().locks().await.unwrap();
        let ours = rows.iter().filter(|row| row.pid == session.backend_pid());
        let mut ours: Vec<_> = ours.map(|row| (row.key, row.mode, row.granted)).collect();
        ours.sort_by_key(|row| row.1 == Read);
        assert_eq!(ours, [("held".into(), Write, true), ("key".into(), Read, true)]);
    }
    assert!(held.is_held() && read.is_held());
    assert!(lab.witness().release("key".into(), Read).await.unwrap());
    drop(session.try_write("key").await.unwrap().expect("it is the only reader"));
}

pub async fn lost_session_is_reported(lab: &Lab) {
    let session = session(lab).await;
    let (write, read) = (session.write("a").await.unwrap(), session.read("b").await.unwrap());
    let (called, calls) = tokio::sync::oneshot::channel();
    read.on_loss(move || called.send(()).unwrap());
    lab.witness().terminate(session.backend_pid()).await.unwrap();
    soon("a lost write lock", write.lost()).await;
    soon("a call", calls).await.unwrap();
    assert!(!write.is_held() && !read.is_held() && read.valid_for().is_zero());
    let error = write.protect(std::future::pending::<()>()).await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::Lost, Some("a".into())));
    assert_eq!(write.release().await.unwrap_err().kind(), ErrorKind::Lost);
    // It is not replaced silently.
    let error = session.try_write("c").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection, "{error:?}");
    assert!(error.to_string().contains("open another"), "{error}");
    drop(read);
    soon("it is over", session.close()).await.unwrap();
}

pub async fn close_closes_the_connection(lab: &Lab) {
    let options = Options { application_name: "dedicated".to_owned(), ..Options::default() };
    let manager = lab.manager_with(&options);
    let session = manager.session().await.unwrap();
    lab.witness().until_sessions("dedicated", 1).await.unwrap();
    let guard = session.write("a").await.unwrap();
    lab.witness().hold("b".into(), Write).await.unwrap();
    let closed = async {
        lab.witness().until_waiting("b".into(), 1).await.unwrap();
        session.close().await.unwrap();
        assert!(is_free(lab, "a").await, "the server has confirmed it");
    };
    let (wait, ()) = soon("close", async { tokio::join!(session.write("b"), closed) }).await;
    assert_eq!(wait.unwrap_err().kind(), ErrorKind::Closed);
    lab.witness().until_sessions("dedicated", 0).await.unwrap();
    assert!(!guard.is_held());
    assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(session.try_read("a").await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(lab.witness().release("b".into(), Write).await.unwrap());
    session.close().await.unwrap();
}

pub async fn session_outlives_its_handle_until_the_last_guard(lab: &Lab) {
    let options = Options { application_name: "dedicated".to_owned(), ..Options::default() };
    let manager = lab.manager_with(&options);
    let session = manager.session().await.unwrap();
    let (a, b) = (session.write("a").await.unwrap(), session.write("b").await.unwrap());
    drop((session, manager));
    a.release().await.unwrap();
    assert!(b.is_held());
    // The session with which it was compared may be leaving.
    lab.witness().until_sessions("dedicated", 1).await.unwrap();
    b.release().await.unwrap();
    lab.witness().until_sessions("dedicated", 0).await.unwrap();
}

pub async fn closed_manager_closes_its_sessions(lab: &Lab) {
    let manager = lab.manager();
    let session = manager.session().await.unwrap();
    let guard = session.write("key").await.unwrap();
    soon("close", manager.close()).await.unwrap();
    assert!(is_free(lab, "key").await);
    lab.witness().until_sessions("pglock", 0).await.unwrap();
    assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(session.write("key").await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(manager.session().await.unwrap_err().kind(), ErrorKind::Closed);
}

pub async fn locks_count_against_the_limit(lab: &Lab) {
    let manager = lab.manager_with(&Options { max_locks: Some(3), ..Options::default() });
    let (one, two) = (manager.session().await.unwrap(), manager.session().await.unwrap());
    let engine = manager.lock("a").write().await.unwrap();
    let held = (one.write("b").await.unwrap(), two.write("c").await.unwrap());
    let error = one.write("d").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LockTableFull);
    // What it holds already takes no place.
    drop(one.write("b").await.unwrap());
    engine.release().await.unwrap();
    drop(two.write("d").await.unwrap());
    drop(held);
}
