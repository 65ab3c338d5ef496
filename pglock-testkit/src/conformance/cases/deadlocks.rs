//! Deadlocks over several keys: who reports them, and for how long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pglock_core::{Deadlock, ErrorKind, LockKey, NamedKey, Result, WaitStrategy};
use tokio::sync::{Barrier, oneshot};
use tokio::task::JoinHandle;
use tracing::instrument::WithSubscriber;

use super::listening::Listener;
use crate::conformance::{Lab, Manager, Options, group, is_long, soon, start};

group! { deadlocks:
    both_sides_report_it_once: Engine,
    three_in_a_ring_report_it: Engine,
    tasks_of_one_process_report_it: Engine,
    side_that_polls_reports_it: Engine,
    set_against_a_dedicated_session_is_certain: Engine,
    dedicated_session_of_another_process_is_seen: Engine,
    report_ends_with_the_deadlock: Engine,
}

/// A manager, and what it logs.
pub(super) struct Side {
    pub(super) manager: Arc<dyn Manager>,
    pub(super) log: Listener,
}

impl Side {
    pub(super) fn new(lab: &Lab) -> Self {
        Self { manager: lab.manager(), log: Listener::start() }
    }

    /// A task that takes one key, waits for the others, and then takes the next key.
    pub(super) fn takes(
        &self,
        keys: [&'static str; 2],
        gives_up: bool,
        others: &Arc<Barrier>,
    ) -> JoinHandle<Result<()>> {
        let [first, second] = keys.map(|key| self.manager.engine_lock(key.into()));
        let second = if gives_up { second.fail_on_deadlock() } else { second };
        let others = others.clone();
        let take = async move {
            let first = first.write().await?;
            others.wait().await;
            let second = second.write().await?;
            second.release().await?;
            first.release().await
        };
        start(take.with_subscriber(self.log.clone()))
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.log.warnings();
        warnings.retain(|text| text.contains("deadlock"));
        warnings
    }

    /// Waits for a warning about these keys.
    pub(super) async fn until_warned(&self, lab: &Lab, keys: &[&str]) -> String {
        let has_warned = || self.warning_about(keys).is_some();
        lab.until("a warning about the deadlock", has_warned).await;
        self.warning_about(keys).unwrap()
    }

    fn warning_about(&self, keys: &[&str]) -> Option<String> {
        let is_named = |text: &String| keys.iter().all(|key| text.contains(&shown(key)));
        self.warnings().into_iter().find(is_named)
    }

    pub(super) async fn deadlock(&self, key: impl Into<NamedKey>) -> Option<Arc<Deadlock>> {
        let locks = self.manager.inspect(key.into()).await.unwrap();
        assert!(locks.iter().all(|lock| lock.deadlock == locks[0].deadlock));
        locks.first()?.deadlock.clone()
    }

    async fn until_deadlock(&self, key: impl Into<LockKey>) -> Arc<Deadlock> {
        let key = key.into();
        let found = async {
            loop {
                if let Some(deadlock) = self.deadlock(key).await {
                    return deadlock;
                }
            }
        };
        soon("inspect shows the deadlock", found).await
    }
}

/// Returns when sessions wait for each of these keys.
async fn all_wait(lab: &Lab, keys: &[&str]) -> Instant {
    for key in keys {
        lab.witness().until_waiting((*key).into(), 1).await.unwrap();
    }
    Instant::now()
}

/// A busy machine may take longer than GUARANTEES.md promises.
fn assert_in_time(last_wait: Instant) {
    let time = last_wait.elapsed();
    println!("reported {time:.1?} after the last wait began");
    assert!(!is_long() || time < Duration::from_secs(10), "{time:?}");
}

/// A key as a sentence shows it to a manager that may not know its name.
fn shown(key: &str) -> String {
    LockKey::from(key).to_string()
}

pub(super) fn pair() -> Arc<Barrier> {
    Arc::new(Barrier::new(2))
}

pub(super) async fn is_dropped(task: JoinHandle<Result<()>>) {
    task.abort();
    assert!(soon("an aborted task ends", task).await.unwrap_err().is_cancelled());
}

pub(super) async fn ends<T>(task: JoinHandle<Result<T>>) -> Result<T> {
    soon("the wait ends", task).await.unwrap()
}

pub async fn both_sides_report_it_once(lab: &Lab) {
    let sides = [Side::new(lab), Side::new(lab)];
    let begin = pair();
    let first = sides[0].takes(["a", "b"], false, &begin);
    let second = sides[1].takes(["b", "a"], false, &begin);
    let last_wait = all_wait(lab, &["a", "b"]).await;
    for side in &sides {
        let warning = side.until_warned(lab, &["a", "b"]).await;
        assert!(warning.contains("deadlock suspected"), "{warning}");
        assert!(warning.contains(r#""a""#) && warning.contains(r#""b""#), "{warning}");
    }
    assert_in_time(last_wait);
    for (side, held) in sides.iter().zip(["a", "b"]) {
        let deadlock = side.deadlock("a").await.unwrap();
        assert_eq!(side.deadlock("b").await, Some(deadlock.clone()));
        assert!(!deadlock.is_certain);
        let [ours, theirs] = [true, false]
            .map(|is_ours| deadlock.waits.iter().find(|wait| wait.is_ours == is_ours).unwrap());
        assert_eq!((ours.held_name.as_deref(), ours.held), (Some(held), held.into()));
        assert_eq!((theirs.awaited_name.as_deref(), theirs.awaited), (Some(held), held.into()));
        assert_eq!(ours.awaited, theirs.held);
        let holders = lab.witness().holders(held.into()).await.unwrap();
        assert_eq!(holders[0].pid, ours.pid);
        assert!(theirs.pid != ours.pid && theirs.application_name == "pglock");
        let all = side.manager.inspect_all().await.unwrap();
        assert!(all.iter().any(|lock| lock.deadlock.is_some()));
        assert_eq!(side.manager.stats().deadlocks, 1);
    }
    // Another one is found by later looks, which do not repeat the first.
    let begin = pair();
    let third = sides[0].takes(["c", "d"], false, &begin);
    let fourth = sides[1].takes(["d", "c"], false, &begin);
    let last_wait = all_wait(lab, &["c", "d"]).await;
    for side in &sides {
        side.until_warned(lab, &["c", "d"]).await;
        assert_in_time(last_wait);
        assert_eq!(side.warnings().len(), 2, "{:#?}", side.warnings());
        assert_eq!(side.manager.stats().deadlocks, 2);
    }
    is_dropped(first).await;
    is_dropped(third).await;
    ends(second).await.unwrap();
    ends(fourth).await.unwrap();
}

pub async fn three_in_a_ring_report_it(lab: &Lab) {
    let sides = [Side::new(lab), Side::new(lab), Side::new(lab)];
    let begin = Arc::new(Barrier::new(3));
    let keys = [["a", "b"], ["b", "c"], ["c", "a"]];
    let mut tasks = Vec::new();
    for (side, keys) in sides.iter().zip(keys) {
        tasks.push(side.takes(keys, false, &begin));
    }
    let last_wait = all_wait(lab, &["a", "b", "c"]).await;
    for side in &sides {
        side.until_warned(lab, &["a", "b", "c"]).await;
        assert_in_time(last_wait);
        let deadlock = side.deadlock("a").await.unwrap();
        let waits: Vec<_> = deadlock.waits.iter().map(|wait| (wait.held, wait.awaited)).collect();
        assert_eq!(waits.len(), 3);
        assert!((0..3).all(|place| waits[place].1 == waits[(place + 1) % 3].0), "{waits:?}");
    }
    is_dropped(tasks.remove(0)).await;
    for task in tasks {
        ends(task).await.unwrap();
    }
}

pub async fn tasks_of_one_process_report_it(lab: &Lab) {
    let (side, begin) = (Side::new(lab), pair());
    let first = side.takes(["a", "b"], false, &begin);
    let second = side.takes(["b", "a"], true, &begin);
    let error = ends(second).await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::Deadlock, Some("a".into())));
    let warning = side.until_warned(lab, &["a", "b"]).await;
    assert!(warning.contains("suspected"), "{warning}");
    ends(first).await.unwrap();
}

/// Its wait is in no queue of the server.
pub async fn side_that_polls_reports_it(lab: &Lab) {
    let interval = Duration::from_millis(20);
    let polls = Options { wait_strategy: WaitStrategy::Poll { interval }, ..Options::default() };
    let polling = Side { manager: lab.manager_with(&polls), log: Listener::start() };
    let (waiting, begin) = (Side::new(lab), pair());
    let first = polling.takes(["a", "b"], false, &begin);
    let second = waiting.takes(["b", "a"], false, &begin);
    for side in [&polling, &waiting] {
        side.until_warned(lab, &["a", "b"]).await;
    }
    is_dropped(first).await;
    ends(second).await.unwrap();
}

pub async fn set_against_a_dedicated_session_is_certain(lab: &Lab) {
    let side = Side::new(lab);
    let session = side.manager.session().await.unwrap();
    let held = session.write(2).await.unwrap();
    let set = side.manager.set().write(1).write(2);
    let set = async move { set.acquire().await?.release().await };
    let set = start(set.with_subscriber(side.log.clone()));
    lab.witness().until_waiting(2.into(), 1).await.unwrap();
    let wait = start(async move {
        let second = session.write(1).await?;
        drop((held, second));
        session.close().await
    });
    lab.witness().until_waiting(1.into(), 1).await.unwrap();
    let last_wait = Instant::now();
    let deadlock = side.until_deadlock(1).await;
    assert_in_time(last_wait);
    assert!(deadlock.is_certain && deadlock.waits.iter().all(|wait| wait.is_ours));
    lab.until("a warning", || !side.warnings().is_empty()).await;
    let warnings = side.warnings();
    assert!(warnings.len() == 1 && !warnings[0].contains("suspected"), "{warnings:#?}");
    is_dropped(set).await;
    ends(wait).await.unwrap();
}

/// It waits in the session in which it holds, and publishes nothing.
pub async fn dedicated_session_of_another_process_is_seen(lab: &Lab) {
    let (side, other) = (Side::new(lab), lab.manager());
    let session = other.session().await.unwrap();
    let held = session.write("b").await.unwrap();
    let begin = pair();
    let task = side.takes(["a", "b"], true, &begin);
    begin.wait().await;
    let wait = start(async move {
        let second = session.write("a").await?;
        drop((held, second));
        session.close().await
    });
    let error = ends(task).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadlock);
    ends(wait).await.unwrap();
}

/// One side stops waiting, but keeps its lock, so that the other one goes on waiting.
pub async fn report_ends_with_the_deadlock(lab: &Lab) {
    let (side, other, begin) = (Side::new(lab), Side::new(lab), pair());
    let task = side.takes(["a", "b"], false, &begin);
    let (stop, stopped) = oneshot::channel::<()>();
    let (end, ended) = oneshot::channel::<()>();
    let locks = ["b", "a"].map(|key| other.manager.engine_lock(key.into()));
    let stays = start(async move {
        let held = locks[0].write().await?;
        begin.wait().await;
        tokio::select! {
            guard = locks[1].write() => drop(guard),
            _ = stopped => {}
        }
        let _ = ended.await;
        held.release().await
    });
    side.until_deadlock("a").await;
    stop.send(()).unwrap();
    soon("the report ends", async { while side.deadlock("a").await.is_some() {} }).await;
    lab.witness().until_waiting("b".into(), 1).await.unwrap();
    end.send(()).unwrap();
    ends(stays).await.unwrap();
    ends(task).await.unwrap();
}
