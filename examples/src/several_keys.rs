//! Several locks as one: a transfer locks both of its accounts, an audit reads all of them.
//!
//! A set takes its locks in the order of their keys, whatever the order in which it names them. So
//! two transfers in opposite directions never wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use futures::try_join;
use pglock_core::{LockProvider, LockSet, NamedKey};
use tokio::time::sleep;

use crate::{Result, ensure};

const ACCOUNTS: usize = 3;
const TOTAL: i64 = 300;

/// From which account to which, and how much.
const TRANSFERS: [(usize, usize, i64); 6] =
    [(0, 1, 30), (1, 0, 10), (1, 2, 20), (2, 1, 5), (2, 0, 40), (0, 2, 15)];

struct Bank {
    locks: Arc<dyn LockProvider>,
    balances: [AtomicI64; ACCOUNTS],
}

/// Moves money in both directions at once, while two auditors count it.
///
/// # Errors
///
/// Those of the locks; and if money appears or disappears.
pub async fn run(locks: Arc<dyn LockProvider>) -> Result {
    let bank =
        Bank { locks, balances: [const { AtomicI64::new(TOTAL / ACCOUNTS as i64) }; ACCOUNTS] };
    let transfers = TRANSFERS.map(|(from, to, amount)| bank.transfer(from, to, amount));
    let audits = [1, 2].map(|auditor| bank.audit(auditor));
    try_join!(try_join_all(transfers), try_join_all(audits))?;
    bank.audit(1).await?;
    println!("{} transfers, and no deadlock", TRANSFERS.len());
    Ok(())
}

impl Bank {
    fn set(&self) -> LockSet {
        // With a lock manager at hand: `locks.set()`.
        LockSet::new(self.locks.clone())
    }

    async fn transfer(&self, from: usize, to: usize, amount: i64) -> Result {
        let guard = self.set().write(key(from)).write(key(to)).acquire().await?;
        let work = async {
            let [source, target] = [from, to].map(|account| &self.balances[account]);
            let [source_had, target_had] =
                [source, target].map(|balance| balance.load(Ordering::SeqCst));
            sleep(Duration::from_millis(100)).await;
            source.store(source_had - amount, Ordering::SeqCst);
            target.store(target_had + amount, Ordering::SeqCst);
        };
        guard.protect(work).await?;
        println!("moved {amount} from account {from} to account {to}");
        Ok(guard.release().await?)
    }

    async fn audit(&self, auditor: usize) -> Result {
        let guard = (0..ACCOUNTS).map(key).fold(self.set(), LockSet::read).acquire().await?;
        let count = async {
            let mut total = 0;
            for balance in &self.balances {
                total += balance.load(Ordering::SeqCst);
                sleep(Duration::from_millis(20)).await;
            }
            total
        };
        let total = guard.protect(count).await?;
        println!("auditor {auditor}: {total} in {ACCOUNTS} accounts");
        ensure(total == TOTAL, "no money appears or disappears")?;
        Ok(guard.release().await?)
    }
}

fn key(account: usize) -> NamedKey {
    NamedKey::in_namespace("pglock-examples/several-keys", &format!("account/{account}"))
}
