//! Other processes: this program, started again.

use std::env;
use std::io::{self, Write};
use std::process::Stdio;
use std::time::Duration;

use pglock_examples::in_one_line;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};
use tokio::task::spawn_blocking;

use crate::Result;
use crate::outcome::Outcome;
use crate::subject;
use crate::workload::{Slice, Workload};

const FLAG: &str = "--child";
const READY: &str = "ready";

/// What this process is to do, if [`Process::start`] started it.
pub(crate) struct Task {
    slice: Slice,
}

impl Task {
    pub(crate) fn from_args() -> Result<Option<Self>> {
        let args: Vec<String> = env::args().skip(1).collect();
        let [flag, workload, subject, url, server, length] = &args[..] else {
            return Ok(None);
        };
        if flag != FLAG {
            return Ok(None);
        }
        let workload = Workload::ALL.into_iter().find(|known| known.name() == workload);
        Ok(Some(Self {
            slice: Slice {
                workload: workload.ok_or("no such workload")?,
                subject: subject.clone(),
                url: url.clone(),
                server: server.clone(),
                length: Duration::from_millis(length.parse()?),
            },
        }))
    }

    /// Runs, and answers the other process.
    pub(crate) async fn run(self) -> Result<()> {
        let subject = subject::find(&self.slice.subject)?;
        let answer = subject.run_child(self.slice).await.map_err(|error| in_one_line(&*error));
        println!("{}", serde_json::to_string(&answer)?);
        Ok(())
    }
}

/// For the child: reports that it is set up, and waits until it may begin.
pub(crate) async fn until_started() -> Result<()> {
    println!("{READY}");
    io::stdout().flush()?;
    spawn_blocking(|| io::stdin().read_line(&mut String::new())).await??;
    Ok(())
}

pub(crate) struct Process {
    process: tokio::process::Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub(crate) fn start(slice: &Slice) -> Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .args([FLAG, slice.workload.name(), &slice.subject, &slice.url, &slice.server])
            .arg(slice.length.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = process.stdout.take().ok_or("the other process has no output")?;
        Ok(Self { process, output: BufReader::new(output).lines() })
    }

    pub(crate) async fn until_ready(&mut self) -> Result<()> {
        let line = self.line().await?;
        if line == READY {
            return Ok(());
        }
        match serde_json::from_str::<Result<Outcome, String>>(&line)? {
            Err(error) => Err(error.into()),
            Ok(_) => Err("the other process did not wait".into()),
        }
    }

    pub(crate) async fn begin(&mut self) -> Result<()> {
        let mut input = self.process.stdin.take().ok_or("the other process has begun")?;
        Ok(input.write_all(b"go\n").await?)
    }

    pub(crate) async fn end(mut self) -> Result<Outcome> {
        let answer: Result<Outcome, String> = serde_json::from_str(&self.line().await?)?;
        self.process.wait().await?;
        Ok(answer?)
    }

    async fn line(&mut self) -> Result<String> {
        let line = self.output.next_line().await?;
        line.ok_or_else(|| "the other process ended without an answer".into())
    }
}
