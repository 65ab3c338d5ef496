//! A process uses no more system resources after many locks than before.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::holder;
use crate::conformance::{Lab, Manager, Options, group, is_long, soon, start};
use crate::faults::TestProcess;

group! { leaks:
    files_tasks_and_memory_stay_as_they_are: Process,
}

/// Cycles between two samples.
const CYCLES: usize = 200;
/// Samples until everything has been allocated once.
const WARM_UP: usize = 5;

/// The resources in use at rest.
#[derive(Clone, Copy, Debug)]
struct Sample {
    files: usize,
    tasks: usize,
    /// Pages of memory.
    pages: usize,
}

/// In a process of its own, where nothing else opens files or allocates.
pub async fn files_tasks_and_memory_stay_as_they_are(lab: &Lab) {
    if !Path::new("/proc/self/statm").exists() {
        return lab.not_run("needs the files of Linux about processes");
    }
    let samples = WARM_UP + if is_long() { 500 } else { 15 };
    if lab.is_child() {
        return cycle(lab, samples).await;
    }
    let mut process = lab.start_role("cycles", &lab.address());
    let mut pages = Vec::new();
    for sample in 0..samples {
        let line = process.line().await.unwrap();
        if sample + 1 == WARM_UP || sample + 1 == samples {
            println!("after {} cycles: {line}", (sample + 1) * CYCLES);
        }
        pages.push(line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
    }
    let pages = &pages[WARM_UP..];
    let first = pages[0];
    let growth = pages[pages.len() - 1] / first - 1.0;
    println!("memory has grown by {:.2} %", growth * 100.0);
    assert!(growth < 0.05, "{pages:?}");
    // In a short run, one additional page weighs too much.
    if is_long() {
        // By then, the allocator has reached its size.
        let slope = slope(&pages[pages.len() / 4 * 3..]) / first * (100_000 / CYCLES) as f64;
        println!("it still grows by {:.2} % in 100000 cycles", slope * 100.0);
        assert!(slope < 0.01, "{pages:?}");
    }
}

async fn cycle(lab: &Lab, samples: usize) {
    // Runs on this runtime, so that its tasks can be counted.
    let options = Options {
        idle_timeout: Duration::from_millis(50),
        runtime: Some(Handle::current()),
        ..Options::default()
    };
    let managers = [lab.manager_with(&options), lab.manager_with(&options)];
    let mut least: Option<Sample> = None;
    for sample in 0..samples {
        for number in sample * CYCLES..(sample + 1) * CYCLES {
            use_once(lab, &managers, number).await;
        }
        let have_rested = || managers.iter().all(|manager| manager.stats().sessions == 1);
        lab.until("the waiting sessions are closed", have_rested).await;
        // The tasks of a session may end shortly after it.
        lab.until("no more files and tasks than before", || {
            let now = Sample::take();
            least.is_none_or(|least| now.files <= least.files && now.tasks <= least.tasks)
        })
        .await;
        if sample == 0 {
            sleep(Duration::from_millis(500)).await;
        }
        let now = Sample::take();
        least.get_or_insert(now);
        TestProcess::print(&format!(
            "{} files, {} tasks, pages: {}",
            now.files, now.tasks, now.pages
        ));
    }
}

/// Does one of the things that can happen to a lock, on a new key.
async fn use_once(lab: &Lab, [a, b]: &[Arc<dyn Manager>; 2], number: usize) {
    let name = format!("key {number}");
    let (mine, other) = (a.lock(name.as_str()), b.lock(name.as_str()));
    let guard = soon("the key is free", mine.write()).await.unwrap();
    match number % 10 {
        0 => assert!(other.try_write().await.unwrap().is_none()),
        1 => drop(other.try_write_for(Duration::from_millis(1)).await.unwrap_err()),
        2 => assert!(timeout(Duration::from_millis(1), other.read()).await.is_err()),
        3 => {
            let wait = start(async move { other.write().await.map(drop) });
            lab.until_queued(b, 1).await;
            drop(guard);
            return soon("the key is free", wait).await.unwrap().unwrap();
        }
        4 => {
            let wait = start(async move { mine.read().await.map(drop) });
            lab.until_queued(a, 1).await;
            drop(guard);
            return soon("the key is free", wait).await.unwrap().unwrap();
        }
        5 if number % 100 == 5 => {
            let pid = holder(lab.witness(), name.as_str()).await;
            lab.witness().terminate(pid).await.unwrap();
            soon("the loss is reported", guard.lost()).await;
            return;
        }
        _ => {}
    }
    guard.release().await.unwrap();
}

/// The slope of values at equal distances, by least squares.
fn slope(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let (mean_x, mean_y) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
    let (mut covariance, mut variance) = (0.0, 0.0);
    for (x, y) in values.iter().enumerate() {
        covariance += (x as f64 - mean_x) * (y - mean_y);
        variance += (x as f64 - mean_x).powi(2);
    }
    covariance / variance
}

impl Sample {
    fn take() -> Self {
        let memory = fs::read_to_string("/proc/self/statm").unwrap();
        Self {
            files: fs::read_dir("/proc/self/fd").unwrap().count(),
            tasks: Handle::current().metrics().num_alive_tasks(),
            pages: memory.split(' ').nth(1).unwrap().parse().unwrap(),
        }
    }
}
