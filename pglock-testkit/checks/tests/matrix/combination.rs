//! The combinations: a fault, and how the caller leaves.

use std::time::Duration;

use pglock_core::Mode;
use pglock_testkit::faulty::{Fault, Point};

/// A fault, and what the caller does meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Combination {
    pub(crate) scene: Scene,
    pub(crate) point: Point,
    pub(crate) fault: Fault,
    pub(crate) lasting: Lasting,
    pub(crate) leave: Leave,
}

/// The situation in which the caller asks for the lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scene {
    /// The manager has no session yet.
    First,
    /// Another process holds the lock.
    Waiting,
    /// Another process holds the lock, and another caller of the manager is next in line.
    Followed,
    /// A reader of the manager has held the lock so long that the next one needs a probe to join.
    Joining,
    /// A writer of the manager releases, and its lock becomes a read lock for the caller.
    Sharing,
    /// The caller takes a read lock, and turns it into the write lock.
    Upgrading,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lasting {
    /// Strikes once, and is never cleared: a withheld answer never comes.
    Once,
    /// Strikes until it is cleared, after the caller has left.
    UntilCleared,
}

/// How the caller leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leave {
    /// Drops the acquire before it is polled.
    Unpolled,
    /// Drops it after the first poll, before a request is sent.
    Unsent,
    /// Drops it while this answer, counted from 0, is on its way or would be without the fault.
    InTheAir(u32),
    /// Drops it when the answer has come, before the next poll.
    Answered,
    /// Gives up after a timeout.
    TimedOut,
    /// Closes the manager meanwhile.
    Closed,
    /// Drops the guard.
    Dropped,
    /// Releases the guard.
    Released,
    /// Releases the guard at once, so that the lock passes to the next in line.
    Passed,
    /// Releases the guard, and drops the release after its first poll.
    ReleaseDropped,
    /// Closes the manager while a guard exists.
    ClosedHolding,
    /// Drops the manager, its locks and then the guard.
    ManagerDropped,
    /// Does not leave.
    Kept,
}

const LEAVES: [Leave; 17] = [
    Leave::Unpolled,
    Leave::Unsent,
    Leave::InTheAir(0),
    Leave::InTheAir(1),
    Leave::InTheAir(2),
    Leave::InTheAir(3),
    Leave::InTheAir(4),
    Leave::Answered,
    Leave::TimedOut,
    Leave::Closed,
    Leave::Dropped,
    Leave::Released,
    Leave::Passed,
    Leave::ReleaseDropped,
    Leave::ClosedHolding,
    Leave::ManagerDropped,
    Leave::Kept,
];

/// Longer than a heartbeat, shorter than a lease.
const SLOW: Fault = Fault::Slow(Duration::from_secs(3));

impl Combination {
    pub(crate) fn all(scene: Scene) -> impl Iterator<Item = Self> {
        let strikes =
            Point::ALL.into_iter().flat_map(|point| faults(point).map(move |fault| (point, fault)));
        strikes.flat_map(move |(point, fault)| {
            [Lasting::Once, Lasting::UntilCleared].into_iter().flat_map(move |lasting| {
                LEAVES.into_iter().map(move |leave| Self { scene, point, fault, lasting, leave })
            })
        })
    }

    /// Whether the caller may have to wait without a limit.
    pub(crate) fn goes_on(&self) -> bool {
        // A wait in the server's queue gets no answer until the lock is free.
        let is_wait = self.point == Point::Lock && matches!(self.fault, Fault::Silence { .. });
        is_wait || self.lasting == Lasting::UntilCleared
    }

    /// The name of the fault at its point.
    pub(crate) fn strike(&self) -> String {
        format!("{:?} at {:?}", self.fault, self.point)
    }
}

impl Scene {
    pub(crate) fn mode(self) -> Mode {
        match self {
            Self::Joining | Self::Sharing | Self::Upgrading => Mode::Read,
            Self::First | Self::Waiting | Self::Followed => Mode::Write,
        }
    }

    pub(crate) fn is_contended(self) -> bool {
        matches!(self, Self::Waiting | Self::Followed)
    }
}

impl Leave {
    /// Whether the caller leaves only after it was granted the lock.
    pub(crate) fn needs_grant(self) -> bool {
        match self {
            Self::Unpolled | Self::Unsent | Self::TimedOut | Self::Closed => false,
            // The answer to the wait comes after those to connecting, opening and the try.
            Self::InTheAir(answer) => answer == 4,
            _ => true,
        }
    }
}

/// The faults that make a difference at a point: only requests and questions can reach another
/// session, and a close gets no answer.
fn faults(point: Point) -> impl Iterator<Item = Fault> {
    let slow = [Fault::Silence { done: false }, Fault::Silence { done: true }, SLOW];
    let refused = [Fault::Refused { done: false }, Fault::Refused { done: true }];
    let broken = [Fault::Broken { done: false }, Fault::Broken { done: true }];
    let wrong = [Fault::Moved, Fault::Twice, Fault::Robbed];
    let (refused, broken, slow, wrong) = match point {
        Point::Connect => (&refused[..], &broken[..0], &slow[..], &wrong[..0]),
        Point::Closed | Point::Close => (&refused[..0], &broken[..1], &slow[1..], &wrong[..0]),
        Point::Open | Point::Holdings => (&refused[..], &broken[..], &slow[..], &wrong[..1]),
        _ => (&refused[..], &broken[..], &slow[..], &wrong[..]),
    };
    [refused, broken, slow, wrong].concat().into_iter()
}
