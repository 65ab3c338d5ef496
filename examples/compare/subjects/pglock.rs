//! pglock, with any driver.

use std::str::FromStr;

use pglock_core::driver::Driver;
use pglock_core::{Error, Locks, LocksBuilder, ReadGuard, WriteGuard};
use tokio::runtime::Handle;

use crate::Result;
use crate::subject::{Subject, Worker};

/// `HERE`: with the engine on the runtime of its callers, instead of on a thread of its own.
pub(crate) struct Pglock<D, const HERE: bool> {
    locks: Locks<D>,
}

impl<D: Driver + FromStr<Err = Error>, const HERE: bool> Pglock<D, HERE> {
    fn builder(url: &str) -> Result<LocksBuilder<D>> {
        let builder = Locks::builder(url.parse::<D>()?);
        Ok(if HERE { builder.runtime(Handle::current()) } else { builder })
    }
}

impl<D: Driver + FromStr<Err = Error>, const HERE: bool> Subject for Pglock<D, HERE> {
    type Worker = Locks<D>;

    async fn connect(url: &str) -> Result<Self> {
        Ok(Self { locks: Self::builder(url)?.build()? })
    }

    async fn connect_sharing(url: &str) -> Result<Self> {
        Ok(Self { locks: Self::builder(url)?.share_write_locks(true).build()? })
    }

    async fn worker(&self) -> Result<Locks<D>> {
        Ok(self.locks.clone())
    }

    async fn close(self) -> Result<()> {
        Ok(self.locks.close().await?)
    }
}

pub(crate) enum Guard {
    Read(ReadGuard),
    Write(WriteGuard),
}

impl<D: Driver> Worker for Locks<D> {
    type Guard = Guard;

    async fn write(&self, key: i64) -> Result<Guard> {
        Ok(Guard::Write(self.rwlock(key).write().await?))
    }

    async fn read(&self, key: i64) -> Result<Guard> {
        Ok(Guard::Read(self.rwlock(key).read().await?))
    }

    async fn release(&self, guard: Guard) -> Result<()> {
        match guard {
            Guard::Read(guard) => guard.release().await?,
            Guard::Write(guard) => guard.release().await?,
        }
        Ok(())
    }

    async fn let_go(&self, guard: Guard) -> Result<()> {
        drop(guard);
        Ok(())
    }
}
