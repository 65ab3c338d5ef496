//! Standbys, promotions, and addresses that suddenly lead to another server.

use std::sync::Arc;

use pglock_core::{ErrorKind, LockKey, Mode, WriteGuard};
use tokio::task::JoinHandle;

use super::{assert_advice, connect};
use crate::conformance::{Lab, Manager, Options, group, soon, start};
use crate::faults::{Proxy, Standby};
use crate::postgres::TestServer;
use crate::witness::{PostgresWitness, Witness};

group! { failovers:
    standby_is_refused_and_says_where_to_connect: Postgres,
    reconnect_to_a_standby_is_refused: Postgres,
    guards_of_two_clusters_are_never_held_at_once: Postgres,
    promotion_makes_every_older_guard_lost: Postgres,
    superseded_primary_is_refused: Postgres,
}

const STANDBY: [&str; 2] = ["the server is a standby", "connect to the primary"];
const SUPERSEDED: [&str; 2] =
    ["the server has been superseded", "make sure that all clients reach the same server"];

pub async fn standby_is_refused_and_says_where_to_connect(lab: &Lab) {
    let primary = TestServer::private().await.unwrap();
    let Some(standby) = lab.allowed(Standby::of(&primary).await).unwrap() else { return };
    let manager = lab.manager_at(standby.server().url(), &Options::default()).unwrap();
    let lock = manager.lock("key");
    let errors = [
        soon("try_read", lock.try_read()).await.map(drop).unwrap_err(),
        soon("write", lock.write()).await.map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_advice(&error, ErrorKind::UnsupportedServer, &STANDBY);
    }
    let witness = connect(standby.server().url()).await;
    assert_eq!(witness.locks().await.unwrap(), []);
}

pub async fn reconnect_to_a_standby_is_refused(lab: &Lab) {
    let primary = TestServer::private().await.unwrap();
    let Some(standby) = lab.allowed(Standby::of(&primary).await).unwrap() else { return };
    let site = Site::new(lab, primary).await;
    let guard = site.hold("key").await;
    let wait = site.move_to(standby.server());
    let before = site.proxy.connections().len();
    lab.until("another session is refused", || site.proxy.connections().len() > before + 1).await;
    assert!(guard.is_held() && !wait.is_finished(), "the session on the primary continues");

    site.proxy.reset();
    soon("the loss is reported", guard.lost()).await;
    assert!(!guard.is_held());
    let lock = site.manager.lock("key");
    let errors = [
        soon("the waiting caller fails", wait).await.unwrap().map(drop).unwrap_err(),
        soon("try_write", lock.try_write()).await.map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_advice(&error, ErrorKind::UnsupportedServer, &STANDBY);
    }
    assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::Lost);

    site.proxy.retarget(site.server.url()).unwrap();
    let guard = soon("the primary is back", lock.write()).await.unwrap();
    assert_eq!(site.witness.holders("key".into()).await.unwrap().len(), 1);
    guard.release().await.unwrap();
}

pub async fn guards_of_two_clusters_are_never_held_at_once(lab: &Lab) {
    let site = Site::new(lab, TestServer::private().await.unwrap()).await;
    let other = TestServer::private().await.unwrap();
    site.assert_moves_to(&other).await;
    // Then back: no client knows which server is the right one, so the newest counts.
    site.witness.release(BUSY.into(), Mode::Write).await.unwrap();
    let witness = connect(other.url()).await;
    witness.hold(BUSY.into(), Mode::Write).await.unwrap();
    let guard = site.hold("key").await;
    let wait = site.move_to(&site.server);
    // Unless it ends, its session lives on at the other server.
    let waiter = witness.until_waiting(BUSY.into(), 1).await.unwrap()[0].pid;
    witness.terminate(waiter).await.unwrap();
    let granted = granted_instead(&guard, wait).await;
    assert_eq!(site.witness.holders(BUSY.into()).await.unwrap().len(), 1);
    witness.until_free("key".into()).await.unwrap();
    granted.release().await.unwrap();
}

pub async fn promotion_makes_every_older_guard_lost(lab: &Lab) {
    let primary = TestServer::private().await.unwrap();
    let Some(standby) = lab.allowed(Standby::of(&primary).await).unwrap() else { return };
    let site = Site::new(lab, primary).await;
    standby.promote().await.unwrap();
    site.assert_moves_to(standby.server()).await;
}

pub async fn superseded_primary_is_refused(lab: &Lab) {
    let primary = TestServer::private().await.unwrap();
    let Some(standby) = lab.allowed(Standby::of(&primary).await).unwrap() else { return };
    let site = Site::new(lab, primary).await;
    standby.promote().await.unwrap();
    site.proxy.retarget(standby.server().url()).unwrap();
    let guard = site.hold("key").await;

    site.proxy.retarget(site.server.url()).unwrap();
    site.proxy.reset();
    soon("the loss is reported", guard.lost()).await;
    let lock = site.manager.lock("key");
    let refused = soon("try_write", lock.try_write()).await.map(drop).unwrap_err();
    assert_advice(&refused, ErrorKind::UnsupportedServer, &SUPERSEDED);
    site.witness.until_free("key".into()).await.unwrap();

    site.proxy.retarget(standby.server().url()).unwrap();
    let guard = soon("the new primary is back", lock.write()).await.unwrap();
    let witness = connect(standby.server().url()).await;
    assert_eq!(witness.holders("key".into()).await.unwrap().len(), 1);
    guard.release().await.unwrap();
}

/// Another process holds it, so a caller that wants it makes the manager open a session.
const BUSY: &str = "busy";

/// A manager whose address can move.
struct Site {
    server: TestServer,
    witness: PostgresWitness,
    proxy: Proxy,
    manager: Arc<dyn Manager>,
}

impl Site {
    async fn new(lab: &Lab, server: TestServer) -> Self {
        let witness = connect(server.url()).await;
        witness.hold(BUSY.into(), Mode::Write).await.unwrap();
        let proxy = Proxy::start(server.url()).unwrap();
        let manager = lab.manager_at(proxy.url(), &Options::default()).unwrap();
        Self { server, witness, proxy, manager }
    }

    async fn hold(&self, key: &str) -> WriteGuard {
        soon("the lock is free", self.manager.lock(key).write()).await.unwrap()
    }

    /// Moves the address, and makes the manager open a session.
    fn move_to(&self, server: &TestServer) -> JoinHandle<pglock_core::Result<WriteGuard>> {
        self.proxy.retarget(server.url()).unwrap();
        let lock = self.manager.lock(BUSY);
        start(async move { lock.write().await })
    }

    /// The old server is alive, but the manager takes its locks from the new one.
    async fn assert_moves_to(&self, server: &TestServer) {
        let key = LockKey::from("key");
        let witness = connect(server.url()).await;
        let (guard, reader) =
            (self.hold("key").await, self.manager.lock("read").read().await.unwrap());
        assert_eq!(self.witness.holders(key).await.unwrap().len(), 1);
        let granted = granted_instead(&guard, self.move_to(server)).await;
        assert!(!reader.is_held());
        soon("every guard reports the loss", reader.lost()).await;
        assert_eq!(witness.holders(BUSY.into()).await.unwrap().len(), 1);
        assert_eq!(self.witness.holders(BUSY.into()).await.unwrap().len(), 1, "it lives");
        self.witness.until_free(key).await.unwrap();
        for released in [guard.release().await, reader.release().await] {
            assert_advice(&released.unwrap_err(), ErrorKind::Lost, &SUPERSEDED);
        }
        let again = self.hold("key").await;
        assert_eq!(witness.holders(key).await.unwrap().len(), 1);
        again.release().await.unwrap();
        granted.release().await.unwrap();
        witness.until_quiet().await.unwrap();
    }
}

/// A lock that the new server grants, on a key that is free there.
async fn granted_instead(
    older: &WriteGuard,
    wait: JoinHandle<pglock_core::Result<WriteGuard>>,
) -> WriteGuard {
    let granted = soon("a lock of the new server", wait).await.unwrap().unwrap();
    assert!(!older.is_held() && granted.is_held(), "only the new guard is held");
    soon("the loss is reported", older.lost()).await;
    granted
}
