//! Roles that may not cancel their own sessions, and a right that is revoked.

use std::sync::Arc;
use std::time::Duration;

use pglock_core::{ErrorKind, Mode};
use tokio::time::{Instant, sleep, timeout};

use super::{as_role, connect, execute};
use crate::conformance::{Lab, Manager, Options, group, soon, start};
use crate::postgres::TestServer;
use crate::witness::{PostgresWitness, Witness};

group! { rights:
    role_that_may_not_cancel_polls: Postgres,
    refused_cancel_fails_no_other_caller: Postgres,
    refused_operation_fails_no_neighbour: Postgres,
    dedicated_session_of_a_role_that_may_not_cancel_pauses_its_waits: Postgres,
}

/// A setup hook that runs `SET ROLE` has the same effect.
const ROLES: &str = "
    CREATE ROLE app;
    CREATE ROLE app_login LOGIN IN ROLE app;
    ALTER ROLE app_login SET role = 'app';";

/// A manager whose role may not cancel its own sessions, beside a witness that holds the key
/// "busy".
async fn without_the_right(lab: &Lab) -> (TestServer, PostgresWitness, Arc<dyn Manager>) {
    let server = TestServer::private().await.unwrap();
    let witness = connect(server.url()).await;
    execute(&witness, ROLES).await;
    witness.hold("busy".into(), Mode::Write).await.unwrap();
    let url = as_role(server.url(), "app_login");
    let manager = lab.manager_at(&url, &Options::default()).unwrap();
    (server, witness, manager)
}

pub async fn role_that_may_not_cancel_polls(lab: &Lab) {
    let (server, witness, manager) = without_the_right(lab).await;
    assert_eq!(manager.stats().can_cancel, None);
    let held = manager.lock("held").write().await.unwrap();
    assert_eq!(manager.stats().can_cancel, Some(false));
    let busy = manager.lock("busy");
    let hasty = busy.clone();
    let hasty = start(async move { hasty.try_write_for(Duration::from_millis(300)).await });
    let slowest = acquire_others(&manager, 100).await;
    let error = soon("the timeout", hasty).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(witness.waiters("busy".into()).await.unwrap().is_empty());
    println!("the slowest of 100 other acquires took {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let wait = start(async move { busy.write().await });
    lab.until_queued(&manager, 1).await;
    assert!(witness.release("busy".into(), Mode::Write).await.unwrap());
    soon("the lock is free", wait).await.unwrap().unwrap().release().await.unwrap();
    held.release().await.unwrap();
    manager.close().await.unwrap();
    assert_eq!(errors(&server), 0, "{}", server.log().unwrap());
}

pub async fn dedicated_session_of_a_role_that_may_not_cancel_pauses_its_waits(lab: &Lab) {
    let (_server, witness, manager) = without_the_right(lab).await;
    let session = Arc::new(manager.session().await.unwrap());
    let held = session.write("held").await.unwrap();
    let waiter = session.clone();
    let wait = start(async move { waiter.write("busy").await });
    witness.until_waiting("busy".into(), 1).await.unwrap();
    let begin = Instant::now();
    held.release().await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    witness.until_waiting("busy".into(), 1).await.unwrap();
    assert!(witness.release("busy".into(), Mode::Write).await.unwrap());
    soon("the lock is free", wait).await.unwrap().unwrap().release().await.unwrap();
    session.close().await.unwrap();
}

/// The role may cancel when the wait begins, but no longer when the caller gives it up.
pub async fn refused_cancel_fails_no_other_caller(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let witness = connect(server.url()).await;
    execute(&witness, ROLES).await;
    execute(&witness, "GRANT pg_signal_backend TO app").await;
    witness.hold("busy".into(), Mode::Write).await.unwrap();
    let url = as_role(server.url(), "app_login");
    let manager = lab.manager_at(&url, &Options::default()).unwrap();
    let held = manager.lock("held").write().await.unwrap();
    assert_eq!(manager.stats().can_cancel, Some(true));
    let busy = manager.lock("busy");
    let waiter = busy.clone();
    let wait = start(async move { waiter.write().await });
    witness.until_waiting("busy".into(), 1).await.unwrap();
    execute(&witness, "REVOKE pg_signal_backend FROM app").await;
    let others = start({
        let manager = manager.clone();
        async move {
            let mut tasks = Vec::new();
            for task in 0..8 {
                let lock = manager.lock(task);
                tasks.push(start(async move {
                    for _ in 0..100 {
                        lock.write().await.unwrap().release().await.unwrap();
                    }
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
        }
    });
    wait.abort();
    let begin = Instant::now();
    if watches_clients(&witness).await {
        soon("the waiter leaves", async {
            while !witness.waiters("busy".into()).await.unwrap().is_empty() {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        println!("the waiter was gone after {:?}", begin.elapsed());
        assert!(begin.elapsed() < Duration::from_millis(2500), "{:?}", begin.elapsed());
    }
    soon("the other acquires", others).await.unwrap();
    assert!(held.is_held());
    lab.until("the manager knows", || manager.stats().can_cancel == Some(false)).await;
    // From now on it polls.
    let wait = start(async move { busy.write().await });
    lab.until_queued(&manager, 1).await;
    assert!(witness.release("busy".into(), Mode::Write).await.unwrap());
    soon("the lock is free", wait).await.unwrap().unwrap().release().await.unwrap();
    held.release().await.unwrap();
    assert_eq!(errors(&server), 1, "{}", server.log().unwrap());
}

/// Readers lack a right, so the server refuses each statement that asks for readers and writers
/// together.
pub async fn refused_operation_fails_no_neighbour(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let witness = connect(server.url()).await;
    let refuse = "
        ALTER FUNCTION pg_catalog.pg_try_advisory_lock_shared(bigint) RENAME TO renamed;
        CREATE FUNCTION pg_catalog.pg_try_advisory_lock_shared(bigint) RETURNS boolean
            LANGUAGE plpgsql AS $$ BEGIN RAISE 'no readers' USING ERRCODE = '42501'; END $$;";
    execute(&witness, refuse).await;
    let manager = lab.manager_at(server.url(), &Options::default()).unwrap();
    let held = manager.lock("held").write().await.unwrap();
    let mut tasks = Vec::new();
    for task in 0..32 {
        let lock = manager.lock(task);
        tasks.push(start(async move {
            for _ in 0..20 {
                if task % 8 == 0 {
                    lock.read().await.map(drop).unwrap_err();
                } else {
                    lock.write().await.unwrap().release().await.unwrap();
                }
            }
        }));
    }
    for task in tasks {
        soon("every caller is answered", task).await.unwrap();
    }
    held.release().await.unwrap();
}

/// How long the slowest of this many acquires of other keys took.
async fn acquire_others(manager: &Arc<dyn Manager>, count: i64) -> Duration {
    let mut slowest = Duration::ZERO;
    for key in 0..count {
        let begin = Instant::now();
        let bound = Duration::from_secs(10);
        let guard = timeout(bound, manager.lock(key).write()).await.unwrap().unwrap();
        guard.release().await.unwrap();
        slowest = slowest.max(begin.elapsed());
        sleep(Duration::from_millis(3)).await;
    }
    slowest
}

fn errors(server: &TestServer) -> usize {
    server.log().unwrap().lines().filter(|line| line.contains("ERROR:")).count()
}

/// Whether the server notices that a waiting client is gone.
async fn watches_clients(witness: &PostgresWitness) -> bool {
    witness.major_version().await.unwrap() >= 14
}
