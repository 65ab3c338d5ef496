//! How a guard fences a transaction of the application: see `DESIGN.md`.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::driver::Transaction;
use crate::engine::Held;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{LockKey, NamedKey};
use crate::transaction::TransactionLocks;

/// How long the transaction waits for the gate before it checks the guard again.
const ROUND: Duration = Duration::from_secs(5);

/// Takes the gate in the transaction, and then asks the session of the lock to show that it lives.
pub(crate) async fn fence<T: Transaction>(
    held: &Held,
    transaction: TransactionLocks<T>,
) -> Result<()> {
    pass_gate(held, transaction).await.map_err(|error| held.about(error))
}

async fn pass_gate<T: Transaction>(
    held: &Held,
    mut transaction: TransactionLocks<T>,
) -> Result<()> {
    let (gate, mode) = (gate_of(held.key()), held.mode());
    let mark = LockKey::from_u64(RandomState::new().hash_one(gate));
    let mut is_taken = transaction.take_gate(gate, mode, mark).await?;
    while !is_taken {
        if !held.is_held() {
            return Err(held.loss());
        }
        is_taken = transaction.wait_at_gate(gate, mode, mark, ROUND).await?;
    }
    if held.sees(mark).await? {
        return Ok(());
    }
    // The caller must roll the transaction back in any case, so this query may fail.
    match transaction.identity().await {
        Ok(identity) if Some(identity) == held.server() => {
            Err(Error::lost_by(Error::superseded_server()))
        }
        _ => Err(Error::new(
            ErrorKind::InvalidOptions,
            "the transaction is not in the database of the lock, which protects nothing elsewhere: \
             fence transactions in the database of the lock manager",
        )),
    }
}

/// The key that fenced transactions take. Frozen: programs of different versions meet there.
pub(crate) fn gate_of(key: LockKey) -> LockKey {
    NamedKey::in_namespace("pglock-fence", &key.to_string()).key()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_never_change() {
        let gate = |key: LockKey| gate_of(key).as_bigint();
        assert_eq!(gate(LockKey::from(42)), Some(577036201040488802));
        assert_eq!(gate(LockKey::from(-1)), Some(7903327494501792893));
        assert_eq!(gate(LockKey::from((5, -7))), Some(7496621557618674474));
        assert_eq!(gate(LockKey::from("my-lock")), Some(6844490412536870682));
    }
}
