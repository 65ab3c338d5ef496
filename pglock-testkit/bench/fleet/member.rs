//! One process of the fleet: it follows orders, and reports what its managers have done.

use std::future::pending;
use std::io::Write;
use std::{io, process};

use pglock_core::{Locks, RwLock};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

use crate::order::Order;
use crate::{DriverName, MANAGERS, Result};

/// The key that all managers share.
pub(crate) const BATON: i64 = 1;

const FLAG: &str = "--member";

pub(crate) struct Member {
    managers: Vec<Locks>,
}

impl Member {
    /// What [`Member::from_args`] understands.
    pub(crate) fn args(driver: DriverName, url: &str) -> [String; 3] {
        [FLAG.to_owned(), driver.as_str().to_owned(), url.to_owned()]
    }

    pub(crate) fn from_args(args: &[String]) -> Result<Option<Self>> {
        let [flag, driver, url] = args else {
            return Ok(None);
        };
        if flag != FLAG {
            return Ok(None);
        }
        let driver = DriverName::named(driver).ok_or("no such driver")?;
        let managers = (0..MANAGERS).map(|_| driver.locks(url)).collect::<Result<_>>()?;
        Ok(Some(Self { managers }))
    }

    /// Follows orders until there are no more.
    pub(crate) async fn run(self) -> Result {
        let mut orders = BufReader::new(stdin()).lines();
        while let Some(line) = orders.next_line().await? {
            let order = Order::named(&line).ok_or("no such order")?;
            for (number, locks) in self.managers.iter().enumerate() {
                let (locks, own) = (locks.clone(), own_lock(locks, number));
                tokio::spawn(async move {
                    if let Err(error) = follow(order, &locks, &own).await {
                        report(&format!("failed: {error}"));
                    }
                });
            }
        }
        Ok(())
    }
}

/// A lock that no other manager of the fleet uses.
fn own_lock(locks: &Locks, number: usize) -> RwLock {
    locks.rwlock(format!("{}/{number}", process::id()).as_str())
}

async fn follow(order: Order, locks: &Locks, own: &RwLock) -> Result {
    match order {
        Order::Connect => {
            own.write().await?.release().await?;
            report("connected");
        }
        Order::Pass => {
            let guard = locks.rwlock(BATON).write().await?;
            report("passed");
            guard.release().await?;
        }
        Order::Hold => loop {
            let guard = own.write().await?;
            report("holding");
            guard.lost().await;
        },
        Order::Campaign => {
            let _leadership = locks.election("fleet").campaign().await?;
            report("leading");
            pending::<()>().await;
        }
    }
    Ok(())
}

/// A line to the process that observes the fleet.
fn report(what: &str) {
    let mut output = io::stdout().lock();
    // If the observer has ended, so will this process.
    drop(writeln!(output, "{what}").and_then(|()| output.flush()));
}
