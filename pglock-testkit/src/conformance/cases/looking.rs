//! Inspection: holders, waiters and their names.

use std::time::Duration;

use pglock_core::key::interop;
use pglock_core::{DistributedRwLock, Error, ErrorKind, LockKey, Mode};

use super::{as_role, connect, execute, limited_to};
use crate::conformance::{Lab, Options, group, start};
use crate::postgres::TestServer;
use crate::witness::Witness;

group! { looking:
    holders_and_waiters_are_listed,
    sessions_keep_the_name_of_their_connection: Postgres,
    names_are_listed_while_this_manager_uses_them,
    timeout_names_the_holder,
    timeout_says_if_this_process_holds_the_lock,
    names_that_share_a_key_are_reported,
    stats_count_grants_and_hand_overs,
}

pub async fn holders_and_waiters_are_listed(lab: &Lab) {
    let named = |name: &str| Options { application_name: name.to_owned(), ..Options::default() };
    let (holder, waiter) = (lab.manager_with(&named("holder")), lab.manager_with(&named("waiter")));
    let _guard = holder.lock("key").read().await.unwrap();
    let _other = holder.lock((1, -2)).write().await.unwrap();
    let lock = waiter.lock("key");
    let wait = start(async move { lock.write().await.map(drop) });
    lab.witness().until_waiting("key".into(), 1).await.unwrap();

    let seen = waiter.inspect("key".into()).await.unwrap();
    let listed: Vec<_> = seen
        .iter()
        .map(|lock| (lock.key, lock.mode, lock.granted, &*lock.application_name))
        .collect();
    let key = LockKey::from("key");
    assert_eq!(listed, [(key, Mode::Read, true, "holder"), (key, Mode::Write, false, "waiter")]);
    assert_eq!(seen[1].blocked_by, [seen[0].pid]);
    assert!(seen[0].pid != seen[1].pid);

    let all = holder.inspect_all().await.unwrap();
    assert_eq!(all.len(), 3);
    assert!(all.iter().any(|lock| lock.key == LockKey::from((1, -2)) && lock.granted));
    drop(_guard);
    wait.await.unwrap().unwrap();
    assert!(waiter.inspect("never".into()).await.unwrap().is_empty());
}

/// Lets operators see which application a lock belongs to.
pub async fn sessions_keep_the_name_of_their_connection(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let witness = connect(server.url()).await;
    execute(&witness, "CREATE ROLE named LOGIN; ALTER ROLE named SET application_name = 'by role'")
        .await;
    let (long, cut) = ("x".repeat(100), format!("{} (pglock)", "x".repeat(54)));
    let named = |name: &str| format!("{}?application_name={name}", server.url());
    for (url, given, expected) in [
        (named("orders"), "", "orders (pglock)"),
        (as_role(server.url(), "named"), "", "by role (pglock)"),
        (named(&long), "", &*cut),
        (named("pglock%20of%20orders"), "", "pglock of orders"),
        (server.url().to_owned(), "", "pglock"),
        (named("orders"), "given", "given"),
    ] {
        let options = Options { application_name: given.to_owned(), ..Options::default() };
        let manager = lab.manager_at(&url, &options).unwrap();
        let guard = manager.lock("key").write().await.unwrap();
        let holder = &manager.inspect("key".into()).await.unwrap()[0];
        assert_eq!(holder.application_name, expected);
        assert!(witness.sessions(expected).await.unwrap().contains(&holder.pid));
        guard.release().await.unwrap();
        manager.close().await.unwrap();
    }
    // The server changes characters that are not ASCII.
    let options = Options { application_name: String::new(), ..Options::default() };
    let manager = lab.manager_at(&named(&"%C3%A9".repeat(40)), &options).unwrap();
    let guard = manager.lock("key").write().await.unwrap();
    let name = &manager.inspect("key".into()).await.unwrap()[0].application_name;
    assert!(name.len() <= 63 && name.ends_with(" (pglock)"), "{name}");
    guard.release().await.unwrap();
}

pub async fn names_are_listed_while_this_manager_uses_them(lab: &Lab) {
    let (manager, other) = (lab.manager(), lab.manager());
    let guard = manager.lock("reports/daily").write().await.unwrap();
    let name = |locks: Vec<pglock_core::LockEntry>| locks[0].name.clone();
    let key = LockKey::from("reports/daily");
    // The lock is gone, but its guard still has the name.
    assert_eq!(name(manager.inspect(key.into()).await.unwrap()).as_deref(), Some("reports/daily"));
    assert_eq!(name(other.inspect(key.into()).await.unwrap()), None);
    assert!(format!("{guard:?}").contains("reports/daily"));
    drop(guard);
}

pub async fn timeout_names_the_holder(lab: &Lab) {
    let options = Options { application_name: "the holder".to_owned(), ..Options::default() };
    let holder = lab.manager_with(&options);
    let guard = holder.lock("key").write().await.unwrap();
    let lock = lab.manager().lock("key");
    let error = until_holder_is_named(&*lock).await;
    assert!(error.to_string().contains("\"key\""), "{error}");
    let [holder] = error.holders() else { panic!("{error}") };
    assert_eq!((holder.mode, &*holder.application_name), (Mode::Write, "the holder"));
    assert!(error.to_string().contains(&format!("pid {} \"the holder\"", holder.pid)));
    drop(guard);
}

pub async fn timeout_says_if_this_process_holds_the_lock(lab: &Lab) {
    let (manager, other) = (lab.manager(), lab.manager());
    let _guard = manager.lock("key").write().await.unwrap();
    let is_ours = |locks: Vec<pglock_core::LockEntry>| locks[0].is_ours;
    assert!(is_ours(manager.inspect("key".into()).await.unwrap()));
    assert!(!is_ours(other.inspect("key".into()).await.unwrap()));
    let (lock, theirs) = (manager.lock("key"), other.lock("key"));
    let error = until_holder_is_named(&*lock).await;
    let pid = error.holders()[0].pid;
    assert!(error.to_string().contains(&format!("held by this process (pid {pid})")), "{error}");
    let error = until_holder_is_named(&*theirs).await;
    assert!(!error.to_string().contains("this process"), "{error}");
    // The text for strangers does not contain it.
    assert_eq!(error.kind().to_string(), "the lock was not free in time");
}

/// The first timeout that names a holder. If the server is slow to accept or to answer, the error
/// says that instead, which is not a failure.
async fn until_holder_is_named(lock: &dyn DistributedRwLock) -> Error {
    for _ in 0..50 {
        let error = lock.try_write_for(Duration::from_millis(10)).await.unwrap_err();
        if error.holders().len() == 1 {
            assert_eq!(error.kind(), ErrorKind::Timeout);
            return error;
        }
    }
    panic!("no timeout says who holds the lock");
}

pub async fn names_that_share_a_key_are_reported(lab: &Lab) {
    let manager = lab.manager();
    let names = ["tenant:036j5l85vu-h", "tenant:1-0z9b69xhfy"];
    let [first, second] = names.map(|name| interop::fnv1a(name).named(name));
    let lock = manager.lock(first.clone());
    let guard = lock.write().await.unwrap();
    drop(lock);
    let error = manager.lock(second.clone()).try_read().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyCollision);
    assert!(names.iter().all(|name| error.to_string().contains(name)), "{error}");
    // The same name is the same lock, and a number has no name.
    assert!(manager.lock(first).try_write().await.unwrap().is_none());
    assert!(manager.lock(interop::fnv1a(names[1])).try_write().await.unwrap().is_none());
    guard.release().await.unwrap();
    assert!(manager.lock(second).try_write().await.unwrap().is_some());
}

pub async fn stats_count_grants_and_hand_overs(lab: &Lab) {
    let manager = lab.manager_with(&limited_to(u32::MAX));
    let lock = manager.lock("key");
    let guard = lock.write().await.unwrap();
    let waiting = lock.clone();
    let wait = start(async move { waiting.write().await.unwrap().release().await });
    lab.until_queued(&manager, 1).await;
    let stats = manager.stats();
    assert_eq!((stats.held, stats.waiting, stats.grants, stats.hand_overs), (1, 1, 1, 0));
    drop(guard);
    wait.await.unwrap().unwrap();
    let stats = manager.stats();
    assert_eq!((stats.held, stats.waiting, stats.grants, stats.hand_overs), (0, 0, 2, 1));
    assert_eq!((stats.losses, stats.reconnects), (0, 0));
    assert_ne!(stats.has_lease, Some(!lab.has_lease().await));
}
