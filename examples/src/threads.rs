//! A program without a runtime: its threads give out invoice numbers, without gaps and without
//! using one twice.
//!
//! A thread reads the last number and records the next one. The lock keeps other threads, and other
//! processes, from doing the same in between.

use std::thread;
use std::time::Duration;

use pglock_core::DistributedRwLock;
use pglock_core::blocking::Wait;

use crate::{Result, ensure};

/// The key of the lock.
pub const NAME: &str = "pglock-examples/threads";

const THREADS: i32 = 3;
const INVOICES: i32 = 4;

/// The table of invoices. The program implements it with a client that blocks.
pub trait Invoices {
    /// The last number, or zero.
    ///
    /// # Errors
    ///
    /// Those of the client.
    fn last(&mut self) -> Result<i32>;

    /// Records an invoice.
    ///
    /// # Errors
    ///
    /// Those of the client.
    fn add(&mut self, number: i32) -> Result;

    /// All numbers, in order.
    ///
    /// # Errors
    ///
    /// Those of the client.
    fn numbers(&mut self) -> Result<Vec<i32>>;
}

/// Lets the threads write invoices. `connect` makes a connection for each thread.
///
/// # Errors
///
/// Those of the lock and the client; and if the numbers have gaps, or one is used twice.
pub fn run<I: Invoices>(
    lock: &dyn DistributedRwLock,
    connect: impl Fn() -> Result<I> + Sync,
) -> Result {
    thread::scope(|scope| {
        let write = |thread| {
            let connect = &connect;
            scope.spawn(move || write_invoices(thread, lock, &mut connect()?))
        };
        let threads: Vec<_> = (1..=THREADS).map(write).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })?;
    let numbers = connect()?.numbers()?;
    ensure(numbers.into_iter().eq(1..=THREADS * INVOICES), "each number is used once")?;
    println!("{} invoices, numbered without gaps", THREADS * INVOICES);
    Ok(())
}

fn write_invoices(
    thread: i32,
    lock: &dyn DistributedRwLock,
    invoices: &mut impl Invoices,
) -> Result {
    for _ in 0..INVOICES {
        let guard = lock.write().wait()?;
        let number = invoices.last()? + 1;
        thread::sleep(Duration::from_millis(50));
        invoices.add(number)?;
        println!("thread {thread}: invoice {number}");
        guard.release().wait()?;
    }
    Ok(())
}
