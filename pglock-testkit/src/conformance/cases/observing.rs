//! Elections as observers see them: which candidate leads, and how to ask a leader to resign.

use std::future::{pending, ready};
use std::ops::ControlFlow::{Break, Continue};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use pglock_core::driver::ErrorBuilder;
use pglock_core::recipes::election::{Election, Term};
use pglock_core::{
    DistributedRwLock, ErrorKind, LockEntry, LockKey, LockProvider, Mode, NamedKey, Result,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::cancelling::drop_after;
use super::electing::{campaign, candidate, key, leader};
use super::leading::{Flow, quick};
use crate::conformance::{Lab, Manager, Options, group, soon, start};

group! { observing:
    leader_is_known_by_its_session,
    reader_of_the_key_is_no_leader,
    observers_see_the_first_leader_and_each_change,
    observers_see_an_error_once_and_then_the_leader,
    leader_that_is_asked_resigns,
    withdrawn_request_does_not_reach_the_leader,
    request_reaches_only_the_leader_that_was_asked,
    request_survives_the_session_that_makes_it: Sessions,
    request_ends_with_the_leader: Sessions,
    request_without_a_leader_returns_at_once,
    request_may_be_dropped_at_any_poll,
}

const INTERVAL: Duration = Duration::from_millis(10);

fn named(lab: &Lab, application_name: &str) -> Election {
    let application_name = application_name.to_owned();
    candidate(&lab.manager_with(&Options { application_name, ..Options::default() }), "name")
}

/// Counts inspections of any key. They can be made to fail.
#[derive(Debug)]
struct Lens {
    locks: Arc<dyn Manager>,
    is_blind: AtomicBool,
    looks: watch::Sender<usize>,
}

impl Lens {
    fn new(lab: &Lab) -> Self {
        Self { locks: lab.manager(), is_blind: AtomicBool::new(false), looks: Default::default() }
    }

    /// The result of the future, or `None` once this many inspections have been made.
    async fn until_looked<T>(&self, times: usize, future: impl Future<Output = T>) -> Option<T> {
        let mut looks = self.looks.subscribe();
        let last = *looks.borrow() + times;
        tokio::select! {
            biased;
            output = future => Some(output),
            _ = looks.wait_for(|looks| *looks >= last) => None,
        }
    }
}

#[async_trait]
impl LockProvider for Lens {
    fn rwlock(&self, key: NamedKey) -> Box<dyn DistributedRwLock> {
        self.locks.rwlock(key)
    }

    async fn inspect(&self, key: NamedKey) -> Result<Vec<LockEntry>> {
        let seen = match self.is_blind.load(Ordering::SeqCst) {
            true => Err(ErrorBuilder::new(ErrorKind::Connection, "the case wants it").build()),
            false => self.locks.inspect(key).await,
        };
        self.looks.send_modify(|looks| *looks += 1);
        seen
    }

    async fn sleep(&self, time: Duration) {
        self.locks.sleep(time).await;
    }
}

/// The key for requests to the leader with this backend pid.
fn request(pid: i32) -> LockKey {
    NamedKey::in_namespace("pglock-election-resign", &format!("name/{pid}")).key()
}

fn ask(lab: &Lab) -> JoinHandle<Result<()>> {
    let asks = quick(lab);
    start(async move { asks.ask_to_resign().await })
}

/// Waits until a request to this leader is made.
async fn until_asked(lab: &Lab, pid: i32) {
    soon("the leader is asked", async {
        while lab.witness().holders(request(pid)).await.unwrap().is_empty() {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub async fn leader_is_known_by_its_session(lab: &Lab) {
    let (one, other) = (named(lab, "one"), named(lab, "other"));
    assert_eq!(one.leader().await.unwrap(), None);
    let leadership = one.campaign().await.unwrap();
    let wait = campaign(&other);
    lab.witness().until_waiting(key(&one), 1).await.unwrap();
    let pid = leader(lab, &one).await;
    for (election, is_ours) in [(&one, true), (&other, false)] {
        let leader = election.leader().await.unwrap().expect("one leads");
        assert_eq!((leader.pid, leader.is_ours, &*leader.application_name), (pid, is_ours, "one"));
    }
    leadership.resign().await.unwrap();
    let leadership = soon("the other one leads", wait).await.unwrap();
    assert_eq!(one.leader().await.unwrap().expect("one leads").application_name, "other");
    leadership.resign().await.unwrap();
    assert_eq!(other.leader().await.unwrap(), None);
}

pub async fn reader_of_the_key_is_no_leader(lab: &Lab) {
    let election = named(lab, "one");
    lab.witness().hold(key(&election), Mode::Read).await.unwrap();
    assert_eq!(election.leader().await.unwrap(), None);
    assert!(election.try_campaign().await.unwrap().is_none());
    lab.witness().release(key(&election), Mode::Read).await.unwrap();
}

pub async fn observers_see_the_first_leader_and_each_change(lab: &Lab) {
    let name =
        |leader: Result<Option<LockEntry>>| leader.unwrap().map(|leader| leader.application_name);
    let candidates = ["one", "other"].map(|name| named(lab, name));
    let mut leaders = named(lab, "observer").observe(INTERVAL);
    assert_eq!(name(soon("the first one", leaders.next()).await.unwrap()), None);
    for (candidate, shown) in candidates.iter().zip(["one", "other"]) {
        let leadership = candidate.campaign().await.unwrap();
        let leader = soon("the change", leaders.next()).await.unwrap();
        assert_eq!(name(leader).as_deref(), Some(shown));
        let mut late = candidate.observe(INTERVAL);
        let leader = soon("the first one", late.next()).await.unwrap();
        assert_eq!(name(leader).as_deref(), Some(shown));
        leadership.resign().await.unwrap();
        assert_eq!(name(soon("the change", leaders.next()).await.unwrap()), None);
    }
}

/// Also if the leader has not changed meanwhile.
pub async fn observers_see_an_error_once_and_then_the_leader(lab: &Lab) {
    let lens = Arc::new(Lens::new(lab));
    let mut leaders = Election::new(lens.clone(), "name").observe(INTERVAL);
    assert_eq!(soon("the first one", leaders.next()).await.unwrap().unwrap(), None);
    for _ in 0..2 {
        lens.is_blind.store(true, Ordering::SeqCst);
        assert!(soon("the error", leaders.next()).await.unwrap().is_err());
        let silence = lens.until_looked(3, leaders.next());
        assert!(soon("it looks again", silence).await.is_none(), "it is reported once");
        lens.is_blind.store(false, Ordering::SeqCst);
        assert_eq!(soon("it knows again", leaders.next()).await.unwrap().unwrap(), None);
    }
    let silence = lens.until_looked(3, leaders.next());
    assert!(soon("it looks again", silence).await.is_none(), "nothing changes");
}

pub async fn leader_that_is_asked_resigns(lab: &Lab) {
    let run = quick(lab);
    let leads = run.clone();
    let run = start(async move {
        let work = |term: Term| async move {
            term.asked_to_resign().await;
            Flow::Ok(Break(()))
        };
        leads.run(pending(), work).await
    });
    leader(lab, &quick(lab)).await;
    // Any number of callers may ask.
    let (one, other) = (quick(lab), quick(lab));
    let asked = async { tokio::join!(one.ask_to_resign(), other.ask_to_resign()) };
    let (one, other) = soon("it resigns", asked).await;
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(soon("the run ends", run).await.unwrap().unwrap(), Some(()));
}

pub async fn withdrawn_request_does_not_reach_the_leader(lab: &Lab) {
    let lens = Arc::new(Lens::new(lab));
    let election = Election::new(lens.clone(), "name");
    let leadership = election.campaign().await.unwrap();
    let pid = leader(lab, &election).await;
    let made = ask(lab);
    until_asked(lab, pid).await;
    made.abort();
    lab.witness().until_free(request(pid)).await.unwrap();
    // It looks at its own leadership, and for requests.
    let asked = lens.until_looked(2, leadership.asked_to_resign());
    assert!(soon("it looks", asked).await.is_none());
    leadership.resign().await.unwrap();
}

pub async fn request_reaches_only_the_leader_that_was_asked(lab: &Lab) {
    let lens = Arc::new(Lens::new(lab));
    let (old, new) = (quick(lab), Election::new(lens.clone(), "name"));
    let leadership = old.campaign().await.unwrap();
    let pid = leader(lab, &old).await;
    let next = campaign(&new);
    lab.witness().until_waiting(key(&new), 1).await.unwrap();
    // Held by a session that does not check whether the leader is gone.
    lab.witness().hold(request(pid), Mode::Read).await.unwrap();
    soon("it is asked", leadership.asked_to_resign()).await;
    leadership.resign().await.unwrap();
    let leadership = soon("the next one leads", next).await.unwrap();
    let asked = lens.until_looked(2, leadership.asked_to_resign());
    assert!(soon("it looks", asked).await.is_none());
    leadership.resign().await.unwrap();
    lab.witness().release(request(pid), Mode::Read).await.unwrap();
}

pub async fn request_survives_the_session_that_makes_it(lab: &Lab) {
    let election = quick(lab);
    let leadership = election.campaign().await.unwrap();
    let pid = leader(lab, &election).await;
    let made = ask(lab);
    for _ in 0..3 {
        until_asked(lab, pid).await;
        let [row] = lab.witness().holders(request(pid)).await.unwrap()[..] else {
            panic!("one asks")
        };
        lab.witness().terminate(row.pid).await.unwrap();
        soon("its session ends", async {
            while lab.witness().locks().await.unwrap().iter().any(|lock| lock.pid == row.pid) {
                sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
    soon("it is asked", leadership.asked_to_resign()).await;
    leadership.resign().await.unwrap();
    soon("it has resigned", made).await.unwrap().unwrap();
}

pub async fn request_ends_with_the_leader(lab: &Lab) {
    let election = quick(lab);
    let leadership = election.campaign().await.unwrap();
    let pid = leader(lab, &election).await;
    let made = ask(lab);
    until_asked(lab, pid).await;
    lab.witness().terminate(pid).await.unwrap();
    soon("the leader is gone", made).await.unwrap().unwrap();
    drop(leadership);
    lab.witness().until_free(request(pid)).await.unwrap();
}

pub async fn request_without_a_leader_returns_at_once(lab: &Lab) {
    let election = quick(lab);
    soon("the election is free", election.ask_to_resign()).await.unwrap();
    // The same holds for a leader that has worked and resigned.
    let work =
        |term: Term| ready(Flow::Ok(if term.number() < 2 { Continue(()) } else { Break(()) }));
    soon("it ends", election.run(pending(), work)).await.unwrap();
    soon("the election is free", election.ask_to_resign()).await.unwrap();
}

pub async fn request_may_be_dropped_at_any_poll(lab: &Lab) {
    let election = quick(lab);
    let leadership = election.campaign().await.unwrap();
    let pid = leader(lab, &election).await;
    for polls in 0..20 {
        let manager = lab.manager();
        let asks = candidate(&manager, "name");
        drop_after(polls, || asks.ask_to_resign()).await;
        drop_after(polls, || leadership.asked_to_resign()).await;
        drop_after(polls, || asks.leader()).await;
        let mut leaders = asks.observe(INTERVAL);
        let next = leaders.next();
        drop_after(polls, || next).await;
        lab.witness().until_free(request(pid)).await.unwrap();
        assert_eq!(manager.stats().waiting, 0);
    }
    assert!(leadership.is_held());
    leadership.resign().await.unwrap();
}
