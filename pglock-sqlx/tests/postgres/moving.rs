//! A session that is moved to another server session behind the client's back, as transaction poolers do it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pglock_core::driver::{Answer, Driver, DriverError, Question, Request, Row, Session};
use pglock_sqlx::{ErrorKind, LockKey, SqlxDriver};
use pglock_testkit::conformance::soon;
use pglock_testkit::witness::Witness;

use super::{database, witness};

/// Gives each session two server sessions, and uses the second one once `moved` is set.
#[derive(Debug)]
struct Pooler {
    driver: SqlxDriver,
    moved: Arc<AtomicBool>,
}

struct Pooled<S> {
    sessions: [S; 2],
    moved: Arc<AtomicBool>,
}

impl Driver for Pooler {
    type Session = Pooled<<SqlxDriver as Driver>::Session>;

    async fn connect(&self) -> Result<Self::Session, DriverError> {
        let sessions = [self.driver.connect().await?, self.driver.connect().await?];
        Ok(Pooled { sessions, moved: self.moved.clone() })
    }
}

impl<S: Session + Sync> Session for Pooled<S> {
    async fn run(&mut self, request: &Request) -> Result<Vec<Answer>, DriverError> {
        let session = usize::from(self.moved.load(Ordering::SeqCst));
        self.sessions[session].run(request).await
    }

    async fn ask(&mut self, question: &Question) -> Result<Vec<Row>, DriverError> {
        let session = usize::from(self.moved.load(Ordering::SeqCst));
        self.sessions[session].ask(question).await
    }

    async fn closed(&mut self) -> DriverError {
        self.sessions[0].closed().await
    }

    async fn close(self) {
        for session in self.sessions {
            session.close().await;
        }
    }
}

type Locks = pglock_core::Locks<Pooler>;

fn pooled(url: &str) -> (Locks, Arc<AtomicBool>) {
    let moved = Arc::new(AtomicBool::new(false));
    let driver = Pooler { driver: url.parse().unwrap(), moved: moved.clone() };
    (Locks::new(driver), moved)
}

#[tokio::test]
async fn statement_in_a_foreign_session_locks_nothing_and_is_told() {
    let database = database().await;
    let witness = witness(database.url()).await;
    let (locks, moved) = pooled(database.url());
    let guard = locks.rwlock("held").write().await.unwrap();
    moved.store(true, Ordering::SeqCst);
    let error = locks.rwlock("new").try_write().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedServer);
    assert!(witness.holders(LockKey::from("new")).await.unwrap().is_empty());
    soon("the loss is told", guard.lost()).await;
    witness.until_quiet().await.unwrap();
}

#[tokio::test]
async fn release_in_a_foreign_session_is_no_silent_success() {
    let database = database().await;
    let witness = witness(database.url()).await;
    let (locks, moved) = pooled(database.url());
    let guard = locks.rwlock("held").write().await.unwrap();
    moved.store(true, Ordering::SeqCst);
    let error = guard.release().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost);
    witness.until_quiet().await.unwrap();
}
