//! The service, tested without PostgreSQL; and what its dashboard shows, which must exist.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::fs;
use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use pglock_core::recipes::schedule::MemorySlots;
use pglock_core::{Locks, NamedKey};
use pglock_examples::service::Service;
use pglock_testkit::memory::MemoryServer;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const PATIENCE: Duration = Duration::from_secs(20);

fn locks(server: &MemoryServer, name: &str) -> Locks {
    Locks::builder(server.driver()).application_name(name).build().unwrap()
}

fn service(server: &MemoryServer, name: &str) -> Service {
    Service::new(locks(server, name), Arc::new(MemorySlots::new())).unwrap()
}

async fn ask(service: &Service, method: &str, path: &str) -> (u16, String) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let response = service.router().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn json(service: &Service, path: &str) -> Value {
    serde_json::from_str(&ask(service, "GET", path).await.1).unwrap()
}

async fn until(mut reached: impl AsyncFnMut() -> bool) {
    let reached = async {
        while !reached().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, reached).await.unwrap();
}

#[tokio::test]
async fn payment_of_a_locked_invoice_is_refused_with_its_holder() {
    let server = MemoryServer::new();
    let replica = service(&server, "this");
    let invoice = NamedKey::in_namespace("pglock-examples/invoice", "42");
    let guard = locks(&server, "other").rwlock(invoice).write().await.unwrap();
    let (status, body) = ask(&replica, "POST", "/invoices/42/payment").await;
    assert_eq!(status, 409, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["holder"]["replica"], "other");
    assert_eq!(ask(&replica, "POST", "/invoices/43/payment").await.0, 200);
    guard.release().await.unwrap();
    assert_eq!(ask(&replica, "POST", "/invoices/42/payment").await.0, 200);
}

#[tokio::test]
async fn client_that_goes_away_releases_the_lock() {
    let server = MemoryServer::new();
    let replica = service(&server, "this");
    let observer = locks(&server, "observer");
    let invoice = NamedKey::in_namespace("pglock-examples/invoice", "42");
    {
        let mut request = pin!(ask(&replica, "POST", "/invoices/42/payment"));
        until(async || {
            let is_over = poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx).is_ready())).await;
            assert!(!is_over, "a payment takes its time");
            !observer.inspect(invoice.clone()).await.unwrap().is_empty()
        })
        .await;
    }
    let guard = observer.rwlock(invoice).try_write_for(PATIENCE).await.unwrap();
    guard.release().await.unwrap();
}

#[tokio::test]
async fn replica_without_a_server_is_not_ready_and_refuses() {
    let server = MemoryServer::new();
    let replica = service(&server, "this");
    assert_eq!(ask(&replica, "GET", "/ready").await.0, 200);
    server.refuse_connections(true);
    server.terminate_all();
    until(async || ask(&replica, "GET", "/ready").await.0 == 503).await;
    server.refuse_connections(false);
    until(async || ask(&replica, "GET", "/ready").await.0 == 200).await;
}

/// A replica that serves.
struct Running {
    service: Service,
    shutdown: CancellationToken,
    serves: JoinHandle<pglock_examples::Result>,
}

impl Running {
    async fn start(server: &MemoryServer, name: &str, slots: &Arc<MemorySlots>) -> Self {
        let service = Service::new(locks(server, name), slots.clone()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shutdown = CancellationToken::new();
        let serves = tokio::spawn(service.clone().serve(listener, shutdown.clone()));
        Self { service, shutdown, serves }
    }

    async fn leads(&self) -> bool {
        json(&self.service, "/leader").await["leading"] == true
    }

    async fn nights(&self) -> Vec<u64> {
        let nights = json(&self.service, "/nights").await;
        nights.as_array().unwrap().iter().map(|night| night.as_u64().unwrap()).collect()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.serves).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn replicas_share_the_nights_and_follow_a_leader_that_shuts_down() {
    let server = MemoryServer::new();
    let slots = Arc::new(MemorySlots::new());
    let a = Running::start(&server, "a", &slots).await;
    let b = Running::start(&server, "b", &slots).await;
    until(async || a.leads().await || b.leads().await).await;
    let (leader, follower) = if a.leads().await { (a, b) } else { (b, a) };
    assert!(!follower.leads().await);
    until(async || leader.nights().await.len() + follower.nights().await.len() >= 3).await;
    let mut nights = [leader.nights().await, follower.nights().await].concat();
    let count = nights.len();
    nights.sort_unstable();
    nights.dedup();
    assert_eq!(nights.len(), count, "a night was run twice");
    leader.stop().await;
    until(async || follower.leads().await).await;
    follower.stop().await;
    let left = locks(&server, "observer").inspect_all().await.unwrap();
    assert!(left.is_empty(), "a replica that has shut down holds no lock: {left:?}");
}

#[tokio::test]
async fn dashboard_and_alerts_show_metrics_that_exist() {
    let server = MemoryServer::new();
    let replica = Running::start(&server, "this", &Arc::default()).await;
    until(async || replica.leads().await).await;
    assert_eq!(ask(&replica.service, "POST", "/invoices/1/payment").await.0, 200);
    let invoice = NamedKey::in_namespace("pglock-examples/invoice", "2");
    let other = locks(&server, "other");
    let guard = other.rwlock(invoice.clone()).write().await.unwrap();
    let late = locks(&server, "late").rwlock(invoice).try_write_for(Duration::from_millis(1)).await;
    late.unwrap_err();
    drop(guard);
    until(async || {
        let metrics = ask(&replica.service, "GET", "/metrics").await.1;
        let has = |prefix: &str| {
            let lines = metrics.lines().filter_map(|line| line.strip_prefix(prefix));
            lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
        };
        let (typed, described): (BTreeSet<String>, BTreeSet<_>) = (has("# TYPE "), has("# HELP "));
        assert_eq!(typed.difference(&described).next(), None, "a metric is not described");
        let mut labels = compared(&metrics);
        labels.extend(["instance", "job"].map(str::to_owned));
        shown().is_subset(&typed) && shown_labels().is_subset(&labels)
    })
    .await;
    replica.stop().await;
}

#[test]
fn each_metric_to_alert_on_has_a_rule() {
    let (page, rules) = (doc("operating.md"), doc("alerts.yml"));
    let ruled: BTreeSet<_> = names(&rules).collect();
    let marked = page.lines().filter(|line| line.contains("**alert**"));
    let marked: Vec<_> = marked.map(|line| line.split('`').nth(1).unwrap()).collect();
    assert!(marked.len() >= 8, "{marked:?}");
    for metric in marked {
        assert!(ruled.contains(metric), "operating.md says to alert on {metric}");
    }
}

fn doc(file: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    fs::read_to_string(docs.join(file)).unwrap()
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|name| !name.is_empty())
}

/// The metrics that the dashboard and the alerts name.
fn shown() -> BTreeSet<String> {
    let text = doc("grafana.json") + &doc("alerts.yml");
    let metrics = names(&text).filter(|name| name.starts_with("pglock_")).map(|name| {
        let ends = ["_bucket", "_count", "_sum"].iter();
        ends.fold(name, |name, end| name.strip_suffix(end).unwrap_or(name)).to_owned()
    });
    let metrics: BTreeSet<_> = metrics.collect();
    assert!(metrics.len() > 8, "{metrics:?}");
    metrics
}

/// The labels that the dashboard and the alerts name.
fn shown_labels() -> BTreeSet<String> {
    let text = doc("grafana.json").replace("\\\"", "\"") + &doc("alerts.yml");
    let mut labels = compared(&text);
    // A template with a space names values, too.
    for (begin, end) in [("by (", ')'), ("$labels.", ' '), ("{{", '}')] {
        let parts = text.split(begin).skip(1).filter(|rest| !rest.starts_with(' '));
        let parts = parts.filter_map(|rest| rest.split_once(end));
        labels.extend(parts.flat_map(|(part, _)| names(part)).map(str::to_owned));
    }
    assert!(labels.len() > 5, "{labels:?}");
    labels
}

/// The labels that a text compares with a value, as in `kind="timeout"` and `job=~".*"`.
fn compared(text: &str) -> BTreeSet<String> {
    let sides = ["=\"", "=~\"", "!=\"", "!~\""].into_iter().flat_map(|sign| text.split(sign));
    let label = |side: &str| Some(names(side).last()?.to_owned());
    let is_label = |side: &&str| side.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    sides.filter(is_label).filter_map(label).collect()
}
