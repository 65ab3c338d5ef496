//! Two replicas and a client, which show what the service does.

#![allow(clippy::future_not_send, reason = "the program awaits them where it made them")]

use std::time::{Duration, Instant};

use futures::future::{try_join, try_join_all};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::process::Replica;
use crate::{Result, ensure};

/// The longest that a step may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many nights are to pass.
const NIGHTS: usize = 4;

/// Starts two replicas on this database, sends them requests, and stops the leader.
///
/// # Errors
///
/// Those of the replicas, and if they do not do what the service promises.
pub async fn run(url: &str) -> Result {
    let first = Replica::start("replica-1", url);
    let (first, second) = try_join(first, Replica::start("replica-2", url)).await?;
    let replicas = [first, second];
    try_join_all(replicas.iter().map(until_ready)).await?;
    pay_twice(&replicas).await?;
    let leader = until(async || leader(&replicas).await).await?;
    println!("{} leads", replicas[leader].name);
    until(async || Ok((nights(&replicas).await?.len() >= NIGHTS).then_some(()))).await?;
    run_each_night_once(&replicas).await?;
    metrics(&replicas[leader]).await?;
    replace(replicas, leader).await
}

async fn until_ready(replica: &Replica) -> Result {
    until(async || Ok((replica.get("ready").await?.0 == 200).then_some(()))).await?;
    println!("{} is ready", replica.name);
    Ok(())
}

/// Sends the same payment to both replicas at the same time.
async fn pay_twice(replicas: &[Replica; 2]) -> Result {
    let answers = replicas.iter().map(|replica| replica.post("invoices/42/payment"));
    let mut answers = try_join_all(answers).await?;
    answers.sort_by_key(|(status, _)| *status);
    println!("invoice 42 is paid: {}", answers[0].1);
    println!("  the other request is answered {}: {}", answers[1].0, answers[1].1);
    ensure((answers[0].0, answers[1].0) == (200, 409), "an invoice is paid by one request")
}

/// Which of them leads, if exactly one does.
async fn leader(replicas: &[Replica]) -> Result<Option<usize>> {
    let mut leading = None;
    for (number, replica) in replicas.iter().enumerate() {
        let answer = replica.get("leader").await?.1;
        if answer["leading"] == true {
            ensure(leading.is_none(), "at most one replica leads")?;
            leading = Some(number);
        }
    }
    Ok(leading)
}

/// The nights that all of them have run.
async fn nights(replicas: &[Replica]) -> Result<Vec<Value>> {
    let mut nights = Vec::new();
    for replica in replicas {
        let run = replica.get("nights").await?.1;
        nights.extend(run.as_array().ok_or("the nights are not a list")?.clone());
    }
    Ok(nights)
}

async fn run_each_night_once(replicas: &[Replica]) -> Result {
    let mut nights: Vec<_> = nights(replicas).await?.iter().map(Value::to_string).collect();
    nights.sort();
    let count = nights.len();
    nights.dedup();
    println!("{count} nights have been run, each by one replica");
    ensure(nights.len() == count, "each night is run once")
}

/// Some of what Prometheus collects.
async fn metrics(replica: &Replica) -> Result {
    let metrics = replica.text("metrics").await?;
    let shown = [
        ("pglock_election_is_leader", ""),
        ("pglock_wait_seconds_count", "write"),
        ("pglock_connected", ""),
    ];
    for (name, label) in shown {
        let is_shown = |line: &&str| line.starts_with(name) && line.contains(label);
        let line = metrics.lines().find(is_shown).ok_or(format!("there is no {name}"))?;
        println!("  {line}");
    }
    Ok(())
}

/// Stops the leader, as a deployment does, and then the other one.
async fn replace(replicas: [Replica; 2], leader: usize) -> Result {
    let [first, second] = replicas;
    let (old, new) = if leader == 0 { (first, second) } else { (second, first) };
    let begin = Instant::now();
    old.stop().await?;
    let only = [new];
    until(async || self::leader(&only).await).await?;
    println!("{} leads {:?} after the signal to stop", only[0].name, begin.elapsed());
    let [new] = only;
    new.stop().await?;
    println!("both replicas have ended in order");
    Ok(())
}

/// Asks until there is an answer.
async fn until<T>(ask: impl AsyncFn() -> Result<Option<T>>) -> Result<T> {
    let asking = async {
        loop {
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, asking).await?
}
