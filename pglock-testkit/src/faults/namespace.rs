//! A separate network, reached over a link that loses packets.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

mod rights;

use super::{Direction, FaultError};
use crate::postgres::{self, NAMESPACES, TestServer};

/// The holder of the lock for a number owns the namespace and the addresses of that number.
const LOCKS: &str = "/run/pglock-testkit";
/// The name, as `ip netns` lists it.
const NAMED: &str = "/run/netns";
/// Four addresses for each namespace.
const COUNT: u8 = 64;
/// Belongs to no interface: it has the bit for local addresses set, and no link here uses it.
const NOBODY: &str = "02:00:00:00:00:00";

/// A network namespace, connected to the rest of the machine by a link that can lose packets.
///
/// Clients in it lose the server as on a broken network: nothing is refused or reset, packets just
/// do not arrive, and the systems on both sides resend them. (A [`Proxy`](super::Proxy) cannot do
/// this, because its own system acknowledges what it receives. Taking a link down cannot do it
/// either, because senders get an error.)
///
/// Packets are lost because the sender has a wrong hardware address for the other end, so the
/// kernel drops them on arrival. This needs no firewall and no kernel module, only `ip`.
///
/// Works only on Linux, as root; otherwise [`new`](Self::new) fails with
/// [`FaultError::NotAllowed`]. Its addresses are in 10.77.77.0/24. Dropping it removes the
/// namespace, and the next [`new`](Self::new) removes whatever a killed process left behind.
#[derive(Debug)]
pub struct Namespace {
    number: u8,
    inside: String,
    outside: String,
    /// Held while the namespace exists.
    _lock: File,
}

impl Namespace {
    /// The setting that makes a [private](TestServer::private_with) server reachable from
    /// namespaces.
    ///
    /// No other machine gets access: the server's rules know only the namespaces and the loopback
    /// interface.
    pub const LISTEN: (&str, &str) = ("listen_addresses", "0.0.0.0");

    /// A new namespace with a working link. Blocks for some milliseconds.
    ///
    /// # Errors
    ///
    /// [`FaultError::NotAllowed`] if the system or the user does not allow it. The error says what
    /// is missing; the test should then report itself as not run, through
    /// [`allowed`](super::allowed). Otherwise [`FaultError::Failed`] and [`FaultError::Io`].
    pub fn new() -> Result<Self, FaultError> {
        rights::check()?;
        let (mut number, mut held) = (0, None);
        for candidate in 0..COUNT {
            let lock = lock(candidate).map_err(|source| {
                FaultError::io(format!("cannot lock a file in {LOCKS}"), source)
            })?;
            if let Some(lock) = lock {
                // Whatever still uses that number was left behind.
                remove(candidate);
                number = candidate;
                held = Some(lock);
            }
        }
        let Some(lock) = held else {
            return Err(FaultError::io(
                format!("all {COUNT} network namespaces are in use"),
                io::ErrorKind::ResourceBusy.into(),
            ));
        };
        let mut namespace =
            Self { number, inside: String::new(), outside: String::new(), _lock: lock };
        namespace.build()?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> String {
        name(self.number)
    }

    /// The URL of a server that [listens](Self::LISTEN) for namespaces, as seen from inside.
    ///
    /// # Errors
    ///
    /// [`FaultError::Server`] if the server has no such URL.
    pub fn url(&self, server: &TestServer) -> Result<String, FaultError> {
        let port = postgres::config(server.url())?.get_ports().first().copied().unwrap_or(5432);
        let address = SocketAddr::from((self.server(), port));
        Ok(postgres::with_address(server.url(), address)?)
    }

    /// A program to run inside. `ip netns exec` becomes the program, so the child has its pid.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name()]).arg(program);
        command
    }

    /// Runs a future inside, on a thread and a runtime of its own. The sockets that it opens belong
    /// to the namespace, and so do those of the tasks that it spawns. These tasks end with it, but
    /// its sockets may leave the namespace.
    ///
    /// # Cancel safety
    ///
    /// If the caller is dropped, the future still runs to its end.
    ///
    /// # Errors
    ///
    /// [`FaultError::Io`] if there is no thread or runtime, or if the future panics.
    pub async fn run<T, F>(
        &self,
        inside: impl FnOnce() -> F + Send + 'static,
    ) -> Result<T, FaultError>
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let failed = |source| FaultError::io("cannot run in the network namespace", source);
        let path = Path::new(NAMED).join(self.name());
        let (done, result) = tokio::sync::oneshot::channel();
        let work = move || {
            let namespace = File::open(path)?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(inside()))
        };
        thread::Builder::new()
            .name(self.name())
            .spawn(move || {
                // If this fails, the caller no longer waits.
                let _ = done.send(work());
            })
            .map_err(failed)?;
        result.await.unwrap_or_else(|_| Err(io::Error::other("it panicked"))).map_err(failed)
    }

    /// Loses all packets in that direction from now on.
    ///
    /// # Errors
    ///
    /// [`FaultError::Failed`] and [`FaultError::Io`].
    pub fn lose(&self, direction: Direction) -> Result<(), FaultError> {
        self.address_next(direction, NOBODY)
    }

    /// Lets packets arrive again.
    ///
    /// # Errors
    ///
    /// [`FaultError::Failed`] and [`FaultError::Io`].
    pub fn heal(&self, direction: Direction) -> Result<(), FaultError> {
        let next = match direction {
            Direction::ToServer => &self.outside,
            Direction::ToClient => &self.inside,
        };
        self.address_next(direction, next)
    }

    fn build(&mut self) -> Result<(), FaultError> {
        let (name, [outer, inner]) = (self.name(), links(self.number));
        let prefix = |address| format!("{address}/30");
        ip(&["netns", "add", &name])?;
        ip(&["link", "add", &outer, "type", "veth", "peer", "name", &inner, "netns", &name])?;
        ip(&["address", "add", &prefix(self.server()), "dev", &outer])?;
        ip(&["link", "set", &outer, "up"])?;
        ip(&["-n", &name, "address", "add", &prefix(self.client()), "dev", &inner])?;
        ip(&["-n", &name, "link", "set", &inner, "up"])?;
        ip(&["-n", &name, "link", "set", "lo", "up"])?;
        self.outside = hardware_address(&ip(&["-o", "link", "show", &outer])?)?;
        self.inside = hardware_address(&ip(&["-n", &name, "-o", "link", "show", &inner])?)?;
        // Neither end may ask the other for its address, which could restore the broken link.
        Direction::BOTH.into_iter().try_for_each(|direction| self.heal(direction))
    }

    /// The hardware address to which packets in that direction are sent.
    fn address_next(&self, direction: Direction, hardware: &str) -> Result<(), FaultError> {
        let (name, [outer, inner]) = (self.name(), links(self.number));
        let (server, client) = (self.server().to_string(), self.client().to_string());
        let entry = |to: &'_ str, link: &'_ str| {
            ["neighbour", "replace", to, "lladdr", hardware, "nud", "permanent", "dev", link]
                .map(str::to_owned)
        };
        let arguments: Vec<String> = match direction {
            Direction::ToServer => {
                ["-n".to_owned(), name].into_iter().chain(entry(&server, &inner)).collect()
            }
            Direction::ToClient => entry(&client, &outer).to_vec(),
        };
        ip(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).map(drop)
    }

    fn server(&self) -> Ipv4Addr {
        address(self.number, 1)
    }

    fn client(&self) -> Ipv4Addr {
        address(self.number, 2)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(self.number);
    }
}

/// `None` if it is in use.
fn lock(number: u8) -> io::Result<Option<File>> {
    fs::create_dir_all(LOCKS)?;
    let path: PathBuf = Path::new(LOCKS).join(name(number));
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Call this only while holding the namespace's lock.
fn remove(number: u8) {
    let (name, [outer, _]) = (name(number), links(number));
    // The link goes first: the namespace lives as long as a process in it does.
    if Path::new("/sys/class/net").join(&outer).exists() {
        let _ = ip(&["link", "delete", &outer]);
    }
    if Path::new(NAMED).join(&name).exists() {
        let _ = ip(&["netns", "delete", &name]);
    }
}

fn ip(arguments: &[&str]) -> Result<String, FaultError> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| FaultError::io("cannot run ip", source))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(FaultError::Failed {
        what: format!("ip {} failed", arguments.join(" ")),
        output: String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
    })
}

/// Reads the address from a line of `ip -o link show`.
fn hardware_address(shown: &str) -> Result<String, FaultError> {
    let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether").skip(1);
    words.next().map(str::to_owned).ok_or_else(|| FaultError::Failed {
        what: "a link without a hardware address".to_owned(),
        output: shown.to_owned(),
    })
}

fn name(number: u8) -> String {
    format!("pglock-{number}")
}

/// The names of the link's ends, outside and inside.
fn links(number: u8) -> [String; 2] {
    ["o", "i"].map(|end| format!("pglock-{number}{end}"))
}

fn address(number: u8, end: u8) -> Ipv4Addr {
    let [a, b, c, _] = NAMESPACES.octets();
    Ipv4Addr::new(a, b, c, number * 4 + end)
}
