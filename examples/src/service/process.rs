//! A replica in a process of its own, as a client sees it.

use std::env;
use std::process::Stdio;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::replica::NAME;
use crate::{Result, ensure};

/// A process of this program that [serves](super::run_replica).
pub(super) struct Replica {
    pub(super) name: String,
    address: String,
    process: Child,
    client: Client<HttpConnector, Body>,
}

impl Replica {
    /// Returns when it listens.
    pub(super) async fn start(name: &str, url: &str) -> Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .args(["--serve", "127.0.0.1:0"])
            .env("DATABASE_URL", url)
            .env(NAME, name)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = process.stdout.take().ok_or("the replica has no output")?;
        let line = BufReader::new(output).lines().next_line().await?.unwrap_or_default();
        let address = line.strip_prefix("listening on ").ok_or("the replica did not start")?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        let (name, address) = (name.to_owned(), address.to_owned());
        Ok(Self { name, address, process, client })
    }

    pub(super) async fn get(&self, path: &str) -> Result<(u16, Value)> {
        self.ask(Method::GET, path).await
    }

    pub(super) async fn post(&self, path: &str) -> Result<(u16, Value)> {
        self.ask(Method::POST, path).await
    }

    pub(super) async fn text(&self, path: &str) -> Result<String> {
        Ok(self.send(Method::GET, path).await?.1)
    }

    /// Asks it to end, as a deployment does, and waits until it has.
    pub(super) async fn stop(mut self) -> Result {
        let pid = self.process.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        kill_process(pid.ok_or("the replica has ended")?, Signal::TERM)?;
        ensure(self.process.wait().await?.success(), "a replica ends with code 0")
    }

    /// The status, and the body if it is JSON.
    async fn ask(&self, method: Method, path: &str) -> Result<(u16, Value)> {
        let (status, body) = self.send(method, path).await?;
        Ok((status, serde_json::from_str(&body).unwrap_or_default()))
    }

    async fn send(&self, method: Method, path: &str) -> Result<(u16, String)> {
        let url = format!("http://{}/{path}", self.address);
        let request = Request::builder().method(method).uri(url).body(Body::empty())?;
        let response = self.client.request(request).await?;
        let status = response.status().as_u16();
        let body = to_bytes(Body::new(response.into_body()), usize::MAX).await?;
        Ok((status, String::from_utf8(body.to_vec())?))
    }
}
