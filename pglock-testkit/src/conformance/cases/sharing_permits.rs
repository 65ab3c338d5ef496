//! Processes that share permits while some of them are killed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pglock_core::recipes::semaphore::{Permit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::SLACK;
use super::permits::{semaphore, until_first};
use crate::conformance::latencies::Latencies;
use crate::conformance::{Lab, group, is_long, soon, start};
use crate::faults::{TestProcess, kill};
use crate::postgres::shared_folder;

group! { sharing_permits:
    permits_of_a_killed_process_go_to_the_next: Process,
    processes_share_permits_while_some_are_killed: Process,
}

pub async fn permits_of_a_killed_process_go_to_the_next(lab: &Lab) {
    if lab.is_child() {
        let _permits = semaphore(&lab.manager(), 4).acquire_many(4).await.unwrap();
        TestProcess::print("held");
        spawn_blocking(|| io::stdin().lines().next()).await.unwrap();
        return;
    }
    let mut freed = Latencies::default();
    for _ in 0..10 {
        let mut holder = lab.start_role("holder", &lab.address());
        holder.line().await.unwrap();
        let process = semaphore(&lab.manager(), 4);
        let wait = start(async move { process.acquire_many(2).await });
        until_first(lab).await;
        let begin = Instant::now();
        kill(holder.pid()).unwrap();
        let permits = soon("they are free", wait).await.unwrap().unwrap();
        freed.push(begin.elapsed());
        permits.release().await.unwrap();
    }
    // Not all of them, since the machine may delay some.
    let bound = Duration::from_millis(150) + SLACK;
    freed.assert_percentile_below("permits of a killed process", 90, bound);
}

const PROCESSES: usize = 8;
const PERMITS: u32 = 5;
const TASKS: u64 = 4;
/// Names the folder that the processes share.
const FOLDER: &str = "PGLOCK_TEST_FOLDER";

pub async fn processes_share_permits_while_some_are_killed(lab: &Lab) {
    if lab.is_child() {
        return work(lab, &PathBuf::from(std::env::var_os(FOLDER).unwrap())).await;
    }
    let wanted = if is_long() { 100_000 } else { 1_000 };
    let folder = shared_folder().unwrap();
    let begin =
        || lab.start_role_with("worker", &lab.address(), [(FOLDER, folder.path().as_os_str())]);
    let mut workers: Vec<_> = (0..PROCESSES).map(|_| begin()).collect();
    let (started, mut kills) = (Instant::now(), 0);
    while permits_had(folder.path()) < wanted || kills < 5 {
        sleep(Duration::from_millis(500)).await;
        let victim = &mut workers[kills % PROCESSES];
        // Noted before it dies, since it may lose its locks at the server first.
        fs::write(folder.path().join(format!("killed-{}", victim.pid())), "").unwrap();
        kill(victim.pid()).unwrap();
        *victim = begin();
        kills += 1;
        assert_no_overlap(folder.path());
    }
    let (had, took) = (permits_had(folder.path()), started.elapsed());
    for worker in &mut workers {
        worker.write("stop").unwrap();
    }
    for worker in &mut workers {
        assert_eq!(worker.line().await.unwrap(), "stopped");
    }
    assert_no_overlap(folder.path());
    println!("{had} permits by {PROCESSES} processes in {took:.1?}, {kills} killed");
    let semaphore = semaphore(&lab.manager(), PERMITS);
    drop(workers);
    let all = soon("all permits are free", semaphore.acquire_many(PERMITS)).await.unwrap();
    all.release().await.unwrap();
}

fn permits_had(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let counts = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("count-"));
    counts.filter_map(|entry| fs::read_to_string(entry.path()).unwrap().parse::<usize>().ok()).sum()
}

fn assert_no_overlap(folder: &Path) {
    if let Ok(overlap) = fs::read_to_string(folder.join("overlap")) {
        panic!("{overlap}");
    }
}

/// For a child: works until it is asked to stop or killed.
async fn work(lab: &Lab, folder: &Path) {
    let semaphore = semaphore(&lab.manager(), PERMITS);
    let (over, had) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let tasks = (0..TASKS).map(|task| {
        let worker = Worker {
            semaphore: semaphore.clone(),
            folder: folder.to_owned(),
            had: had.clone(),
            random: u64::from(process::id()) * TASKS + task,
        };
        start(worker.run(over.clone()))
    });
    let tasks: Vec<_> = tasks.collect();
    spawn_blocking(|| io::stdin().lines().next()).await.unwrap();
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    TestProcess::print("stopped");
}

struct Worker {
    semaphore: Semaphore,
    folder: PathBuf,
    had: Arc<AtomicUsize>,
    random: u64,
}

impl Worker {
    async fn run(mut self, over: Arc<AtomicBool>) {
        while !over.load(Ordering::Relaxed) {
            let Some(permit) = self.acquire().await else { continue };
            let marks = self.mark(&permit).await;
            if self.random(2) == 0 {
                sleep(Duration::from_millis(self.random(3))).await;
            }
            drop(marks);
            let had = self.had.fetch_add(permit.slots().len(), Ordering::Relaxed);
            if had.is_multiple_of(16) {
                let count = self.folder.join(format!("count-{}", process::id()));
                fs::write(count, had.to_string()).unwrap();
            }
            if self.random(2) == 0 {
                permit.release().await.unwrap();
            }
        }
    }

    /// Takes permits in one of several ways, and may give up.
    async fn acquire(&mut self) -> Option<Permit> {
        let count = if self.random(5) == 0 { 1 + self.random(PERMITS.into()) as u32 } else { 1 };
        let patience = Duration::from_millis(self.random(60));
        match self.random(10) {
            0 | 1 => self.semaphore.try_acquire_many(count).await.unwrap(),
            2 => self.semaphore.try_acquire_many_for(count, patience).await.ok(),
            3 => {
                timeout(patience, self.semaphore.acquire_many(count)).await.ok().map(Result::unwrap)
            }
            _ => Some(self.semaphore.acquire_many(count).await.unwrap()),
        }
    }

    /// Locks a file for each permit, as a witness independent of PostgreSQL.
    async fn mark(&self, permit: &Permit) -> Vec<File> {
        let mut files = Vec::new();
        for slot in permit.slots() {
            let path = self.folder.join(format!("permit-{slot}"));
            let mut options = OpenOptions::new();
            let mut file =
                options.create(true).truncate(false).read(true).write(true).open(path).unwrap();
            while let Err(TryLockError::WouldBlock) = file.try_lock() {
                self.excuse(&mut file, *slot).await;
            }
            file.set_len(0).unwrap();
            file.rewind().unwrap();
            write!(file, "{}", process::id()).unwrap();
            files.push(file);
        }
        files
    }

    /// A process that is being killed may lose its locks at the server before its files are closed.
    async fn excuse(&self, file: &mut File, slot: u32) {
        let mut holder = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut holder).unwrap();
        // If there is no number, the holder is about to write it, or was killed just before.
        if !holder.is_empty() && !self.folder.join(format!("killed-{holder}")).exists() {
            let text = format!("process {} has permit {slot} of process {holder}", process::id());
            fs::write(self.folder.join("overlap"), &text).unwrap();
            panic!("{text}");
        }
        sleep(Duration::from_millis(1)).await;
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % below
    }
}
