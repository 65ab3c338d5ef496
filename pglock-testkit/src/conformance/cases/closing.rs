//! Closing a lock manager.

use pglock_core::{ErrorKind, Mode};

use crate::conformance::{Lab, Options, group, soon, start};

group! { closing:
    close_frees_locks_as_others_see: Sessions,
    close_ends_waits,
    closed_manager_refuses,
    close_twice_is_harmless,
    dropped_manager_ends_its_sessions: Sessions,
}

/// As other processes see it: the manager's own view does not suffice.
pub async fn close_frees_locks_as_others_see(lab: &Lab) {
    let manager = lab.manager();
    let write = manager.lock("one").write().await.unwrap();
    let read = manager.lock("two").read().await.unwrap();
    soon("close", manager.close()).await.unwrap();
    assert!(lab.witness().locks().await.unwrap().is_empty());
    lab.witness().until_sessions("pglock", 0).await.unwrap();
    let other = lab.lock("one").try_write().await.unwrap().expect("the lock is free");
    assert!(!write.is_held() && !read.is_held());
    assert_eq!(write.release().await.unwrap_err().kind(), ErrorKind::Closed);
    drop(read);
    other.release().await.unwrap();
}

pub async fn close_ends_waits(lab: &Lab) {
    let witness = lab.witness();
    let manager = lab.manager();
    witness.hold("key".into(), Mode::Write).await.unwrap();
    let mut waits = Vec::new();
    for _ in 0..3 {
        let lock = manager.lock("key");
        waits.push(start(async move { lock.write().await }));
    }
    witness.until_waiting("key".into(), 1).await.unwrap();
    lab.until_queued(&manager, 3).await;
    soon("close", manager.close()).await.unwrap();
    for wait in waits {
        let error = soon("the wait has ended", wait).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
    assert!(witness.waiters("key".into()).await.unwrap().is_empty());
    assert!(witness.release("key".into(), Mode::Write).await.unwrap());
}

pub async fn closed_manager_refuses(lab: &Lab) {
    let manager = lab.manager();
    let lock = manager.lock("key");
    lock.write().await.unwrap().release().await.unwrap();
    manager.close().await.unwrap();
    for error in [
        lock.write().await.unwrap_err(),
        lock.try_write().await.unwrap_err(),
        lock.read().await.unwrap_err(),
        lock.try_read().await.unwrap_err(),
        manager.lock("new").write().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
}

pub async fn close_twice_is_harmless(lab: &Lab) {
    let manager = lab.manager();
    drop(manager.lock("key").write().await.unwrap());
    let (first, second) = tokio::join!(manager.close(), manager.close());
    first.unwrap();
    second.unwrap();
    manager.close().await.unwrap();
    // And a manager that was never used.
    soon("close", lab.manager().close()).await.unwrap();
}

pub async fn dropped_manager_ends_its_sessions(lab: &Lab) {
    let options = Options { application_name: "short-lived".to_owned(), ..Options::default() };
    let witness = lab.witness();
    let manager = lab.manager_with(&options);
    drop(manager.lock("key").write().await.unwrap());
    // The session that the first one was compared with may still be closing.
    witness.until_sessions("short-lived", 1).await.unwrap();
    drop(manager);
    witness.until_sessions("short-lived", 0).await.unwrap();
}
