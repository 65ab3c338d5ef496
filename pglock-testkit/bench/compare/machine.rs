//! The machine that the figures come from.

use std::fmt;
use std::fs;
use std::thread;

use crate::Result;
use crate::bare::Observer;

pub(crate) struct Machine {
    date: String,
    cpu: String,
    cores: usize,
    server: String,
}

impl Machine {
    pub(crate) async fn describe(observer: &Observer) -> Result<Self> {
        let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|info| {
            let line = info.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        let server = observer.text("SHOW server_version").await?;
        Ok(Self {
            date: observer.text("SELECT to_char(now(), 'YYYY-MM-DD')").await?,
            cpu: cpu.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: thread::available_parallelism()?.get(),
            // Without the suffix of the package.
            server: server.split_whitespace().next().unwrap_or_default().to_owned(),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { date, cpu, cores, server } = self;
        write!(f, "{date}, {cpu}, {cores} cores, PostgreSQL {server}")
    }
}
