//! Which caller holds a lock or waits for one: its task, and the set or dedicated session that ties
//! the two together.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread::{self, ThreadId};

use tokio::runtime::Handle;
use tokio::task;

/// The caller that holds a lock or waits for one, as far as that is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Owner {
    /// `None` outside of tokio, where callers cannot be told apart.
    pub(crate) task: Option<Task>,
    pub(crate) bond: Option<Bond>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Task {
    Spawned(task::Id),
    /// What a thread runs by `block_on`.
    Blocking(ThreadId),
}

/// What releases nothing while it waits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Bond {
    Set(u64),
    /// A dedicated session, by its backend pid.
    Session(i32),
}

/// What holds for the acquires of a future.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Scope {
    /// The set that acquires.
    set: Option<u64>,
    /// Whether a wait fails that is part of a deadlock.
    pub(crate) gives_up: bool,
}

thread_local! {
    static SCOPE: Cell<Scope> = const { Cell::new(Scope { set: None, gives_up: false }) };
}

impl Owner {
    /// The caller that runs now.
    pub(crate) fn current() -> Self {
        let task = match task::try_id() {
            Some(id) => Some(Task::Spawned(id)),
            None => Handle::try_current().ok().map(|_| Task::Blocking(thread::current().id())),
        };
        Self { task, bond: Scope::current().set.map(Bond::Set) }
    }

    /// The caller that runs now, in this dedicated session.
    pub(crate) fn in_session(pid: i32) -> Self {
        Self { bond: Some(Bond::Session(pid)), ..Self::current() }
    }
}

impl Scope {
    /// For a set that takes its locks.
    pub(crate) fn of_set(gives_up: bool) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self { set: Some(LAST.fetch_add(1, Ordering::Relaxed)), gives_up }
    }

    pub(crate) fn of_lock(gives_up: bool) -> Self {
        Self { set: None, gives_up }
    }

    pub(crate) fn current() -> Self {
        SCOPE.get()
    }

    /// Polls a future in this scope, within that of the caller. (A function that takes the future by
    /// value would keep it twice.)
    pub(crate) fn poll<F: Future>(
        self,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        let outer = SCOPE.get();
        let gives_up = self.gives_up || outer.gives_up;
        SCOPE.set(Self { set: self.set.or(outer.set), gives_up });
        let _leaving = Leaving(outer);
        future.poll(cx)
    }
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

    #[test]
    fn callers_outside_of_tokio_are_unknown() {
        assert_eq!(Owner::current().task, None);
    }

    #[test]
    fn scope_ends_with_its_future() {
        let mut cx = Context::from_waker(Waker::noop());
        let set = Scope::of_set(true);
        let inner = pin!(poll_fn(|cx| {
            let other = Scope::of_lock(false).poll(pin!(async { Scope::current() }), cx);
            other.map(|other| (Owner::current(), other))
        }));
        let Poll::Ready((owner, scope)) = set.poll(inner, &mut cx) else {
            panic!("it is ready");
        };
        assert!(owner.bond.is_some() && scope.gives_up && scope.set == set.set);
        assert!(Owner::current().bond.is_none() && !Scope::current().gives_up);
    }
}
