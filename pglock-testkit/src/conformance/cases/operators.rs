//! Operators and scripts that cancel what sessions are doing.

use std::time::{Duration, Instant};

use pglock_core::Mode;
use tokio::time::sleep;

use crate::conformance::{Lab, group, soon, start};

group! { operators:
    wait_cancelled_by_an_operator_continues: Sessions,
    statement_cancelled_by_an_operator_fails_no_caller: Sessions,
}

pub async fn wait_cancelled_by_an_operator_continues(lab: &Lab) {
    let witness = lab.witness();
    let lock = lab.lock("key");
    witness.hold("key".into(), Mode::Write).await.unwrap();
    let waiter = lock.clone();
    let wait = start(async move { waiter.write().await });
    for _ in 0..5 {
        let pid = witness.until_waiting("key".into(), 1).await.unwrap()[0].pid;
        assert!(witness.cancel(pid).await.unwrap());
        sleep(Duration::from_millis(20)).await;
        assert!(!wait.is_finished());
    }
    witness.until_waiting("key".into(), 1).await.unwrap();
    assert!(witness.release("key".into(), Mode::Write).await.unwrap());
    soon("the lock is free", wait).await.unwrap().unwrap().release().await.unwrap();
    soon("the session is in order", lock.write()).await.unwrap().release().await.unwrap();
}

/// The operator cancels sessions whatever they are doing.
pub async fn statement_cancelled_by_an_operator_fails_no_caller(lab: &Lab) {
    let manager = lab.manager();
    let held = manager.lock("held").write().await.unwrap();
    let mut tasks = Vec::new();
    let end = Instant::now() + Duration::from_secs(2);
    for task in 0..16 {
        let lock = manager.lock(task % 12);
        tasks.push(start(async move {
            let mut turns = 0;
            while Instant::now() < end {
                lock.write().await.unwrap().release().await.unwrap();
                lock.read().await.unwrap().release().await.unwrap();
                turns += 1;
            }
            turns
        }));
    }
    let mut cancels = 0;
    while Instant::now() < end {
        for pid in lab.witness().sessions("pglock").await.unwrap() {
            lab.witness().cancel(pid).await.unwrap();
            cancels += 1;
        }
        sleep(Duration::from_millis(1)).await;
    }
    let mut turns = 0;
    for task in tasks {
        turns += soon("the turns end", task).await.unwrap();
    }
    println!("{turns} turns, {cancels} cancels");
    assert!(held.is_held());
    held.release().await.unwrap();
}
