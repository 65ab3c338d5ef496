//! pglock, with any driver.

use std::marker::PhantomData;
use std::str::FromStr;

use pglock_core::driver::Driver;
use pglock_core::{Error, Locks, LocksBuilder, ReadGuard, WriteGuard};
use tokio::runtime::Handle;

use crate::Result;
use crate::subject::{Subject, Worker};

/// `HERE`: the engine runs on the runtime of its callers, instead of on its own thread.
pub(crate) struct Pglock<D, const HERE: bool> {
    locks: Locks,
    driver: PhantomData<D>,
}

impl<D: Driver + FromStr<Err = Error>, const HERE: bool> Pglock<D, HERE> {
    fn builder(url: &str) -> Result<LocksBuilder> {
        let builder = Locks::builder(url.parse::<D>()?);
        Ok(if HERE { builder.runtime(Handle::current()) } else { builder })
    }

    fn build(builder: LocksBuilder) -> Result<Self> {
        Ok(Self { locks: builder.build()?, driver: PhantomData })
    }
}

impl<D: Driver + FromStr<Err = Error>, const HERE: bool> Subject for Pglock<D, HERE> {
    type Worker = Locks;

    async fn connect(url: &str) -> Result<Self> {
        Self::build(Self::builder(url)?)
    }

    async fn connect_sharing(url: &str) -> Result<Self> {
        Self::build(Self::builder(url)?.share_write_locks(true))
    }

    async fn worker(&self) -> Result<Locks> {
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

impl Worker for Locks {
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
