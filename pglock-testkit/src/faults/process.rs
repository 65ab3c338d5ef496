//! Tests that need processes of their own, to kill or to stop.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{FaultError, PATIENCE};

const ROLE: &str = "PGLOCK_TESTKIT_ROLE";
/// Apart from what the test harness prints.
const MARK: char = '@';

/// Another process of a test: its binary started again, for one test that plays a role.
///
/// ```no_run
/// use std::io::Read;
/// use pglock_testkit::faults::{TestProcess, kill};
///
/// // What the process does. Without a role, it is a test with nothing to do.
/// #[tokio::test]
/// async fn process() -> Result<(), Box<dyn std::error::Error>> {
///     if let Some(role) = TestProcess::role() {
///         TestProcess::tell(&format!("{role} is here"));
///         // Until the test is through with it, or has ended itself.
///         std::io::stdin().read_to_end(&mut Vec::new())?;
///     }
///     Ok(())
/// }
///
/// #[tokio::test]
/// async fn a_killed_process_says_no_more() -> Result<(), Box<dyn std::error::Error>> {
///     let mut process = TestProcess::start(&mut TestProcess::command("process", "holder")?)?;
///     assert_eq!(process.told().await?, "holder is here");
///     kill(process.pid())?;
///     assert!(process.told().await.is_err());
///     Ok(())
/// }
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct TestProcess {
    child: Child,
    input: Option<ChildStdin>,
    told: mpsc::UnboundedReceiver<String>,
}

impl TestProcess {
    /// The role that this process plays, if it was started by another.
    #[must_use]
    pub fn role() -> Option<String> {
        env::var(ROLE).ok()
    }

    /// Tells the process that started this one a line.
    pub fn tell(line: &str) {
        let mut output = io::stdout().lock();
        // Not println!, which panics if the other process has ended.
        let _ = writeln!(output, "\n{MARK}{line}").and_then(|()| output.flush());
    }

    /// How to start the process for the test of that name, module and all.
    ///
    /// # Errors
    ///
    /// [`FaultError::Io`] if this process has no binary any more.
    pub fn command(test: &str, role: &str) -> Result<Command, FaultError> {
        let binary = env::current_exe()
            .map_err(|source| FaultError::io("cannot tell the binary of the test", source))?;
        let mut command = Command::new(binary);
        command
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Ok(command)
    }

    /// Starts it. It is killed when this is dropped.
    ///
    /// # Errors
    ///
    /// [`FaultError::Io`].
    pub fn start(command: &mut Command) -> Result<Self, FaultError> {
        let mut start = || {
            let mut child = command.spawn()?;
            let (sender, told) = mpsc::unbounded_channel();
            let (input, output) = (child.stdin.take(), child.stdout.take());
            // From here on, it is killed if anything fails.
            let process = Self { child, input, told };
            let output = output.ok_or(io::ErrorKind::BrokenPipe)?;
            thread::Builder::new().spawn(move || listen(output, &sender))?;
            Ok(process)
        };
        start().map_err(|source| FaultError::io("cannot start a process of the test", source))
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The next line that it [tells](Self::tell).
    ///
    /// # Cancel safety
    ///
    /// No line is lost.
    ///
    /// # Errors
    ///
    /// [`FaultError::Io`] if it has closed its output, which it does by ending;
    /// [`FaultError::TimedOut`] after ten seconds.
    pub async fn told(&mut self) -> Result<String, FaultError> {
        let ended = || FaultError::io("the process has ended", io::ErrorKind::UnexpectedEof.into());
        match timeout(PATIENCE, self.told.recv()).await {
            Ok(line) => line.ok_or_else(ended),
            Err(_) => Err(FaultError::TimedOut { awaited: "a line of a process".to_owned() }),
        }
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    ///
    /// [`FaultError::Io`] if it does not read any more.
    pub fn ask(&mut self, line: &str) -> Result<(), FaultError> {
        let written = match &mut self.input {
            Some(input) => writeln!(input, "{line}").and_then(|()| input.flush()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        written.map_err(|source| FaultError::io("cannot write to a process of the test", source))
    }

    /// Closes its standard input.
    pub fn close(&mut self) {
        self.input = None;
    }
}

impl Drop for TestProcess {
    fn drop(&mut self) {
        // Neither fails but for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(output: ChildStdout, sender: &mpsc::UnboundedSender<String>) {
    for line in BufReader::new(output).lines() {
        let Ok(line) = line else { return };
        if let Some(told) = line.strip_prefix(MARK)
            && sender.send(told.to_owned()).is_err()
        {
            return;
        }
    }
}
