//! Sets that wait: what they hold meanwhile, for how long, and that they never wait for each other
//! in a circle.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use pglock_core::{AnyGuard, ErrorKind, LockKey, LockSet, Mode, NamedKey, SetGuard};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::SLACK;
use super::cancelling::drop_after;
use super::sets::held;
use crate::conformance::{Lab, Manager, Options, group, is_long, soon, start};

group! { sets_waiting:
    waiting_set_holds_smaller_keys_only,
    deadline_in_the_middle_leaves_nothing,
    deadline_is_one_for_the_whole_set,
    set_may_be_dropped_at_any_poll_when_free,
    set_may_be_dropped_at_any_poll_when_contended,
    sets_are_served_in_turn,
    single_locks_do_not_starve_a_set,
    sets_in_any_order_never_deadlock,
    sets_of_two_processes_never_deadlock: Process,
}

const KEYS: i64 = 6;

fn waits(set: LockSet) -> JoinHandle<SetGuard> {
    start(async move { set.acquire().await.unwrap() })
}

pub async fn waiting_set_holds_smaller_keys_only(lab: &Lab) {
    let (manager, witness) = (lab.manager(), lab.witness());
    witness.hold(2.into(), Mode::Read).await.unwrap();
    witness.hold(4.into(), Mode::Write).await.unwrap();
    let wait = waits(manager.set().write(5).write(4).read(3).write(2).read(1));
    witness.until_waiting(2.into(), 1).await.unwrap();
    let others = [(LockKey::from(2), Mode::Read), (4.into(), Mode::Write)];
    assert_eq!(held(witness).await, [(1.into(), Mode::Read), others[0], others[1]]);
    witness.release(2.into(), Mode::Read).await.unwrap();
    witness.until_waiting(4.into(), 1).await.unwrap();
    let taken = [(LockKey::from(1), Mode::Read), (2.into(), Mode::Write), (3.into(), Mode::Read)];
    assert_eq!(held(witness).await, [&taken[..], &others[1..]].concat());
    assert!(lab.lock(5).try_write().await.unwrap().is_some(), "nobody has it yet");
    witness.release(4.into(), Mode::Write).await.unwrap();
    soon("all are free", wait).await.unwrap().release().await.unwrap();
}

pub async fn deadline_in_the_middle_leaves_nothing(lab: &Lab) {
    let (manager, witness) = (lab.manager(), lab.witness());
    witness.hold(3.into(), Mode::Write).await.unwrap();
    let set = manager.set().write(1).read(2).write(LockKey::from(3).named("third")).write(4);
    for time in [0, 5, 50, 2000].map(Duration::from_millis) {
        let begin = Instant::now();
        let error = soon("the time is over", set.try_acquire_for(time)).await.unwrap_err();
        assert!(begin.elapsed() >= time);
        assert_eq!(error.kind(), ErrorKind::Timeout);
        // On a busy machine, a short time may be over before the server has answered for others.
        if error.key() >= Some(3.into()) || time.is_zero() || time > SLACK {
            assert_eq!(error.key(), Some(3.into()));
            assert!(error.to_string().contains(r#"lock "third" (3)"#), "{error}");
        }
        soon("nothing stays", async {
            while witness.locks().await.unwrap().len() > 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    // The witness may see the release before its answer reaches the manager.
    soon("the manager holds nothing", async {
        while (manager.stats().waiting, manager.stats().held) != (0, 0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    witness.release(3.into(), Mode::Write).await.unwrap();
    set.try_acquire_for(Duration::MAX).await.unwrap().release().await.unwrap();
}

/// The first key comes free before the time is over, and there is no new time for the next.
pub async fn deadline_is_one_for_the_whole_set(lab: &Lab) {
    let (manager, witness) = (lab.manager(), lab.witness());
    for key in [1, 2] {
        witness.hold(key.into(), Mode::Write).await.unwrap();
    }
    let (set, time) = (manager.set().write(1).write(2), Duration::from_secs(2));
    let begin = Instant::now();
    let wait = start(async move { set.try_acquire_for(time).await });
    sleep_until(begin + time / 2).await;
    witness.release(1.into(), Mode::Write).await.unwrap();
    let error = soon("the time is over", wait).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::Timeout, Some(2.into())));
    // A new time would end at one and a half times this.
    assert!((time..time.mul_f32(1.4)).contains(&begin.elapsed()), "{error}");
    witness.release(2.into(), Mode::Write).await.unwrap();
}

pub async fn set_may_be_dropped_at_any_poll_when_free(lab: &Lab) {
    let keys = [1, 2].map(NamedKey::from);
    for polls in 0..30 {
        let manager = lab.manager();
        let set = manager.set().write(1).read(2).write(3);
        drop_after(polls, || set.acquire()).await;
        drop_after(polls, || set.try_acquire()).await;
        drop_after(polls, || set.try_acquire_for(Duration::from_secs(5))).await;
        drop_after(polls, || async { set.acquire().await.unwrap().release().await }).await;
        drop_after(polls, || manager.try_write_any(&keys)).await;
        lab.witness().until_quiet().await.unwrap();
        soon("all are free", set.acquire()).await.unwrap().release().await.unwrap();
        assert_eq!((manager.stats().waiting, manager.stats().held), (0, 0));
    }
}

pub async fn set_may_be_dropped_at_any_poll_when_contended(lab: &Lab) {
    let holder = lab.manager();
    let keys = [1, 2].map(NamedKey::from);
    for polls in 0..30 {
        let manager = lab.manager();
        let set = manager.set().write(1).read(2).write(3);
        let guard = holder.set().read(1).write(2).acquire().await.unwrap();
        drop_after(polls, || set.acquire()).await;
        let behind = waits(set.clone());
        drop_after(polls, || set.acquire()).await;
        drop_after(polls, || set.try_acquire()).await;
        drop_after(polls, || set.try_acquire_for(Duration::from_secs(5))).await;
        drop_after(polls, || manager.write_any(&keys)).await;
        // The first one passes now, and a set waits for the second.
        let mut guards = guard.into_guards();
        guards.remove(0).release().await.unwrap();
        drop_after(polls, || set.acquire()).await;
        drop(guards);
        soon("the queue moves on", behind).await.unwrap().release().await.unwrap();
        lab.witness().until_quiet().await.unwrap();
        assert_eq!(manager.stats().waiting, 0);
    }
}

pub async fn sets_are_served_in_turn(lab: &Lab) {
    let (first, second, witness) = (lab.manager(), lab.manager(), lab.witness());
    witness.hold(2.into(), Mode::Write).await.unwrap();
    let set = waits(first.set().write(1).write(2));
    witness.until_waiting(2.into(), 1).await.unwrap();
    let lock = second.lock(2);
    let behind = start(async move { lock.write().await.unwrap() });
    witness.until_waiting(2.into(), 2).await.unwrap();
    witness.release(2.into(), Mode::Write).await.unwrap();
    let set = soon("the set came first", set).await.unwrap();
    assert!(!behind.is_finished());
    set.release().await.unwrap();
    soon("then the other", behind).await.unwrap().release().await.unwrap();
}

/// Others take each of its keys again and again, here and in another process.
pub async fn single_locks_do_not_starve_a_set(lab: &Lab) {
    let managers = [lab.manager(), lab.manager()];
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for (manager, key) in managers.iter().flat_map(|manager| (1..=3).map(move |key| (manager, key)))
    {
        let (lock, over) = (manager.lock(key), over.clone());
        tasks.push(start(async move {
            while !over.load(Ordering::Relaxed) {
                let guard = lock.write().await.unwrap();
                sleep(Duration::from_millis(1)).await;
                drop(guard);
            }
        }));
    }
    for _ in 0..10 {
        let set = (1..=3).fold(managers[0].set(), LockSet::write);
        drop(soon("the set has its turn", set.acquire()).await.unwrap());
    }
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        soon("and so has everybody", task).await.unwrap();
    }
}

/// Who is inside, by key: a writer counts as -1.
type Inside = Arc<[AtomicI32; KEYS as usize]>;

/// Some of the keys, in any order, and the modes, by chance.
fn random_set(manager: &Arc<dyn Manager>, random: &mut u64) -> LockSet {
    let mut next = |bound: u64| {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*random >> 33) % bound
    };
    let mut set = manager.set();
    for _ in 0..=next(4) {
        let key = next(KEYS as u64) as i64;
        set = if next(3) == 0 { set.read(key) } else { set.write(key) };
    }
    set
}

fn enter(guards: &[AnyGuard], inside: &Inside) {
    for guard in guards {
        let place = &inside[guard.key().as_bigint().unwrap() as usize];
        match guard.mode() {
            Mode::Read => assert!(place.fetch_add(1, Ordering::SeqCst) >= 0),
            Mode::Write => assert_eq!(place.fetch_sub(1, Ordering::SeqCst), 0),
        }
    }
}

fn leave(guards: &[AnyGuard], inside: &Inside) {
    for guard in guards {
        let place = &inside[guard.key().as_bigint().unwrap() as usize];
        place.fetch_add(if guard.mode() == Mode::Read { -1 } else { 1 }, Ordering::SeqCst);
    }
}

pub async fn sets_in_any_order_never_deadlock(lab: &Lab) {
    let rounds = if is_long() { 10_000 } else { 300 };
    // Fewer sessions to wait in than keys that are waited for.
    let options = Options { max_waiting_sessions: 2, ..Options::default() };
    let managers = [lab.manager(), lab.manager_with(&options)];
    let inside = Inside::default();
    let mut tasks = Vec::new();
    for task in 0..8_u64 {
        let (manager, inside) = (managers[task as usize % 2].clone(), inside.clone());
        tasks.push(start(async move {
            let mut random = task + 1;
            for round in 0..rounds {
                let set = random_set(&manager, &mut random);
                if round % 5 == 0 {
                    // Some give up on the way.
                    let patience = Duration::from_micros(random % 2000);
                    drop(timeout(patience, set.acquire()).await);
                    continue;
                }
                let guard = soon("no set waits for ever", set.acquire()).await.unwrap();
                let guards = guard.into_guards();
                enter(&guards, &inside);
                tokio::task::yield_now().await;
                leave(&guards, &inside);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    lab.witness().until_quiet().await.unwrap();
}

/// The witness is the system's locks on files, one for each key.
#[cfg(unix)]
pub async fn sets_of_two_processes_never_deadlock(lab: &Lab) {
    use crate::conformance::busy::{Busy, keep_busy};
    use crate::faults::TestProcess;

    if lab.is_child() {
        let (manager, path) = (lab.manager(), TestProcess::role().unwrap());
        return keep_busy(4, move |turn| {
            let mut random = turn as u64 + u64::from(std::process::id());
            enter_files(random_set(&manager, &mut random), path.clone())
        })
        .await;
    }
    let directory = tempfile::tempdir().unwrap();
    for key in 0..KEYS {
        File::create(directory.path().join(key.to_string())).unwrap();
    }
    let path = directory.path().to_str().unwrap();
    let mut processes = [Busy::start(lab, path).await, Busy::start(lab, path).await];
    sleep(Duration::from_secs(if is_long() { 60 } else { 2 })).await;
    processes.iter_mut().for_each(Busy::stop);
    // After a deadlock, there would be no more.
    let least = if is_long() { 10_000 } else { 20 };
    for process in processes {
        let waits = soon("every set has its turn", process.done()).await;
        println!("{} sets, the longest wait {:?}", waits.len(), waits.longest());
        assert!(waits.len() >= least, "only {} sets", waits.len());
    }
}

async fn enter_files(set: LockSet, path: String) {
    let guard = set.acquire().await.unwrap();
    let mut files = Vec::new();
    let guards = guard.into_guards();
    for guard in &guards {
        let file = File::open(format!("{path}/{}", guard.key().as_bigint().unwrap())).unwrap();
        let entered = match guard.mode() {
            Mode::Read => file.try_lock_shared(),
            Mode::Write => file.try_lock(),
        };
        entered.expect("nobody is inside who excludes");
        files.push(file);
    }
    tokio::task::yield_now().await;
    drop(files);
    for guard in guards {
        guard.release().await.unwrap();
    }
}
