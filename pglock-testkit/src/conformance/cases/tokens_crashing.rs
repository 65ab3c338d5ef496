//! Fencing tokens of servers that crash, and of sessions that end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pglock_core::{DistributedRwLock, FencingToken, LockKey};
use tokio::time::sleep;

use super::{as_role, connect, execute};
use crate::conformance::{Lab, Options, group, is_long, soon, start};
use crate::postgres::{StopMode, TestServer};
use crate::witness::Witness;

group! { tokens_crashing:
    tokens_grow_through_crashes: Postgres,
    tokens_of_rivals_grow_through_losses_and_crashes: Postgres,
}

/// What was not flushed is given out once more. A role may not want that commits are flushed.
pub async fn tokens_grow_through_crashes(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let witness = connect(server.url()).await;
    execute(&witness, "CREATE ROLE hasty LOGIN; ALTER ROLE hasty SET synchronous_commit = off")
        .await;
    let manager = lab.manager_at(&as_role(server.url(), "hasty"), &Options::default()).unwrap();
    let lock = manager.lock("key");
    let mut last = None;
    for _ in 0..if is_long() { 50 } else { 6 } {
        let guard = soon("the server is back", lock.write()).await.unwrap();
        let token = Some(guard.fencing_token().await.unwrap());
        assert!(token > last, "{token:?} after {last:?}");
        last = token;
        server.stop(StopMode::Immediate).await.unwrap();
        soon("the loss", guard.lost()).await;
        server.start().await.unwrap();
    }
}

/// For each guard in turn, its token, and whether it certainly held the lock until this was noted.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<(FencingToken, bool)>>>);

impl Notes {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Returns its place.
    fn note(&self, token: FencingToken) -> usize {
        let mut notes = self.0.lock().unwrap();
        notes.push((token, false));
        notes.len() - 1
    }

    fn confirm(&self, place: usize) {
        self.0.lock().unwrap()[place].1 = true;
    }

    fn assert_growing(&self) {
        let notes = self.0.lock().unwrap();
        let confirmed: Vec<_> = notes.iter().filter(|note| note.1).map(|note| note.0).collect();
        println!("{} tokens, {} of locks that were not lost", notes.len(), confirmed.len());
        let falls = confirmed.windows(2).find(|pair| pair[0] >= pair[1]);
        assert_eq!(falls, None);
        let different: BTreeSet<_> = notes.iter().map(|note| note.0).collect();
        assert_eq!(different.len(), notes.len(), "a token was given out twice");
    }
}

/// Two managers take turns while their sessions end and the server crashes.
pub async fn tokens_of_rivals_grow_through_losses_and_crashes(lab: &Lab) {
    let wanted = if is_long() { 10_000 } else { 1_500 };
    let server = TestServer::private().await.unwrap();
    let (notes, key) = (Notes::default(), LockKey::from("key"));
    let rivals = [(); 2].map(|()| {
        let manager = lab.manager_at(server.url(), &Options::default()).unwrap();
        start(take_tokens(manager.lock(key), notes.clone(), wanted))
    });
    let mut faults = [0, 0];
    for turn in 0_u64.. {
        // At another point of the rivals' work each time.
        sleep(Duration::from_millis(20 + turn * 37 % 100)).await;
        if notes.count() >= wanted {
            break;
        }
        if turn % 4 == 3 {
            server.restart(StopMode::Immediate).await.unwrap();
            faults[1] += 1;
            let before = notes.count();
            let is_back = || notes.count() > before || before >= wanted;
            lab.until("a rival is back", is_back).await;
            continue;
        }
        let witness = connect(server.url()).await;
        for holder in witness.holders(key).await.unwrap() {
            faults[0] += usize::from(witness.terminate(holder.pid).await.unwrap());
        }
    }
    for rival in rivals {
        soon("the last turn", rival).await.unwrap();
    }
    println!("{} sessions ended, and {} crashes", faults[0], faults[1]);
    notes.assert_growing();
}

async fn take_tokens(lock: Arc<dyn DistributedRwLock>, notes: Notes, wanted: usize) {
    while notes.count() < wanted {
        let Ok(guard) = lock.write().await else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        let Ok(token) = guard.fencing_token().await else { continue };
        let place = notes.note(token);
        if guard.release().await.is_ok() {
            notes.confirm(place);
        }
    }
}
