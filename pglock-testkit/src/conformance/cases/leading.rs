//! The work of a leader, term by term, and what ends a term.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pglock_core::recipes::election::{Election, Role, Term};
use pglock_core::{ErrorKind, Lease};
use tokio::sync::mpsc;

use super::electing::{candidate, key};
use super::runtimes::{aside, without_runtime};
use crate::conformance::{Lab, Options, group, soon, start};
use crate::faulty::{Fault, Faults, Point};

group! { leading:
    value_of_the_work_is_returned_and_the_leadership_ends,
    work_that_continues_leads_again_after_the_others,
    work_that_fails_or_panics_ends_only_its_term,
    short_terms_become_less_frequent,
    lost_leadership_stops_the_work_which_begins_anew: Sessions,
    loss_while_a_run_pauses_changes_nothing: Sessions,
    closed_manager_ends_a_run,
    run_continues_when_the_server_is_back: Engine,
    run_needs_no_runtime,
}

pub(super) type Flow<T = ()> = Result<ControlFlow<T>, Infallible>;

/// With pauses short enough for a case to wait.
pub(super) fn quick(lab: &Lab) -> Election {
    candidate(&lab.manager(), "name").back_off(Duration::from_millis(10))
}

/// For each part of the work, whether the candidate led when the part ended.
#[derive(Clone, Default)]
pub(super) struct Ends(Arc<Mutex<Vec<bool>>>);

/// A part of the work; dropping it records its end.
pub(super) struct Part(Ends, Lease);

impl Ends {
    pub(super) fn part(&self, term: &Term) -> Part {
        assert!(term.lease().is_held());
        Part(self.clone(), term.lease().clone())
    }

    pub(super) fn take(&self) -> Vec<bool> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let Self(ends, lease) = self;
        ends.0.lock().unwrap().push(lease.is_held());
    }
}

pub async fn value_of_the_work_is_returned_and_the_leadership_ends(lab: &Lab) {
    let election = quick(lab);
    let work = |term: Term| {
        let role = election.role();
        async move {
            assert!(matches!(role, Role::Leading { term, .. } if term == 1));
            assert!(term.number() == 1 && term.lease().is_held());
            Flow::Ok(Break(7))
        }
    };
    assert_eq!(soon("it ends", election.run(pending(), work)).await.unwrap(), Some(7));
    assert_eq!(election.role(), Role::Following);
    assert!(lab.witness().locks().await.unwrap().is_empty());
}

pub async fn work_that_continues_leads_again_after_the_others(lab: &Lab) {
    let (led, mut order) = mpsc::unbounded_channel();
    let run = |name: &'static str| {
        let (lab, led, election) = (lab.clone(), led.clone(), quick(lab));
        start(async move {
            let work = |term: Term| {
                led.send((term.number(), name)).unwrap();
                let (lab, key) = (lab.clone(), key(&election));
                async move {
                    if term.number() == 4 {
                        return Flow::Ok(Break(()));
                    }
                    // By then, the other one is in line.
                    lab.witness().until_waiting(key, 1).await.unwrap();
                    Flow::Ok(Continue(()))
                }
            };
            election.run(pending(), work).await.unwrap()
        })
    };
    for run in [run("one"), run("other")] {
        assert_eq!(soon("it ends", run).await.unwrap(), Some(()));
    }
    let terms: Vec<_> = std::iter::from_fn(|| order.try_recv().ok()).collect();
    let (first, second) = (terms[0].1, terms[1].1);
    assert_ne!(first, second);
    let in_turn: Vec<_> = (1..=4).flat_map(|term| [(term, first), (term, second)]).collect();
    assert_eq!(terms, in_turn);
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("the case wants it");
    }
}

pub async fn work_that_fails_or_panics_ends_only_its_term(lab: &Lab) {
    let election = quick(lab);
    let ends = Ends::default();
    let work = |term: Term| {
        let part = ends.part(&term);
        assert_ne!(term.number(), 1, "the case wants it: panics before there is a future");
        async move {
            let _part = part;
            match term.number() {
                2 => panic!("the case wants it"),
                3 => {
                    let _panics = PanicsWhenDropped;
                    tokio::task::yield_now().await;
                    Ok(Break(0))
                }
                4 => Err("the case wants it"),
                term => Ok(Break(term)),
            }
        }
    };
    let last = soon("it ends", election.run(pending(), work)).await.unwrap();
    assert_eq!(last, Some(5));
    assert_eq!(ends.take(), [true; 5], "it led until the work had ended");
}

pub async fn short_terms_become_less_frequent(lab: &Lab) {
    let election = candidate(&lab.manager(), "name").back_off(Duration::from_millis(400));
    let begins = Mutex::new(Vec::new());
    let work = |term: Term| {
        begins.lock().unwrap().push(Instant::now());
        // A term that takes as long as the pause before it counts as a long one.
        ready(if term.number() < 4 { Err("at once") } else { Ok(Break(())) })
    };
    soon("it ends", election.run(pending(), work)).await.unwrap();
    let begins = begins.into_inner().unwrap();
    for (pair, least) in begins.windows(2).zip([200, 400, 800]) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(least), "{begins:?}");
    }
}

pub async fn lost_leadership_stops_the_work_which_begins_anew(lab: &Lab) {
    let (election, ends) = (quick(lab), Ends::default());
    let (begin, mut begun) = mpsc::unbounded_channel();
    let (run, parts) = (election.clone(), ends.clone());
    let run = start(async move {
        let work = |term: Term| {
            let (part, begin) = (parts.part(&term), begin.clone());
            async move {
                let _part = part;
                begin.send(term.number()).unwrap();
                if term.number() < 4 { pending().await } else { Flow::Ok(Break("done")) }
            }
        };
        run.run(pending(), work).await
    });
    for term in 1..4 {
        assert_eq!(soon("it leads", begun.recv()).await, Some(term));
        assert!(ends.take().is_empty());
        lab.end_sessions().await;
        lab.until("the work is dropped", || !ends.0.lock().unwrap().is_empty()).await;
        assert_eq!(ends.take(), [false]);
    }
    assert_eq!(soon("it ends", run).await.unwrap().unwrap(), Some("done"));
    assert_eq!(ends.take(), [true]);
}

pub async fn loss_while_a_run_pauses_changes_nothing(lab: &Lab) {
    let election = candidate(&lab.manager(), "name").back_off(Duration::from_millis(400));
    let (begin, mut begun) = mpsc::unbounded_channel();
    let run = election.clone();
    let run = start(async move {
        let work = |term: Term| {
            begin.send(()).unwrap();
            ready(Flow::Ok(if term.number() < 2 { Continue(()) } else { Break(()) }))
        };
        run.run(pending(), work).await
    });
    soon("it leads", begun.recv()).await.unwrap();
    lab.witness().until_free(key(&election)).await.unwrap();
    lab.end_sessions().await;
    assert_eq!(soon("it leads again", run).await.unwrap().unwrap(), Some(()));
}

pub async fn closed_manager_ends_a_run(lab: &Lab) {
    let manager = lab.manager();
    let election = candidate(&manager, "name").back_off(Duration::from_millis(10));
    let (begin, mut begun) = mpsc::unbounded_channel();
    let run = start(async move {
        let work = |_| {
            begin.send(()).unwrap();
            pending::<Flow>()
        };
        election.run(pending(), work).await
    });
    soon("it leads", begun.recv()).await.unwrap();
    manager.close().await.unwrap();
    assert_eq!(soon("it ends", run).await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert!(begun.recv().await.is_none());
}

pub async fn run_continues_when_the_server_is_back(lab: &Lab) {
    let faults = Faults::new();
    let options = Options { faults: Some(faults.clone()), ..Options::default() };
    faults.strike(Point::Connect, Fault::Refused { done: false });
    let election = candidate(&lab.manager_with(&options), "name");
    let run = start(async move {
        let election = election.back_off(Duration::from_millis(10));
        election.run(pending(), |_| ready(Flow::Ok(Break(())))).await
    });
    lab.until("it has tried again", || faults.strikes() > 3).await;
    faults.clear();
    assert_eq!(soon("it leads", run).await.unwrap().unwrap(), Some(()));
}

/// It needs no timers either.
pub async fn run_needs_no_runtime(lab: &Lab) {
    let election = Election::new(lab.manager(), "name").back_off(Duration::from_millis(10));
    let value = aside(move || {
        without_runtime(async {
            let work = |term: Term| {
                ready(Flow::Ok(if term.number() < 3 { Continue(()) } else { Break(term.number()) }))
            };
            let value = election.run(pending(), work).await.unwrap();
            assert!(election.leader().await.unwrap().is_none());
            election.ask_to_resign().await.unwrap();
            value
        })
    });
    assert_eq!(value.await, Some(3));
}
