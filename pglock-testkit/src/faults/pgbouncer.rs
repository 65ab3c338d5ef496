//! A pooler in front of a server.

use std::env;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::Instant;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::{FaultError, PATIENCE, POLL};
use crate::postgres::{
    self, Occupancy, Site, TestServer, TestServerError, blocking, free_ports, occupy,
};

/// Where Debian, Red Hat, BSDs and Homebrew install it, if it is not in `PATH`.
const FOLDERS: [&str; 5] =
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin"];

/// A PgBouncer in front of a server, on a port of its own.
///
/// It admits every client, as the role of the server's URL. It stops when it is dropped, and when
/// the process that started it is killed.
#[derive(Debug)]
pub struct PgBouncer {
    url: String,
    process: Child,
    occupancy: Occupancy,
}

/// How long PgBouncer assigns a server session to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolMode {
    /// Until the client disconnects. Session locks work.
    Session,
    /// For one transaction. A session lock can end up in a session that then serves another client.
    Transaction,
    /// For one statement. Session locks fail in the same way, and no transaction can span
    /// statements.
    Statement,
}

impl PgBouncer {
    /// Starts a PgBouncer with its usual settings.
    ///
    /// # Errors
    ///
    /// [`FaultError::Missing`] if it is not installed; [`FaultError::NoAddress`] if the server has
    /// no host but, for example, a Unix socket; [`FaultError::Server`] if it does not start.
    pub async fn start(server: &TestServer, mode: PoolMode) -> Result<Self, FaultError> {
        Self::start_with(server, mode, &[]).await
    }

    /// Starts a PgBouncer with extra settings, such as `("default_pool_size", "1")`.
    ///
    /// # Errors
    ///
    /// The same as for [`start`](Self::start).
    pub async fn start_with(
        server: &TestServer,
        mode: PoolMode,
        settings: &[(&str, &str)],
    ) -> Result<Self, FaultError> {
        let program = Self::program()?;
        let mut configuration = configuration(&postgres::config(server.url())?, mode)?;
        for (name, value) in settings {
            let _ = writeln!(configuration, "{name} = {value}");
        }
        let (site, occupancy) = occupy("pgbouncer-").await?;
        let (process, port) = blocking(move || launch(&site, &program, &configuration)).await?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let url = postgres::with_address(server.url(), address)?;
        Ok(Self { url, process, occupancy })
    }

    /// The path of the installed program.
    ///
    /// # Errors
    ///
    /// [`FaultError::Missing`] if it is not installed.
    pub fn program() -> Result<PathBuf, FaultError> {
        installed(env::var_os("PATH").iter().flat_map(env::split_paths))
    }

    /// The server's URL, through PgBouncer. Other databases of the server can be reached through it
    /// too.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.occupancy.end(Some(&mut self.process));
    }
}

fn installed(path: impl Iterator<Item = PathBuf>) -> Result<PathBuf, FaultError> {
    path.chain(FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program.is_file())
        .ok_or_else(|| FaultError::Missing {
            what: format!(
                "no pgbouncer found in PATH, {}: apt-get install pgbouncer, \
                 dnf install pgbouncer, or brew install pgbouncer",
                FOLDERS.join(", ")
            ),
        })
}

/// The whole configuration except the port.
fn configuration(server: &Config, mode: PoolMode) -> Result<String, FaultError> {
    let Some(Host::Tcp(host)) = server.get_hosts().first() else {
        return Err(FaultError::NoAddress);
    };
    let port = server.get_ports().first().copied().unwrap_or(5432);
    let mut target = format!("host={} port={port}", quoted(host));
    if let Some(user) = server.get_user() {
        let _ = write!(target, " user={}", quoted(user));
    }
    if let Some(password) = server.get_password() {
        let _ = write!(target, " password={}", quoted(&String::from_utf8_lossy(password)));
    }
    let mode = match mode {
        PoolMode::Session => "session",
        PoolMode::Transaction => "transaction",
        PoolMode::Statement => "statement",
    };
    // sqlx sends extra_float_digits when it connects.
    Ok(format!(
        "[databases]\n\
         * = {target}\n\
         [pgbouncer]\n\
         pool_mode = {mode}\n\
         auth_type = any\n\
         listen_addr = 127.0.0.1\n\
         unix_socket_dir =\n\
         pidfile = data/pgbouncer.pid\n\
         ignore_startup_parameters = extra_float_digits\n"
    ))
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// Starts it on a free port, and waits until it accepts connections. Blocks.
fn launch(
    site: &Site,
    program: &Path,
    configuration: &str,
) -> Result<(Child, u16), TestServerError> {
    let not_run = |source| TestServerError::io(format!("cannot run {}", program.display()), source);
    site.make("data").map_err(not_run)?;
    for port in free_ports() {
        let file = format!("data/{port}.ini");
        let content = format!("{configuration}listen_port = {port}\n");
        site.write(&file, &content).map_err(not_run)?;
        let start = site.log_length();
        let mut process = site
            .command(program)
            .and_then(|mut command| command.arg(site.folder(&file)).spawn())
            .map_err(not_run)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = site.log_since(start);
            let taken = log.contains("Address already in use");
            let ended = process.try_wait().map_err(not_run)?.is_some();
            if !ended && !taken && log.contains("process up") {
                return Ok((process, port));
            }
            if ended || taken || Instant::now() >= deadline {
                let _ = process.kill();
                let _ = process.wait();
                if taken {
                    break;
                }
                return Err(site.failed("pgbouncer does not start", start));
            }
            thread::sleep(POLL);
        }
    }
    Err(site.failed("pgbouncer finds its port taken", 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_pgbouncer_is_reported_with_what_to_install() {
        if let Err(error) = installed(std::iter::empty()) {
            assert!(error.to_string().contains("apt-get install pgbouncer"), "{error}");
        }
    }

    #[test]
    fn quotes_cannot_break_out_of_a_setting() {
        let server: Config = "postgres://me:it's@h:1/db".parse().unwrap();
        let configuration = configuration(&server, PoolMode::Session).unwrap();
        assert!(configuration.contains("host='h' port=1 user='me' password='it''s'\n"));
    }
}
