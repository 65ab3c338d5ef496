//! Servers that this crate starts: one shared by all processes of a user, or one for a test.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::cluster::Cluster;
use super::home::Home;
use super::site::{self, Occupancy, Site, blocking, lock};
use super::watchdog::Membership;
use super::{StopMode, TestServerError, binaries, url};

/// What a process keeps of the shared server.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) port: u16,
    dir: PathBuf,
    _membership: Membership,
}

impl Shared {
    /// Held until the process ends, in whatever way: tests come and go, each with its own runtime.
    pub(super) async fn of_this_process() -> Result<&'static Self, TestServerError> {
        static SHARED: OnceCell<Shared> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::join_or_start).await
    }

    pub(super) fn log(&self) -> PathBuf {
        site::log(&self.dir)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    async fn join_or_start() -> Result<Self, TestServerError> {
        // Held until the server is ready, so that the next process finds it ready.
        let (home, _lock) = lock().await?;
        let there = home.clone();
        if let Some(joined) = blocking(move || Ok(Self::join(&there))).await? {
            return Ok(joined);
        }
        let (dir, membership, port) = blocking(move || {
            let binaries = find_binaries(&home)?;
            let (site, membership, _watchdog) = Site::found(&home, &shared_prefix())?;
            let (_postmaster, port) = Cluster::create(&site, binaries, &[])?.start()?;
            Ok((site.dir().to_owned(), membership, port))
        })
        .await?;
        create_database(port).await?;
        fs::write(dir.join("port"), port.to_string())
            .map_err(|source| TestServerError::io("cannot announce the test server", source))?;
        Ok(Self { port, dir, _membership: membership })
    }

    fn join(home: &Home) -> Option<Self> {
        home.servers(&shared_prefix()).into_iter().find_map(|dir| {
            let membership = Membership::join(&dir).ok()??;
            let port = fs::read_to_string(dir.join("port")).ok()?.parse().ok()?;
            if TcpStream::connect(("127.0.0.1", port)).is_err() {
                // The server crashed, or did not survive a restart of the machine, so no other
                // process may try it.
                let _ = fs::remove_file(dir.join("port"));
                return None;
            }
            Some(Self { port, dir, _membership: membership })
        })
    }
}

/// The name prefix of folders whose servers may be joined: those of the same binaries.
fn shared_prefix() -> String {
    match binaries::named() {
        None => "shared-".to_owned(),
        Some(folder) => {
            let mut hasher = DefaultHasher::new();
            folder.hash(&mut hasher);
            format!("named-{:08x}-", hasher.finish() as u32)
        }
    }
}

/// A server of one test.
#[derive(Debug)]
pub(super) struct Private {
    pub(super) port: u16,
    running: Arc<Mutex<Running>>,
}

#[derive(Debug)]
struct Running {
    cluster: Cluster,
    /// `None` while it is stopped.
    postmaster: Option<Child>,
    /// Shared memory left by a killed server; the next start takes it over.
    segment: Option<String>,
    occupancy: Occupancy,
}

impl Private {
    pub(super) async fn start_new(settings: &[(&str, &str)]) -> Result<Self, TestServerError> {
        let (home, lock) = lock().await?;
        let there = home.clone();
        let binaries = blocking(move || find_binaries(&there)).await?;
        let settings: Vec<(String, String)> =
            settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let private = Self::start_on(home, lock, move |site| {
            let settings: Vec<(&str, &str)> =
                settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            Cluster::create(site, binaries, &settings)
        })
        .await?;
        create_database(private.port).await?;
        Ok(private)
    }

    /// Makes a standby of this server.
    pub(super) async fn start_standby(&self) -> Result<Self, TestServerError> {
        let (home, lock) = lock().await?;
        let (primary, port) = (lock_running(&self.running).cluster.clone(), self.port);
        Self::start_on(home, lock, move |site| primary.copy(site, port)).await
    }

    async fn start_on(
        home: Home,
        lock: File,
        make: impl FnOnce(&Site) -> Result<Cluster, TestServerError> + Send + 'static,
    ) -> Result<Self, TestServerError> {
        blocking(move || {
            let (site, membership, watchdog) = Site::found(&home, "private-")?;
            // The folder is watched and cannot be swept away, so others need not wait for its
            // initdb.
            drop(lock);
            let cluster = make(&site)?;
            let (postmaster, port) = cluster.start()?;
            let running = Running {
                cluster,
                postmaster: Some(postmaster),
                segment: None,
                occupancy: Occupancy::new(membership, watchdog),
            };
            Ok(Self { port, running: Arc::new(Mutex::new(running)) })
        })
        .await
    }

    pub(super) async fn stop(&self, mode: StopMode) -> Result<(), TestServerError> {
        self.with(move |running| {
            let Some(postmaster) = &mut running.postmaster else {
                return Ok(());
            };
            let signal = match mode {
                StopMode::Fast => "-INT",
                StopMode::Immediate => "-QUIT",
            };
            Command::new("sh")
                .args(["-c", "kill \"$1\" \"$2\"", "kill", signal, &postmaster.id().to_string()])
                .status()
                .and_then(|_| postmaster.wait())
                .map_err(|source| TestServerError::io("cannot stop the test server", source))?;
            running.postmaster = None;
            Ok(())
        })
        .await
    }

    pub(super) async fn start(&self) -> Result<(), TestServerError> {
        let port = self.port;
        self.with(move |running| {
            if running.postmaster.is_none() {
                running.postmaster = Some(running.cluster.start_again(port)?);
                running.segment = None;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn kill(&self) -> Result<(), TestServerError> {
        self.with(|running| {
            let Some(postmaster) = &mut running.postmaster else {
                return Ok(());
            };
            running.segment = running.cluster.segment();
            postmaster
                .kill()
                .and_then(|()| postmaster.wait())
                .map_err(|source| TestServerError::io("cannot kill the test server", source))?;
            running.postmaster = None;
            Ok(())
        })
        .await
    }

    pub(super) fn postmaster(&self) -> Option<i32> {
        lock_running(&self.running).postmaster.as_ref().map(|child| child.id().cast_signed())
    }

    pub(super) fn log(&self) -> PathBuf {
        lock_running(&self.running).cluster.log()
    }

    pub(super) fn socket(&self) -> PathBuf {
        lock_running(&self.running).cluster.socket()
    }

    async fn with(
        &self,
        work: impl FnOnce(&mut Running) -> Result<(), TestServerError> + Send + 'static,
    ) -> Result<(), TestServerError> {
        let running = Arc::clone(&self.running);
        blocking(move || work(&mut lock_running(&running))).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.occupancy.end(self.postmaster.as_mut());
        if let Some(segment) = self.segment.take() {
            let _ = Command::new("ipcrm").args(["-m", &segment]).stderr(Stdio::null()).status();
        }
    }
}

/// Blocks for as long as a download takes.
fn find_binaries(home: &Home) -> Result<PathBuf, TestServerError> {
    static MISSING: AtomicBool = AtomicBool::new(false);
    if let Some(installed) = binaries::installed()? {
        return Ok(installed);
    }
    // Every test of a process asks, and would find nothing that the first did not.
    if MISSING.load(Ordering::Relaxed) {
        return Err(TestServerError::StillNoPostgres);
    }
    #[cfg(feature = "download")]
    let found = super::download::binaries(home.account.is_some());
    #[cfg(not(feature = "download"))]
    let (_, found) = (home, Err(TestServerError::NoPostgres { source: None }));
    found.inspect_err(|_| MISSING.store(true, Ordering::Relaxed))
}

async fn create_database(port: u16) -> Result<(), TestServerError> {
    let client = url::connect(&format!("postgres://test:test@127.0.0.1:{port}/postgres")).await?;
    client
        .batch_execute("CREATE DATABASE pglock")
        .await
        .map_err(|source| TestServerError::Database { name: "pglock".to_owned(), source })
}

fn lock_running(running: &Mutex<Running>) -> MutexGuard<'_, Running> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}
