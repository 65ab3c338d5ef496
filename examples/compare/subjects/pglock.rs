//! pglock, with any driver.

use std::str::FromStr;

use pglock_core::driver::Driver;
use pglock_core::{Error, Locks, ReadGuard, WriteGuard};

use crate::Result;
use crate::subject::{Subject, Worker};

pub(crate) struct Pglock<D> {
    locks: Locks<D>,
}

impl<D: Driver + FromStr<Err = Error>> Subject for Pglock<D> {
    type Worker = Locks<D>;

    async fn connect(url: &str) -> Result<Self> {
        Ok(Self { locks: Locks::from_url(url)? })
    }

    async fn connect_sharing(url: &str) -> Result<Self> {
        Ok(Self { locks: Locks::builder(url.parse::<D>()?).share_write_locks(true).build()? })
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
