//! When a lease ends, and what it does not keep alive.

use std::future::ready;
use std::time::{Duration, Instant};

use pglock_core::key::interop;
use pglock_core::{ErrorKind, Lease};
use tokio::time::sleep;

use super::{leased, limited_to};
use crate::conformance::{Lab, group, soon, start};

group! { believing:
    lease_ends_although_its_lock_passes_on_in_the_process: Engine,
    heartbeats_extend_a_lease: Engine,
    lease_does_not_keep_a_name_in_use,
}

pub async fn lease_ends_although_its_lock_passes_on_in_the_process(lab: &Lab) {
    let manager = lab.manager_with(&limited_to(u32::MAX));
    let guard = manager.lock("key").write().await.unwrap();
    let lease = guard.lease().clone();
    let next = start({
        let lock = manager.lock("key");
        async move { lock.write().await.unwrap() }
    });
    lab.until_queued(&manager, 1).await;
    drop(guard);
    // The lock at the server remains, and so does its session.
    let next = soon("the lock passes on", next).await.unwrap();
    assert_eq!(manager.stats().hand_overs, 1);
    assert_eq!((lease.is_held(), lease.valid_for()), (false, Duration::ZERO));
    soon("the first lease ends", lease.lost()).await;
    let error = lease.protect(ready(())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost);
    assert!(error.to_string().contains("released"), "{error}");
    let other = next.lease().clone();
    assert!(other.is_held() && other.valid_for() > Duration::ZERO);
    next.release().await.unwrap();
    assert!(!other.is_held());
}

pub async fn heartbeats_extend_a_lease(lab: &Lab) {
    let options = leased();
    let heartbeat = options.guard_lease.expect("it is set") / 4;
    let manager = lab.manager_with(&options);
    let guard = manager.lock("key").write().await.unwrap();
    let lease = guard.lease().clone();
    let begin = valid_until(&lease);
    // Meanwhile, no caller sends the server anything.
    let extended = async {
        while valid_until(&lease) < begin + heartbeat * 2 {
            sleep(heartbeat / 10).await;
        }
    };
    soon("two heartbeats are answered", extended).await;
    assert!(lease.is_held());
}

fn valid_until(lease: &Lease) -> Instant {
    Instant::now() + lease.valid_for()
}

pub async fn lease_does_not_keep_a_name_in_use(lab: &Lab) {
    let manager = lab.manager();
    let named = |name| manager.lock(interop::fnv1a("key").named(name));
    let guard = named("first").write().await.unwrap();
    let lease = guard.lease().clone();
    let error = named("second").try_write().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyCollision);
    guard.release().await.unwrap();
    let guard = named("second").write().await.expect("only the lease knows the other name");
    assert!(guard.is_held() && !lease.is_held());
    // The lease still knows the name.
    let error = lease.protect(ready(())).await.unwrap_err();
    assert!(error.to_string().contains("first"), "{error}");
}
