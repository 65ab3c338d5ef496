//! Runs the programs of a download, and extracts their error messages.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Reason;

/// How much of a failed program's output is kept.
const LENGTH: usize = 300;

/// Runs a program to its end, and kills it if it takes too long. Blocks.
pub(super) fn run(command: &mut Command, patience: Duration) -> Result<(), Reason> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut log = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Reason::from(format!("{name} is not there")),
        _ => format!("cannot run {name}: {error}").into(),
    })?;
    let deadline = Instant::now() + patience;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Err(format!("{name} took longer than {} s", patience.as_secs()).into());
        }
        thread::sleep(Duration::from_millis(20));
    };
    if status.success() {
        return Ok(());
    }
    Err(format!("{name} failed ({status}): {}", words(&mut log)?).into())
}

/// The lines that mention an error, or else the last ones.
fn words(log: &mut File) -> io::Result<String> {
    log.rewind()?;
    let mut text = Vec::new();
    log.read_to_end(&mut text)?;
    let text = redact(&String::from_utf8_lossy(&text));
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut errors: Vec<&str> =
        lines.iter().copied().filter(|line| mentions_error(line)).take(3).collect();
    if errors.is_empty() {
        errors = lines[lines.len().saturating_sub(3)..].to_vec();
    }
    Ok(errors.join("; ").chars().take(LENGTH).collect())
}

fn mentions_error(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    line.starts_with("e: ") || line.contains("error") && !line.starts_with("warning")
}

/// Removes what may be secret from the URLs in a text: user, password and query.
pub(super) fn redact(text: &str) -> String {
    text.split_inclusive(char::is_whitespace).map(redact_word).collect()
}

fn redact_word(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match path.split_once('?') {
        Some((path, query)) => {
            let end = query.trim_start_matches(|c: char| !c.is_whitespace());
            format!("{scheme}://{host}{path}{end}")
        }
        None => format!("{scheme}://{host}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn failure_has_the_words_of_the_program() {
        let script = "echo fetching; echo 'npm ERROR network is down' >&2; exit 3";
        let error = run(Command::new("sh").args(["-c", script]), SOON).unwrap_err().to_string();
        assert_eq!(error, "sh failed (exit status: 3): npm ERROR network is down");
    }

    #[test]
    fn absent_program_is_named() {
        let error = run(&mut Command::new("pglock-no-such-program"), SOON).unwrap_err();
        assert_eq!(error.to_string(), "pglock-no-such-program is not there");
    }

    #[test]
    fn program_that_hangs_is_killed() {
        let start = Instant::now();
        let error = run(Command::new("sleep").arg("60"), Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.to_string(), "sleep took longer than 0 s");
        assert!(start.elapsed() < SOON);
    }

    #[test]
    fn urls_lose_their_secrets() {
        for (text, expected) in [
            ("from https://me:secret@host:8/a failed", "from https://host:8/a failed"),
            ("(http://p@ss:w@proxy) down", "(http://proxy) down"),
            ("at https://host/a?token=secret\nnext", "at https://host/a\nnext"),
            ("me@host/a?b=c", "me@host/a?b=c"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }
}
