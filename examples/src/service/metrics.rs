//! Prometheus metrics of the process.

use std::sync::{Mutex, PoisonError};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::Result;

/// Upper bounds of waits and holds, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0];

/// There is one recorder per process.
static RECORDER: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// The recorder of this process, installed by the first call.
pub(super) fn recorder() -> Result<PrometheusHandle> {
    let mut recorder = RECORDER.lock().unwrap_or_else(PoisonError::into_inner);
    match &*recorder {
        Some(installed) => Ok(installed.clone()),
        None => {
            let new = PrometheusBuilder::new().set_buckets(&BUCKETS)?.install_recorder()?;
            Ok(recorder.insert(new).clone())
        }
    }
}
