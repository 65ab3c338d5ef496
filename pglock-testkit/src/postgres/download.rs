//! PostgreSQL from the releases of `postgresql_embedded`, where none is installed.

use std::fs;
use std::path::{Path, PathBuf};

use postgresql_embedded::{PostgreSQL, Settings};

use super::TestServerError;

/// Downloads PostgreSQL unless that was done before, and returns the folder of its binaries.
///
/// `root` says that another account must be able to run them, which cannot look into root's home.
pub(super) async fn binaries(root: bool) -> Result<PathBuf, TestServerError> {
    let mut settings = Settings::new();
    if root {
        settings.installation_dir = PathBuf::from("/var/cache/pglock-testkit/postgresql");
    }
    let scratch = settings.password_file.parent().map(Path::to_owned);
    // Only the installation is wanted: a data directory that looks ready keeps initdb from running,
    // which fails as root.
    let marker = settings.data_dir.join("postgresql.conf");
    fs::write(&marker, "")
        .map_err(|source| TestServerError::io("cannot prepare the download", source))?;

    let mut postgres = PostgreSQL::new(settings);
    let installed = postgres.setup().await;
    let folder = postgres.settings().binary_dir();
    // Removes the data directory, but not the folder of the password that nobody needs.
    drop(postgres);
    if let Some(scratch) = scratch {
        let _ = fs::remove_dir(scratch);
    }
    installed.map_err(|error| TestServerError::Download(Box::new(error)))?;
    Ok(folder)
}
