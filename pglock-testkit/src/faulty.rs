//! A driver that wraps another one and fails where a test wants it to.
//!
//! [`Faults`] is the script: it says which [`Fault`] strikes at which [`Point`], once or until it
//! is cleared. A [`Faulty`] driver follows it.
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
//! // It can be reached again, but the connection breaks after the lock is granted.
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
use std::sync::Arc;

use pglock_core::driver::{Answer, Driver, DriverError, Question, Request, Row, Session, Topic};
use tokio::time::sleep;

mod script;

use self::script::Strike;
pub use self::script::{Fault, Faults, Point};

/// Opens sessions as the wrapped driver does, with [`Faults`].
#[derive(Debug)]
pub struct Faulty<D> {
    driver: Arc<D>,
    faults: Faults,
}

impl<D: Driver> Faulty<D> {
    /// Wraps a driver. `faults` decides what goes wrong, and can be changed later.
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
            stray: None,
            release: None,
        };
        // There is no session yet that could continue.
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
    /// The session that misrouted statements reach.
    stray: Option<D::Session>,
    /// The last request that released a lock.
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
                if self.stray.is_none() {
                    self.stray = Some(self.driver.connect().await?);
                }
                return self.stray.as_mut().ok_or_else(broken);
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

    /// Waits until the fault is cleared or the connection ends.
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
