//! A network of its own, over a line that loses packets.

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

/// Who holds the lock of a number has the namespace and the addresses of that number.
const LOCKS: &str = "/run/pglock-testkit";
/// As `ip netns` has it.
const NAMED: &str = "/run/netns";
/// Four addresses each.
const COUNT: u8 = 64;
/// Nobody's, as the bit for local ones is set and no link here has it.
const NOBODY: &str = "02:00:00:00:00:00";

/// A network namespace, joined to the rest of the machine by a line which can lose packets.
///
/// Clients in it see a server become unreachable as on a broken network: nothing is refused or
/// reset, packets just do not arrive, and the systems on both sides resend them. (A
/// [`Proxy`](super::Proxy) cannot do this, as its own system acknowledges what it gets. Taking a
/// link down cannot either: senders are told.)
///
/// Packets are lost because their sender has the wrong hardware address of the other end, so that
/// the kernel drops them on arrival. This takes no firewall and no kernel module, only `ip`.
///
/// Linux only, and root only: elsewhere [`new`](Self::new) gives [`FaultError::NotAllowed`]. Its
/// addresses are in 10.77.77.0/24. It is removed when dropped, and what a killed process has left
/// by the next [`new`](Self::new).
#[derive(Debug)]
pub struct Namespace {
    number: u8,
    inside: String,
    outside: String,
    /// Held for as long as the namespace is there.
    _lock: File,
}

impl Namespace {
    /// The setting that a [private](TestServer::private_with) server needs to be reached from
    /// namespaces.
    ///
    /// It lets in nobody else: its rules know only them and the loopback interface.
    pub const LISTEN: (&str, &str) = ("listen_addresses", "0.0.0.0");

    /// A new namespace, whose line works. Blocks for some milliseconds.
    ///
    /// # Errors
    ///
    /// [`FaultError::NotAllowed`] if the system or the user does not allow it, and says what is
    /// missing: a test should then say that it was not run, by [`allowed`](super::allowed).
    /// Otherwise [`FaultError::Failed`] and [`FaultError::Io`].
    pub fn new() -> Result<Self, FaultError> {
        rights::check()?;
        let (mut number, mut held) = (0, None);
        for candidate in 0..COUNT {
            let lock = lock(candidate).map_err(|source| {
                FaultError::io(format!("cannot lock a file in {LOCKS}"), source)
            })?;
            if let Some(lock) = lock {
                // Whatever has that number belongs to nobody any more.
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

    /// A program to be run inside. As `ip netns exec` becomes the program, the child has its pid.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name()]).arg(program);
        command
    }

    /// Runs a future inside, on a thread and a runtime of its own: the sockets it opens belong to
    /// the namespace, also those of the tasks it spawns. Tasks end with it; sockets may be taken
    /// out.
    ///
    /// # Cancel safety
    ///
    /// The future runs on to its end.
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
                // Nobody waits any more if it fails.
                let _ = done.send(work());
            })
            .map_err(failed)?;
        result.await.unwrap_or_else(|_| Err(io::Error::other("it panicked"))).map_err(failed)
    }

    /// Loses all packets that go in that direction from now on.
    ///
    /// # Errors
    ///
    /// [`FaultError::Failed`] and [`FaultError::Io`].
    pub fn lose(&self, direction: Direction) -> Result<(), FaultError> {
        self.address_next(direction, NOBODY)
    }

    /// Has packets arrive again.
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
        // Neither end shall ask the other for its address, which could heal what is to be lost.
        Direction::BOTH.into_iter().try_for_each(|direction| self.heal(direction))
    }

    /// The hardware address that packets of that direction are sent to.
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

/// Only under its lock.
fn remove(number: u8) {
    let (name, [outer, _]) = (name(number), links(number));
    // The link first: the namespace lives for as long as a process in it does.
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

/// From a line of `ip -o link show`.
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

/// The ends of the line, outside and inside.
fn links(number: u8) -> [String; 2] {
    ["o", "i"].map(|end| format!("pglock-{number}{end}"))
}

fn address(number: u8, end: u8) -> Ipv4Addr {
    let [a, b, c, _] = NAMESPACES.octets();
    Ipv4Addr::new(a, b, c, number * 4 + end)
}
