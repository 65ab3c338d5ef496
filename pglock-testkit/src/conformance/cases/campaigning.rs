//! Candidates in line that are cut off or drop out, and candidates of several processes.

use std::time::Duration;

use pglock_core::Mode;
use pglock_core::recipes::election::{Election, Role};

use super::cancelling::drop_after;
use super::electing::{campaign, candidate, key, leader};
use crate::conformance::{Lab, Options, group, soon};

group! { campaigning:
    candidate_cut_off_in_line_leads_later: Sessions,
    candidate_cut_off_while_it_takes_over_leads_later: Sessions,
    campaign_may_be_dropped_at_any_poll,
    leadership_does_not_stay_in_one_process,
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

/// Even if a candidate of the leader's process has waited longer.
pub async fn leadership_does_not_stay_in_one_process(lab: &Lab) {
    let (here, there) = (lab.manager(), lab.manager());
    let [first, second] = [(); 2].map(|()| Election::new(here.clone(), "name"));
    let third = Election::new(there, "name");
    let leadership = first.campaign().await.unwrap();
    let fellow = campaign(&second);
    lab.until_queued(&here, 1).await;
    let stranger = campaign(&third);
    lab.witness().until_waiting(key(&third), 1).await.unwrap();
    leadership.resign().await.unwrap();
    let leadership = soon("the other process leads", stranger).await.unwrap();
    assert_eq!(second.role(), Role::Following);
    leadership.resign().await.unwrap();
    soon("the fellow leads", fellow).await.unwrap().resign().await.unwrap();
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
