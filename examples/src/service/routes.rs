//! The routes of the service.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, UNIX_EPOCH};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::exclusive::holder_json;
use super::{Exclusive, Refusal, Service, metrics};
use crate::in_one_line;

/// How long a payment takes.
const PAYMENT: Duration = Duration::from_secs(1);

impl Service {
    /// The routes of the service, without a listener.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/invoices/{invoice}/payment", post(pay))
            .route("/leader", get(leader))
            .route("/nights", get(nights))
            .route("/ready", get(ready))
            .route("/metrics", get(publish))
            .with_state(self.clone())
    }
}

/// Pays an invoice. The extractor keeps other requests from paying it meanwhile.
async fn pay(exclusive: Exclusive) -> Result<Json<Value>, Refusal> {
    exclusive.protect(sleep(PAYMENT)).await?;
    Ok(Json(json!({ "paid": exclusive.invoice })))
}

/// Whether this replica leads, and which one does.
async fn leader(State(service): State<Service>) -> Result<Json<Value>, Refusal> {
    let leader = service.election.leader().await?;
    Ok(Json(json!({
        "leading": service.election.role().is_leading(),
        "rounds": service.rounds.load(Relaxed),
        "leader": leader.as_ref().map(holder_json),
    })))
}

/// The nights that this replica has run, in milliseconds since 1970.
async fn nights(State(service): State<Service>) -> Json<Value> {
    let nights = service.nights.lock().unwrap_or_else(PoisonError::into_inner);
    let millis = |time: &std::time::SystemTime| {
        time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
    };
    Json(nights.iter().map(millis).collect())
}

/// Whether locks can be taken now. A replica that follows is ready, too.
async fn ready(State(service): State<Service>) -> StatusCode {
    match timeout(Duration::from_secs(1), service.locks.check()).await {
        Ok(Ok(())) => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn publish() -> Response {
    match metrics::recorder() {
        Ok(recorder) => {
            recorder.run_upkeep();
            recorder.render().into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, in_one_line(&*error)).into_response(),
    }
}
