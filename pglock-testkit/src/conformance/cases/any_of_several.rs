//! One of several keys, whichever is free.

use pglock_core::{ErrorKind, Mode, NamedKey};

use super::sets::{counted, held};
use crate::conformance::{Lab, Options, group, soon, start};

group! { any_of_several:
    first_free_key_of_several_is_taken,
    first_free_key_takes_one_round_trip: Engine,
    first_key_of_several_that_comes_free_is_granted,
    wait_for_any_key_leaves_the_queues_of_the_others,
    wait_for_any_key_continues_when_its_sessions_end: Sessions,
}

fn keys<const N: usize>(keys: [i64; N]) -> [NamedKey; N] {
    keys.map(NamedKey::from)
}

pub async fn first_free_key_of_several_is_taken(lab: &Lab) {
    let (manager, witness) = (lab.manager(), lab.witness());
    witness.hold(3.into(), Mode::Read).await.unwrap();
    let keys = keys([3, 1, 2, 4]);
    let mut guards = Vec::new();
    for expected in [1, 2, 4] {
        let guard = manager.try_write_any(&keys).await.unwrap().expect("one is free");
        assert_eq!(guard.key(), expected.into());
        guards.push(guard);
    }
    assert_eq!(held(witness).await.len(), 4);
    assert!(manager.try_write_any(&keys).await.unwrap().is_none());
    assert!(lab.manager().try_write_any(&keys).await.unwrap().is_none());
    witness.release(3.into(), Mode::Read).await.unwrap();
    let guard = manager.write_any(&keys).await.unwrap();
    assert_eq!(guard.key(), 3.into());
}

pub async fn first_free_key_takes_one_round_trip(lab: &Lab) {
    let (manager, faults) = counted(lab, Options::default()).await;
    let witness = lab.witness();
    for key in 0..20 {
        witness.hold(key.into(), Mode::Write).await.unwrap();
    }
    let keys: Vec<NamedKey> = (0..40_i64).map(NamedKey::from).collect();
    let guard = manager.try_write_any(&keys).await.unwrap().expect("half of them are free");
    assert_eq!((guard.key(), faults.strikes()), (20.into(), 1));
    assert_eq!(held(witness).await.len(), 21, "no other was taken");
    // Nor does it cost more when all are busy.
    assert!(manager.try_write_any(&keys[..20]).await.unwrap().is_none());
    assert_eq!(faults.strikes(), 2);
    for key in 0..20 {
        witness.release(key.into(), Mode::Write).await.unwrap();
    }
}

pub async fn first_key_of_several_that_comes_free_is_granted(lab: &Lab) {
    let (manager, witness) = (lab.manager(), lab.witness());
    for key in 1..=3 {
        witness.hold(key.into(), Mode::Write).await.unwrap();
    }
    let waiter = manager.clone();
    let wait = start(async move { waiter.write_any(&keys([1, 2, 3])).await.unwrap() });
    for key in 1..=3 {
        witness.until_waiting(key.into(), 1).await.unwrap();
    }
    witness.release(2.into(), Mode::Write).await.unwrap();
    let guard = soon("one is free", wait).await.unwrap();
    assert_eq!(guard.key(), 2.into());
    for key in [1, 3] {
        witness.release(key.into(), Mode::Write).await.unwrap();
        witness.until_free(key.into()).await.unwrap();
    }
    assert!(guard.is_held());
    assert_eq!(manager.stats().waiting, 0);
}

pub async fn wait_for_any_key_leaves_the_queues_of_the_others(lab: &Lab) {
    let (manager, witness) = (lab.manager(), lab.witness());
    for key in 1..=2 {
        witness.hold(key.into(), Mode::Write).await.unwrap();
    }
    for _ in 0..20 {
        let waiter = manager.clone();
        let wait = start(async move { waiter.write_any(&keys([1, 2])).await.map(drop) });
        for key in 1..=2 {
            witness.until_waiting(key.into(), 1).await.unwrap();
        }
        // Both come free at once: one is granted, and nothing stays of the other.
        let release = |key: i64| witness.release(key.into(), Mode::Write);
        let (one, other) = tokio::join!(release(1), release(2));
        assert!(one.unwrap() && other.unwrap());
        soon("one is free", wait).await.unwrap().unwrap();
        witness.until_quiet().await.unwrap();
        for key in 1..=2 {
            witness.hold(key.into(), Mode::Write).await.unwrap();
        }
    }
    for key in 1..=2 {
        witness.release(key.into(), Mode::Write).await.unwrap();
    }
}

pub async fn wait_for_any_key_continues_when_its_sessions_end(lab: &Lab) {
    let (manager, witness) = (lab.manager(), lab.witness());
    for key in 1..=2 {
        witness.hold(key.into(), Mode::Write).await.unwrap();
    }
    let waiter = manager.clone();
    let wait = start(async move { waiter.write_any(&keys([1, 2])).await.unwrap() });
    for _ in 0..3 {
        for key in 1..=2 {
            witness.until_waiting(key.into(), 1).await.unwrap();
        }
        lab.end_sessions().await;
    }
    assert!(!wait.is_finished());
    witness.release(2.into(), Mode::Write).await.unwrap();
    let guard = soon("one is free", wait).await.unwrap();
    assert!(guard.is_held() && guard.key() == 2.into());
    lab.end_sessions().await;
    soon("the loss is reported", guard.lost()).await;
    assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::Lost);
    witness.release(1.into(), Mode::Write).await.unwrap();
}
