//! Scheduled jobs: each slot at most once, or at least once and never two at a time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pglock_core::ErrorKind;
use pglock_core::recipes::schedule::{
    Job, JobBuilder, MemorySlots, Missed, Outcome, Slot, SlotStore, Turn,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use crate::conformance::{Lab, Manager, group, soon, start};

group! { scheduling:
    slot_runs_on_one_replica_even_if_the_work_is_short,
    first_look_begins_the_job,
    replicas_with_clocks_apart_run_each_slot_at_most_once,
    replica_that_finds_the_lock_busy_does_not_wait,
    missed_slots_run_as_chosen,
    replicas_share_the_slots_of_a_run,
    jobs_of_a_process_share_its_sessions: Sessions,
}

pub(super) const HOUR: i64 = 3_600_000_000;

/// A store whose clock the case sets.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) store: MemorySlots,
    time: Arc<AtomicI64>,
}

impl Stage {
    pub(super) fn new() -> Self {
        let time = Arc::new(AtomicI64::new(0));
        Self { store: MemorySlots::new(), time }.skewed(0)
    }

    /// The same records, seen by a replica whose clock is off.
    fn skewed(&self, hours: i64) -> Self {
        let time = self.time.clone();
        let clock = move || Slot::from_micros(time.load(SeqCst) + hours * HOUR).time();
        Self { store: self.store.clone().with_clock(clock), time: self.time.clone() }
    }

    pub(super) fn set(&self, hours: i64) {
        self.time.store(hours * HOUR, SeqCst);
    }

    pub(super) fn job(&self, manager: &Arc<dyn Manager>) -> JobBuilder {
        self.job_with(manager, Arc::new(self.store.clone()))
    }

    pub(super) fn job_with(
        &self,
        manager: &Arc<dyn Manager>,
        store: Arc<dyn SlotStore>,
    ) -> JobBuilder {
        let job = Job::builder(manager.clone(), "job", store);
        let job = job.every(Duration::from_micros(HOUR as u64)).take_over_after(Duration::ZERO);
        job.back_off(Duration::from_millis(10))
    }

    /// Looks for the first time at zero hours, so that later slots run.
    pub(super) async fn begin(&self, manager: &Arc<dyn Manager>) {
        self.set(0);
        let job = self.job(manager).at_most_once().unwrap();
        let outcome = job.run_due(done).await.unwrap();
        assert!(matches!(outcome, Outcome::NotDue { next: Some(_), .. }), "{outcome:?}");
    }
}

pub(super) type Work = Result<(), Infallible>;

pub(super) async fn done(_: Turn) -> Work {
    Ok(())
}

/// The job, with either promise.
pub(super) fn promised(job: JobBuilder, at_least_once: bool) -> Job {
    if at_least_once { job.at_least_once() } else { job.at_most_once() }.unwrap()
}

/// The hour of the slot that has run, if one has.
pub(super) fn ran<T>(outcome: Outcome<T>) -> Option<i64> {
    match outcome {
        Outcome::Ran { slot, .. } => Some(slot.as_micros() / HOUR),
        _ => None,
    }
}

pub async fn slot_runs_on_one_replica_even_if_the_work_is_short(lab: &Lab) {
    let (stage, managers) = (Stage::new(), [(); 3].map(|()| lab.manager()));
    stage.begin(&managers[0]).await;
    for hour in 1..=5 {
        stage.set(hour);
        let mut hours = Vec::new();
        for manager in &managers {
            let jobs = [stage.job(manager).at_most_once(), stage.job(manager).at_least_once()];
            for job in jobs.map(Result::unwrap) {
                hours.extend(ran(job.run_due(done).await.unwrap()));
            }
        }
        assert_eq!(hours, [hour]);
    }
    lab.witness().until_quiet().await.unwrap();
}

pub async fn first_look_begins_the_job(lab: &Lab) {
    let (stage, manager) = (Stage::new(), lab.manager());
    stage.set(7);
    let job = stage.job(&manager).missed(Missed::Each).at_least_once().unwrap();
    let outcome = job.run_due(done).await.unwrap();
    let an_hour = Duration::from_micros(HOUR as u64);
    assert!(matches!(outcome, Outcome::NotDue { next: Some(next), .. } if next == an_hour));
    stage.set(9);
    for expected in [Some(8), Some(9), None] {
        assert_eq!(ran(job.run_due(done).await.unwrap()), expected);
    }
    let job = stage.job(&manager).every(Duration::ZERO).at_most_once();
    assert_eq!(job.unwrap_err().kind(), ErrorKind::InvalidOptions);
}

/// Even a store that gives each replica another time.
pub async fn replicas_with_clocks_apart_run_each_slot_at_most_once(lab: &Lab) {
    let stage = Stage::new();
    let replicas = [-1, 0, 1, 3].map(|skew| (stage.skewed(skew), lab.manager()));
    stage.begin(&replicas[1].1).await;
    let mut runs = BTreeMap::<_, usize>::new();
    for hour in 1..=20 {
        stage.set(hour);
        // In another order each hour.
        for at in 0..replicas.len() {
            let (stage, manager) = &replicas[(at + hour as usize) % replicas.len()];
            let job = stage.job(manager).missed(Missed::Each).at_most_once().unwrap();
            while let Some(slot) = ran(job.run_due(done).await.unwrap()) {
                *runs.entry(slot).or_default() += 1;
            }
        }
    }
    assert_eq!(runs, (1..=23).map(|slot| (slot, 1)).collect());
}

pub async fn replica_that_finds_the_lock_busy_does_not_wait(lab: &Lab) {
    let (stage, managers) = (Stage::new(), [(); 2].map(|()| lab.manager()));
    stage.begin(&managers[0]).await;
    stage.set(1);
    let [one, other] =
        managers.each_ref().map(|manager| stage.job(manager).at_least_once().unwrap());
    let (begin, begun) = oneshot::channel();
    let (end, ended) = oneshot::channel::<()>();
    let run = start(async move {
        one.run_due(async move |_| {
            begin.send(()).unwrap();
            ended.await
        })
        .await
    });
    soon("it works", begun).await.unwrap();
    for hour in 1..=3 {
        stage.set(hour);
        let outcome = soon("it does not wait", other.run_due(done)).await.unwrap();
        assert!(matches!(outcome, Outcome::Busy), "{outcome:?}");
    }
    end.send(()).unwrap();
    assert_eq!(ran(soon("it ends", run).await.unwrap().unwrap()), Some(1));
    assert_eq!(ran(other.run_due(done).await.unwrap()), Some(3));
}

pub async fn missed_slots_run_as_chosen(lab: &Lab) {
    let manager = lab.manager();
    let after = Duration::from_secs(60);
    let choices: [(_, &[i64]); 3] =
        [(Missed::Skip { after }, &[4]), (Missed::Last, &[4]), (Missed::Each, &[1, 2, 3, 4])];
    for (missed, expected) in choices {
        let stage = Stage::new();
        stage.begin(&manager).await;
        stage.set(4);
        let job = stage.job(&manager).missed(missed).at_most_once().unwrap();
        let mut hours = Vec::new();
        while let Some(hour) = ran(job.run_due(done).await.unwrap()) {
            hours.push(hour);
        }
        assert_eq!(hours, expected, "{missed:?}");
        // More than a minute late.
        stage.time.store(5 * HOUR + 61_000_000, SeqCst);
        let runs = !matches!(missed, Missed::Skip { .. });
        assert_eq!(ran(job.run_due(done).await.unwrap()).is_some(), runs, "{missed:?}");
    }
}

/// Work that runs until this is dropped.
struct Working(Arc<AtomicUsize>);

impl Working {
    fn new(working: Arc<AtomicUsize>, overlaps: Arc<AtomicUsize>) -> Self {
        // A panic of the work would only be logged.
        overlaps.fetch_add(working.fetch_add(1, SeqCst), SeqCst);
        Self(working)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// In real time: four replicas that begin at different times, and a slot each 20 ms.
pub async fn replicas_share_the_slots_of_a_run(lab: &Lab) {
    let store = MemorySlots::new();
    let (working, overlaps) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let runs = Arc::new(Mutex::new(Vec::new()));
    let mut replicas = Vec::new();
    for _ in 0..4 {
        let stage = Stage { store: store.clone(), time: Arc::default() };
        let job = stage.job(&lab.manager()).every(Duration::from_millis(20));
        let job = job.missed(Missed::Each).at_least_once().unwrap();
        let (working, overlaps, runs) = (working.clone(), overlaps.clone(), runs.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let work = move |turn: Turn| {
            let (working, overlaps, runs) = (working.clone(), overlaps.clone(), runs.clone());
            async move {
                let _working = Working::new(working, overlaps);
                sleep(Duration::from_millis(3)).await;
                runs.lock().unwrap().push(turn.slot());
                Work::Ok(())
            }
        };
        let run = start(async move { job.run(async { drop(stopped.await) }, work).await });
        replicas.push((stop, run));
        sleep(Duration::from_millis(7)).await;
    }
    lab.until("fifty slots have run", || runs.lock().unwrap().len() >= 50).await;
    for (stop, run) in replicas {
        stop.send(()).unwrap();
        soon("it ends", run).await.unwrap().unwrap();
    }
    assert_eq!(overlaps.load(SeqCst), 0, "two at a time");
    let runs = std::mem::take(&mut *runs.lock().unwrap());
    // A shutdown may fall between the work and the record, but only the last slot runs again then.
    let mut slots: Vec<_> = runs.iter().map(|slot| slot.as_micros()).collect();
    slots.dedup();
    assert!(slots.windows(2).all(|pair| pair[1] == pair[0] + 20_000), "{slots:?}");
}

pub async fn jobs_of_a_process_share_its_sessions(lab: &Lab) {
    let (manager, store) = (lab.manager(), Arc::new(MemorySlots::new()));
    let (begin, mut begun) = mpsc::unbounded_channel();
    let (stop, _) = watch::channel(());
    let mut runs = Vec::new();
    for number in 0..20 {
        let job = Job::builder(manager.clone(), &number.to_string(), store.clone());
        let job = job.every(Duration::from_millis(20)).back_off(Duration::from_millis(5));
        let job = job.at_least_once().unwrap();
        let (begin, mut stopped) = (begin.clone(), stop.subscribe());
        runs.push(start(async move {
            let work = |_| {
                begin.send(()).unwrap();
                pending::<Work>()
            };
            job.run(async { drop(stopped.changed().await) }, work).await
        }));
    }
    for _ in 0..20 {
        soon("each job works", begun.recv()).await.unwrap();
    }
    let sessions = lab.witness().sessions("pglock").await.unwrap().len();
    assert!(sessions <= 2, "{sessions} sessions");
    stop.send(()).unwrap();
    for run in runs {
        soon("it ends", run).await.unwrap().unwrap();
    }
}
