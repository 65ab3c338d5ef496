//! Fencing tokens, by which a resource recognizes a holder that has been superseded.

use std::fmt;

/// A number that grows from one holder of a lock to the next, from
/// [`WriteGuard::fencing_token`](crate::WriteGuard::fencing_token).
///
/// Send it with each write to a resource outside the database of the lock. The resource keeps the
/// highest token that it has seen, and refuses a write with a lower one, which comes from a holder
/// that has lost the lock. A transaction in the database of the lock needs no token: fence it with
/// [`WriteGuard::fence`](crate::WriteGuard::fence).
///
/// # How long it keeps growing
///
/// Tokens of one key grow through crashes and restarts of the server, and through promotions of a
/// standby, as long as the resource and the locks stay with one PostgreSQL cluster. A token
/// consists of the cluster's timeline, which counts promotions, and a transaction id.
///
/// A new cluster begins again with low numbers: after a dump and restore, after logical replication
/// to another cluster, and after `pg_upgrade` of a cluster that had a promotion. Then resources
/// refuse all new tokens, until you raise the epoch in the new database, above the old epoch plus
/// the old timeline:
///
/// ```sql
/// ALTER DATABASE app SET pglock.epoch = '10'; -- for connections from now on
/// ```
///
/// Never restore an old copy of the server's disk without a recovery that begins a new timeline:
/// the server would give out the same tokens again.
///
/// # Examples
///
/// ```
/// use pglock_core::{Result, WriteGuard};
///
/// # async fn put(_: &str, _: &[u8], _: i64) {}
/// async fn publish(guard: &WriteGuard, report: &[u8]) -> Result<()> {
///     let token = guard.fencing_token().await?;
///     put("reports/daily", report, token.into()).await; // refused if the store has seen a higher one
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FencingToken(i64);

impl FencingToken {
    /// The statement that creates the table for
    /// [`check_token`](crate::TransactionLocks::check_token). Run it with your migrations, in a
    /// schema that is in the `search_path` of the connections that check tokens.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::FencingToken;
    ///
    /// // For the file of the migration:
    /// println!("{};", FencingToken::TABLE);
    /// ```
    pub const TABLE: &'static str = crate::sql::TOKEN_TABLE;

    /// Makes a token from a number, for a backend that issues tokens, or a resource that stores
    /// them. `None` if the number is negative.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::FencingToken;
    ///
    /// let highest = FencingToken::new(281_474_976_711_421);
    /// assert!(FencingToken::new(281_474_976_710_000) < highest);
    /// assert_eq!(FencingToken::new(-1), None);
    /// ```
    pub fn new(number: i64) -> Option<Self> {
        (number >= 0).then_some(Self(number))
    }
}

impl From<FencingToken> for i64 {
    fn from(token: FencingToken) -> Self {
        token.0
    }
}

/// Tokens are never negative.
impl From<FencingToken> for u64 {
    fn from(token: FencingToken) -> Self {
        token.0.cast_unsigned()
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
