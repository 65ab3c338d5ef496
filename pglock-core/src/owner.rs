//! Which caller holds a lock or waits for one: its task, and the set or dedicated session that ties
//! the two together.

use std::cell::Cell;
use std::hash::BuildHasher;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use foldhash::fast::FixedState;
use tokio::runtime::Handle;
use tokio::task;

/// The caller that holds a lock or waits for one, as far as that is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Owner {
    /// `None` while the thread ends.
    pub(crate) task: Option<Task>,
    /// The run of an election or a job that it is part of. A task may do several at the same time.
    pub(crate) run: Option<u64>,
    pub(crate) bond: Option<Bond>,
}

/// A task of tokio, or else a thread. Two of them have the same number hardly ever.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Task(u64);

impl Task {
    fn current() -> Option<Self> {
        match task::try_id() {
            Some(id) => Some(Self(FixedState::default().hash_one(id) << 1 | 1)),
            None => THREAD.try_with(|number| Self(*number << 1)).ok(),
        }
    }

    const fn is_spawned(self) -> bool {
        self.0 % 2 == 1
    }

    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_number(number: u64) -> Self {
        Self(number)
    }
}

/// What releases nothing while it waits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Bond {
    Set(u64),
    /// A dedicated session, by its backend pid.
    Session(i32),
}

/// What holds for the acquires of a future.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    /// The set that acquires.
    set: Option<u64>,
    /// The run of an election or a job that acquires.
    run: Option<u64>,
    /// Whether it waits for several locks, of which one is enough.
    pub(crate) waits_for_any: bool,
    /// Whether a wait fails that is part of a deadlock.
    pub(crate) gives_up: bool,
    /// Whether a thread waits for the future, without a runtime.
    is_of_thread: bool,
}

thread_local! {
    /// The number of the thread, which costs less than its id.
    static THREAD: u64 = new_number();
    static SCOPE: Cell<Scope> = const { Cell::new(Scope::NONE) };
}

impl Owner {
    /// The caller that runs now.
    pub(crate) fn current() -> Self {
        Self::within(Scope::current())
    }

    /// The caller that runs now, in this scope.
    pub(crate) fn within(Scope { set, run, .. }: Scope) -> Self {
        Self { task: Task::current(), run, bond: set.map(Bond::Set) }
    }

    /// The caller that runs now, in this dedicated session.
    pub(crate) fn in_session(pid: i32) -> Self {
        Self { bond: Some(Bond::Session(pid)), ..Self::current() }
    }

    /// The same, without a task that it may share: outside of tokio, a thread may run several tasks,
    /// unless it waits for one. `None` if nothing else is known of it.
    pub(crate) fn verified(self) -> Option<Self> {
        let is_of_one = |task: &Task| {
            task.is_spawned() || Scope::current().is_of_thread || Handle::try_current().is_ok()
        };
        let task = self.task.filter(is_of_one);
        (task.is_some() || self.bond.is_some()).then_some(Self { task, ..self })
    }

    /// Its task, if nothing else is known of it.
    pub(crate) fn mere_task(&self) -> Option<Task> {
        self.task.filter(|_| self.run.is_none() && self.bond.is_none())
    }

    pub(crate) const fn of_task(task: Task) -> Self {
        Self { task: Some(task), run: None, bond: None }
    }

    /// Whether this one keeps its locks while the other one waits, at least likely.
    pub(crate) fn keeps_during(&self, wait: &Self) -> bool {
        let is_same_run = self.run.is_none() || self.run == wait.run;
        self.is_bound_to(wait) || self.task.is_some() && self.task == wait.task && is_same_run
    }

    /// Whether a set or a dedicated session ties the two together.
    pub(crate) fn is_bound_to(&self, wait: &Self) -> bool {
        self.bond.is_some() && self.bond == wait.bond
    }
}

impl Scope {
    const NONE: Self =
        Self { set: None, run: None, waits_for_any: false, gives_up: false, is_of_thread: false };

    /// For a set that takes its locks.
    pub(crate) fn of_set(gives_up: bool) -> Self {
        Self { set: Some(new_number()), gives_up, ..Self::NONE }
    }

    /// For the run of an election or a job.
    pub(crate) fn of_run() -> Self {
        Self { run: Some(new_number()), ..Self::NONE }
    }

    pub(crate) fn of_any() -> Self {
        Self { waits_for_any: true, ..Self::NONE }
    }

    #[cfg(feature = "blocking")]
    pub(crate) fn of_thread() -> Self {
        Self { is_of_thread: true, ..Self::NONE }
    }

    pub(crate) fn current() -> Self {
        SCOPE.get()
    }

    /// Polls a future that acquires a lock. Most of these do not give up, and need no scope.
    pub(crate) fn poll_for_lock<F: Future>(
        gives_up: bool,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        match gives_up {
            true => Self { gives_up, ..Self::NONE }.poll(future, cx),
            false => future.poll(cx),
        }
    }

    /// Polls a future in this scope, within that of the caller. (A function that takes the future by
    /// value would keep it twice.)
    pub(crate) fn poll<F: Future + ?Sized>(
        self,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        let outer = SCOPE.get();
        SCOPE.set(Self {
            set: self.set.or(outer.set),
            run: self.run.or(outer.run),
            waits_for_any: self.waits_for_any || outer.waits_for_any,
            gives_up: self.gives_up || outer.gives_up,
            is_of_thread: self.is_of_thread || outer.is_of_thread,
        });
        let _leaving = Leaving(outer);
        future.poll(cx)
    }
}

/// A number that nothing else has, from 1.
fn new_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Returns to the outer scope when dropped.
struct Leaving(Scope);

impl Drop for Leaving {
    fn drop(&mut self) {
        SCOPE.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    #[tokio::test]
    async fn tasks_are_told_apart() {
        let here = Owner::current();
        assert!(here.task.is_some() && here == Owner::current());
        let spawned = tokio::spawn(async { Owner::current() }).await.unwrap();
        assert_ne!(here, spawned);
    }

    #[tokio::test]
    async fn runs_of_a_task_are_told_apart() {
        let mut cx = Context::from_waker(Waker::noop());
        let runs =
            [(); 2].map(|()| Scope::of_run().poll(pin!(async { Owner::current() }), &mut cx));
        let [Poll::Ready(one), Poll::Ready(other)] = runs else {
            panic!("they are ready");
        };
        let outside = Owner::current();
        assert!(one.keeps_during(&one) && !one.keeps_during(&other));
        assert!(outside.keeps_during(&one) && !one.keeps_during(&outside));
    }

    #[test]
    fn callers_outside_of_tokio_are_unknown() {
        assert_eq!(Owner::current().verified(), None);
    }

    #[test]
    fn threads_that_wait_are_told_apart() {
        let current = || Owner::current().verified();
        let mut cx = Context::from_waker(Waker::noop());
        let waiting =
            Scope { is_of_thread: true, ..Scope::NONE }.poll(pin!(async { current() }), &mut cx);
        let Poll::Ready(waiting) = waiting else {
            panic!("it is ready");
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(waiting.is_some() && waiting == runtime.block_on(async { current() }));
    }

    #[test]
    fn scope_ends_with_its_future() {
        let mut cx = Context::from_waker(Waker::noop());
        let set = Scope::of_set(true);
        let inner = pin!(poll_fn(|cx| {
            let other = Scope::poll_for_lock(false, pin!(async { Scope::current() }), cx);
            other.map(|other| (Owner::current(), other))
        }));
        let Poll::Ready((owner, scope)) = set.poll(inner, &mut cx) else {
            panic!("it is ready");
        };
        assert!(owner.bond.is_some() && scope.gives_up && scope.set == set.set);
        assert!(Owner::current().bond.is_none() && !Scope::current().gives_up);
    }
}
