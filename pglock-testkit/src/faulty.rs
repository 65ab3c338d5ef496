//! A driver around another one that fails where a test wants it to.
//!
//! [`Faults`] is the script: which [`Fault`] strikes at which [`Point`], once or until it is
//! cleared. A [`Faulty`] driver follows it.
//!
//! # Examples
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> pglock_core::Result<()> {
//! use pglock_core::{ErrorKind, Locks};
//! use pglock_testkit::faulty::{Fault, Faults, Faulty, Point};
//! use pglock_testkit::memory::MemoryServer;
//!
//! let faults = Faults::new();
//! let locks = Locks::new(Faulty::new(MemoryServer::new().driver(), &faults));
//!
//! // The server cannot be reached.
//! faults.strike(Point::Connect, Fault::Broken { done: false });
//! let error = locks.rwlock("reports/daily").try_write().await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::Connection);
//!
//! // It can be reached again, but the connection breaks when the lock has been granted.
//! faults.clear();
//! faults.strike_once(Point::TryLock, Fault::Broken { done: true });
//! let guard = locks.rwlock("reports/daily").write().await?; // by another connection
//! assert!(guard.is_held() && faults.strikes() > 1);
//! # guard.release().await
//! # }
//! # #[cfg(not(feature = "memory"))]
//! # fn main() {}
//! ```

use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pglock_core::driver::{
    Answer, Driver, DriverError, Operation, Question, Request, Row, Session, Topic,
};
use tokio::sync::watch;
use tokio::time::sleep;

/// Where a fault strikes: the steps of the driver interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Point {
    /// Connecting.
    Connect,
    /// The first question of a session.
    Open,
    /// The question what a session holds.
    Holdings,
    /// A request in which a lock is tried.
    TryLock,
    /// A request in which a lock is waited for.
    Lock,
    /// A request in which a lock is given back.
    Unlock,
    /// A request in which it is asked whether a writer waits.
    Probe,
    /// A request in which a write lock is turned into a read lock.
    Downgrade,
    /// A request in which a session is cancelled.
    Cancel,
    /// A request in which everything is given back.
    UnlockAll,
    /// A request that only wants an answer.
    Ping,
    /// The watch on an idle connection.
    Closed,
    /// The farewell.
    Close,
}

impl Point {
    /// All there are.
    pub const ALL: [Self; 13] = [
        Self::Connect,
        Self::Open,
        Self::Holdings,
        Self::TryLock,
        Self::Lock,
        Self::Unlock,
        Self::Probe,
        Self::Downgrade,
        Self::Cancel,
        Self::UnlockAll,
        Self::Ping,
        Self::Closed,
        Self::Close,
    ];

    fn of(operation: Operation) -> Self {
        match operation {
            Operation::TryLock(..) => Self::TryLock,
            Operation::Lock(..) => Self::Lock,
            Operation::Unlock(..) => Self::Unlock,
            Operation::Probe(_) => Self::Probe,
            Operation::Downgrade(_) => Self::Downgrade,
            Operation::Cancel(_) => Self::Cancel,
            Operation::UnlockAll => Self::UnlockAll,
            Operation::Ping => Self::Ping,
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The server refuses. With `done`, what was asked has been done all the same, as when a wait
    /// is cancelled that was just granted.
    Refused {
        /// Whether it has an effect.
        done: bool,
    },
    /// The connection breaks. With `done`, on the way back.
    Broken {
        /// Whether it has an effect, which then ends with the session.
        done: bool,
    },
    /// Nothing comes back before the fault is cleared or the connection ends. With `done`, the
    /// answer is on its way.
    Silence {
        /// Whether it has an effect before the fault is cleared.
        done: bool,
    },
    /// The answer comes this much later.
    Slow(Duration),
    /// The request reaches another session of the server, as behind a transaction pooler.
    Moved,
    /// The request reaches the server twice, and the second answer comes back: that of a lock that
    /// had been given back already.
    Twice,
    /// Before the request, the last one in which the session gave a lock back is repeated: if it
    /// holds that lock again, it is taken away.
    Robbed,
}

/// Which faults strike where. Clones are handles to the same script.
#[derive(Clone, Debug)]
pub struct Faults {
    script: Arc<Mutex<Script>>,
    cleared: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Script {
    rules: Vec<Rule>,
    strikes: usize,
}

#[derive(Debug)]
struct Rule {
    point: Point,
    fault: Fault,
    once: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

impl Faults {
    /// Nothing goes wrong.
    #[must_use]
    pub fn new() -> Self {
        Self { script: Arc::default(), cleared: watch::Sender::new(()) }
    }

    /// From now on, the fault strikes at this point.
    pub fn strike(&self, point: Point, fault: Fault) {
        self.script().rules.push(Rule { point, fault, once: false });
    }

    /// The fault strikes when this point is reached next, and not again.
    pub fn strike_once(&self, point: Point, fault: Fault) {
        self.script().rules.push(Rule { point, fault, once: true });
    }

    /// Nothing goes wrong any more, and what was withheld comes.
    pub fn clear(&self) {
        self.script().rules.clear();
        self.cleared.send_replace(());
    }

    /// How often a fault has struck.
    #[must_use]
    pub fn strikes(&self) -> usize {
        self.script().strikes
    }

    fn at(&self, is_here: impl Fn(Point) -> bool) -> Strike {
        // Before the script is read, so that no clearing is missed.
        let cleared = self.cleared.subscribe();
        let mut script = self.script();
        let found = script.rules.iter().position(|rule| is_here(rule.point));
        let fault = found.map(|at| {
            script.strikes += 1;
            let Rule { fault, once, .. } = script.rules[at];
            if once {
                script.rules.remove(at);
            }
            fault
        });
        Strike { fault, cleared }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        // Nothing panics while it is locked.
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What strikes at a point, if anything does.
struct Strike {
    fault: Option<Fault>,
    cleared: watch::Receiver<()>,
}

impl Strike {
    async fn until_cleared(&mut self) {
        if self.cleared.changed().await.is_err() {
            // Nobody is left who could clear it.
            pending().await
        }
    }
}

/// Opens sessions as another driver does, with [`Faults`].
#[derive(Debug)]
pub struct Faulty<D> {
    driver: Arc<D>,
    faults: Faults,
}

impl<D: Driver> Faulty<D> {
    /// What goes wrong is up to `faults`, also later.
    pub fn new(driver: D, faults: &Faults) -> Self {
        Self { driver: Arc::new(driver), faults: faults.clone() }
    }
}

impl<D: Driver> Driver for Faulty<D> {
    type Session = FaultySession<D>;

    async fn connect(&self) -> Result<FaultySession<D>, DriverError> {
        let mut strike = self.faults.at(|point| point == Point::Connect);
        match strike.fault {
            Some(Fault::Refused { done: false } | Fault::Broken { done: false }) => {
                return Err(broken());
            }
            Some(Fault::Silence { done: false }) => strike.until_cleared().await,
            _ => {}
        }
        let session = self.driver.connect().await?;
        let mut session = FaultySession {
            driver: self.driver.clone(),
            faults: self.faults.clone(),
            session: Some(session),
            elsewhere: None,
            release: None,
        };
        // There is no session yet that could go on.
        session.after(&mut strike).await.map_err(|_| broken())?;
        Ok(session)
    }
}

/// A session of a [`Faulty`] driver.
pub struct FaultySession<D: Driver> {
    driver: Arc<D>,
    faults: Faults,
    /// `None` once its connection is broken.
    session: Option<D::Session>,
    /// The one that statements reach which are moved.
    elsewhere: Option<D::Session>,
    /// The last request in which a lock was given back.
    release: Option<Request>,
}

impl<D: Driver> FaultySession<D> {
    /// What happens instead of the request, or before it.
    async fn before(&mut self, strike: &mut Strike) -> Result<&mut D::Session, DriverError> {
        match strike.fault {
            Some(Fault::Refused { done: false }) => return Err(refused()),
            Some(Fault::Broken { done: false }) => self.session = None,
            Some(Fault::Silence { done: false }) => self.until_cleared(strike).await?,
            Some(Fault::Moved) => {
                if self.elsewhere.is_none() {
                    self.elsewhere = Some(self.driver.connect().await?);
                }
                return self.elsewhere.as_mut().ok_or_else(broken);
            }
            Some(Fault::Robbed) => {
                if let (Some(session), Some(release)) = (&mut self.session, &self.release) {
                    session.run(release).await?;
                }
            }
            _ => {}
        }
        self.session.as_mut().ok_or_else(broken)
    }

    /// What happens to the answer.
    async fn after(&mut self, strike: &mut Strike) -> Result<(), DriverError> {
        match strike.fault {
            Some(Fault::Refused { done: true }) => return Err(refused()),
            Some(Fault::Broken { done: true }) => {
                self.session = None;
                return Err(broken());
            }
            Some(Fault::Silence { done: true }) => self.until_cleared(strike).await?,
            Some(Fault::Slow(delay)) => sleep(delay).await,
            _ => {}
        }
        Ok(())
    }

    /// Waits for the fault to be cleared, or the connection to end.
    async fn until_cleared(&mut self, strike: &mut Strike) -> Result<(), DriverError> {
        let session = self.session.as_mut().ok_or_else(broken)?;
        tokio::select! {
            biased;
            () = strike.until_cleared() => Ok(()),
            error = session.closed() => Err(error),
        }
    }
}

impl<D: Driver> Session for FaultySession<D> {
    async fn run(&mut self, request: &Request) -> Result<Answer, DriverError> {
        let is_here =
            |point| request.to_operations().any(|operation| Point::of(operation) == point);
        let mut strike = self.faults.at(is_here);
        let twice = strike.fault == Some(Fault::Twice);
        if is_here(Point::Unlock) {
            self.release = Some(request.clone());
        }
        let session = self.before(&mut strike).await?;
        if twice {
            session.run(request).await?;
        }
        let answer = session.run(request).await?;
        self.after(&mut strike).await?;
        Ok(answer)
    }

    async fn ask(&mut self, question: &Question) -> Result<Vec<Row>, DriverError> {
        let here = match question.topic() {
            Topic::Open => Some(Point::Open),
            Topic::Holdings => Some(Point::Holdings),
            _ => None,
        };
        let mut strike = self.faults.at(|point| Some(point) == here);
        let rows = self.before(&mut strike).await?.ask(question).await?;
        self.after(&mut strike).await?;
        Ok(rows)
    }

    async fn closed(&mut self) -> DriverError {
        let mut strike = self.faults.at(|point| point == Point::Closed);
        match strike.fault {
            Some(Fault::Refused { .. } | Fault::Broken { .. }) => self.session = None,
            Some(Fault::Silence { .. }) => strike.until_cleared().await,
            _ => {}
        }
        let Some(session) = &mut self.session else {
            return broken();
        };
        let error = session.closed().await;
        if let Some(Fault::Slow(delay)) = strike.fault {
            sleep(delay).await;
        }
        error
    }

    async fn close(mut self) {
        let mut strike = self.faults.at(|point| point == Point::Close);
        match strike.fault {
            Some(Fault::Refused { .. } | Fault::Broken { .. }) => self.session = None,
            Some(Fault::Silence { .. }) => strike.until_cleared().await,
            Some(Fault::Slow(delay)) => sleep(delay).await,
            _ => {}
        }
        if let Some(session) = self.session {
            session.close().await;
        }
    }
}

impl<D: Driver> fmt::Debug for FaultySession<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultySession")
            .field("is_broken", &self.session.is_none())
            .finish_non_exhaustive()
    }
}

fn refused() -> DriverError {
    let error = DriverError::statement("refused by the faulty driver");
    error.with_sqlstate(Some("XX000".to_owned()))
}

fn broken() -> DriverError {
    DriverError::connection("broken by the faulty driver")
}
