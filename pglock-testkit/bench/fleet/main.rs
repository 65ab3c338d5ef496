//! A fleet: 200 lock managers in 8 processes on one server, when it is idle, when one key passes
//! through all of them, when the server restarts, and when the leader dies.
//!
//! ```text
//! cargo bench --bench fleet                  # both drivers
//! cargo bench --bench fleet -- sqlx          # one
//! ```
//!
//! It starts a PostgreSQL of its own. The processes are this program, started again. They share the
//! CPUs with the server, so the times are upper bounds.

mod fleet;
mod member;
mod order;
mod process;
mod server;

use std::env;
use std::error::Error;
use std::time::{Duration, Instant};

use pglock_core::Locks;
use pglock_diesel::DieselDriver;
use pglock_sqlx::SqlxDriver;
use tokio::time::sleep;

use self::fleet::Fleet;
use self::member::Member;
use self::order::Order;
use self::server::Server;

type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const PROCESSES: usize = 8;
const MANAGERS: usize = 25;
const ALL: usize = PROCESSES * MANAGERS;

/// How often the leader is killed.
const KILLS: usize = 7;

/// How long the fleet is observed while it does nothing.
const IDLE: Duration = Duration::from_secs(30);

/// The driver of the managers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DriverName {
    Sqlx,
    Diesel,
}

impl DriverName {
    const ALL: [Self; 2] = [Self::Sqlx, Self::Diesel];

    fn as_str(self) -> &'static str {
        match self {
            Self::Sqlx => "sqlx",
            Self::Diesel => "diesel",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|driver| driver.as_str() == name)
    }

    fn locks(self, url: &str) -> Result<Locks> {
        Ok(match self {
            Self::Sqlx => Locks::new(SqlxDriver::from_url(url)?),
            Self::Diesel => Locks::new(DieselDriver::from_url(url)?),
        })
    }
}

#[tokio::main]
async fn main() -> Result {
    // `--bench` is passed by cargo.
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let Some(member) = Member::from_args(&args)? {
        return member.run().await;
    }
    let named = args.iter().map(|name| DriverName::named(name)).collect::<Option<Vec<_>>>();
    let drivers = match named.ok_or("usage: cargo bench --bench fleet -- [sqlx] [diesel]")? {
        none if none.is_empty() => DriverName::ALL.to_vec(),
        named => named,
    };
    for driver in drivers {
        println!("\n{} managers in {PROCESSES} processes, {}", ALL, driver.as_str());
        measure(driver).await?;
    }
    Ok(())
}

async fn measure(driver: DriverName) -> Result {
    let server = Server::start().await?;
    let mut fleet = Fleet::start(driver, server.url())?;
    connect(&server, &mut fleet).await?;
    idle(&server, &mut fleet).await?;
    pass_a_key(&server, &mut fleet).await?;
    restart(&server, &mut fleet).await?;
    kill_leaders(&server, &mut fleet).await
}

/// Each manager takes and releases a lock of its own.
async fn connect(server: &Server, fleet: &mut Fleet) -> Result {
    let begin = Instant::now();
    fleet.order(Order::Connect).await?;
    fleet.until_all_are("connected").await?;
    figure("all are connected, and have held a lock, after", seconds(begin.elapsed()));
    figure("  sessions", server.sessions().await?);
    Ok(())
}

async fn idle(server: &Server, fleet: &mut Fleet) -> Result {
    let (sessions, processes) = (server.cpu_times()?, fleet.cpu_times()?);
    let begin = Instant::now();
    sleep(IDLE).await;
    let manager_seconds = begin.elapsed().as_secs_f64() * ALL as f64;
    let per_second =
        |time: Duration| format!("{:.0} us", time.as_secs_f64() * 1e6 / manager_seconds);
    let (at_server, here) = (server.cpu_times()?, fleet.cpu_times()?);
    figure("server CPU per idle manager and second", per_second(at_server.since(&sessions)));
    figure("client CPU per idle manager and second", per_second(here.since(&processes)));
    Ok(())
}

/// One key passes through all managers, of which each holds it until it has reported so.
async fn pass_a_key(server: &Server, fleet: &mut Fleet) -> Result {
    let held = server.hold(member::BATON).await?;
    fleet.order(Order::Pass).await?;
    server.until_waiting(ALL).await?;
    figure("200 managers wait for one key: sessions", server.sessions().await?);
    let begin = Instant::now();
    drop(held);
    let turns = fleet.until_all_are("passed").await?;
    figure("  the key has passed through all after", millis(begin.elapsed()));
    let mut gaps: Vec<_> = turns.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    gaps.sort();
    figure("  from one to the next, median", millis(gaps[gaps.len() / 2]));
    figure("  from one to the next, 99 %", millis(gaps[gaps.len() * 99 / 100]));
    Ok(())
}

/// The server restarts while each manager holds a lock, which it acquires anew.
async fn restart(server: &Server, fleet: &mut Fleet) -> Result {
    fleet.order(Order::Hold).await?;
    fleet.until_all_are("holding").await?;
    let attempts = server.connections_received()?;
    let ended = Instant::now();
    server.restart().await?;
    let up = Instant::now();
    figure("the server restarts within", millis(up - ended));
    let back = fleet.until_all_are("holding").await?;
    let times: Vec<_> = back.iter().map(|report| report.at.saturating_duration_since(up)).collect();
    figure("  half of the managers hold their lock again after", millis(times[ALL / 2]));
    figure("  all of them", millis(times[ALL - 1]));
    let attempts = server.connections_received()? - attempts;
    figure("  attempts to connect per manager", format!("{:.1}", attempts as f64 / ALL as f64));
    figure("  sessions", server.sessions().await?);
    Ok(())
}

/// All campaign in one election. The process of the leader is killed, and another one takes its
/// place once the next candidate leads.
async fn kill_leaders(server: &Server, fleet: &mut Fleet) -> Result {
    fleet.order(Order::Campaign).await?;
    let mut leader = fleet.until_one_is("leading").await?.process;
    server.until_waiting(ALL - 1).await?;
    figure("200 candidates: sessions", server.sessions().await?);
    let mut times = Vec::new();
    for _ in 0..KILLS {
        let killed = Instant::now();
        fleet.kill(leader).await?;
        let next = fleet.until_one_is("leading").await?;
        times.push(next.at - killed);
        fleet.replace(leader, Order::Campaign).await?;
        leader = next.process;
        server.until_waiting(ALL - 1).await?;
    }
    times.sort();
    figure("  the process of the leader is killed: the next leads after", millis(times[KILLS / 2]));
    figure("  at most", millis(times[KILLS - 1]));
    Ok(())
}

fn figure(what: &str, value: impl std::fmt::Display) {
    println!("  {what:62} {value:>10}");
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
