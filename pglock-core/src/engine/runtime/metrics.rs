//! Publishes the statistics of a lock manager through the crate `metrics`.

use metrics::{counter, gauge};

use crate::engine::machine::stats::Stats;

/// The documentation of the crate lists the names. Call this at least once per heartbeat.
pub(crate) fn publish(stats: &Stats, application_name: &str) {
    // The name is not known if it comes from the connection.
    let name = if application_name.is_empty() { "pglock" } else { application_name };
    let name = || name.to_owned();
    counter!("pglock_grants_total", "application_name" => name()).absolute(stats.grants);
    counter!("pglock_hand_overs_total", "application_name" => name()).absolute(stats.hand_overs);
    counter!("pglock_losses_total", "application_name" => name()).absolute(stats.losses);
    counter!("pglock_reconnects_total", "application_name" => name()).absolute(stats.reconnects);
    gauge!("pglock_sessions", "application_name" => name()).set(stats.sessions as f64);
    gauge!("pglock_held", "application_name" => name()).set(stats.held as f64);
    gauge!("pglock_waiting", "application_name" => name()).set(stats.waiting as f64);
    gauge!("pglock_connected", "application_name" => name()).set(f64::from(stats.connected));
    if let Some(age) = stats.last_heartbeat {
        gauge!("pglock_heartbeat_age_seconds", "application_name" => name()).set(age.as_secs_f64());
    }
}
