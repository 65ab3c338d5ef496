//! A process of the fleet, seen from outside.

use std::env;
use std::process::Stdio;
use std::time::Instant;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::UnboundedSender;

use crate::fleet::Report;
use crate::member::Member;
use crate::order::Order;
use crate::{DriverName, Result};

pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts it. It sends its reports with its number.
    pub(crate) fn start(
        number: usize,
        driver: DriverName,
        url: &str,
        reports: UnboundedSender<Report>,
    ) -> Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args(Member::args(driver, url))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().ok_or("the process has no output")?;
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(what)) = lines.next_line().await {
                let report = Report { process: number, what, at: Instant::now() };
                if reports.send(report).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child })
    }

    pub(crate) async fn order(&mut self, order: Order) -> Result {
        let input = self.child.stdin.as_mut().ok_or("the process has no input")?;
        Ok(input.write_all(format!("{}\n", order.as_str()).as_bytes()).await?)
    }

    /// Kills it with `kill -9`.
    pub(crate) async fn kill(&mut self) -> Result {
        Ok(self.child.kill().await?)
    }

    /// `None` if it has ended.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }
}
