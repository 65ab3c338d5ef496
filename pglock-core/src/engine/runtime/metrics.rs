//! Publishes the statistics of a lock manager through the crate `metrics`, and describes all
//! figures of a manager.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};

use crate::engine::machine::stats::Stats;

/// The value of the label `application_name`. The name is not known if it comes from the
/// connection.
pub(crate) fn label(application_name: &str) -> &str {
    if application_name.is_empty() { "pglock" } else { application_name }
}

/// Sends the recorder what the figures mean.
pub(crate) fn describe() {
    let count = Unit::Count;
    describe_counter!("pglock_grants_total", count, "Guards handed out");
    describe_counter!(
        "pglock_hand_overs_total",
        count,
        "Guards handed out without the server, to the next caller of this process"
    );
    describe_counter!("pglock_losses_total", count, "Locks lost while guards held them");
    describe_counter!(
        "pglock_reconnects_total",
        count,
        "Sessions that replaced one that had ended"
    );
    describe_counter!("pglock_deadlocks_total", count, "Deadlocks that callers were part of");
    describe_counter!("pglock_failures_total", count, "Acquires that ended with an error, by kind");
    describe_gauge!("pglock_sessions", count, "Open sessions");
    describe_gauge!("pglock_held", count, "Locks that the server has granted");
    describe_gauge!("pglock_waiting", count, "Callers that wait for a lock");
    describe_gauge!(
        "pglock_connected",
        count,
        "Whether a session is open that takes locks: 0 or 1"
    );
    let seconds = Unit::Seconds;
    describe_gauge!(
        "pglock_heartbeat_age_seconds",
        seconds,
        "Time since the last heartbeat that the server answered"
    );
    describe_histogram!(
        "pglock_wait_seconds",
        seconds,
        "How long callers waited for a lock they got"
    );
    describe_histogram!("pglock_hold_seconds", seconds, "How long guards held a lock");
}

/// The documentation of the crate lists the names. Call this at least once per heartbeat.
pub(crate) fn publish(stats: &Stats, application_name: &str) {
    let name = || label(application_name).to_owned();
    counter!("pglock_grants_total", "application_name" => name()).absolute(stats.grants);
    counter!("pglock_hand_overs_total", "application_name" => name()).absolute(stats.hand_overs);
    counter!("pglock_losses_total", "application_name" => name()).absolute(stats.losses);
    counter!("pglock_reconnects_total", "application_name" => name()).absolute(stats.reconnects);
    counter!("pglock_deadlocks_total", "application_name" => name()).absolute(stats.deadlocks);
    gauge!("pglock_sessions", "application_name" => name()).set(stats.sessions as f64);
    gauge!("pglock_held", "application_name" => name()).set(stats.held as f64);
    gauge!("pglock_waiting", "application_name" => name()).set(stats.waiting as f64);
    gauge!("pglock_connected", "application_name" => name()).set(f64::from(stats.connected));
    if let Some(age) = stats.last_heartbeat {
        gauge!("pglock_heartbeat_age_seconds", "application_name" => name()).set(age.as_secs_f64());
    }
}
