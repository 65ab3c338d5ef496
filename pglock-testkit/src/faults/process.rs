//! Processes that a test starts, stops and kills.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{FaultError, PATIENCE};

const ROLE: &str = "PGLOCK_TESTKIT_ROLE";
/// Marks lines for the parent, since the test harness prints other lines.
const MARK: char = '@';

/// Another process of a test: the same test binary, started for one test, with a role.
///
/// The two exchange lines: the child [prints](Self::print) them and reads its standard input.
///
/// ```no_run
/// use std::io::Read;
/// use pglock_testkit::faults::{TestProcess, kill};
///
/// // The body of the other process. Without a role, it is a test that does nothing.
/// #[tokio::test]
/// async fn process() -> Result<(), Box<dyn std::error::Error>> {
///     if let Some(role) = TestProcess::role() {
///         TestProcess::print(&format!("{role} is here"));
///         // Runs until the test drops it or ends.
///         std::io::stdin().read_to_end(&mut Vec::new())?;
///     }
///     Ok(())
/// }
///
/// #[tokio::test]
/// async fn killed_process_prints_nothing_more() -> Result<(), Box<dyn std::error::Error>> {
///     let mut process = TestProcess::start(&mut TestProcess::command("process", "holder")?)?;
///     assert_eq!(process.line().await?, "holder is here");
///     kill(process.pid())?;
///     assert!(process.line().await.is_err());
///     Ok(())
/// }
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct TestProcess {
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<String>,
}

impl TestProcess {
    /// The role of this process, if a test started it.
    #[must_use]
    pub fn role() -> Option<String> {
        env::var(ROLE).ok()
    }

    /// Prints a line for the [parent](Self::line).
    pub fn print(line: &str) {
        let mut output = io::stdout().lock();
        // println! would panic if the parent has ended.
        let _ = writeln!(output, "\n{MARK}{line}").and_then(|()| output.flush());
    }

    /// The command that starts the process. `test` is the path, with modules, of the test that
    /// serves as its body.
    ///
    /// # Errors
    ///
    /// [`FaultError::Io`] if the binary of this process no longer exists.
    pub fn command(test: &str, role: &str) -> Result<Command, FaultError> {
        let binary = env::current_exe()
            .map_err(|source| FaultError::io("cannot find the binary of the test", source))?;
        let mut command = Command::new(binary);
        command
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Ok(command)
    }

    /// Starts the process. Dropping the value kills it.
    ///
    /// # Errors
    ///
    /// [`FaultError::Io`].
    pub fn start(command: &mut Command) -> Result<Self, FaultError> {
        let mut start = || {
            let mut child = command.spawn()?;
            let (sender, lines) = mpsc::unbounded_channel();
            let (input, output) = (child.stdin.take(), child.stdout.take());
            // From here on, an error drops this value, which kills the process.
            let process = Self { child, input, lines };
            let output = output.ok_or(io::ErrorKind::BrokenPipe)?;
            thread::Builder::new().spawn(move || listen(output, &sender))?;
            Ok(process)
        };
        start().map_err(|source| FaultError::io("cannot start a process of the test", source))
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The next line that the process [prints](Self::print).
    ///
    /// # Cancel safety
    ///
    /// No line is lost.
    ///
    /// # Errors
    ///
    /// [`FaultError::Io`] if the process has ended; [`FaultError::TimedOut`] after 30 seconds.
    pub async fn line(&mut self) -> Result<String, FaultError> {
        let ended = || FaultError::io("the process has ended", io::ErrorKind::UnexpectedEof.into());
        match timeout(PATIENCE, self.lines.recv()).await {
            Ok(line) => line.ok_or_else(ended),
            Err(_) => Err(FaultError::TimedOut { awaited: "a line of a process".to_owned() }),
        }
    }

    /// Writes a line to the standard input of the process.
    ///
    /// # Errors
    ///
    /// [`FaultError::Io`] if the process has closed its input or ended.
    pub fn write(&mut self, line: &str) -> Result<(), FaultError> {
        let written = match &mut self.input {
            Some(input) => writeln!(input, "{line}").and_then(|()| input.flush()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        written.map_err(|source| FaultError::io("cannot write to a process of the test", source))
    }

    /// Closes the standard input of the process.
    pub fn close(&mut self) {
        self.input = None;
    }
}

impl Drop for TestProcess {
    fn drop(&mut self) {
        // These fail only if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(output: ChildStdout, sender: &mpsc::UnboundedSender<String>) {
    for line in BufReader::new(output).lines() {
        let Ok(line) = line else { return };
        if let Some(line) = line.strip_prefix(MARK)
            && sender.send(line.to_owned()).is_err()
        {
            return;
        }
    }
}
