//! One combination, from the first caller to the last check.

use std::future::poll_fn;
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
use tokio::time::{sleep, timeout};

mod checks;

use super::combination::{Combination, Lasting, Leave, Scene};

const KEY: &str = "key";
/// How long the server takes to answer.
const ANSWER: Duration = Duration::from_millis(2);
/// After this time, the caller is in the server's queue, if there is no fault.
const QUEUED: Duration = Duration::from_millis(7);
/// A reader that has held the lock for this long is not joined without a probe.
const OLD: Duration = Duration::from_millis(60);
/// Several heartbeats.
const HOLD: Duration = Duration::from_secs(6);
/// How long a lasting fault continues after the caller has left.
const FAULTY: Duration = Duration::from_secs(3);
/// The idle timeout of waiting sessions.
const IDLE: Duration = Duration::from_secs(2);
/// Longer than each time limit of the engine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The error says what is wrong.
type Outcome<T = ()> = std::result::Result<T, String>;

struct Play {
    combination: Combination,
    server: MemoryServer,
    /// Acts as another process.
    witness: Arc<MemoryWitness>,
    witness_pid: i32,
    faults: Faults,
    /// `None` once closed or dropped.
    locks: Option<Locks>,
    /// The guards of callers that have not left.
    guards: Vec<Guard>,
}

enum Guard {
    Read(ReadGuard),
    Write(WriteGuard),
}

/// Plays the combination. True if the fault has struck.
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
    // In the scenes in which the witness still holds the lock.
    let _ = play.witness.release(KEY.into(), Mode::Write).await;
    if let Some(mut next) = next {
        // It may get an error, or keep waiting in a request that gets no answer.
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

    /// Returns the acquire of the next in line, if the scene has one.
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
            Scene::Upgrading => lock.write().await.unwrap().release().await.unwrap(),
            Scene::Joining => {
                self.guards.push(Guard::Read(lock.read().await.unwrap()));
                sleep(OLD).await;
            }
            Scene::Sharing => {
                lock.write().await.unwrap().release().await.unwrap();
                let guard = lock.write().await.unwrap();
                // Released after the caller has asked.
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
        // Starts after the caller has asked.
        (scene == Scene::Followed).then(|| start(async move { lock.write().await }))
    }

    async fn leave(&mut self) -> Outcome {
        let Some(lock) = self.lock() else { return Ok(()) };
        let mode = self.combination.scene.mode();
        let mut acquire = Box::pin(acquire(lock.clone(), self.combination.scene));
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
                    tokio::join!(bounded("an acquire during close", acquire), close);
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
                    return Err("a guard is held after close".to_owned());
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

    fn lock(&self) -> Option<RwLock> {
        self.locks.as_ref().map(|locks| locks.rwlock(KEY))
    }

    /// Awaits a future that must end unless the fault lasts.
    async fn faulty<T>(&self, what: &str, future: impl Future<Output = T>) -> Outcome<Option<T>> {
        if self.combination.goes_on() {
            return Ok(timeout(FAULTY, future).await.ok());
        }
        bounded(what, future).await.map(Some)
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

async fn acquire(lock: RwLock, scene: Scene) -> Result<Guard> {
    match scene.mode() {
        Mode::Read if scene == Scene::Upgrading => {
            Ok(lock.read().await?.try_upgrade().await?.map_or_else(Guard::Read, Guard::Write))
        }
        Mode::Read => lock.read().await.map(Guard::Read),
        Mode::Write => lock.write().await.map(Guard::Write),
    }
}

/// Awaits a future that must end despite any fault.
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

/// Polls once, and completes when the future wants to be polled again.
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
