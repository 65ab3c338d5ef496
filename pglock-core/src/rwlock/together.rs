//! Several locks that are tried in one round trip.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::RwLock;
use crate::engine::{Client, Goal, Held, Patience, Tried, Wanted};
use crate::error::Result;
use crate::guard::{AnyGuard, ReadGuard, WriteGuard};
use crate::key::NamedKey;
use crate::mode::Mode;

/// Takes the first lock, for which it waits up to `timeout`, and those behind it that are free, in
/// their order. Without time, there is no guard if the first is busy.
pub(crate) async fn take_prefix(
    client: &Arc<Client>,
    wanted: &[(NamedKey, Mode)],
    timeout: Duration,
) -> Result<Vec<AnyGuard>> {
    let locks: Vec<_> =
        wanted.iter().map(|(key, _)| RwLock::new(client.clone(), key.clone())).collect();
    let Some((first, &(_, mode))) = locks.first().zip(wanted.first()) else {
        return Ok(Vec::new());
    };
    let begin = client.now();
    if wanted.len() > 1 {
        let timeout = if timeout.is_zero() { Duration::MAX } else { timeout };
        client.learn_cap(timeout).await?;
    }
    let take = async |patience| {
        let guards = match &locks[..] {
            [_] => Vec::new(),
            _ => take_free(client, &locks, wanted).await?,
        };
        if !guards.is_empty() {
            return Ok(guards);
        }
        let held = first.acquire(mode, patience).await?;
        Ok(held.map(|held| guard(held, mode)).into_iter().collect())
    };
    if timeout.is_zero() {
        return take(Patience::Try).await;
    }
    let left = timeout.saturating_sub(client.now().saturating_sub(begin));
    first.within(left, take(Patience::Wait), &AtomicBool::new(false)).await
}

/// Takes the locks that are free, in their order.
async fn take_free(
    client: &Arc<Client>,
    locks: &[RwLock],
    wanted: &[(NamedKey, Mode)],
) -> Result<Vec<AnyGuard>> {
    let modes = wanted.iter().map(|(_, mode)| *mode);
    let mut guards = Vec::new();
    for (tried, mode) in run(client, locks, modes.clone(), Goal::All).await?.into_iter().zip(modes)
    {
        match tried {
            Tried::Taken(held) => guards.push(guard(held, mode)),
            Tried::Busy | Tried::Skipped => break,
            Tried::Failed(error) => return Err(error),
        }
    }
    Ok(guards)
}

/// Takes the write lock of the first key that is free.
pub(crate) async fn try_any(client: &Arc<Client>, keys: &[NamedKey]) -> Result<Option<WriteGuard>> {
    let locks: Vec<_> = keys.iter().map(|key| RwLock::new(client.clone(), key.clone())).collect();
    let mut locks = &locks[..];
    while !locks.is_empty() {
        let modes = std::iter::repeat(Mode::Write);
        let mut busy = 0;
        for tried in run(client, locks, modes, Goal::Any).await? {
            match tried {
                Tried::Taken(held) => return Ok(Some(WriteGuard::from_engine(held))),
                Tried::Failed(error) => return Err(error),
                Tried::Skipped => break,
                Tried::Busy => busy += 1,
            }
        }
        locks = &locks[busy..];
        // The next one, if there is any, has to be tried alone.
        let Some((next, rest)) = locks.split_first() else {
            return Ok(None);
        };
        if let Some(held) = next.acquire(Mode::Write, Patience::Try).await? {
            return Ok(Some(WriteGuard::from_engine(held)));
        }
        locks = rest;
    }
    Ok(None)
}

async fn run(
    client: &Arc<Client>,
    locks: &[RwLock],
    modes: impl Iterator<Item = Mode>,
    goal: Goal,
) -> Result<Vec<Tried>> {
    let wanted = locks.iter().zip(modes).map(|(lock, mode)| {
        let name = lock.entered()?.map(|name| name.into_owned());
        Ok(Wanted { key: lock.key, name, mode })
    });
    let wanted = wanted.collect::<Result<Vec<_>>>()?;
    client.run(&wanted, goal).await
}

fn guard(held: Held, mode: Mode) -> AnyGuard {
    match mode {
        Mode::Read => ReadGuard::from_engine(held).into(),
        Mode::Write => WriteGuard::from_engine(held).into(),
    }
}
