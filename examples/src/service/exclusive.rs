//! An extractor that takes a lock for as long as the request is handled.

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::{Json, RequestPartsExt};
use pglock_core::{Error, LockEntry, NamedKey, WriteGuard};
use serde_json::{Value, json};

use super::Service;

/// The write lock on the invoice in the path. It is released when the handler returns, and when the
/// client goes away, which drops the handler.
///
/// The request is refused if the lock is taken. Extractors run before the body is read: a handler
/// that needs a large body should take the lock itself, so that a slow client does not keep it.
#[derive(Debug)]
pub struct Exclusive {
    /// The number of the invoice.
    pub invoice: String,
    guard: WriteGuard,
}

impl Exclusive {
    /// Runs the work, and stops it if the lock is lost.
    ///
    /// # Errors
    ///
    /// [`Refusal::Failed`] if the lock was lost.
    pub async fn protect<T>(&self, work: impl Future<Output = T>) -> Result<T, Refusal> {
        Ok(self.guard.protect(work).await?)
    }
}

impl FromRequestParts<Service> for Exclusive {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Refusal> {
        let path: Path<String> = parts.extract().await.map_err(|_| Refusal::NotFound)?;
        let Path(invoice) = path;
        let key = key(&invoice);
        match service.locks.rwlock(key.clone()).try_write().await? {
            Some(guard) => Ok(Self { invoice, guard }),
            None => {
                let entries = service.locks.inspect(key).await?;
                Err(Refusal::Busy(entries.into_iter().find(|entry| entry.granted)))
            }
        }
    }
}

/// What is locked for an invoice.
pub(super) fn key(invoice: &str) -> NamedKey {
    NamedKey::in_namespace("pglock-examples/invoice", invoice)
}

/// Why a request was not handled.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// Another request has the lock: the holder, unless it has released it meanwhile.
    Busy(Option<LockEntry>),
    /// The lock could not be taken, or was lost.
    Failed(Error),
    /// The path is wrong.
    NotFound,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, body) = match self {
            Self::Busy(holder) => {
                let holder = holder.as_ref().map(holder_json);
                (StatusCode::CONFLICT, json!({ "error": "in progress", "holder": holder }))
            }
            // The kind names no host and no key; the log has the rest.
            Self::Failed(error) => {
                (StatusCode::SERVICE_UNAVAILABLE, json!({ "error": error.kind().to_string() }))
            }
            Self::NotFound => (StatusCode::NOT_FOUND, json!({ "error": "no such invoice" })),
        };
        (status, Json(body)).into_response()
    }
}

/// Who holds a lock, for people.
pub(super) fn holder_json(entry: &LockEntry) -> Value {
    json!({
        "replica": entry.application_name,
        "address": entry.client_addr,
        "backend_pid": entry.pid,
    })
}
