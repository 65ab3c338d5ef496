//! Candidates in line that are cut off or drop out, and candidates of several processes.

use std::sync::Arc;
use std::time::Duration;

use pglock_core::Mode;
use pglock_core::recipes::election::{Election, Role};

use super::cancelling::drop_after;
use super::electing::{campaign, candidate, key, leader};
use crate::conformance::{Lab, Manager, Options, group, soon};

group! { campaigning:
    candidate_cut_off_in_line_leads_later: Sessions,
    candidate_cut_off_while_it_takes_over_leads_later: Sessions,
    campaign_may_be_dropped_at_any_poll,
    leadership_does_not_stay_in_one_process,
    dropped_leader_that_campaigns_again_is_last,
    resignation_may_be_dropped_at_any_poll,
    elections_of_a_process_share_its_sessions: Sessions,
}

pub async fn candidate_cut_off_in_line_leads_later(lab: &Lab) {
    let election = candidate(&lab.manager(), "name");
    let witness = lab.witness();
    witness.hold(key(&election), Mode::Write).await.unwrap();
    let wait = campaign(&election);
    for _ in 0..5 {
        witness.until_waiting(key(&election), 1).await.unwrap();
        lab.end_sessions().await;
    }
    witness.release(key(&election), Mode::Write).await.unwrap();
    let leadership = soon("it leads", wait).await.unwrap();
    assert_eq!(leadership.term(), 1);
    leadership.resign().await.unwrap();
}

pub async fn candidate_cut_off_while_it_takes_over_leads_later(lab: &Lab) {
    let election = candidate(&lab.manager(), "name").take_over_after(Duration::from_secs(2));
    let wait = campaign(&election);
    let first = leader(lab, &election).await;
    lab.witness().terminate(first).await.unwrap();
    let leadership = soon("it leads", wait).await.unwrap();
    assert_eq!(leadership.term(), 1, "it has not led before");
    assert_ne!(leader(lab, &election).await, first);
    leadership.resign().await.unwrap();
}

pub async fn campaign_may_be_dropped_at_any_poll(lab: &Lab) {
    let other = candidate(&lab.manager(), "name");
    for polls in 0..20 {
        let manager = lab.manager();
        // One of them is dropped while it takes over.
        let elections = [Election::new(manager.clone(), "name"), candidate(&manager, "name")];
        for election in &elections {
            drop_after(polls, || election.campaign()).await;
            drop_after(polls, || election.try_campaign()).await;
        }
        lab.witness().until_free(key(&other)).await.unwrap();
        let leadership = soon("the election is free", other.campaign()).await.unwrap();
        for election in &elections {
            drop_after(polls, || election.campaign()).await;
            drop_after(polls, || election.try_campaign()).await;
            assert_eq!(election.role(), Role::Following);
        }
        leadership.resign().await.unwrap();
        soon("the way is free", elections[1].campaign()).await.unwrap().resign().await.unwrap();
        assert_eq!(manager.stats().waiting, 0);
    }
}

/// Even if a candidate of the leader's process has waited longer, the leader has led for a moment
/// only, and other locks pass on within the process for long.
pub async fn leadership_does_not_stay_in_one_process(lab: &Lab) {
    for (take_over, hand_over_age) in [
        (Duration::from_millis(50), None),
        (Duration::ZERO, None),
        (Duration::from_millis(50), Some(Duration::from_secs(60))),
    ] {
        let options = Options { hand_over_age, ..Options::default() };
        let (here, there) = (lab.manager_with(&options), lab.manager_with(&options));
        let [first, second, third] = [&here, &here, &there]
            .map(|manager| Election::new(manager.clone(), "name").take_over_after(take_over));
        leads_elsewhere_next(lab, &here, [first, second, third]).await;
    }
}

/// The first two candidates belong to the process `here`.
async fn leads_elsewhere_next(lab: &Lab, here: &Arc<dyn Manager>, candidates: [Election; 3]) {
    let [first, second, third] = candidates;
    let leadership = first.campaign().await.unwrap();
    let fellow = campaign(&second);
    lab.until_queued(here, 1).await;
    let stranger = campaign(&third);
    lab.witness().until_waiting(key(&third), 1).await.unwrap();
    leadership.resign().await.unwrap();
    let leadership = soon("the other process leads", stranger).await.unwrap();
    assert_eq!(second.role(), Role::Following);
    leadership.resign().await.unwrap();
    soon("the fellow leads", fellow).await.unwrap().resign().await.unwrap();
}

/// Although its lock is still on its way back to the server.
pub async fn dropped_leader_that_campaigns_again_is_last(lab: &Lab) {
    let (first, second) = (candidate(&lab.manager(), "name"), candidate(&lab.manager(), "name"));
    let leadership = first.campaign().await.unwrap();
    let wait = campaign(&second);
    lab.witness().until_waiting(key(&first), 1).await.unwrap();
    drop(leadership);
    let mut again = Box::pin(first.campaign());
    tokio::select! {
        biased;
        _ = &mut again => panic!("the other one is before it"),
        leadership = soon("the other one leads", wait) => leadership.unwrap().resign().await.unwrap(),
    }
    soon("it leads again", again).await.unwrap().resign().await.unwrap();
}

pub async fn resignation_may_be_dropped_at_any_poll(lab: &Lab) {
    let other = candidate(&lab.manager(), "name");
    for polls in 0..10 {
        let manager = lab.manager();
        let election = candidate(&manager, "name");
        let leadership = soon("the election is free", election.campaign()).await.unwrap();
        let (lease, wait) = (leadership.lease().clone(), campaign(&other));
        lab.witness().until_waiting(key(&election), 1).await.unwrap();
        let resign = leadership.resign();
        drop_after(polls, || resign).await;
        assert_eq!(election.role(), Role::Following);
        assert!(!lease.is_held());
        soon("the other one leads", wait).await.unwrap().resign().await.unwrap();
        lab.witness().until_free(key(&election)).await.unwrap();
        lab.until("the lock is released", || manager.stats().held == 0).await;
    }
}

pub async fn elections_of_a_process_share_its_sessions(lab: &Lab) {
    let manager = lab.manager();
    let mut leaderships = Vec::new();
    for number in 0..20 {
        leaderships.push(candidate(&manager, &number.to_string()).campaign().await.unwrap());
    }
    let sessions = lab.witness().sessions("pglock").await.unwrap().len();
    assert!(sessions <= 2, "{sessions} sessions");
    // Later elections share them, too.
    let follower = lab.manager();
    let waits: Vec<_> =
        (0..20).map(|number| campaign(&candidate(&follower, &number.to_string()))).collect();
    lab.until_queued(&follower, 20).await;
    let sessions = lab.witness().sessions("pglock").await.unwrap().len();
    assert!(sessions <= 2 + 2 + Options::default().max_waiting_sessions, "{sessions} sessions");
    drop(leaderships);
    for wait in waits {
        drop(soon("the follower leads", wait).await.unwrap());
    }
}
