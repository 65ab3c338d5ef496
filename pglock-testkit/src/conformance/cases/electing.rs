//! Elections: which candidate leads, and what candidates know about themselves.

use std::future::pending;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use pglock_core::recipes::election::{Election, Leadership, Role};
use pglock_core::{ErrorKind, LockKey};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use super::{SLACK, connect, lease, leased};
use crate::conformance::{Lab, Manager, Options, group, soon, start};

group! { electing:
    candidates_of_several_processes_lead_in_order,
    candidate_that_resigns_goes_to_the_end_of_the_line,
    dropped_leadership_resigns,
    candidate_leads_only_when_it_has_taken_over,
    try_campaign_does_not_wait_in_line,
    role_and_watch_follow_the_terms,
    role_ends_before_the_next_candidate_leads,
    lost_leadership_ends_the_role: Sessions,
    role_ends_by_the_clock_when_the_engine_is_blocked: Engine,
    leader_is_shown_with_its_connection: Postgres,
    elections_are_apart_from_each_other_and_from_other_locks,
}

/// A candidate that leads as soon as it has the lock.
pub(super) fn candidate(manager: &Arc<dyn Manager>, name: &str) -> Election {
    Election::new(manager.clone(), name).take_over_after(Duration::ZERO)
}

pub(super) fn key(election: &Election) -> LockKey {
    election.key().key()
}

pub(super) fn campaign(election: &Election) -> JoinHandle<Leadership> {
    let election = election.clone();
    start(async move { election.campaign().await.unwrap() })
}

/// The only session that leads.
pub(super) async fn leader(lab: &Lab, election: &Election) -> i32 {
    soon("a candidate leads", async {
        loop {
            if let [row] = lab.witness().holders(key(election)).await.unwrap()[..] {
                return row.pid;
            }
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await
}

pub async fn candidates_of_several_processes_lead_in_order(lab: &Lab) {
    let candidates = [(); 3].map(|()| candidate(&lab.manager(), "scheduler"));
    let mut leadership = candidates[0].campaign().await.unwrap();
    let mut waits = Vec::new();
    for (place, candidate) in candidates.iter().enumerate().skip(1) {
        waits.push(campaign(candidate));
        lab.witness().until_waiting(key(candidate), place).await.unwrap();
    }
    let mut waits = waits.into_iter();
    for leader in 0..3 {
        let roles = candidates.each_ref().map(|candidate| candidate.role().is_leading());
        assert_eq!(roles, [0, 1, 2].map(|candidate| candidate == leader));
        assert!(leadership.is_held());
        assert_eq!(leadership.term(), 1);
        assert_eq!(leadership.protect(async { 7 }).await.unwrap(), 7);
        leadership.resign().await.unwrap();
        let Some(wait) = waits.next() else { return };
        leadership = soon("the next one leads", wait).await.unwrap();
    }
    panic!("there are three");
}

pub async fn candidate_that_resigns_goes_to_the_end_of_the_line(lab: &Lab) {
    let (first, second) = (candidate(&lab.manager(), "name"), candidate(&lab.manager(), "name"));
    let mut leadership = first.campaign().await.unwrap();
    for term in 2..=3 {
        let next = campaign(&second);
        lab.witness().until_waiting(key(&second), 1).await.unwrap();
        leadership.resign().await.unwrap();
        let again = campaign(&first);
        let next = soon("the other one leads", next).await.unwrap();
        lab.witness().until_waiting(key(&first), 1).await.unwrap();
        assert_eq!(first.role(), Role::Following);
        next.resign().await.unwrap();
        leadership = soon("it leads again", again).await.unwrap();
        assert_eq!(leadership.term(), term);
    }
    leadership.resign().await.unwrap();
}

pub async fn dropped_leadership_resigns(lab: &Lab) {
    let election = candidate(&lab.manager(), "name");
    let leadership = election.campaign().await.unwrap();
    let lease = leadership.lease().clone();
    assert!(lease.is_held());
    drop(leadership);
    assert!(!lease.is_held());
    assert_eq!(election.role(), Role::Following);
    lab.witness().until_free(key(&election)).await.unwrap();
}

pub async fn candidate_leads_only_when_it_has_taken_over(lab: &Lab) {
    let manager = lab.manager();
    let election = candidate(&manager, "name").take_over_after(Duration::MAX);
    let wait = campaign(&election);
    leader(lab, &election).await;
    assert_eq!(election.role(), Role::Following);
    assert_eq!(*election.watch().borrow(), Role::Following);
    assert!(candidate(&lab.manager(), "name").try_campaign().await.unwrap().is_none());
    wait.abort();
    lab.witness().until_free(key(&election)).await.unwrap();
    let election = Election::new(manager, "name");
    for _ in 0..2 {
        let begin = Instant::now();
        let leadership = election.campaign().await.unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(50));
        leadership.resign().await.unwrap();
    }
}

pub async fn try_campaign_does_not_wait_in_line(lab: &Lab) {
    let (one, other) = (candidate(&lab.manager(), "name"), candidate(&lab.manager(), "name"));
    let leadership = one.try_campaign().await.unwrap().expect("no candidate leads");
    assert!(one.role().is_leading());
    assert!(other.try_campaign().await.unwrap().is_none());
    assert!(one.try_campaign().await.unwrap().is_none(), "it leads itself");
    assert!(one.role().is_leading());
    leadership.resign().await.unwrap();
    assert!(other.try_campaign().await.unwrap().is_some());
}

pub async fn role_and_watch_follow_the_terms(lab: &Lab) {
    let election = candidate(&lab.manager(), "name");
    let clone = election.clone();
    let mut roles = election.watch();
    assert_eq!(*roles.borrow_and_update(), Role::Following);
    for number in 1..=3 {
        let leadership = election.campaign().await.unwrap();
        assert!(roles.has_changed().unwrap());
        let role = *roles.borrow_and_update();
        assert!(matches!(role, Role::Leading { term, .. } if term == number), "{role:?}");
        assert_eq!((election.role(), clone.role()), (role, role));
        leadership.resign().await.unwrap();
        assert!(roles.has_changed().unwrap());
        assert_eq!(*roles.borrow_and_update(), Role::Following);
        assert_eq!((election.role(), clone.role()), (Role::Following, Role::Following));
    }
    drop((election, clone));
    assert!(roles.changed().await.is_err(), "no candidate is left");
}

pub async fn role_ends_before_the_next_candidate_leads(lab: &Lab) {
    let managers = [lab.manager(), lab.manager()];
    let candidates = managers.each_ref().map(|manager| candidate(manager, "name"));
    let mut leadership = candidates[0].campaign().await.unwrap();
    for turn in 0..60 {
        let [old, new] = [turn % 2, (turn + 1) % 2].map(|number| candidates[number].clone());
        let former = old.clone();
        let next = start(async move {
            let leadership = new.campaign().await.unwrap();
            (former.role(), leadership)
        });
        lab.witness().until_waiting(key(&old), 1).await.unwrap();
        match turn % 3 {
            0 => drop(leadership),
            _ => leadership.resign().await.unwrap(),
        }
        let former;
        (former, leadership) = soon("the next one leads", next).await.unwrap();
        assert_eq!(former, Role::Following);
    }
    drop(leadership);
}

pub async fn lost_leadership_ends_the_role(lab: &Lab) {
    let election = candidate(&lab.manager(), "name");
    let mut roles = election.watch();
    let lost = soon("it leads", election.campaign()).await.unwrap();
    assert!(roles.borrow_and_update().is_leading());
    lab.end_sessions().await;
    soon("the loss is reported", lost.lost()).await;
    assert_eq!(election.role(), Role::Following);
    assert!(!lost.is_held());
    soon("the channel follows", roles.wait_for(|role| !role.is_leading())).await.unwrap();
    assert_eq!(lost.protect(async {}).await.unwrap_err().kind(), ErrorKind::Lost);
    // A later term does not revive the first one.
    let leadership = soon("it leads again", election.campaign()).await.unwrap();
    assert_eq!((lost.term(), leadership.term()), (1, 2));
    assert_eq!(lost.resign().await.unwrap_err().kind(), ErrorKind::Lost);
    assert!(election.role().is_leading() && election.watch().borrow().is_leading());
    leadership.resign().await.unwrap();
}

/// The runtime that would report the loss is blocked.
pub async fn role_ends_by_the_clock_when_the_engine_is_blocked(lab: &Lab) {
    let (end, ended) = mpsc::channel::<()>();
    let (give, given) = oneshot::channel();
    let lab_of_thread = lab.clone();
    let blocked = spawn_blocking(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let options = Options { runtime: Some(runtime.handle().clone()), ..leased() };
        let election = candidate(&lab_of_thread.manager_with(&options), "name");
        runtime.block_on(async {
            let leadership = election.campaign().await.unwrap();
            assert!(give.send((election, leadership)).is_ok());
            ended.recv().unwrap_err();
        });
    });
    let (election, leadership) = soon("it leads", given).await.unwrap();
    let begin = Instant::now();
    assert!(election.role().is_leading());
    let stopped = leadership.protect(pending::<()>());
    lab.until("the role ends", || !election.role().is_leading()).await;
    assert!(begin.elapsed() <= lease().1 + SLACK * 2, "{:?}", begin.elapsed());
    assert_eq!(soon("it stops", stopped).await.unwrap_err().kind(), ErrorKind::Lost);
    drop((leadership, end));
    soon("the runtime", blocked).await.unwrap();
}

/// The time is that of the connection: the server does not know since when a candidate leads.
pub async fn leader_is_shown_with_its_connection(lab: &Lab) {
    let election = candidate(&lab.manager(), "name");
    assert_eq!(election.leader().await.unwrap(), None);
    let leadership = election.campaign().await.unwrap();
    let Role::Leading { since, .. } = election.role() else { panic!("it leads") };
    let shown = candidate(&lab.manager(), "name").leader().await.unwrap().expect("it leads");
    let witness = connect(&lab.address()).await;
    let session = "SELECT host(client_addr), backend_start FROM pg_stat_activity WHERE pid = $1";
    let row = witness.client().query_one(session, &[&shown.pid]).await.unwrap();
    let (address, connected) = (row.get::<_, Option<String>>(0), row.get::<_, SystemTime>(1));
    assert_eq!(shown.client_addr.map(|address| address.to_string()), address);
    assert_eq!(shown.since, Some(connected));
    assert!(connected < since, "it was connected before it led");
    leadership.resign().await.unwrap();
}

pub async fn elections_are_apart_from_each_other_and_from_other_locks(lab: &Lab) {
    let manager = lab.manager();
    let plain = ["name", "pglock-election/name"].map(|name| manager.lock(name));
    let guards = [plain[0].write().await.unwrap(), plain[1].write().await.unwrap()];
    let [one, other] = ["name", "other"].map(|name| candidate(&manager, name));
    let leaderships = (one.try_campaign().await.unwrap(), other.try_campaign().await.unwrap());
    assert!(leaderships.0.is_some() && leaderships.1.is_some());
    assert!(one.role().is_leading() && other.role().is_leading());
    drop((guards, leaderships));
}
