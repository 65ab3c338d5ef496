//! Leaders of five processes, one after another, whatever happens to them.
//!
//! Two independent checks show that only one leader works at a time. Each work holds a file lock of
//! the system. It also logs what it does, which shows afterwards whether a leader acted after its
//! successor had begun, even if its process was stopped in between.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::future::pending;
use std::io::{self, Write};
use std::ops::ControlFlow::{self, Continue};
use std::path::PathBuf;
use std::time::Duration;

use pglock_core::LockKey;
use pglock_core::recipes::election::{Election, Term};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::electing::key;
use super::{SLACK, holder, lease, leased};
use crate::conformance::latencies::Latencies;
use crate::conformance::{Lab, group, is_long, soon};
use crate::faults::{Stopped, TestProcess, kill};
use crate::postgres::shared_folder;

group! { succeeding:
    one_leader_works_at_a_time_whatever_happens_to_it: Process,
}

const PROCESSES: usize = 5;
/// How long it takes, after the last leader was killed, until the next one works.
const SUCCESSION: Duration = Duration::from_millis(100);

/// What happens to a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Killed,
    Terminated,
    Fails,
    Panics,
    Resigns,
    Stopped,
}

/// In this order, repeatedly.
const FATES: [Fate; 10] = [
    Fate::Killed,
    Fate::Terminated,
    Fate::Fails,
    Fate::Killed,
    Fate::Stopped,
    Fate::Terminated,
    Fate::Panics,
    Fate::Killed,
    Fate::Resigns,
    Fate::Terminated,
];

pub async fn one_leader_works_at_a_time_whatever_happens_to_it(lab: &Lab) {
    if lab.is_child() {
        return stand(lab).await;
    }
    let folder = shared_folder().unwrap();
    let mut realm = Realm::start(lab, folder.path().to_owned());
    let mut took = BTreeMap::<_, Latencies>::new();
    let has_lease = lab.has_lease().await;
    for turn in 1..=if is_long() { 200 } else { 20 } {
        let fate = FATES[turn % FATES.len()];
        // Without a lease, the lock of a stopped process is not free before the process continues.
        if fate != Fate::Stopped || has_lease {
            took.entry(fate).or_default().push(realm.meet(fate, turn).await);
        }
    }
    let (terms, acts) = realm.judge();
    println!("{terms} terms, {acts} acts");
    // The long form has the machine to itself.
    let slack = if is_long() { Duration::ZERO } else { take_over() + SLACK * 5 };
    for (fate, took) in took {
        let bound = match fate {
            Fate::Stopped => lease().0 + Duration::from_secs(1),
            Fate::Killed => SUCCESSION,
            // A panic is printed first, with its backtrace.
            _ => SUCCESSION * 20,
        };
        took.assert_below(&format!("next leader works after {fate:?}"), bound + slack);
    }
}

/// On a busy machine, a leader takes longer to notice that its session has ended.
fn take_over() -> Duration {
    Duration::from_millis(if is_long() { 50 } else { 500 })
}

fn candidate(lab: &Lab) -> Election {
    let election = Election::new(lab.manager_with(&leased()), "realm");
    election.take_over_after(take_over()).back_off(Duration::from_millis(20))
}

/// What the processes share besides the locks.
#[derive(Clone)]
struct Scene(PathBuf);

/// A line of the log: the time, the term of a process, and what it did.
#[derive(Debug)]
struct Entry {
    at: Duration,
    term: String,
    act: String,
}

impl Scene {
    /// The file that a leader's work locks. The file of a stopped process stays locked, so its
    /// successors lock another one.
    fn throne(&self) -> File {
        let epoch = fs::read_to_string(self.0.join("epoch")).unwrap();
        self.open(&format!("throne-{epoch}"))
    }

    fn begin_epoch(&self, epoch: usize) {
        fs::write(self.0.join("next"), epoch.to_string()).unwrap();
        fs::rename(self.0.join("next"), self.0.join("epoch")).unwrap();
    }

    fn log(&self) -> File {
        self.open("log")
    }

    fn open(&self, name: &str) -> File {
        OpenOptions::new().create(true).append(true).open(self.0.join(name)).unwrap()
    }

    fn entries(&self) -> Vec<Entry> {
        let log = fs::read_to_string(self.0.join("log")).unwrap_or_default();
        let entry = |line: &str| {
            let mut parts = line.split(' ').map(str::to_owned);
            let at = Duration::from_nanos(parts.next()?.parse().ok()?);
            Some(Entry { at, term: parts.next()?, act: parts.next()? })
        };
        // The last line may be incomplete.
        let lines = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let mut entries: Vec<_> = lines.map(|line| entry(line).expect(line)).collect();
        entries.sort_by_key(|entry| entry.at);
        entries
    }
}

/// Time since the machine was started: the same in all processes.
fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// For a child: a candidate for as long as the process lives.
async fn stand(lab: &Lab) {
    let scene = Scene(TestProcess::role().unwrap().into());
    let (order, orders) = watch::channel(String::new());
    let election = candidate(lab);
    let work = |term: Term| {
        let mut orders = orders.clone();
        orders.mark_unchanged();
        rule(scene.clone(), term, orders)
    };
    let listen = spawn_blocking(move || {
        io::stdin().lines().for_each(|line| drop(order.send_replace(line.unwrap())));
    });
    tokio::select! {
        ended = election.run(pending(), work) => panic!("{ended:?}"),
        // The other process has ended.
        listened = listen => listened.unwrap(),
    }
}

/// The work of a leader.
async fn rule(
    scene: Scene,
    term: Term,
    mut orders: watch::Receiver<String>,
) -> Result<ControlFlow<()>, &'static str> {
    let (throne, mut log) = (scene.throne(), scene.log());
    let name = format!("{}.{}", std::process::id(), term.number());
    // One write, so that lines of several processes do not mix.
    let mut write = |act: &str| {
        log.write_all(format!("{} {name} {act}\n", now().as_nanos()).as_bytes()).unwrap();
    };
    write(if throne.try_lock().is_ok() { "begins" } else { "overlaps" });
    loop {
        tokio::select! {
            biased;
            changed = orders.changed() => {
                changed.unwrap();
                write("ends");
                return match &**orders.borrow() {
                    "Fails" => Err("the case wants it"),
                    "Panics" => panic!("the case wants it"),
                    _ => Ok(Continue(())),
                };
            }
            () = sleep(Duration::from_millis(2)) => write("acts"),
        }
    }
}

/// The processes, one of which leads.
struct Realm<'a> {
    lab: &'a Lab,
    scene: Scene,
    key: LockKey,
    processes: Vec<TestProcess>,
    /// The number of terms that were ended by a stop.
    stops: usize,
}

impl<'a> Realm<'a> {
    fn start(lab: &'a Lab, folder: PathBuf) -> Self {
        let scene = Scene(folder);
        scene.begin_epoch(0);
        let key = key(&candidate(lab));
        let mut realm = Self { lab, scene, key, processes: Vec::new(), stops: 0 };
        realm.processes.extend((0..PROCESSES).map(|_| realm.candidate()).collect::<Vec<_>>());
        realm
    }

    fn candidate(&self) -> TestProcess {
        self.lab.start_role(self.scene.0.to_str().unwrap(), &self.lab.address())
    }

    /// The terms that have begun, once there are more than this many.
    async fn terms(&self, more_than: usize) -> Vec<Entry> {
        let begun = async {
            loop {
                let mut entries = self.scene.entries();
                entries.retain(|entry| entry.act != "acts" && entry.act != "ends");
                if entries.len() > more_than {
                    return entries;
                }
                sleep(Duration::from_millis(2)).await;
            }
        };
        soon("a candidate leads", begun).await
    }

    /// Makes this happen to the leader, and in some turns kills a follower at the same time. Returns
    /// how long it takes until the next one works.
    async fn meet(&mut self, fate: Fate, turn: usize) -> Duration {
        // A leader without followers proves nothing.
        self.lab.witness().until_waiting(self.key, PROCESSES - 1).await.unwrap();
        let terms = self.terms(0).await;
        let pid: i32 = terms.last().unwrap().term.split_once('.').unwrap().0.parse().unwrap();
        let at = self.processes.iter().position(|process| process.pid() == pid).unwrap();
        let session = holder(self.lab.witness(), self.key).await;
        let follower =
            turn.is_multiple_of(3).then_some((at + turn) % PROCESSES).filter(|it| *it != at);
        let begin = now();
        if let Some(follower) = follower {
            kill(self.processes[follower].pid()).unwrap();
        }
        let mut stopped = None;
        match fate {
            Fate::Killed => kill(pid).unwrap(),
            Fate::Terminated => assert!(self.lab.witness().terminate(session).await.unwrap()),
            Fate::Stopped => {
                stopped = Some(Stopped::stop(pid).unwrap());
                self.scene.begin_epoch(turn);
                self.stops += 1;
            }
            order => self.processes[at].write(&format!("{order:?}")).unwrap(),
        }
        let next = self.terms(terms.len()).await;
        drop(stopped);
        for killed in follower.into_iter().chain((fate == Fate::Killed).then_some(at)) {
            self.processes[killed] = self.candidate();
        }
        next[terms.len()].at.saturating_sub(begin)
    }

    /// Checks that no work found the file locked, and that no leader acted after its successor,
    /// except for the one act that was under way at a stop. Returns the number of terms and acts.
    fn judge(self) -> (usize, usize) {
        let Self { scene, processes, stops, .. } = self;
        drop(processes);
        let entries = scene.entries();
        let overlap = entries.iter().position(|entry| entry.act == "overlaps");
        let before = overlap.map(|at| &entries[at.saturating_sub(20)..=at]);
        assert!(before.is_none(), "two leaders work at once: {before:#?}");
        let (mut terms, mut leader, mut late) = (0, "", Vec::new());
        for Entry { at, term, act } in &entries {
            match &**act {
                "begins" => (terms, leader) = (terms + 1, term),
                _ if term != leader => late.push(format!("{at:?} {term} {act}")),
                _ => {}
            }
        }
        assert!(late.len() <= stops, "{} stops, and acts after the successor: {late:?}", stops);
        (terms, entries.len() - terms)
    }
}
