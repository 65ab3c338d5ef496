//! How a leader's run ends: the work ends before the leadership does.

use std::future::{pending, ready};
use std::ops::ControlFlow::{Break, Continue};
use std::time::{Duration, Instant};

use pglock_core::Mode;
use pglock_core::recipes::election::{Election, Role, Term};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::cancelling::drop_after;
use super::electing::{candidate, key, leader};
use super::leading::{Ends, Flow, quick};
use crate::conformance::{Lab, group, soon, start};

group! { stopping:
    shutdown_ends_a_run_in_any_state,
    work_is_asked_to_stop_and_leads_until_it_has_stopped,
    work_that_does_not_stop_in_time_is_dropped,
    loss_ends_the_time_to_stop: Sessions,
    leadership_outlasts_the_work_however_it_ends,
    run_may_be_dropped_at_any_poll,
}

/// Longer than any case takes.
const LONG: Duration = Duration::from_secs(3600);

/// A run whose work, if it begins, continues until it is dropped.
struct Run {
    shutdown: oneshot::Sender<()>,
    begun: mpsc::UnboundedReceiver<()>,
    ends: Ends,
    task: JoinHandle<pglock_core::Result<Option<()>>>,
}

fn run(election: Election) -> Run {
    let (shutdown, down) = oneshot::channel();
    let (begin, begun) = mpsc::unbounded_channel();
    let ends = Ends::default();
    let parts = ends.clone();
    let task = start(async move {
        let work = |term: Term| {
            let part = parts.part(&term);
            begin.send(()).unwrap();
            async move {
                let _part = part;
                pending::<Flow>().await
            }
        };
        election.run(async { drop(down.await) }, work).await
    });
    Run { shutdown, begun, ends, task }
}

impl Run {
    /// Shuts down, and returns for each work whether it led when it ended.
    async fn stop(self) -> Vec<bool> {
        self.shutdown.send(()).unwrap();
        assert_eq!(soon("the run ends", self.task).await.unwrap().unwrap(), None);
        self.ends.take()
    }
}

pub async fn shutdown_ends_a_run_in_any_state(lab: &Lab) {
    let (election, witness) = (quick(lab), lab.witness());
    let key = key(&election);
    // Before it begins.
    let never = election.run(ready(()), |_| ready(Flow::Ok(Break(()))));
    assert_eq!(soon("it ends", never).await.unwrap(), None);
    // While it is in line.
    witness.hold(key, Mode::Write).await.unwrap();
    let in_line = run(election.clone());
    witness.until_waiting(key, 1).await.unwrap();
    assert_eq!(in_line.stop().await, [true; 0]);
    witness.release(key, Mode::Write).await.unwrap();
    witness.until_free(key).await.unwrap();
    // While it takes over.
    let taking_over = run(election.clone().take_over_after(LONG));
    leader(lab, &election).await;
    assert_eq!(taking_over.stop().await, [true; 0]);
    witness.until_free(key).await.unwrap();
    // While it works.
    let mut working = run(election.clone());
    soon("it leads", working.begun.recv()).await.unwrap();
    assert_eq!(working.stop().await, [true]);
    assert!(witness.holders(key).await.unwrap().is_empty(), "the release is confirmed");
    // During a pause.
    let (shutdown, down) = oneshot::channel::<()>();
    let (begin, mut begun) = mpsc::unbounded_channel();
    let work = move |_| {
        begin.send(()).unwrap();
        ready(Flow::<()>::Ok(Continue(())))
    };
    let pausing = election.clone().back_off(LONG);
    let pausing = start(async move { pausing.run(async { drop(down.await) }, work).await });
    soon("it leads", begun.recv()).await.unwrap();
    witness.until_free(key).await.unwrap();
    shutdown.send(()).unwrap();
    assert_eq!(soon("it ends", pausing).await.unwrap().unwrap(), None);
    assert_eq!(election.role(), Role::Following);
}

pub async fn work_is_asked_to_stop_and_leads_until_it_has_stopped(lab: &Lab) {
    let election = quick(lab).grace(LONG);
    let (shutdown, down) = oneshot::channel::<()>();
    let (begin, begun) = oneshot::channel();
    let (finish, finished) = oneshot::channel::<()>();
    let mut parts = Some((begin, finished));
    let run = election.clone();
    let run = start(async move {
        let work = |term: Term| {
            let (begin, finished) = parts.take().expect("it is run once");
            async move {
                begin.send(term.clone()).unwrap();
                term.stopping().await;
                // The work takes its time to stop.
                finished.await.unwrap();
                Flow::Ok(Break(term.lease().is_held()))
            }
        };
        run.run(async { drop(down.await) }, work).await
    });
    let term = soon("it leads", begun).await.unwrap();
    shutdown.send(()).unwrap();
    soon("it is asked to stop", term.stopping()).await;
    assert!(election.role().is_leading() && term.lease().is_held());
    assert!(quick(lab).try_campaign().await.unwrap().is_none());
    finish.send(()).unwrap();
    assert_eq!(soon("it ends", run).await.unwrap().unwrap(), Some(true));
    assert!(!term.lease().is_held());
    soon("the term is over", term.stopping()).await;
    assert!(lab.witness().locks().await.unwrap().is_empty());
}

pub async fn work_that_does_not_stop_in_time_is_dropped(lab: &Lab) {
    let grace = Duration::from_millis(100);
    let mut run = run(quick(lab).grace(grace));
    soon("it leads", run.begun.recv()).await.unwrap();
    let begin = Instant::now();
    assert_eq!(run.stop().await, [true]);
    assert!(begin.elapsed() >= grace);
}

pub async fn loss_ends_the_time_to_stop(lab: &Lab) {
    let election = quick(lab).grace(LONG);
    let mut run = run(election.clone());
    soon("it leads", run.begun.recv()).await.unwrap();
    run.shutdown.send(()).unwrap();
    lab.end_sessions().await;
    assert_eq!(soon("the run ends", run.task).await.unwrap().unwrap(), None);
    assert_eq!(run.ends.take(), [false]);
    assert_eq!(election.role(), Role::Following);
}

pub async fn leadership_outlasts_the_work_however_it_ends(lab: &Lab) {
    let ends = Ends::default();
    // The work ends on its own, in each possible way.
    let work = |term: Term| {
        let part = ends.part(&term);
        async move {
            let _part = part;
            tokio::task::yield_now().await;
            match term.number() {
                1 => Ok(Continue(())),
                2 => Err("the case wants it"),
                3 => panic!("the case wants it"),
                _ => Ok(Break(())),
            }
        }
    };
    soon("it ends", quick(lab).run(pending(), work)).await.unwrap();
    assert_eq!(ends.take(), [true; 4]);
    // The work ends because its task is aborted.
    let election = quick(lab);
    let mut aborted = run(election.clone());
    soon("it leads", aborted.begun.recv()).await.unwrap();
    aborted.task.abort();
    assert!(soon("it ends", aborted.task).await.unwrap_err().is_cancelled());
    assert_eq!(aborted.ends.take(), [true]);
    lab.witness().until_free(key(&election)).await.unwrap();
}

pub async fn run_may_be_dropped_at_any_poll(lab: &Lab) {
    let other = candidate(&lab.manager(), "name");
    for polls in 0..20 {
        let manager = lab.manager();
        let election = candidate(&manager, "name").back_off(Duration::from_millis(4));
        let ends = Ends::default();
        let work = |term: Term| {
            let part = ends.part(&term);
            async move {
                let _part = part;
                tokio::task::yield_now().await;
                // Every other term ends on its own.
                if term.number().is_multiple_of(2) {
                    pending().await
                } else {
                    Flow::<()>::Ok(Continue(()))
                }
            }
        };
        drop_after(polls, || election.run(pending(), work)).await;
        lab.witness().until_free(key(&other)).await.unwrap();
        assert_eq!(election.role(), Role::Following);
        let led = ends.take();
        assert!(led.iter().all(|led| *led), "{led:?}");
        let leadership = soon("the election is free", other.campaign()).await.unwrap();
        drop_after(polls, || election.run(pending(), |_| pending::<Flow>())).await;
        leadership.resign().await.unwrap();
        soon("the way is free", election.campaign()).await.unwrap().resign().await.unwrap();
        assert_eq!(manager.stats().waiting, 0);
    }
}
