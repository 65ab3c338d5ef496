//! Finds an installed PostgreSQL.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::TestServerError;

/// Folders with one folder per version, and where the binaries are in each.
const VERSIONED: [(&str, &str, &str); 9] = [
    // Debian, Ubuntu
    ("/usr/lib/postgresql", "", "bin"),
    // Red Hat, with the packages of postgresql.org
    ("/usr", "pgsql-", "bin"),
    // Alpine
    ("/usr/libexec", "postgresql", ""),
    // SUSE
    ("/usr/lib", "postgresql", "bin"),
    // Homebrew on Apple silicon, Intel, Linux
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
    // Postgres.app, the installer of EDB
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ("/Library/PostgreSQL", "", "bin"),
];

/// The folder of `initdb` and `postgres`: `PGLOCK_PG_BIN`, else the one in `PATH`, else the newest
/// in the usual folders.
pub(super) fn installed() -> Result<Option<PathBuf>, TestServerError> {
    if let Some(named) = named() {
        return match with_binaries(&named) {
            Some(folder) => Ok(Some(folder)),
            None => Err(TestServerError::NoBinaries(named)),
        };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    Ok(env::split_paths(&path).find_map(|folder| with_binaries(&folder)).or_else(usual))
}

/// The folder that the user chose, if any.
pub(super) fn named() -> Option<PathBuf> {
    env::var_os("PGLOCK_PG_BIN").filter(|named| !named.is_empty()).map(PathBuf::from)
}

fn usual() -> Option<PathBuf> {
    VERSIONED
        .iter()
        .filter_map(|&(parent, prefix, bin)| newest(Path::new(parent), prefix, bin))
        .max_by_key(|&(version, _)| version)
        .map(|(_, folder)| folder)
        .or_else(|| with_binaries(Path::new("/usr/bin")))
}

fn newest(parent: &Path, prefix: &str, bin: &str) -> Option<(u32, PathBuf)> {
    fs::read_dir(parent)
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let version = major(&entry.file_name(), prefix)?;
            Some((version, with_binaries(&entry.path().join(bin))?))
        })
        .max_by_key(|&(version, _)| version)
}

fn major(folder: &OsStr, prefix: &str) -> Option<u32> {
    folder.to_str()?.strip_prefix(prefix)?.split('.').next()?.parse().ok()
}

/// Follows links such as `/usr/local/bin/initdb`, because `initdb` looks for `postgres` and its
/// files beside itself.
pub(super) fn with_binaries(folder: &Path) -> Option<PathBuf> {
    let initdb = fs::canonicalize(folder.join("initdb")).ok()?;
    let folder = initdb.parent()?;
    folder.join("postgres").is_file().then(|| folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("initdb"), "").unwrap();
        fs::write(folder.join("postgres"), "").unwrap();
    }

    #[test]
    fn the_newest_version_wins_by_number() {
        let parent = tempfile::tempdir().unwrap();
        for version in ["9.6", "17", "18-broken"] {
            install(&parent.path().join(version).join("bin"));
        }
        let (version, folder) = newest(parent.path(), "", "bin").unwrap();
        assert_eq!(version, 17);
        assert!(folder.ends_with("17/bin"));
    }

    #[test]
    fn a_folder_without_postgres_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("initdb"), "").unwrap();
        assert!(with_binaries(folder.path()).is_none());
    }
}
