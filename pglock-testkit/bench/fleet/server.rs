//! The server of the fleet, observed from outside.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use pglock_testkit::postgres::{StopMode, TestServer};
use rustix::io::Errno;
use tokio::time::sleep;
use tokio_postgres::{Client, NoTls};

use crate::Result;

/// Returned by [`Server::hold`]. Releases the lock when it is dropped.
pub(crate) struct Held {
    _client: Client,
}

pub(crate) struct Server {
    server: TestServer,
}

impl Server {
    pub(crate) async fn start() -> Result<Self> {
        let settings = [("max_connections", "1000"), ("log_connections", "on")];
        Ok(Self { server: TestServer::private_with(&settings).await? })
    }

    pub(crate) fn url(&self) -> &str {
        self.server.url()
    }

    pub(crate) async fn restart(&self) -> Result {
        Ok(self.server.restart(StopMode::Immediate).await?)
    }

    /// The number of sessions, without those of this benchmark.
    pub(crate) async fn sessions(&self) -> Result<i64> {
        let query = "SELECT count(*) FROM pg_stat_activity \
                     WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        Ok(self.connect().await?.query_one(query, &[]).await?.try_get(0)?)
    }

    /// Holds this lock, so that all managers wait for it.
    pub(crate) async fn hold(&self, key: i64) -> Result<Held> {
        let client = self.connect().await?;
        client.execute("SELECT pg_advisory_lock($1)", &[&key]).await?;
        Ok(Held { _client: client })
    }

    /// Returns when this many managers wait for an advisory lock.
    pub(crate) async fn until_waiting(&self, managers: usize) -> Result {
        let begin = Instant::now();
        let wanted = i64::try_from(managers)?;
        let query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        let client = self.connect().await?;
        while client.query_one(query, &[]).await?.try_get::<_, i64>(0)? < wanted {
            if begin.elapsed() > Duration::from_secs(60) {
                return Err("too few managers wait".into());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The number of attempts to connect since the server was created, from its log.
    pub(crate) fn connections_received(&self) -> Result<usize> {
        Ok(self.server.log()?.matches("connection received").count())
    }

    /// The CPU time of each session that exists now.
    pub(crate) fn cpu_times(&self) -> Result<CpuTimes> {
        let postmaster = self.server.postmaster()?;
        let children =
            fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"))?;
        CpuTimes::of(children.split_whitespace().filter_map(|pid| pid.parse().ok()))
    }

    async fn connect(&self) -> Result<Client> {
        let (client, connection) = tokio_postgres::connect(self.url(), NoTls).await?;
        // The client's own calls report the end of the connection.
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }
}

/// The CPU time that processes have used.
pub(crate) struct CpuTimes(BTreeMap<u32, Duration>);

impl CpuTimes {
    /// Of those that exist.
    pub(crate) fn of(pids: impl IntoIterator<Item = u32>) -> Result<Self> {
        let mut times = BTreeMap::new();
        for pid in pids {
            match cpu_time(pid) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // It ended while its file was open.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::SRCH) => {}
                time => drop(times.insert(pid, time?)),
            }
        }
        Ok(Self(times))
    }

    /// What the processes that exist in both have used in between.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let used = |(pid, time): (&u32, &Duration)| Some(*time - *earlier.0.get(pid)?);
        self.0.iter().filter_map(used).sum()
    }
}

/// The CPU time of all threads of a process, from the scheduler: in nanoseconds, where `stat` has
/// hundredths of a second.
fn cpu_time(pid: u32) -> io::Result<Duration> {
    let mut time = Duration::ZERO;
    for thread in fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"))? {
        let schedule = fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanos = schedule.split(' ').next().and_then(|nanos| nanos.parse().ok());
        time += Duration::from_nanos(nanos.ok_or(io::ErrorKind::InvalidData)?);
    }
    Ok(time)
}
