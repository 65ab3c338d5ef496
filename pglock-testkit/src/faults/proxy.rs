//! A TCP proxy that knows PostgreSQL's protocol.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio_postgres::config::Host;

use super::FaultError;
use crate::postgres;

mod alarm;
mod connection;
mod framing;
mod line;
mod pump;

pub use self::connection::ProxyConnection;
pub use self::framing::Frame;

use self::alarm::Alarm;
use self::line::Weather;

/// Sits between clients and a server, and disturbs the traffic.
///
/// A method of the proxy affects all its connections, including later ones;
/// [`connection`](Self::connection) and [`connections`](Self::connections) return single ones. The
/// proxy runs on a thread of its own, so a busy test does not disturb it. Dropping the proxy ends
/// it and all its connections.
///
/// A proxy is not a broken network: it has a connection on each side, and accepts bytes that it
/// does not pass on. A [`Namespace`](super::Namespace) loses packets.
pub struct Proxy {
    url: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Dropping this ends the thread.
    running: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The direction in which bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there are no more")]
pub enum Direction {
    /// From the clients to the server.
    ToServer,
    /// From the server to the clients.
    ToClient,
}

impl Direction {
    /// Both, for whatever applies to each of them.
    pub const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];
}

#[derive(Debug)]
struct Shared {
    /// Host and port.
    server: Mutex<Arc<(String, u16)>>,
    weather: [watch::Sender<Weather>; 2],
    connections: Mutex<Vec<ProxyConnection>>,
}

impl Proxy {
    /// Starts a proxy to the server of that URL, on a free port of the loopback interface.
    ///
    /// The server need not be running: until it is, the proxy disconnects clients at once.
    ///
    /// # Errors
    ///
    /// [`FaultError::NoAddress`] if the URL names no host but, for example, a Unix socket;
    /// [`FaultError::Server`] if it is not a URL; [`FaultError::Io`].
    pub fn start(server_url: &str) -> Result<Self, FaultError> {
        let failed = |source| FaultError::io("cannot start a proxy", source);
        let server = host_and_port(server_url)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let url = postgres::with_address(server_url, address)?;

        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        let alarm = Arc::new(Alarm::new().map_err(failed)?);
        let shared = Arc::new(Shared {
            server: Mutex::new(Arc::new(server)),
            weather: Default::default(),
            connections: Mutex::default(),
        });
        let (running, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("pglock-proxy".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        _ = serving.accept(listener, alarm) => {}
                    }
                });
            })
            .map_err(failed)?;
        Ok(Self { url, address, shared, running: Some(running), thread: Some(thread) })
    }

    /// The server's URL, through the proxy.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address on which the proxy listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends new connections to the server of that URL from now on, as if the address had moved in
    /// a failover.
    ///
    /// Existing connections stay where they are.
    ///
    /// # Errors
    ///
    /// The same as for [`start`](Self::start).
    pub fn retarget(&self, server_url: &str) -> Result<(), FaultError> {
        *self.shared.server() = Arc::new(host_and_port(server_url)?);
        Ok(())
    }

    /// Delays everything in that direction from now on.
    ///
    /// Messages arrive that much later, but do not wait for each other: as on a long line, any
    /// number can be under way. Delays are exact to about a tenth of a millisecond if the machine
    /// has a free processor. Connecting is not delayed.
    pub fn set_delay(&self, direction: Direction, delay: Duration) {
        self.weather(direction).send_modify(|weather| weather.delay = delay);
    }

    /// Stalls that direction of all connections, as [`ProxyConnection::stall`] does for one.
    pub fn stall(&self, direction: Direction) {
        self.weather(direction).send_modify(|weather| weather.stalled = true);
    }

    /// Ends [`stall`](Self::stall). Connections that were stalled one by one stay stalled.
    pub fn resume(&self, direction: Direction) {
        self.weather(direction).send_modify(|weather| weather.stalled = false);
    }

    /// [Resets](ProxyConnection::reset) all existing connections.
    pub fn reset(&self) {
        for connection in self.connections() {
            connection.reset();
        }
    }

    /// All connections since the start, oldest first, including those that have ended.
    #[must_use]
    pub fn connections(&self) -> Vec<ProxyConnection> {
        self.shared.connections().clone()
    }

    /// The connection of that server process, identified as in
    /// [`pg_locks`](crate::witness::LockRow::pid).
    #[must_use]
    pub fn connection(&self, pid: i32) -> Option<ProxyConnection> {
        // The newest, because systems reuse pids.
        self.shared.connections().iter().rev().find(|one| one.pid() == Some(pid)).cloned()
    }

    /// The number of open connections.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.connections().iter().filter(|connection| connection.is_open()).count()
    }

    /// Everything that all connections have sent in that direction since the start, by kind.
    #[must_use]
    pub fn sent(&self, direction: Direction) -> BTreeMap<Frame, u64> {
        let mut total = BTreeMap::new();
        for connection in self.connections() {
            for (frame, count) in connection.sent(direction) {
                *total.entry(frame).or_default() += count;
            }
        }
        total
    }

    fn weather(&self, direction: Direction) -> &watch::Sender<Weather> {
        let [to_server, to_client] = &self.shared.weather;
        match direction {
            Direction::ToServer => to_server,
            Direction::ToClient => to_client,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.running = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for connection in self.connections() {
            connection.shared.end();
        }
    }
}

/// Shows only the address, since the URL may contain a password.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("address", &self.address)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

impl Shared {
    async fn accept(self: Arc<Self>, listener: TcpListener, alarm: Arc<Alarm>) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (client, _) = listener.accept().await?;
            let connection =
                ProxyConnection::new(self.weather.each_ref().map(watch::Sender::subscribe));
            self.connections().push(connection.clone());
            let (server, alarm) = (Arc::clone(&self.server()), Arc::clone(&alarm));
            tokio::spawn(async move {
                // Without a server, the client is disconnected at once.
                let _ = serve(client, &server, &connection, &alarm).await;
                connection.shared.end();
            });
        }
    }

    fn server(&self) -> MutexGuard<'_, Arc<(String, u16)>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, Vec<ProxyConnection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(
    client: TcpStream,
    (host, port): &(String, u16),
    connection: &ProxyConnection,
    alarm: &Alarm,
) -> io::Result<()> {
    let server = TcpStream::connect((host.as_str(), *port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    pump::carry(client, server, &connection.shared, alarm).await;
    Ok(())
}

fn host_and_port(url: &str) -> Result<(String, u16), FaultError> {
    let config = postgres::config(url)?;
    let Some(Host::Tcp(host)) = config.get_hosts().first() else {
        return Err(FaultError::NoAddress);
    };
    Ok((host.clone(), config.get_ports().first().copied().unwrap_or(5432)))
}
