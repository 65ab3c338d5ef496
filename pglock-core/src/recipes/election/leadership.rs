//! The leadership: what a candidate has while it leads.

use std::sync::Arc;

use super::candidate::{Candidate, InOffice};
use crate::driver::Transaction;
use crate::{FencingToken, Lease, Result, TransactionLocks, WriteGuard};

/// The leadership of a candidate, from [`Election::campaign`](super::Election::campaign). Dropping
/// it resigns.
///
/// It is the guard of the election's lock, so it may be lost together with the session that holds
/// it. Use [`protect`](Self::protect) for the work, or give code that does not own the leadership a
/// clone of its [`lease`](Self::lease).
///
/// # Examples
///
/// ```
/// # async fn next_job() -> u32 { 7 }
/// # async fn work_on(job: u32) {}
/// use pglock_core::Result;
/// use pglock_core::recipes::election::Election;
///
/// async fn lead(election: &Election) -> Result<()> {
///     let leadership = election.campaign().await?;
///     println!("term {} begins", leadership.term());
///     let lease = leadership.lease().clone();
///     lease.on_loss(|| eprintln!("the leadership is lost"));
///     while leadership.is_held() {
///         tokio::select! {
///             biased;
///             () = leadership.lost() => break,
///             () = leadership.asked_to_resign() => break,
///             job = next_job() => leadership.protect(work_on(job)).await?,
///         }
///     }
///     leadership.resign().await
/// }
/// ```
#[derive(Debug)]
#[must_use = "dropping the leadership resigns at once"]
#[clippy::has_significant_drop]
pub struct Leadership {
    // Dropped first: the role ends before another candidate can lead.
    office: InOffice,
    guard: WriteGuard,
}

impl Leadership {
    pub(super) fn new(candidate: &Arc<Candidate>, guard: WriteGuard) -> Self {
        Self { office: candidate.take_office(guard.lease()), guard }
    }

    /// The number of this term among those of this candidate: the first one is 1.
    pub fn term(&self) -> u64 {
        self.office.term()
    }

    /// Reports whether the candidate still leads, to code that does not own the leadership. Clone
    /// it; a clone may outlive the leadership. It also has [`valid_for`](Lease::valid_for),
    /// [`on_loss`](Lease::on_loss) and `cancel_on_loss`.
    pub fn lease(&self) -> &Lease {
        self.guard.lease()
    }

    /// Whether the candidate still leads, as far as this process knows: see [`Lease::is_held`].
    pub fn is_held(&self) -> bool {
        self.guard.is_held()
    }

    /// Completes when the leadership is lost: see [`Lease::lost`].
    ///
    /// # Cancel safety
    ///
    /// Dropping this future loses nothing; a later call reports the loss as well.
    pub async fn lost(&self) {
        self.guard.lost().await;
    }

    /// Runs work as the leader, and stops it when the leadership is lost: see [`Lease::protect`].
    ///
    /// # Cancel safety
    ///
    /// Dropping this future drops the work; the candidate still leads.
    ///
    /// # Errors
    ///
    /// [`Lost`](crate::ErrorKind::Lost) if the leadership is lost before the work is done.
    pub async fn protect<F: Future>(&self, work: F) -> Result<F::Output> {
        self.guard.protect(work).await
    }

    /// Fences a transaction of the application, so that a leader that was stopped or cut off cannot
    /// write after its successor: see [`WriteGuard::fence`].
    ///
    /// # Cancel safety
    ///
    /// If this future is dropped, roll the transaction back.
    ///
    /// # Errors
    ///
    /// As [`WriteGuard::fence`]: [`Lost`](crate::ErrorKind::Lost) if the leadership is lost. Roll
    /// the transaction back.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::driver::Transaction;
    /// use pglock_core::recipes::election::Leadership;
    /// use pglock_core::{Result, TransactionLocks};
    ///
    /// /// `locks` is `tx.locks()`.
    /// async fn begin_write<T: Transaction>(
    ///     leadership: &Leadership,
    ///     locks: TransactionLocks<T>,
    /// ) -> Result<()> {
    ///     leadership.fence(locks).await
    ///     // … now write in the transaction, and commit it …
    /// }
    /// ```
    pub async fn fence<T: Transaction>(&self, locks: TransactionLocks<T>) -> Result<()> {
        self.guard.fence(locks).await
    }

    /// A number that is higher than those of all earlier leaders, for a resource that refuses a
    /// lower number than it has seen: see [`WriteGuard::fencing_token`].
    ///
    /// # Cancel safety
    ///
    /// Dropping this future loses nothing.
    ///
    /// # Errors
    ///
    /// As [`WriteGuard::fencing_token`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use pglock_core::recipes::election::Leadership;
    /// # async fn example(leadership: &Leadership) -> pglock_core::Result<()> {
    /// println!("PUT /schedule?token={}", leadership.fencing_token().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fencing_token(&self) -> Result<FencingToken> {
        self.guard.fencing_token().await
    }

    /// Completes when another process [asks](super::Election::ask_to_resign) this one to resign.
    ///
    /// While you await this, it asks the server once per second. If the server cannot be asked, it
    /// keeps waiting.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future loses nothing; a later call reports the request as well.
    pub async fn asked_to_resign(&self) {
        self.office.candidate().asked_to_resign().await;
    }

    /// Resigns, and waits for the confirmation: the next candidate in line leads. If this candidate
    /// campaigns again, it is at the end of the line.
    ///
    /// Dropping the leadership also resigns, without waiting.
    ///
    /// # Cancel safety
    ///
    /// If this future is dropped, the candidate resigns anyway, but without confirmation.
    ///
    /// # Errors
    ///
    /// As for [`WriteGuard::release`]: [`Lost`](crate::ErrorKind::Lost) if the leadership had been
    /// lost before.
    pub async fn resign(self) -> Result<()> {
        let Self { office, guard } = self;
        drop(office);
        guard.release().await
    }
}
