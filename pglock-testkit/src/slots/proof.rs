//! The proof of scheduled jobs: replicas in processes of their own, killed at random points.
//!
//! Two independent checks show that two runs never overlap: each run holds a file lock of the
//! system, and writes to one log what it does. The log and the record show what was promised about
//! each slot.

use std::convert::Infallible;
use std::fs::{self, File, OpenOptions};
use std::future::pending;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pglock_core::recipes::schedule::{Job, Look, Missed, Record, Slot, SlotStore, Turn};
use pglock_core::{LockProvider, Result};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::conformance::is_long;
use crate::faults::{TestProcess, kill};
use crate::postgres::{TestServer, shared_folder};
use crate::witness::{PostgresWitness, Witness};

const PERIOD: i64 = 100_000;
/// How far the clocks of the replicas are ahead, in microseconds. Even the time of the store, so
/// that they disagree about which slot is due.
const SKEWS: [i64; 4] = [0, -150_000, 70_000, 230_000];
/// One of this many runs fails.
const FAILURE: u64 = 16;

/// What a replica uses.
type Parts = (Arc<dyn LockProvider>, Arc<dyn SlotStore>);

/// Runs slots on four processes, which it kills at random points, and checks that each slot has run
/// at most once, or at least once, and never two at a time. `test` is the path of the test that
/// calls this; the processes run the same test. With `PGLOCK_LONG` set, it takes 500 slots for each
/// promise, and also ends server sessions.
///
/// # Examples
///
/// ```no_run
/// # use std::sync::Arc;
/// # use pglock_core::{LockProvider, recipes::schedule::SlotStore};
/// # use pglock_testkit::slots;
/// # fn connect(url: &str) -> (Arc<dyn LockProvider>, Arc<dyn SlotStore>) { todo!("{url}") }
/// # async fn example() {
/// slots::prove("replicas_run_slots_as_promised", connect).await;
/// # }
/// ```
#[allow(clippy::type_complexity, reason = "a test shows all of it")]
pub async fn prove(test: &str, join: fn(&str) -> (Arc<dyn LockProvider>, Arc<dyn SlotStore>)) {
    if let Some(role) = TestProcess::role() {
        return Replica::parse(&role).serve(join).await;
    }
    let database = TestServer::shared().await.unwrap().database().await.unwrap();
    let witness = PostgresWitness::connect(database.url()).await.unwrap();
    let (locks, store) = join(database.url());
    witness.client().batch_execute(pglock_core::driver::SlotStatement::TABLE).await.unwrap();
    for promise in ["most", "least"] {
        let folder = shared_folder().unwrap();
        let fleet = Fleet {
            test,
            replica: Replica {
                promise: promise.to_owned(),
                skew: 0,
                folder: folder.path().to_owned(),
                url: database.url().to_owned(),
            },
            witness: &witness,
            store: &*store,
            job: job(locks.clone(), store.clone(), promise),
        };
        fleet.run().await;
    }
}

fn job(locks: Arc<dyn LockProvider>, store: Arc<dyn SlotStore>, promise: &str) -> Job {
    let job = Job::builder(locks, promise, store).every(Duration::from_micros(PERIOD as u64));
    let job = job.missed(Missed::Each).back_off(Duration::from_millis(5));
    if promise == "most" { job.at_most_once() } else { job.at_least_once() }.unwrap()
}

fn random(below: u64) -> u64 {
    RandomState::new().hash_one(()) % below
}

/// One of the processes, or what they have in common.
#[derive(Clone)]
struct Replica {
    promise: String,
    skew: i64,
    folder: PathBuf,
    url: String,
}

impl Replica {
    fn role(&self) -> String {
        let Self { promise, skew, folder, url } = self;
        format!("{promise} {skew} {} {url}", folder.display())
    }

    fn parse(role: &str) -> Self {
        let [promise, skew, folder, url] = *role.splitn(4, ' ').collect::<Vec<_>>() else {
            panic!("{role}")
        };
        Self {
            promise: promise.to_owned(),
            skew: skew.parse().unwrap(),
            folder: folder.into(),
            url: url.to_owned(),
        }
    }

    /// For a child: runs slots until it is killed, or the parent ends.
    async fn serve(self, join: fn(&str) -> Parts) {
        let (locks, store) = join(&self.url);
        let store = Arc::new(Skewed { store, skew: self.skew });
        let job = job(locks, store, &self.promise);
        let runs = AtomicUsize::new(0);
        let work = |turn: Turn| {
            let name = format!("{}.{}", std::process::id(), runs.fetch_add(1, SeqCst));
            work(&self.folder, name, turn.slot())
        };
        let listen = spawn_blocking(|| io::stdin().lines().count());
        tokio::select! {
            ended = job.run(pending(), work) => panic!("{ended:?}"),
            listened = listen => drop(listened.unwrap()),
        }
    }
}

fn open(folder: &Path, name: &str) -> File {
    OpenOptions::new().create(true).append(true).open(folder.join(name)).unwrap()
}

/// The work of one run.
async fn work(folder: &Path, run: String, slot: Slot) -> std::result::Result<(), &'static str> {
    let (witness, mut log) = (open(folder, "witness"), open(folder, "log"));
    // One write each, so that the order of the lines is that of the acts.
    let mut write = |act: &str| {
        log.write_all(format!("{run} {act} {}\n", slot.as_micros()).as_bytes()).unwrap();
    };
    write(if witness.try_lock().is_ok() { "begins" } else { "overlaps" });
    for _ in 0..random(8) {
        sleep(Duration::from_millis(random(8))).await;
        write("acts");
    }
    if random(FAILURE) == 0 {
        write("fails");
        return Err("the case wants it");
    }
    write("ends");
    Ok(())
}

/// A store as a replica sees it whose clock is off.
#[derive(Debug)]
struct Skewed {
    store: Arc<dyn SlotStore>,
    skew: i64,
}

#[async_trait]
impl SlotStore for Skewed {
    async fn look(&self, job: &str) -> Result<Look> {
        let look = self.store.look(job).await?;
        Ok(Look { now: Slot::from_micros(look.now.as_micros() + self.skew), ..look })
    }

    async fn replace(&self, job: &str, seen: Option<Record>, next: Record) -> Result<bool> {
        self.store.replace(job, seen, next).await
    }
}

/// The processes, and what the parent knows.
struct Fleet<'a> {
    test: &'a str,
    replica: Replica,
    witness: &'a PostgresWitness,
    store: &'a dyn SlotStore,
    job: Job,
}

impl Fleet<'_> {
    fn start(&self, skew: i64) -> TestProcess {
        let replica = Replica { skew, ..self.replica.clone() };
        let mut command = TestProcess::command(self.test, &replica.role()).unwrap();
        TestProcess::start(&mut command).unwrap()
    }

    async fn record(&self) -> Record {
        self.store.look(&self.replica.promise).await.unwrap().record.unwrap()
    }

    async fn run(self) {
        let begin = self.job.run_due(async |_| Ok::<_, Infallible>(())).await.unwrap();
        let (first, count) = (self.record().await.slot, if is_long() { 500 } else { 25 });
        let end = first.as_micros() + count * PERIOD;
        let mut processes = SKEWS.map(|skew| (skew, self.start(skew)));
        let deadline = Instant::now() + Duration::from_secs(60 + count as u64);
        let (mut kills, mut terminations) = (0, 0);
        while self.record().await.slot.as_micros() < end {
            assert!(Instant::now() < deadline, "{begin:?}, {:?}", self.record().await);
            sleep(Duration::from_millis(random(300))).await;
            if is_long() && random(4) == 0 {
                terminations += self.terminate().await;
                continue;
            }
            let (skew, process) = &mut processes[random(4) as usize];
            kill(process.pid()).unwrap();
            *process = self.start(*skew);
            kills += 1;
        }
        drop(processes);
        let faults = kills + terminations;
        let log = fs::read_to_string(self.replica.folder.join("log")).unwrap();
        let judged = Judge::new(&log).judge(&self.replica.promise, self.record().await, faults);
        println!(
            "at {} once: {judged}; {kills} kills, {terminations} sessions ended",
            self.replica.promise
        );
    }

    /// Ends the session that has the lock, if there is one.
    async fn terminate(&self) -> usize {
        let holders = self.witness.holders(self.job.key().key()).await.unwrap();
        let mut ended = 0;
        for holder in holders {
            ended += usize::from(self.witness.terminate(holder.pid).await.unwrap());
        }
        ended
    }
}

/// What the log shows.
struct Judge<'a> {
    /// The run, what it did, and its slot.
    entries: Vec<(&'a str, &'a str, i64)>,
}

impl<'a> Judge<'a> {
    fn new(log: &'a str) -> Self {
        let entry = |line: &'a str| {
            let mut parts = line.split(' ');
            Some((parts.next()?, parts.next()?, parts.next()?.parse().ok()?))
        };
        Self { entries: log.lines().map(|line| entry(line).expect(line)).collect() }
    }

    fn judge(&self, promise: &str, record: Record, faults: usize) -> String {
        self.one_at_a_time();
        let begun: Vec<_> = self.slots_of("begins");
        let done = self.slots_of("ends");
        let (first, last) = (begun[0], begun[begun.len() - 1]);
        let slots = usize::try_from((last - first) / PERIOD).unwrap() + 1;
        assert!(begun.iter().all(|slot| slot % PERIOD == 0));
        if promise == "most" {
            assert!(begun.windows(2).all(|pair| pair[0] < pair[1]), "a slot has run twice");
            assert!(slots - begun.len() <= faults, "{slots} slots, {} runs", begun.len());
            assert!(last <= record.slot.as_micros(), "a slot that is not settled has run");
        } else {
            for pair in begun.windows(2).filter(|pair| pair[0] != pair[1]) {
                assert_eq!(pair[1], pair[0] + PERIOD, "a slot was left out");
                assert!(done.contains(&pair[0]), "{} was settled, and not done", pair[0]);
            }
            assert!(done.contains(&record.slot.as_micros()), "settled, and not done");
            assert!(begun.len() - slots <= faults + self.slots_of("fails").len());
        }
        format!("{slots} slots, {} runs, {} done", begun.len(), done.len())
    }

    fn one_at_a_time(&self) {
        let mut working = "";
        for (run, act, slot) in &self.entries {
            match *act {
                "begins" => working = run,
                "overlaps" => panic!("two runs at a time, for {slot}"),
                _ => assert_eq!(working, *run, "{act} after another run has begun, for {slot}"),
            }
        }
    }

    fn slots_of(&self, what: &str) -> Vec<i64> {
        let entries = self.entries.iter().filter(|(_, act, _)| *act == what);
        entries.map(|(_, _, slot)| *slot).collect()
    }
}
