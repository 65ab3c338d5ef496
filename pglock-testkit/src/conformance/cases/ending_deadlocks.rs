//! Deadlocks that end because a wait fails that was to fail.

use pglock_core::{Error, ErrorKind, LockKey};

use super::deadlocks::{Side, ends, pair};
use crate::conformance::{Lab, group, start};

group! { ending_deadlocks:
    one_of_two_that_choose_fails: Engine,
    only_the_one_that_chooses_fails: Engine,
    set_may_choose: Engine,
    upgrade_may_choose: Engine,
    loss_of_a_lock_ends_one: Engine,
}

fn assert_deadlock(error: &Error, key: &str) {
    assert_eq!((error.kind(), error.key()), (ErrorKind::Deadlock, Some(key.into())));
    for words in [r#""a""#, r#""b""#, "suspected", "release"] {
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}

/// The wait for the lowest key fails.
pub async fn one_of_two_that_choose_fails(lab: &Lab) {
    let sides = [Side::new(lab), Side::new(lab)];
    let [low, high] = if LockKey::from("a") < "b".into() { ["a", "b"] } else { ["b", "a"] };
    let begin = pair();
    let fails = sides[0].takes([high, low], true, &begin);
    let goes_on = sides[1].takes([low, high], true, &begin);
    assert_deadlock(&ends(fails).await.unwrap_err(), low);
    ends(goes_on).await.unwrap();
}

pub async fn only_the_one_that_chooses_fails(lab: &Lab) {
    for (first, second) in [(true, false), (false, true)] {
        let sides = [Side::new(lab), Side::new(lab)];
        let begin = pair();
        let tasks = [
            (sides[0].takes(["a", "b"], first, &begin), first, "b"),
            (sides[1].takes(["b", "a"], second, &begin), second, "a"),
        ];
        for (task, chooses, awaited) in tasks {
            match ends(task).await {
                Err(error) => assert!(chooses, "{error}: about {awaited}"),
                Ok(()) => assert!(!chooses),
            }
        }
    }
}

pub async fn set_may_choose(lab: &Lab) {
    let (side, other) = (Side::new(lab), Side::new(lab));
    let [low, high] = if LockKey::from("a") < "b".into() { ["a", "b"] } else { ["b", "a"] };
    let (holds, waits) = (pair(), pair());
    let locks = [high, low].map(|key| other.manager.engine_lock(key.into()));
    let (is_held, may_wait) = (holds.clone(), waits.clone());
    let task = start(async move {
        let held = locks[0].write().await?;
        is_held.wait().await;
        may_wait.wait().await;
        locks[1].write().await.map(|second| drop((held, second)))
    });
    holds.wait().await;
    let set = side.manager.set().write(low).write(high).fail_on_deadlock();
    let set = start(async move { set.acquire().await.map(drop) });
    lab.witness().until_waiting(high.into(), 1).await.unwrap();
    waits.wait().await;
    assert_deadlock(&ends(set).await.unwrap_err(), high);
    ends(task).await.unwrap();
}

/// The other side reads the key as well, and waits. The guard that could not be upgraded is returned.
pub async fn upgrade_may_choose(lab: &Lab) {
    let (side, other, begin) = (Side::new(lab), Side::new(lab), pair());
    let [a, b] = ["a", "b"].map(|key| side.manager.engine_lock(key.into()));
    let (a, other_begins) = (a.fail_on_deadlock(), begin.clone());
    let locks = ["a", "b"].map(|key| other.manager.engine_lock(key.into()));
    let upgrade = start(async move {
        let (reader, held) = (a.upgradable_read().await?, b.write().await?);
        begin.wait().await;
        let refused = reader.upgrade().await.map(drop).unwrap_err();
        let is_held = refused.guard.lease().is_held();
        drop((refused.guard, held));
        Ok((refused.error, is_held))
    });
    let waits = start(async move {
        let held = locks[0].read().await?;
        other_begins.wait().await;
        let second = locks[1].read().await?;
        drop((held, second));
        Ok(())
    });
    let (error, is_held) = ends(upgrade).await.unwrap();
    assert_deadlock(&error, "a");
    assert!(is_held);
    ends(waits).await.unwrap();
}

/// The side that has lost its lock still waits, and the other one goes on.
pub async fn loss_of_a_lock_ends_one(lab: &Lab) {
    let (sides, begin) = ([Side::new(lab), Side::new(lab)], pair());
    let loses = sides[0].takes(["a", "b"], false, &begin);
    let goes_on = sides[1].takes(["b", "a"], false, &begin);
    for side in &sides {
        side.until_warned(lab, &["a", "b"]).await;
    }
    let holder = lab.witness().holders("a".into()).await.unwrap()[0].pid;
    assert!(lab.witness().terminate(holder).await.unwrap());
    ends(goes_on).await.unwrap();
    assert_eq!(ends(loses).await.unwrap_err().kind(), ErrorKind::Lost);
    for side in &sides {
        assert_eq!(side.deadlock("a").await, None);
        assert_eq!(side.manager.stats().deadlocks, 1);
    }
}
