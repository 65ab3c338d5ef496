//! The sessions behind the locks: how many there are, and what happens when one ends.

use std::time::Duration;

use pglock_core::{ErrorKind, Mode};

use crate::conformance::{Lab, Options, group, soon, start};

group! { sessions:
    thousand_keys_are_held_on_few_sessions: Sessions,
    guards_report_the_end_of_their_session: Sessions,
    release_of_a_lost_lock_fails: Sessions,
    lost_lock_does_not_disturb_others: Sessions,
    waiter_survives_the_end_of_its_session: Sessions,
    lock_can_be_taken_again_after_a_loss: Sessions,
    idle_waiting_sessions_are_closed: Sessions,
    idle_manager_disconnects_if_it_may: Sessions,
}

pub async fn thousand_keys_are_held_on_few_sessions(lab: &Lab) {
    let witness = lab.witness();
    let manager = lab.manager_with(&Options { max_locks: Some(2000), ..Options::default() });
    witness.hold("busy".into(), Mode::Write).await.unwrap();
    let mut takes = Vec::new();
    for key in 0..1000 {
        let lock = manager.lock(key);
        takes.push(start(async move { lock.write().await }));
    }
    let mut waits = Vec::new();
    for _ in 0..1000 {
        let lock = manager.lock("busy");
        waits.push(start(async move { lock.write().await.unwrap().release().await }));
    }
    let mut held = Vec::new();
    for take in takes {
        held.push(soon("the key is free", take).await.unwrap().unwrap());
    }
    lab.until_queued(&manager, 1000).await;
    witness.until_waiting("busy".into(), 1).await.unwrap();
    let sessions = witness.sessions("pglock").await.unwrap();
    assert!(sessions.len() <= 4, "{} sessions", sessions.len());
    let ours = |pid| sessions.contains(&pid);
    let locks = witness.locks().await.unwrap();
    assert_eq!(locks.iter().filter(|row| row.granted && ours(row.pid)).count(), 1000);
    witness.release("busy".into(), Mode::Write).await.unwrap();
    for wait in waits {
        soon("a waiter is forgotten", wait).await.unwrap().unwrap();
    }
    assert!(held.iter().all(|guard| guard.is_held()));
}

pub async fn guards_report_the_end_of_their_session(lab: &Lab) {
    let manager = lab.manager();
    let write = manager.lock("one").write().await.unwrap();
    let read = manager.lock("two").read().await.unwrap();
    lab.end_sessions().await;
    soon("the loss is reported", write.lost()).await;
    soon("the loss is reported", read.lost()).await;
    assert!(!write.is_held() && !read.is_held());
    // Later calls report it, too.
    soon("the loss is reported", write.lost()).await;
}

pub async fn release_of_a_lost_lock_fails(lab: &Lab) {
    let lock = lab.lock("key");
    let guard = lock.write().await.unwrap();
    lab.end_sessions().await;
    soon("the loss is reported", guard.lost()).await;
    assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::Lost);
    // The manager has not noticed the loss yet when the lock is released.
    let guard = lock.write().await.unwrap();
    lab.end_sessions().await;
    assert_eq!(soon("release", guard.release()).await.unwrap_err().kind(), ErrorKind::Lost);
}

pub async fn lost_lock_does_not_disturb_others(lab: &Lab) {
    let lock = lab.lock("key");
    let lost = lock.write().await.unwrap();
    lab.end_sessions().await;
    soon("the loss is reported", lost.lost()).await;
    let guard = soon("the lock is free", lock.write()).await.unwrap();
    // The end of the lost one must not release what another caller holds now.
    drop(lost);
    assert!(lab.lock("key").try_write().await.unwrap().is_none());
    assert!(guard.is_held());
    guard.release().await.unwrap();
}

pub async fn waiter_survives_the_end_of_its_session(lab: &Lab) {
    let witness = lab.witness();
    let lock = lab.lock("key");
    witness.hold("key".into(), Mode::Write).await.unwrap();
    let wait = start(async move { lock.write().await });
    let pid = witness.until_waiting("key".into(), 1).await.unwrap()[0].pid;
    witness.terminate(pid).await.unwrap();
    soon("it waits again", async {
        while witness.waiters("key".into()).await.unwrap().iter().all(|row| row.pid == pid) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    witness.release("key".into(), Mode::Write).await.unwrap();
    soon("the lock is free", wait).await.unwrap().unwrap().release().await.unwrap();
}

pub async fn lock_can_be_taken_again_after_a_loss(lab: &Lab) {
    let lock = lab.lock("key");
    for _ in 0..10 {
        let guard = soon("a new session", lock.write()).await.unwrap();
        lab.end_sessions().await;
        soon("the loss is reported", guard.lost()).await;
    }
    // The server closes the connection before it frees the locks.
    lab.witness().until_free("key".into()).await.unwrap();
    let guard = soon("a new session", lock.try_write()).await.unwrap();
    guard.expect("the lock is free").release().await.unwrap();
}

pub async fn idle_waiting_sessions_are_closed(lab: &Lab) {
    let witness = lab.witness();
    let idle_timeout = Duration::from_millis(100);
    let manager = lab.manager_with(&Options { idle_timeout, ..Options::default() });
    let lock = manager.lock("key");
    witness.hold("key".into(), Mode::Write).await.unwrap();
    let wait = start({
        let lock = lock.clone();
        async move { lock.write().await }
    });
    witness.until_waiting("key".into(), 1).await.unwrap();
    witness.until_sessions("pglock", 2).await.unwrap();
    witness.release("key".into(), Mode::Write).await.unwrap();
    drop(soon("the lock is free", wait).await.unwrap().unwrap());
    witness.until_sessions("pglock", 1).await.unwrap();
}

pub async fn idle_manager_disconnects_if_it_may(lab: &Lab) {
    let witness = lab.witness();
    let manager = lab.manager_with(&Options {
        idle_timeout: Duration::from_millis(100),
        disconnect_when_idle: true,
        ..Options::default()
    });
    let lock = manager.lock("key");
    for _ in 0..3 {
        let guard = soon("a session opens", lock.write()).await.unwrap();
        witness.until_sessions("pglock", 1).await.unwrap();
        // A manager with a lock stays connected, however long it is idle.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(guard.is_held());
        guard.release().await.unwrap();
        witness.until_sessions("pglock", 0).await.unwrap();
        let stats = manager.stats();
        assert!(!stats.connected && stats.down_for.is_none(), "{stats:?}");
    }
    soon("a session opens for a check", manager.check()).await.unwrap();
    witness.until_sessions("pglock", 0).await.unwrap();
}
