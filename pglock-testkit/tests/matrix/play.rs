//! One combination, from the first caller to the last check.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use pglock_core::{Locks, Mode, ReadGuard, Result, RwLock, WriteGuard};
use pglock_testkit::conformance::start;
use pglock_testkit::faulty::{Faults, Faulty};
use pglock_testkit::memory::{MemoryServer, MemoryWitness};
use pglock_testkit::witness::Witness;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::combination::{Combination, Lasting, Leave, Scene};

const KEY: &str = "key";
/// From a question to its answer, if nothing goes wrong.
const ANSWER: Duration = Duration::from_millis(2);
/// When the caller is in the server's queue, if nothing goes wrong.
const QUEUED: Duration = Duration::from_millis(7);
/// Readers here that have held the lock for so long are not simply joined.
const OLD: Duration = Duration::from_millis(60);
/// Some heartbeats.
const HOLD: Duration = Duration::from_secs(6);
/// How long a fault that lasts goes on after the caller has left.
const FAULTY: Duration = Duration::from_secs(3);
/// How long sessions that wait are kept idle.
const IDLE: Duration = Duration::from_secs(2);
/// Longer than a connection may take, and than anybody believes in a session that says nothing.
const SETTLED: Duration = Duration::from_secs(12);
/// Longer than all that the engine allows a server that says nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is wrong, if anything is.
type Outcome<T = ()> = std::result::Result<T, String>;

struct Play {
    combination: Combination,
    server: MemoryServer,
    /// Another process.
    witness: Arc<MemoryWitness>,
    witness_pid: i32,
    faults: Faults,
    /// `None` once it is closed or dropped.
    locks: Option<Locks>,
    /// Of callers who have not left.
    guards: Vec<Guard>,
}

enum Guard {
    Read(ReadGuard),
    Write(WriteGuard),
}

/// What the server has, but for the other process: locks that are held, those who wait, and
/// sessions.
#[derive(Debug)]
struct Seen {
    held: usize,
    waiting: usize,
    sessions: usize,
}

/// Whether the fault has struck, or what is wrong.
pub(crate) async fn play(combination: Combination) -> Outcome<bool> {
    let mut play = Play::new(combination);
    let next = play.set_the_scene().await;
    play.leave().await?;
    if combination.lasting == Lasting::UntilCleared {
        sleep(FAULTY).await;
    }
    let struck = play.faults.strikes() > 0;
    if combination.lasting == Lasting::UntilCleared || !struck {
        play.faults.clear();
    }
    play.check_queue(next.is_some()).await?;
    play.check_guards(next.is_some()).await?;
    // If it has not done so before.
    let _ = play.witness.release(KEY.into(), Mode::Write).await;
    if let Some(mut next) = next {
        // It may be told of the fault, or go on with the wait that is silent.
        let ends = play.faulty("the next in line", &mut next).await?;
        if ends.is_none() {
            next.abort();
            let _ = next.await;
        }
    }
    play.check_locks().await?;
    play.check_sessions().await?;
    Ok(struck)
}

impl Play {
    fn new(combination: Combination) -> Self {
        let server = MemoryServer::new();
        let witness = Arc::new(MemoryWitness::connect(&server).unwrap());
        let witness_pid = server.sessions("")[0];
        server.delay_answers(ANSWER);
        let faults = Faults::new();
        let driver = Faulty::new(server.driver(), &faults);
        let locks = Locks::builder(driver)
            .idle_timeout(IDLE)
            .runtime(Handle::current())
            .share_write_locks(combination.scene == Scene::Sharing)
            .build()
            .unwrap();
        let locks = Some(locks);
        Self { combination, server, witness, witness_pid, faults, locks, guards: Vec::new() }
    }

    /// Gives who is next in line, if there is somebody.
    async fn set_the_scene(&mut self) -> Option<JoinHandle<Result<WriteGuard>>> {
        let Combination { scene, point, fault, lasting, leave } = self.combination;
        let lock = self.lock()?;
        match scene {
            Scene::First => {}
            Scene::Waiting | Scene::Followed => {
                let other = self.locks.as_ref()?.rwlock("other");
                other.write().await.unwrap().release().await.unwrap();
                self.witness.hold(KEY.into(), Mode::Write).await.unwrap();
            }
            Scene::Joining => {
                self.guards.push(Guard::Read(lock.read().await.unwrap()));
                sleep(OLD).await;
            }
            Scene::Sharing => {
                lock.write().await.unwrap().release().await.unwrap();
                let guard = lock.write().await.unwrap();
                // When the caller has asked.
                start(async move {
                    sleep(ANSWER / 4).await;
                    drop(guard);
                });
            }
        }
        match lasting {
            Lasting::Once => self.faults.strike_once(point, fault),
            Lasting::UntilCleared => self.faults.strike(point, fault),
        }
        if scene.is_contended() && leave.needs_grant() {
            let witness = self.witness.clone();
            start(async move {
                sleep(QUEUED + ANSWER / 2).await;
                witness.release(KEY.into(), Mode::Write).await
            });
        }
        // Begins when the caller has asked.
        (scene == Scene::Followed).then(|| start(async move { lock.write().await }))
    }

    async fn leave(&mut self) -> Outcome {
        let Some(lock) = self.lock() else { return Ok(()) };
        let mode = self.combination.scene.mode();
        let mut acquire = Box::pin(acquire(lock.clone(), mode));
        match self.combination.leave {
            Leave::Unpolled => {}
            Leave::Unsent => poll_once(&mut acquire).await,
            Leave::InTheAir(answer) => {
                drop(timeout(ANSWER * answer + ANSWER / 2, acquire).await);
            }
            Leave::Answered => {
                self.faulty("the answer", until_woken(&mut acquire)).await?;
            }
            Leave::TimedOut => {
                let timed = async {
                    match mode {
                        Mode::Read => lock.try_read_for(QUEUED).await.map(drop),
                        Mode::Write => lock.try_write_for(QUEUED).await.map(drop),
                    }
                };
                let _ = bounded("an acquire with a timeout", timed).await?;
            }
            Leave::Closed => {
                let close = async {
                    sleep(QUEUED).await;
                    self.close().await
                };
                let (acquired, closed) =
                    tokio::join!(bounded("an acquire when all is closed", acquire), close);
                closed.and(acquired.map(drop))?;
                self.locks = None;
            }
            _ => {
                if let Some(Ok(guard)) = self.faulty("an acquire", acquire).await? {
                    drop(lock);
                    if self.combination.leave != Leave::Passed {
                        sleep(HOLD).await;
                    }
                    self.leave_guard(guard).await?;
                }
            }
        }
        Ok(())
    }

    async fn leave_guard(&mut self, guard: Guard) -> Outcome {
        match self.combination.leave {
            Leave::Released | Leave::Passed => {
                self.faulty("a release", guard.release()).await.map(drop)
            }
            Leave::ReleaseDropped => {
                poll_once(&mut Box::pin(guard.release())).await;
                Ok(())
            }
            Leave::ClosedHolding => {
                self.close().await?;
                self.locks = None;
                if guard.is_held() {
                    return Err("a guard is believed in when all is closed".to_owned());
                }
                Ok(())
            }
            Leave::ManagerDropped => {
                self.locks = None;
                drop(guard);
                self.guards.clear();
                Ok(())
            }
            Leave::Kept => {
                self.guards.push(guard);
                Ok(())
            }
            _ => {
                drop(guard);
                Ok(())
            }
        }
    }

    async fn close(&self) -> Outcome {
        match &self.locks {
            Some(locks) => bounded("closing", locks.close()).await.map(drop),
            None => Ok(()),
        }
    }

    /// Nobody of the manager is in the queue behind another process, but for who is next in line.
    async fn check_queue(&self, is_followed: bool) -> Outcome {
        let may_wait = usize::from(is_followed);
        self.until("who has left is out of the queue", |seen| seen.waiting <= may_wait).await
    }

    /// What the guards believe in is what the server says; then they go.
    async fn check_guards(&mut self, is_followed: bool) -> Outcome {
        sleep(SETTLED).await;
        let is_true = |seen: &Seen| match self.guards.iter().any(Guard::is_held) {
            true => seen.held > 0,
            // The next in line may have it.
            false => seen.held == 0 || is_followed,
        };
        self.until("guards are believed in if the server says so", is_true).await?;
        self.guards.clear();
        Ok(())
    }

    /// Nothing is left behind, and the next callers get the lock.
    async fn check_locks(&self) -> Outcome {
        self.until("nothing is left", |seen| seen.held + seen.waiting == 0).await?;
        let next = [self.lock(), Some(here(&self.server).rwlock(KEY))];
        for lock in next.into_iter().flatten() {
            let guard = bounded("the next caller", lock.write()).await?;
            let guard = guard.map_err(|error| format!("the next caller: {error}"))?;
            if self.see().await.held != 1 || !guard.is_held() {
                return Err("the next caller does not hold the lock".to_owned());
            }
            let released = bounded("the next release", guard.release()).await?;
            released.map_err(|error| format!("the next release: {error}"))?;
        }
        self.until("nothing is left again", |seen| seen.held + seen.waiting == 0).await
    }

    async fn check_sessions(&mut self) -> Outcome {
        if let Some(locks) = &self.locks {
            // Those that wait are closed when they are idle, and those that do not are kept: one,
            // and one more to ask for readers.
            let most = if self.combination.scene == Scene::Joining { 2 } else { 1 };
            let is_kept = |seen: &Seen| {
                seen.sessions == locks.stats().sessions && (1..=most).contains(&seen.sessions)
            };
            self.until("sessions are kept that do not wait", is_kept).await?;
            let stats = locks.stats();
            if stats.held + stats.waiting > 0 {
                return Err(format!("{stats:?}"));
            }
            self.close().await?;
        }
        self.locks = None;
        self.until("no session is left", |seen| seen.sessions == 0).await
    }

    fn lock(&self) -> Option<RwLock> {
        self.locks.as_ref().map(|locks| locks.rwlock(KEY))
    }

    async fn see(&self) -> Seen {
        let locks = self.witness.locks().await.unwrap();
        let own = || locks.iter().filter(|row| row.pid != self.witness_pid);
        let held = own().filter(|row| row.granted).count();
        // Those of the managers, and those that were not opened yet.
        let sessions = self.server.sessions("pglock").len() + self.server.sessions("").len() - 1;
        Seen { held, waiting: own().count() - held, sessions }
    }

    /// Awaits what must end unless the fault goes on.
    async fn faulty<T>(&self, what: &str, future: impl Future<Output = T>) -> Outcome<Option<T>> {
        if self.combination.goes_on() {
            return Ok(timeout(FAULTY, future).await.ok());
        }
        bounded(what, future).await.map(Some)
    }

    async fn until(&self, what: &str, reached: impl Fn(&Seen) -> bool) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.see().await;
            if reached(&seen) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("not reached: {what}: {seen:?}"));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Guard {
    fn is_held(&self) -> bool {
        match self {
            Self::Read(guard) => guard.is_held(),
            Self::Write(guard) => guard.is_held(),
        }
    }

    async fn release(self) -> Result<()> {
        match self {
            Self::Read(guard) => guard.release().await,
            Self::Write(guard) => guard.release().await,
        }
    }
}

async fn acquire(lock: RwLock, mode: Mode) -> Result<Guard> {
    match mode {
        Mode::Read => lock.read().await.map(Guard::Read),
        Mode::Write => lock.write().await.map(Guard::Write),
    }
}

/// Awaits what must end whatever goes wrong.
async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> Outcome<T> {
    timeout(PATIENCE, future).await.map_err(|_| format!("hangs: {what}"))
}

async fn poll_once<T>(future: &mut Pin<Box<impl Future<Output = T>>>) {
    poll_fn(|cx| {
        let _ = future.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
}

/// Completes when the future is to be polled again, and does not do that.
async fn until_woken<T>(future: &mut Pin<Box<impl Future<Output = T>>>) {
    struct Woken(Notify);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.notify_one();
        }
    }

    let woken = Arc::new(Woken(Notify::new()));
    let waker = Waker::from(woken.clone());
    if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        woken.0.notified().await;
    }
}

/// A manager on the runtime of the test, whose clock is paused.
fn here(server: &MemoryServer) -> Locks {
    Locks::builder(server.driver()).runtime(Handle::current()).build().unwrap()
}
