//! How the run of a slot ends: when the slot is settled, and that the work ends before the lock.

use std::future::{pending, ready};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pglock_core::ErrorKind;
use pglock_core::Result as LockResult;
use pglock_core::driver::ErrorBuilder;
use pglock_core::recipes::schedule::{Look, MemorySlots, Outcome, Record, SlotStore, Turn};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::cancelling::drop_after;
use super::scheduling::{HOUR, Stage, Work, done, promised, ran};
use crate::conformance::{Lab, group, soon, start};

group! { settling_slots:
    failed_slot_runs_again_only_at_least_once,
    lost_lock_stops_the_work_and_the_slot_is_settled_as_promised: Sessions,
    shutdown_drops_the_work_before_the_lock,
    replica_whose_slot_was_taken_over_cannot_settle_it,
    lost_replies_of_the_store_do_not_change_what_is_promised,
    run_due_may_be_dropped_at_any_poll,
}

/// A part of the work; dropping it records whether the lock is held.
struct Part(Turn, Arc<Mutex<Vec<bool>>>);

impl Drop for Part {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0.lease().is_held());
    }
}

pub async fn failed_slot_runs_again_only_at_least_once(lab: &Lab) {
    let manager = lab.manager();
    for at_least_once in [false, true] {
        let stage = Stage::new();
        stage.begin(&manager).await;
        stage.set(1);
        let job = promised(stage.job(&manager), at_least_once);
        let failed = job.run_due(async |_| Err::<(), _>("it fails")).await.unwrap();
        assert!(matches!(failed, Outcome::Ran { result: Err(_), .. }), "{failed:?}");
        assert_eq!(ran(job.run_due(done).await.unwrap()).is_some(), at_least_once);
        assert_eq!(ran(job.run_due(done).await.unwrap()), None);
    }
}

pub async fn lost_lock_stops_the_work_and_the_slot_is_settled_as_promised(lab: &Lab) {
    let managers = [(); 2].map(|()| lab.manager());
    for at_least_once in [false, true] {
        let stage = Stage::new();
        stage.begin(&managers[0]).await;
        stage.set(1);
        let [one, other] =
            managers.each_ref().map(|manager| promised(stage.job(manager), at_least_once));
        let (begin, begun) = oneshot::channel();
        let run = start(async move {
            one.run_due(async move |_| {
                begin.send(()).unwrap();
                pending::<Work>().await
            })
            .await
        });
        soon("it works", begun).await.unwrap();
        lab.end_sessions().await;
        let error = soon("the work stops", run).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Lost);
        // A session reports its end before its locks are free.
        lab.witness().until_free(other.key().key()).await.unwrap();
        soon("the server is back", async {
            while other.run_due(|_| ready(Err::<(), _>("not yet"))).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        assert_eq!(ran(other.run_due(done).await.unwrap()).is_some(), at_least_once);
    }
}

pub async fn shutdown_drops_the_work_before_the_lock(lab: &Lab) {
    let (stage, manager) = (Stage::new(), lab.manager());
    stage.begin(&manager).await;
    stage.set(1);
    let job = stage.job(&manager).at_least_once().unwrap();
    let key = job.key().key();
    let (stop, stopped) = oneshot::channel::<()>();
    let (send, mut turns) = mpsc::unbounded_channel();
    let held_at_ends = Arc::new(Mutex::new(Vec::new()));
    let ends = held_at_ends.clone();
    let work = move |turn: Turn| {
        send.send(turn.clone()).unwrap();
        let ends = ends.clone();
        async move {
            let _part = Part(turn, ends);
            pending::<Work>().await
        }
    };
    let again = job.clone();
    let run = start(async move { job.run(async { drop(stopped.await) }, work).await });
    let turn = soon("it works", turns.recv()).await.unwrap();
    stop.send(()).unwrap();
    soon("it ends", run).await.unwrap().unwrap();
    assert_eq!(*held_at_ends.lock().unwrap(), [true]);
    soon("the work was asked to stop", turn.stopping()).await;
    assert!(!turn.lease().is_held());
    lab.witness().until_free(key).await.unwrap();
    assert_eq!(ran(again.run_due(done).await.unwrap()), Some(1));
}

pub async fn replica_whose_slot_was_taken_over_cannot_settle_it(lab: &Lab) {
    let (stage, manager) = (Stage::new(), lab.manager());
    stage.begin(&manager).await;
    stage.set(1);
    let job = stage.job(&manager).at_least_once().unwrap();
    let run = job.run_due(async |_| {
        // What another replica does when it begins the slot.
        let seen = stage.store.look("job").await.unwrap().record.unwrap();
        let next = Record { version: seen.version + 1, ..seen };
        assert!(stage.store.replace("job", Some(seen), next).await.unwrap());
        Work::Ok(())
    });
    assert_eq!(run.await.unwrap_err().kind(), ErrorKind::Lost);
    assert_eq!(ran(job.run_due(done).await.unwrap()), Some(1));
    assert_eq!(ran(job.run_due(done).await.unwrap()), None);
}

/// Changes the record, and then fails as if the reply were lost: each second time.
#[derive(Debug)]
struct LosingReplies(MemorySlots, AtomicUsize);

#[async_trait]
impl SlotStore for LosingReplies {
    async fn look(&self, job: &str) -> LockResult<Look> {
        self.0.look(job).await
    }

    async fn replace(&self, job: &str, seen: Option<Record>, next: Record) -> LockResult<bool> {
        let is_replaced = self.0.replace(job, seen, next).await?;
        match self.1.fetch_add(1, SeqCst) % 2 {
            0 => Ok(is_replaced),
            _ => Err(ErrorBuilder::new(ErrorKind::Connection, "the reply is lost").build()),
        }
    }
}

pub async fn lost_replies_of_the_store_do_not_change_what_is_promised(lab: &Lab) {
    let manager = lab.manager();
    for at_least_once in [false, true] {
        let stage = Stage::new();
        stage.begin(&manager).await;
        let store = Arc::new(LosingReplies(stage.store.clone(), AtomicUsize::new(0)));
        let job = promised(stage.job_with(&manager, store), at_least_once);
        let runs = AtomicUsize::new(0);
        for hour in 1..=6 {
            stage.set(hour);
            let work = |_: Turn| {
                runs.fetch_add(1, SeqCst);
                ready(Work::Ok(()))
            };
            while !matches!(job.run_due(work).await, Ok(Outcome::NotDue { .. })) {}
            let last = stage.store.look("job").await.unwrap().record.unwrap().slot;
            assert_eq!(last.as_micros() / HOUR, hour, "settled");
        }
        // At most once, the slots are left out whose replies were lost.
        assert_eq!(runs.load(SeqCst), if at_least_once { 6 } else { 3 });
    }
}

pub async fn run_due_may_be_dropped_at_any_poll(lab: &Lab) {
    let manager = lab.manager();
    for polls in 0..20 {
        let stage = Stage::new();
        stage.begin(&manager).await;
        stage.set(1);
        let job = stage.job(&manager).at_least_once().unwrap();
        let worked = AtomicUsize::new(0);
        let counted = |_: Turn| {
            worked.fetch_add(1, SeqCst);
            ready(Work::Ok(()))
        };
        drop_after(polls, || job.run_due(counted)).await;
        lab.witness().until_free(job.key().key()).await.unwrap();
        let again = ran(job.run_due(counted).await.unwrap()).is_some();
        assert!(again || worked.load(SeqCst) == 1);
        assert_eq!(ran(job.run_due(counted).await.unwrap()), None, "it is settled");
    }
}
