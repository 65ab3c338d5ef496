//! The folder of this user's servers, one folder per server.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::account::{self, Account};
use super::{TestServerError, watchdog};

/// The path of a Unix socket must fit into 103 bytes on macOS; this is how much of it comes below
/// the folder.
const SOCKET_PATH: usize = 100 - "/named-12345678-123456/socket/.s.PGSQL.12345".len();

#[derive(Clone, Debug)]
pub(super) struct Home {
    path: PathBuf,
    pub(super) account: Option<Account>,
}

impl Home {
    pub(super) fn open() -> Result<Self, TestServerError> {
        let caller = account::caller()
            .map_err(|source| TestServerError::io("cannot make a temporary file", source))?;
        let account = Account::for_server(caller)?;
        // Another account must be able to pass through.
        let mode = if account.is_some() { 0o711 } else { 0o700 };
        let name = format!("pglock-{caller}");
        let path = parent(&name, account.is_some()).join(name);
        let unusable = |source| {
            TestServerError::io(format!("cannot use the folder {}", path.display()), source)
        };

        match DirBuilder::new().mode(mode).create(&path) {
            // The umask may have cleared a bit.
            Ok(()) => fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(unusable)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(unusable(error)),
        }
        let found = fs::symlink_metadata(&path).map_err(unusable)?;
        // In a folder of another user, that user could make us run and remove any file.
        if !found.is_dir() || found.uid() != caller || found.mode() & 0o022 != 0 {
            return Err(unusable(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it belongs to another user: set TMPDIR",
            )));
        }
        Ok(Self { path, account })
    }

    /// Held while starting or joining a server. Taking it blocks.
    pub(super) fn lock(&self) -> Result<File, TestServerError> {
        let failed =
            |source| TestServerError::io("cannot lock the folder of the test servers", source);
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.path.join("lock"))
            .map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(lock)
    }

    /// Starts a watchdog for every server that has lost its own; the watchdog removes a server that
    /// has no users. Call this only while holding the lock.
    pub(super) fn sweep(&self) {
        for dir in self.servers("") {
            // A folder that cannot be swept now does no harm.
            let _ = watchdog::watch(&dir);
        }
    }

    pub(super) fn servers(&self, prefix: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.path) else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect()
    }

    /// A new folder for a server. It stays until the watchdog removes it.
    pub(super) fn new_server(&self, prefix: &str) -> Result<PathBuf, TestServerError> {
        let mode = if self.account.is_some() { 0o711 } else { 0o700 };
        tempfile::Builder::new()
            .prefix(prefix)
            .tempdir_in(&self.path)
            .map(tempfile::TempDir::keep)
            .and_then(|dir| fs::set_permissions(&dir, Permissions::from_mode(mode)).map(|()| dir))
            .map_err(|source| {
                TestServerError::io("cannot make a folder for the test server", source)
            })
    }
}

/// The first folder where socket paths are short enough and the server's account can reach its
/// files.
fn parent(name: &str, other_account: bool) -> PathBuf {
    let fits = |folder: &PathBuf| {
        let short = folder.as_os_str().len() + 1 + name.len() <= SOCKET_PATH;
        short && folder.is_absolute() && (!other_account || folder.ancestors().all(is_open))
    };
    let memory = env::var_os("TMPDIR").is_none().then(memory).flatten();
    memory.into_iter().chain([env::temp_dir()]).find(fits).unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// Where files are kept in memory, with room for the servers of a whole suite: creating and
/// removing them there is several times as fast. The choice must be the same for all processes, so
/// it does not depend on the space that is free now.
fn memory() -> Option<PathBuf> {
    const ENOUGH: u64 = 2 << 30;
    let folder = PathBuf::from("/dev/shm");
    let found = rustix::fs::statvfs(&folder).ok()?;
    let size = found.f_blocks.saturating_mul(found.f_frsize);
    (size >= ENOUGH && fs::metadata(&folder).ok()?.mode() & 0o1002 == 0o1002).then_some(folder)
}

/// A folder for files that processes of a test share: in memory if possible, so that no process waits
/// for a disk.
#[cfg(feature = "conformance")]
pub(crate) fn shared_folder() -> io::Result<tempfile::TempDir> {
    memory().map_or_else(tempfile::tempdir, tempfile::tempdir_in)
}

fn is_open(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|found| found.mode() & 0o001 != 0)
}
