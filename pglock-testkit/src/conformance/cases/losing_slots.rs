//! Scheduled jobs that are cut off or dropped, in every state.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pglock_core::recipes::schedule::{Job, Look, MemorySlots, Missed, Record, SlotStore, Turn};
use pglock_core::{ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::cancelling::drop_after;
use super::scheduling::{Stage, Work, done, promised, ran};
use crate::conformance::{Lab, group, soon, start};

group! { losing_slots:
    run_of_a_job_may_be_dropped_at_any_poll,
    replica_cut_off_while_it_takes_over_leaves_the_slot: Sessions,
    replica_cut_off_while_it_settles_runs_the_slot_again: Sessions,
    slots_run_as_promised_while_sessions_end: Sessions,
}

pub async fn run_of_a_job_may_be_dropped_at_any_poll(lab: &Lab) {
    for (polls, at_least_once) in (0..20).flat_map(|polls| [(polls, false), (polls, true)]) {
        let (stage, manager) = (Stage::new(), lab.manager());
        stage.begin(&manager).await;
        stage.set(1);
        let job = promised(stage.job(&manager), at_least_once);
        let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (begins, ends) = (&begun, &ended);
        let work = |_: Turn| async move {
            begins.fetch_add(1, SeqCst);
            tokio::task::yield_now().await;
            ends.fetch_add(1, SeqCst);
            Work::Ok(())
        };
        drop_after(polls, || job.run(pending(), work)).await;
        lab.witness().until_free(job.key().key()).await.unwrap();
        let again = ran(job.run_due(work).await.unwrap()).is_some();
        let (begun, ended) = (begun.load(SeqCst), ended.load(SeqCst));
        match at_least_once {
            true => assert!(ended >= 1, "{begun} begun"),
            false => assert!(begun <= 1, "{begun} begun, run again: {again}"),
        }
        assert_eq!(ran(job.run_due(work).await.unwrap()), None, "it is settled");
        assert_eq!(manager.stats().waiting, 0);
    }
}

/// The work has not begun, so it has not run.
pub async fn replica_cut_off_while_it_takes_over_leaves_the_slot(lab: &Lab) {
    let managers = [(); 2].map(|()| lab.manager());
    for at_least_once in [false, true] {
        let stage = Stage::new();
        stage.begin(&managers[0]).await;
        stage.set(1);
        let slow = stage.job(&managers[0]).take_over_after(Duration::from_secs(3600));
        let slow = promised(slow, at_least_once);
        let key = slow.key().key();
        let run = start(async move { slow.run_due(done).await });
        // The first session may end before the replica knows that it has the lock.
        soon("it is cut off", async {
            while !run.is_finished() {
                sleep(Duration::from_millis(10)).await;
                if !lab.witness().holders(key).await.unwrap().is_empty() {
                    sleep(Duration::from_millis(20)).await;
                    lab.end_sessions().await;
                }
            }
        })
        .await;
        let error = soon("the loss is reported", run).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Lost);
        // A session reports its end before its locks are free.
        lab.witness().until_free(key).await.unwrap();
        let next = promised(stage.job(&lab.manager()), at_least_once);
        assert_eq!(ran(next.run_due(done).await.unwrap()), Some(1));
    }
}

/// Each change of a record but the first hangs.
#[derive(Debug)]
struct Hanging(MemorySlots, mpsc::UnboundedSender<()>, AtomicUsize);

#[async_trait]
impl SlotStore for Hanging {
    async fn look(&self, job: &str) -> Result<Look> {
        self.0.look(job).await
    }

    async fn replace(&self, job: &str, seen: Option<Record>, next: Record) -> Result<bool> {
        if self.2.fetch_add(1, SeqCst) == 0 {
            return self.0.replace(job, seen, next).await;
        }
        self.1.send(()).unwrap();
        pending().await
    }
}

pub async fn replica_cut_off_while_it_settles_runs_the_slot_again(lab: &Lab) {
    let (stage, manager) = (Stage::new(), lab.manager());
    stage.begin(&manager).await;
    stage.set(1);
    let (settle, mut settles) = mpsc::unbounded_channel();
    let store = Arc::new(Hanging(stage.store.clone(), settle, AtomicUsize::new(0)));
    let job = promised(stage.job_with(&manager, store), true);
    let run = start(async move { job.run_due(done).await });
    soon("it settles", settles.recv()).await.unwrap();
    lab.end_sessions().await;
    let error = soon("the loss is reported", run).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost);
    lab.witness().until_quiet().await.unwrap();
    let next = promised(stage.job(&lab.manager()), true);
    assert_eq!(ran(next.run_due(done).await.unwrap()), Some(1));
    assert_eq!(ran(next.run_due(done).await.unwrap()), None);
}

/// In real time: three replicas, a slot each 20 ms, and sessions that end at any point of a run.
pub async fn slots_run_as_promised_while_sessions_end(lab: &Lab) {
    for at_least_once in [false, true] {
        let (store, runs) = (MemorySlots::new(), Arc::new(Mutex::new(Vec::new())));
        let mut replicas = Vec::new();
        for _ in 0..3 {
            let job = Job::builder(lab.manager(), "job", Arc::new(store.clone()));
            let job = job.every(Duration::from_micros(PERIOD as u64)).missed(Missed::Each);
            let job = job.take_over_after(Duration::ZERO).back_off(Duration::from_millis(2));
            let job = promised(job, at_least_once);
            let (stop, stopped) = oneshot::channel::<()>();
            let runs = runs.clone();
            let work = move |turn: Turn| {
                let runs = runs.clone();
                async move {
                    runs.lock().unwrap().push((turn.slot().as_micros(), false));
                    sleep(Duration::from_millis(5)).await;
                    runs.lock().unwrap().push((turn.slot().as_micros(), true));
                    Work::Ok(())
                }
            };
            let run = start(async move { job.run(async { drop(stopped.await) }, work).await });
            replicas.push((stop, run));
        }
        for turn in 0..40 {
            let so_far = runs.lock().unwrap().len();
            lab.until("slots run on", || runs.lock().unwrap().len() > so_far).await;
            sleep(Duration::from_millis(turn % 8)).await;
            lab.end_sessions().await;
        }
        let so_far = runs.lock().unwrap().len();
        lab.until("slots run on", || runs.lock().unwrap().len() > so_far + 20).await;
        for (stop, run) in replicas {
            stop.send(()).unwrap();
            soon("it ends", run).await.unwrap().unwrap();
        }
        let runs = std::mem::take(&mut *runs.lock().unwrap());
        println!("{} acts, at least once: {at_least_once}", runs.len());
        match at_least_once {
            true => assert_at_least_once(&runs),
            false => assert_at_most_once(&runs),
        }
    }
}

const PERIOD: i64 = 20_000;

/// No work begins twice.
fn assert_at_most_once(runs: &[(i64, bool)]) {
    let mut begun: Vec<_> = runs.iter().filter(|(_, ends)| !ends).map(|(slot, _)| slot).collect();
    let all = begun.len();
    begun.sort_unstable();
    begun.dedup();
    assert_eq!(begun.len(), all, "{runs:?}");
}

/// No slot is left out between the first and the last one whose work has ended.
fn assert_at_least_once(runs: &[(i64, bool)]) {
    let mut ended: Vec<_> = runs.iter().filter(|(_, ends)| *ends).map(|(slot, _)| slot).collect();
    ended.sort_unstable();
    ended.dedup();
    assert!(ended.windows(2).all(|pair| *pair[1] == *pair[0] + PERIOD), "{ended:?}");
}
