//! All processes of the fleet, and what they report.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::order::Order;
use crate::process::Process;
use crate::server::CpuTimes;
use crate::{ALL, DriverName, PROCESSES, Result};

/// No step of the benchmark takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a manager of the fleet has done.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) process: usize,
    pub(crate) what: String,
    /// When the report arrived.
    pub(crate) at: Instant,
}

pub(crate) struct Fleet {
    driver: DriverName,
    url: String,
    processes: Vec<Process>,
    sender: UnboundedSender<Report>,
    reports: UnboundedReceiver<Report>,
}

impl Fleet {
    pub(crate) fn start(driver: DriverName, url: &str) -> Result<Self> {
        let (sender, reports) = unbounded_channel();
        let processes = (0..PROCESSES)
            .map(|number| Process::start(number, driver, url, sender.clone()))
            .collect::<Result<_>>()?;
        Ok(Self { driver, url: url.to_owned(), processes, sender, reports })
    }

    /// Orders all managers to do this.
    pub(crate) async fn order(&mut self, order: Order) -> Result {
        for process in &mut self.processes {
            process.order(order).await?;
        }
        Ok(())
    }

    /// The next report, which must be this one.
    pub(crate) async fn until_one_is(&mut self, what: &str) -> Result<Report> {
        let report = timeout(PATIENCE, self.reports.recv())
            .await
            .map_err(|_| format!("no manager is {what} after {PATIENCE:?}"))?
            .ok_or("all processes have ended")?;
        if report.what == what { Ok(report) } else { Err(report.what.into()) }
    }

    /// A report of each manager, in order of arrival.
    pub(crate) async fn until_all_are(&mut self, what: &str) -> Result<Vec<Report>> {
        let mut all = Vec::new();
        while all.len() < ALL {
            all.push(self.until_one_is(what).await?);
        }
        Ok(all)
    }

    pub(crate) async fn kill(&mut self, process: usize) -> Result {
        self.processes[process].kill().await
    }

    /// Starts another process in the place of one that has ended.
    pub(crate) async fn replace(&mut self, number: usize, order: Order) -> Result {
        let mut process = Process::start(number, self.driver, &self.url, self.sender.clone())?;
        process.order(order).await?;
        self.processes[number] = process;
        Ok(())
    }

    pub(crate) fn cpu_times(&self) -> Result<CpuTimes> {
        CpuTimes::of(self.processes.iter().filter_map(Process::id))
    }
}
