//! Recipes of a process that was stopped: what they say when it continues.

use std::io;

use pglock_core::Result;
use pglock_core::recipes::election::Election;
use tokio::runtime::Builder;
use tokio::task::spawn_blocking;

use super::electing::candidate;
use super::leased;
use super::leases::lacks_lease;
use super::permits::semaphore;
use crate::conformance::{Lab, Options, group, soon};
use crate::faults::{Stopped, TestProcess};

group! { continuing:
    stopped_leader_does_not_lead_when_it_continues: Process,
    stopped_leader_does_not_lead_whose_engine_does_not_run: Process,
    stopped_holder_has_no_permits_when_it_continues: Process,
    stopped_holder_has_no_set_when_it_continues: Process,
}

pub async fn stopped_leader_does_not_lead_when_it_continues(lab: &Lab) {
    if lab.is_child() {
        let election = candidate(&lab.manager_with(&leased()), "name");
        let _leadership = election.campaign().await.unwrap();
        return answer(move || election.role().is_leading()).await;
    }
    let next = candidate(&lab.manager(), "name");
    assert_passed_on(lab, next.campaign()).await;
}

/// Its role is right by the clock alone, since nothing reads from the server.
pub async fn stopped_leader_does_not_lead_whose_engine_does_not_run(lab: &Lab) {
    if lab.is_child() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let options = Options { runtime: Some(runtime.handle().clone()), ..leased() };
        let election = candidate(&lab.manager_with(&options), "name");
        let leads = move |election: &Election| runtime.block_on(election.campaign()).unwrap();
        let act = move || {
            let _leadership = leads(&election);
            answer_here(|| election.role().is_leading());
        };
        return spawn_blocking(act).await.unwrap();
    }
    let next = candidate(&lab.manager(), "name");
    assert_passed_on(lab, next.campaign()).await;
}

pub async fn stopped_holder_has_no_permits_when_it_continues(lab: &Lab) {
    if lab.is_child() {
        let permits = semaphore(&lab.manager_with(&leased()), 2).acquire_many(2).await.unwrap();
        return answer(move || permits.is_held() || !permits.valid_for().is_zero()).await;
    }
    let next = semaphore(&lab.manager(), 2);
    assert_passed_on(lab, next.acquire_many(2)).await;
}

pub async fn stopped_holder_has_no_set_when_it_continues(lab: &Lab) {
    if lab.is_child() {
        let set = lab.manager_with(&leased()).set().write(1).read(2);
        let guard = set.acquire().await.unwrap();
        return answer(move || guard.is_held() || !guard.valid_for().is_zero()).await;
    }
    let next = lab.manager().set().write(1).write(2);
    assert_passed_on(lab, next.acquire()).await;
}

/// For the child: says whether it holds something, now and each time that it is asked.
async fn answer(holds: impl Fn() -> bool + Send + 'static) {
    spawn_blocking(move || answer_here(holds)).await.unwrap();
}

fn answer_here(holds: impl Fn() -> bool) {
    TestProcess::print(&holds().to_string());
    for _ in io::stdin().lines() {
        TestProcess::print(&holds().to_string());
    }
}

/// Stops the other process until the next one has what it held.
async fn assert_passed_on<T>(lab: &Lab, next: impl Future<Output = Result<T>>) {
    if lacks_lease(lab).await {
        return;
    }
    let mut process = lab.start_role("holder", &lab.address());
    assert_eq!(process.line().await.unwrap(), "true");
    let stopped = Stopped::stop(process.pid()).unwrap();
    // It reads this before the server could tell it anything.
    process.write("do you hold it?").unwrap();
    let _next = soon("the server frees it", next).await.unwrap();
    stopped.resume();
    assert_eq!(process.line().await.unwrap(), "false");
}
