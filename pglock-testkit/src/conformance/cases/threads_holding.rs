//! What threads do with the locks that they have, without `await`.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use pglock_core::blocking::Wait;
use pglock_core::recipes::election::Election;
use pglock_core::recipes::schedule::Outcome;
use pglock_core::recipes::semaphore::Semaphore;
use pglock_core::{ErrorKind, Mode};

use super::electing::{self, candidate};
use super::runtimes::aside;
use super::scheduling::{Stage, done};
use super::threads::{on_a_thread, write};
use super::{holder, permits};
use crate::conformance::{Lab, Manager, group};

group! { threads_holding:
    guard_dropped_on_another_thread_is_released,
    loss_is_reported_to_a_thread: Sessions,
    threads_change_the_mode: Engine,
    threads_have_sets_and_recipes,
    threads_have_dedicated_sessions: Engine,
    waits_of_threads_continue_when_their_sessions_end: Sessions,
}

const PATIENCE: Duration = Duration::from_secs(20);

pub async fn guard_dropped_on_another_thread_is_released(lab: &Lab) {
    let lock = lab.lock("key");
    let guard = write(&lock).await.unwrap();
    holder(lab.witness(), "key").await;
    on_a_thread(move || drop(guard)).await;
    lab.witness().until_free("key".into()).await.unwrap();
    let guard = write(&lock).await.unwrap();
    let unwinds = thread::Builder::new().spawn(move || {
        let _guard = guard;
        // Without a message on standard error.
        std::panic::resume_unwind(Box::new("the thread panics"));
    });
    aside(move || unwinds.unwrap().join().unwrap_err()).await;
    lab.witness().until_free("key".into()).await.unwrap();
}

pub async fn loss_is_reported_to_a_thread(lab: &Lab) {
    let lock = lab.lock("key");
    let guard = write(&lock).await.unwrap();
    let (tell, told) = mpsc::channel();
    guard.on_loss(move || tell.send(()).unwrap());
    let holds = on_a_thread(move || {
        // Work that blocks until the loss.
        let error = guard.protect(async { told.recv_timeout(PATIENCE) }).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Lost);
        assert!(!guard.is_held());
        guard.release().wait().unwrap_err()
    });
    let pid = holder(lab.witness(), "key").await;
    lab.witness().terminate(pid).await.unwrap();
    assert_eq!(holds.await.kind(), ErrorKind::Lost);
    write(&lock).await.unwrap().release().await.unwrap();
}

pub async fn threads_change_the_mode(lab: &Lab) {
    let (ours, theirs) = (lab.manager(), lab.lock("key"));
    let lock = ours.engine_lock("key".into());
    on_a_thread(move || {
        let reader = lock.write().wait().unwrap().downgrade();
        theirs.read().wait().unwrap().release().wait().unwrap();
        let writer = reader.try_upgrade().wait().unwrap().unwrap();
        assert!(theirs.try_read().wait().unwrap().is_none());
        writer.release().wait().unwrap();

        let reader = lock.upgradable_read().wait().unwrap();
        let other = theirs.read().wait().unwrap();
        let error = reader.try_upgrade_for(Duration::ZERO).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        // The guard went with the error.
        let reader = lock.try_upgradable_read_for(PATIENCE).wait().unwrap();
        let released = thread::spawn(move || other.release().wait());
        let writer = reader.upgrade().wait().unwrap();
        assert!(theirs.try_read().wait().unwrap().is_none());
        released.join().unwrap().unwrap();
        writer.release().wait().unwrap();
    })
    .await;
}

pub async fn threads_have_sets_and_recipes(lab: &Lab) {
    let (ours, theirs) = (lab.manager(), lab.manager());
    let stage = Stage::new();
    stage.begin(&ours).await;
    on_a_thread(move || {
        let set = |manager: &Arc<dyn Manager>| manager.set().write("a").read("b");
        let guard = set(&ours).acquire().wait().unwrap();
        assert!(set(&theirs).try_acquire().wait().unwrap().is_none());
        assert_eq!(theirs.inspect("a".into()).wait().unwrap().len(), 1);
        guard.release().wait().unwrap();

        let semaphore = Semaphore::new(ours.clone(), "permits", 1).unwrap();
        let permit = semaphore.acquire().wait().unwrap();
        assert!(semaphore.try_acquire().wait().unwrap().is_none());
        permit.release().wait().unwrap();

        let election = Election::new(ours.clone(), "election").take_over_after(Duration::ZERO);
        let leadership = election.campaign().wait().unwrap();
        assert!(election.leader().wait().unwrap().is_some());
        leadership.resign().wait().unwrap();

        stage.set(1);
        let job = stage.job(&ours).at_most_once().unwrap();
        let outcome = job.run_due(done).wait().unwrap();
        assert!(matches!(outcome, Outcome::Ran { .. }), "{outcome:?}");
        ours.check().wait().unwrap();
    })
    .await;
}

pub async fn threads_have_dedicated_sessions(lab: &Lab) {
    let manager = lab.manager();
    on_a_thread(move || {
        let session = manager.session().wait().unwrap();
        let outer = session.write("key").wait().unwrap();
        let inner = session.try_write("key").wait().unwrap().unwrap();
        inner.release().wait().unwrap();
        outer.release().wait().unwrap();
        session.close().wait().unwrap();
    })
    .await;
}

/// For a lock, a set, a leadership, and a permit.
pub async fn waits_of_threads_continue_when_their_sessions_end(lab: &Lab) {
    let (manager, witness) = (lab.manager(), lab.witness());
    let election = candidate(&manager, "election");
    let (leads, permit) = (electing::key(&election), permits::key(0));
    for key in ["key".into(), 2.into(), leads, permit] {
        witness.hold(key, Mode::Write).await.unwrap();
    }
    let lock = manager.lock("key");
    let set = manager.set().write(1).write(2);
    let semaphore = permits::semaphore(&manager, 1);
    let lock = on_a_thread(move || lock.write().wait()?.release().wait());
    let set = on_a_thread(move || set.acquire().wait()?.release().wait());
    let leadership = on_a_thread(move || election.campaign().wait()?.resign().wait());
    let permits = on_a_thread(move || semaphore.acquire().wait()?.release().wait());
    for _ in 0..3 {
        for key in ["key".into(), 2.into(), leads] {
            witness.until_waiting(key, 1).await.unwrap();
        }
        permits::until_first(lab).await;
        lab.end_sessions().await;
    }
    for key in ["key".into(), 2.into(), leads, permit] {
        witness.release(key, Mode::Write).await.unwrap();
    }
    for ended in [lock.await, set.await, leadership.await, permits.await] {
        ended.unwrap();
    }
}
