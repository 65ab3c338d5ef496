//! Locks in a transaction of the application: desks take payments, each in one transaction, and
//! without a lock manager.
//!
//! The locks end with the transaction, so there is no guard. A payment tries the lock on its
//! invoice, and leaves the invoice alone if another desk has it. Then it waits for the lock on the
//! receipts, because their numbers must have no gaps. The office closes the day: it waits until no
//! payment is in progress, up to a timeout.

use std::collections::VecDeque;
use std::time::Duration;

use futures::try_join;
use pglock_core::{Error, ErrorKind, NamedKey};
use tokio::time::sleep;

use crate::{Result, ensure};

const INVOICES: i32 = 4;

/// How long the office waits for payments at a time.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long a payment takes.
pub const WORK: Duration = Duration::from_millis(150);

/// The key of the receipts, whose numbers follow each other.
pub const RECEIPTS: &str = "pglock-examples/transaction/receipts";

/// The key of an invoice.
pub fn key(invoice: i32) -> NamedKey {
    NamedKey::in_namespace("pglock-examples/transaction", &format!("invoice/{invoice}"))
}

/// What came of a payment.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "the programs make them")]
pub enum Payment {
    /// Recorded, with the number of its receipt.
    Receipt(i32),
    /// Another desk is taking the payment.
    Busy,
    /// The invoice was paid before.
    PaidBefore,
}

/// A connection to the database. The programs implement it with transactions of their clients.
pub trait Desk {
    /// Takes the payment of an invoice, unless another desk is taking it.
    ///
    /// # Errors
    ///
    /// Those of the locks and the client.
    fn pay(&mut self, invoice: i32) -> impl Future<Output = Result<Payment>>;

    /// Waits until no payment is in progress, but no longer than `patience`. Returns the number and
    /// the invoice of each receipt.
    ///
    /// # Errors
    ///
    /// [`Timeout`](ErrorKind::Timeout) if a payment is still in progress; and those of the client.
    fn close(&mut self, patience: Duration) -> impl Future<Output = Result<Vec<(i32, i32)>>>;
}

/// Lets three desks take the payments of the same invoices, while the office closes the day.
///
/// # Errors
///
/// Those of the desks; and if an invoice is paid twice, or the receipts have gaps.
pub async fn run<D: Desk>([mut office, mut a, mut b, mut c]: [D; 4]) -> Result {
    let early = async {
        sleep(PATIENCE).await;
        close(&mut office).await
    };
    try_join!(serve(1, &mut a), serve(2, &mut b), serve(3, &mut c), early)?;
    let receipts = close(&mut office).await?;
    let mut invoices: Vec<_> = receipts.iter().map(|(_, invoice)| *invoice).collect();
    invoices.sort_unstable();
    ensure(invoices.into_iter().eq(1..=INVOICES), "each invoice is paid once")?;
    println!("{INVOICES} receipts, numbered without gaps");
    Ok(())
}

async fn serve(desk: i32, connection: &mut impl Desk) -> Result {
    let mut open: VecDeque<_> = (1..=INVOICES).collect();
    while let Some(invoice) = open.pop_front() {
        match connection.pay(invoice).await? {
            Payment::Receipt(number) => {
                println!("desk {desk}: invoice {invoice}, receipt {number}")
            }
            Payment::PaidBefore => println!("desk {desk}: invoice {invoice} was paid before"),
            Payment::Busy => {
                println!("desk {desk}: another desk has invoice {invoice}");
                open.push_back(invoice);
                sleep(PATIENCE).await;
            }
        }
    }
    Ok(())
}

async fn close(office: &mut impl Desk) -> Result<Vec<(i32, i32)>> {
    loop {
        let receipts = match office.close(PATIENCE).await {
            Err(error) if is_timeout(&*error) => {
                println!("office: a payment is in progress");
                continue;
            }
            closed => closed?,
        };
        let numbers = receipts.iter().map(|(number, _)| *number);
        ensure(numbers.eq(1..=receipts.len() as i32), "the receipts are numbered without gaps")?;
        println!("office: {} receipts", receipts.len());
        return Ok(receipts);
    }
}

fn is_timeout(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref().is_some_and(|error: &Error| error.kind() == ErrorKind::Timeout)
}
