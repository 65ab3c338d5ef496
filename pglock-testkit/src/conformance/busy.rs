//! Other processes that keep a lock busy.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;
use tokio::sync::Barrier;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::latencies::Latencies;
use super::{Lab, is_long, start};
use crate::faults::TestProcess;

/// Another process, whose tasks take turns continuously. It runs [`keep_busy`].
pub(super) struct Busy(TestProcess);

impl Busy {
    pub(super) async fn prepare(lab: &Lab, role: &str) -> Self {
        let mut process = lab.start_role(role, &lab.address());
        assert_eq!(process.line().await.unwrap(), "ready");
        Self(process)
    }

    pub(super) async fn start(lab: &Lab, role: &str) -> Self {
        let mut process = Self::prepare(lab, role).await;
        process.go();
        process.begun().await;
        process
    }

    pub(super) fn go(&mut self) {
        self.0.write("go").unwrap();
    }

    /// Waits until every task has had a turn.
    pub(super) async fn begun(&mut self) {
        assert_eq!(self.0.line().await.unwrap(), "begun");
    }

    pub(super) fn stop(&mut self) {
        self.0.write("stop").unwrap();
    }

    /// How long each of its turns took, after the process was asked to stop.
    pub(super) async fn done(mut self) -> Latencies {
        let line = self.0.line().await.unwrap();
        let micros = line.split_whitespace().map(|micros| micros.parse().unwrap());
        micros.map(Duration::from_micros).collect()
    }
}

/// Two other processes take turns for a while, and each must have more turns than this. Their role
/// is the path of a file that they lock during a turn, as a witness.
pub(super) async fn two_processes(lab: &Lab, least: usize) {
    let file = NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let mut processes = [Busy::start(lab, path).await, Busy::start(lab, path).await];
    sleep(Duration::from_secs(if is_long() { 60 } else { 2 })).await;
    processes.iter_mut().for_each(Busy::stop);
    for process in processes {
        let turns = process.done().await.len();
        println!("{turns} turns");
        assert!(turns > least, "only {turns} turns");
    }
}

/// Runs in that process: this many tasks take turns between the two commands of the parent. Each
/// turn gets its number within its task.
pub(super) async fn keep_busy<F: Future<Output = ()> + Send + 'static>(
    tasks: usize,
    turn: impl Fn(usize) -> F + Clone + Send + 'static,
) {
    TestProcess::print("ready");
    line().await;
    let (stop, begun) = (Arc::<AtomicBool>::default(), Arc::new(Barrier::new(tasks + 1)));
    let work = |task| {
        let (turn, stop, begun) = (turn.clone(), stop.clone(), begun.clone());
        start(async move {
            turn(task).await;
            begun.wait().await;
            let mut turns = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                let begin = Instant::now();
                turn(task + turns.len()).await;
                turns.push(begin.elapsed());
            }
            turns
        })
    };
    let tasks: Vec<_> = (0..tasks).map(work).collect();
    begun.wait().await;
    TestProcess::print("begun");
    line().await;
    stop.store(true, Ordering::SeqCst);
    let mut turns = Vec::new();
    for task in tasks {
        turns.extend(task.await.unwrap().iter().map(|turn| turn.as_micros().to_string()));
    }
    TestProcess::print(&turns.join(" "));
}

/// The next line of the other process, or an error if it has ended.
async fn line() {
    spawn_blocking(|| io::stdin().read_line(&mut String::new())).await.unwrap().unwrap();
}
