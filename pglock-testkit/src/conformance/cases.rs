//! The cases, by what they are about. The list is [`__each_case!`](crate::__each_case!); a case
//! that is added to it runs for all backends that have the [power](crate::conformance::Power) which
//! it names, if it needs one.

#![allow(clippy::unused_async, missing_docs)]

use std::time::Duration;

#[cfg(unix)]
use pglock_core::LockKey;
use pglock_core::{Error, ErrorKind};

use crate::conformance::{Options, is_long, shown};
use crate::postgres::{TestDatabase, TestServer};
use crate::witness::PostgresWitness;
#[cfg(unix)]
use crate::witness::Witness;

pub mod answers;
pub mod cancelling;
pub mod closing;
pub mod connecting;
#[cfg(unix)]
pub mod deaths;
pub mod engines;
pub mod excluding;
pub mod failing;
#[cfg(unix)]
pub mod failovers;
#[cfg(unix)]
pub mod fairness;
#[cfg(unix)]
pub mod handing_over;
pub mod keys;
#[cfg(unix)]
pub mod leaks;
#[cfg(unix)]
pub mod leases;
pub mod limits;
mod listening;
pub mod loads;
pub mod looking;
#[cfg(unix)]
pub mod losing;
pub mod operators;
pub mod outages;
#[cfg(unix)]
pub mod poolers;
pub mod privacy;
pub mod protecting;
pub mod queueing;
pub mod reconnecting;
pub mod refusals;
pub mod releasing;
pub mod rights;
pub mod rotating;
pub mod runtimes;
pub mod secrets;
pub mod sessions;
pub mod settings;
pub mod strangers;
pub mod unreachable;
pub mod waiting;

#[doc(hidden)]
#[macro_export]
macro_rules! __each_case {
    ($define:ident) => {
        $crate::__cases! {
            $define
            excluding: [
                writer_excludes_writers_of_other_processes,
                writer_excludes_readers_of_other_processes,
                readers_of_several_processes_share,
                reader_excludes_writers_of_other_processes,
                writer_excludes_tasks_of_its_own_process,
                readers_of_one_process_share,
                reader_excludes_writers_of_its_own_process,
                two_locks_on_one_key_are_two_callers,
                one_of_many_tries_succeeds,
                keys_do_not_interfere,
                intervals_of_conflicting_guards_never_overlap,
                server_counts_one_lock_per_key_and_session,
                sessions_that_wait_hold_nothing,
            ],
            waiting: [
                write_waits_for_a_writer_of_another_process,
                write_waits_for_readers_of_other_processes,
                read_waits_for_a_writer_of_another_process,
                write_waits_for_a_writer_of_its_own_process,
                readers_come_in_together_after_a_writer,
                timeout_is_an_error_that_names_the_key,
                timeout_returns_in_time,
                zero_timeout_tries_once,
                longest_timeout_waits,
                timed_wait_gets_a_lock_that_comes_free_in_time,
                polling_waits_without_a_place_in_the_servers_queue,
                more_keys_are_waited_for_than_there_are_sessions,
            ],
            cancelling: [
                dropped_waiter_leaves_the_servers_queue,
                dropped_reader_leaves_the_servers_queue,
                dropped_waiter_leaves_the_local_queue,
                timed_out_waiter_leaves_the_servers_queue,
                try_succeeds_at_once_after_a_timeout,
                failed_acquires_hold_nothing,
                acquire_may_be_dropped_at_any_poll_when_free,
                acquire_may_be_dropped_at_any_poll_when_contended,
                acquires_dropped_at_random_leave_nothing,
                cancelled_waits_hit_no_later_operation,
            ],
            failing: [
                three_thousand_failed_acquires_hold_nothing: Sessions,
            ],
            releasing: [
                dropped_guard_frees_the_lock,
                released_lock_is_free_when_release_returns,
                release_may_be_dropped,
                lease_ends_with_its_guard,
                lease_reports_a_loss_to_all_its_clones: Sessions,
                lease_outlives_its_guard_and_manager,
                guard_may_be_dropped_in_a_panic,
                guard_may_be_dropped_outside_a_runtime,
                guard_may_outlive_its_lock_and_manager,
                program_that_drops_its_guard_and_ends_warns_of_no_loss: Process,
                current_thread_runtime_is_enough,
                releases_need_no_other_connection,
            ],
            runtimes: [
                locks_are_awaited_without_a_runtime,
                locks_are_awaited_on_a_runtime_without_timers_and_io,
                timeout_works_outside_a_runtime_while_the_manager_runs,
                locks_outlive_the_runtime_that_took_them,
                waiters_go_on_when_the_first_runtime_ends,
                many_short_runtimes_share_a_manager,
                computing_for_longer_than_a_lease_loses_nothing,
                guard_dropped_before_a_computation_is_released_at_once,
                guards_notice_in_time_that_a_named_runtime_is_blocked: Engine,
                manager_ends_with_the_runtime_that_it_names: Engine,
                named_runtime_without_timers_is_an_error: Engine,
            ],
            strangers: [
                panic_in_a_listener_harms_no_other: Sessions,
                blocking_listener_holds_up_no_caller: Sessions,
                panic_in_the_drop_of_a_listener_harms_no_other,
                panic_in_a_waker_harms_no_other,
                guard_dropped_after_its_loss_has_reported_it: Sessions,
            ],
            queueing: [
                writers_of_one_process_are_served_in_order,
                writers_of_several_processes_are_served_in_order,
                reader_does_not_pass_a_waiting_writer_of_its_process,
                reader_does_not_pass_a_waiting_writer_of_another_process,
                writer_is_not_starved_by_overlapping_readers,
                many_callers_wait_on_one_session: Sessions,
                released_lock_reaches_the_next_process_promptly,
                every_waiter_is_served,
            ],
            rotating: [
                key_that_others_pass_on_is_had_beside_keys_held_for_good,
                key_passed_on_is_granted_after_a_turn_of_each_other,
                wait_that_has_made_room_gets_its_lock_when_it_comes_free: Sessions,
                granted_locks_leave_room_for_other_waiters,
            ],
            #[cfg(unix)]
            fairness: [
                processes_get_equal_shares_of_a_key: Process,
                writer_waits_no_longer_than_readers_of_another_process_hold: Process,
                writer_is_not_starved_for_want_of_a_session_to_ask: Process,
                process_passes_a_lock_on_for_a_bounded_time: Process,
                task_that_never_has_to_wait_leaves_others_their_turn: Engine,
                tasks_that_want_one_key_get_equal_turns,
                reader_gets_its_turn_among_writers_of_its_process,
                reader_gets_its_turn_among_writers_of_other_processes,
            ],
            #[cfg(unix)]
            handing_over: [
                process_passes_a_lock_on_a_bounded_number_of_times: Engine,
                process_that_hands_nothing_over_asks_the_server_each_time: Engine,
                lock_that_passes_on_has_been_left_before: Process,
                change_of_mode_goes_through_the_server: Engine,
                readers_of_another_process_share_if_no_writer_waits: Engine,
                readers_of_another_process_share_after_a_while: Engine,
                write_lock_is_shared_though_another_process_awaits_it: Engine,
                shared_write_lock_has_been_left_before_it_passes_on: Process,
            ],
            keys: [
                extreme_keys_are_kept_apart,
                single_and_pair_keys_never_meet,
                names_are_taken_as_they_are,
                equal_names_meet,
                one_name_is_one_lock_however_it_is_given,
                names_shown_alike_are_two_locks,
                a_collision_ends_with_the_other_name,
            ],
            looking: [
                holders_and_waiters_are_listed,
                sessions_keep_the_name_of_their_connection: Postgres,
                names_are_listed_while_this_manager_uses_them,
                timeout_names_the_holder,
                timeout_says_if_this_process_holds_the_lock,
                names_that_share_a_key_are_reported,
                stats_count_grants_and_hand_overs,
            ],
            protecting: [
                protected_work_gives_its_result,
                protected_work_is_stopped_when_the_lock_is_lost: Sessions,
                listeners_are_called_once_for_a_loss: Sessions,
                listeners_are_not_called_for_a_release,
            ],
            closing: [
                close_frees_locks_as_others_see: Sessions,
                close_ends_waits,
                closed_manager_refuses,
                close_twice_is_harmless,
                dropped_manager_ends_its_sessions: Sessions,
            ],
            connecting: [
                refused_connection_is_reported_at_once: Postgres,
                full_server_is_reported_at_once: Postgres,
                unreadable_urls_are_refused_without_being_shown: Postgres,
                driver_is_made_outside_a_runtime_and_shows_no_password: Postgres,
                dropped_attempt_leaves_no_connection: Postgres,
                closed_session_is_gone_at_the_server: Postgres,
                dropped_session_is_gone_from_any_thread: Postgres,
                dropped_session_is_gone_without_its_runtime: Postgres,
                dropped_session_is_gone_at_the_end_of_its_thread: Postgres,
                end_at_the_server_is_noticed_and_final: Postgres,
                session_whose_farewell_does_not_end_is_dropped: Engine,
            ],
            sessions: [
                thousand_keys_are_held_on_few_sessions: Sessions,
                guards_report_the_end_of_their_session: Sessions,
                release_of_a_lost_lock_says_so: Sessions,
                lost_lock_does_not_disturb_others: Sessions,
                waiter_survives_the_end_of_its_session: Sessions,
                lock_can_be_had_again_after_a_loss: Sessions,
                idle_waiting_sessions_are_closed: Sessions,
            ],
            #[cfg(unix)]
            losing: [
                terminated_session_is_reported_promptly: Sessions,
                end_of_the_server_is_reported_promptly: Postgres,
                every_guard_reports_the_loss_and_goes_on_reporting_it: Sessions,
                release_of_one_guard_is_no_loss_to_another,
                forgotten_guard_holds_its_lock_until_the_manager_is_closed,
                lock_taken_from_a_live_session_is_lost_within_a_heartbeat: Engine,
                stopped_backend_is_suspected_when_the_lease_expires: Postgres,
                wait_that_the_server_has_forgotten_is_begun_again: Postgres,
                no_lock_is_lost_on_an_overloaded_machine: Postgres,
                confirmed_guards_never_overlap_while_sessions_end: Sessions,
            ],
            #[cfg(unix)]
            leases: [
                silence_to_the_server_ends_belief_before_the_lock_is_free: Postgres,
                silence_from_the_server_ends_belief_before_the_lock_is_free: Postgres,
                silence_both_ways_ends_belief_before_the_lock_is_free: Postgres,
                partition_ends_belief_before_the_lock_is_free: Postgres,
                stopped_process_believes_nothing_when_it_goes_on: Postgres,
                process_that_stops_for_a_moment_loses_nothing: Postgres,
                lock_granted_to_a_stopped_process_is_not_handed_out: Postgres,
            ],
            answers: [
                acquire_dropped_between_grant_and_answer_leaves_nothing: Engine,
                acquire_behind_a_dropped_one_gets_the_lock: Engine,
                wait_that_fails_though_it_was_granted_holds_nothing: Engine,
                try_that_fails_though_it_was_granted_takes_nothing_else_away: Engine,
                release_that_is_refused_is_made_up_for: Engine,
                release_of_a_lock_that_was_taken_away_says_so: Engine,
                statement_in_a_foreign_session_locks_nothing_and_fails: Engine,
                release_in_a_foreign_session_is_no_silent_success: Engine,
            ],
            loads: [
                many_held_and_awaited_keys_need_few_sessions: Sessions,
                normal_use_writes_only_cancelled_waits_into_the_servers_log: Postgres,
            ],
            #[cfg(unix)]
            deaths: [
                lock_of_a_killed_process_goes_to_the_next: Process,
                lock_of_a_process_that_is_asked_to_end_goes_to_the_next: Process,
                lock_of_a_process_that_exits_goes_to_the_next: Process,
                lock_of_a_process_that_aborts_goes_to_the_next: Process,
                readers_pass_a_writer_whose_process_was_killed: Process,
            ],
            #[cfg(unix)]
            leaks: [
                files_tasks_and_memory_stay_as_they_are: Process,
            ],
            privacy: [
                names_are_shown_escaped_and_cut,
                names_stay_in_the_process: Postgres,
                role_that_may_only_connect_is_enough: Postgres,
                hardened_database_keeps_strangers_out: Postgres,
            ],
            reconnecting: [
                one_attempt_to_connect_is_under_way: Postgres,
                attempts_to_connect_come_further_and_further_apart: Postgres,
            ],
            outages: [
                fast_restart_is_reported_and_survived: Postgres,
                immediate_restart_is_reported_and_survived: Postgres,
                killed_server_is_reported_and_survived: Postgres,
                missing_server_is_reported_at_once: Postgres,
            ],
            unreachable: [
                outage_is_not_reported_as_a_busy_lock: Postgres,
                connection_that_hangs_is_not_reported_as_a_busy_lock: Postgres,
                server_that_does_not_answer_is_not_reported_as_a_busy_lock: Postgres,
                refused_connection_is_not_reported_as_a_busy_lock: Postgres,
                idle_manager_reconnects_by_itself: Postgres,
                outage_is_logged_once_and_so_is_its_end: Postgres,
                check_connects_and_says_that_locks_can_be_had,
                check_fails_while_the_server_refuses_it: Engine,
            ],
            limits: [
                no_more_locks_are_held_than_allowed,
                no_more_callers_wait_than_allowed,
                full_lock_table_is_reported_and_takes_no_lock_away: Postgres,
                locks_at_the_cap_leave_room_for_other_users: Postgres,
                connection_limit_of_the_role_is_kept: Postgres,
                full_server_is_reported_and_takes_no_lock_away: Postgres,
            ],
            refusals: [
                wrong_password_is_no_permission: Postgres,
                missing_database_is_an_invalid_option: Postgres,
                revoked_functions_are_no_permission: Postgres,
                hot_standby_is_no_server_for_locks: Postgres,
            ],
            operators: [
                wait_cancelled_by_an_operator_goes_on: Sessions,
                statement_cancelled_by_an_operator_fails_no_caller: Sessions,
            ],
            rights: [
                role_that_may_not_cancel_polls: Postgres,
                refused_cancel_fails_no_other_caller: Postgres,
                refused_operation_fails_no_neighbour: Postgres,
            ],
            #[cfg(unix)]
            failovers: [
                standby_is_refused_and_says_where_to_connect: Postgres,
                reconnect_to_a_standby_is_refused: Postgres,
                guards_of_two_clusters_are_never_believed_at_once: Postgres,
                promotion_makes_every_older_guard_lost: Postgres,
                superseded_primary_is_refused: Postgres,
            ],
            #[cfg(unix)]
            poolers: [
                session_pooling_works: Postgres,
                keepalives_leave_a_silent_session_the_lease_of_its_guards: Postgres,
                transaction_pooling_is_refused_for_a_lone_session: Postgres,
                statement_pooling_is_refused_for_a_lone_session: Postgres,
                transaction_pooling_never_gives_two_guards_one_lock: Postgres,
                answer_to_another_question_is_reported: Postgres,
            ],
            engines: [
                locks_that_do_nothing_are_refused: Postgres,
                locks_that_cannot_be_released_are_refused: Postgres,
                missing_functions_are_refused_by_name: Postgres,
                server_that_cannot_watch_its_clients_is_not_asked_to: Postgres,
            ],
            settings: [
                shadow_functions_and_operators_change_nothing: Postgres,
                shadow_types_change_nothing: Postgres,
                timeouts_of_the_database_shorten_neither_waits_nor_holds: Postgres,
                timeouts_of_the_role_shorten_neither_waits_nor_holds: Postgres,
                all_settings_of_the_role_at_once_change_nothing: Postgres,
            ],
            secrets: [
                password_is_shown_nowhere: Postgres,
            ],
        }
    };
}

/// What a busy machine may add to a bound.
const SLACK: Duration = Duration::from_millis(400);

/// Leases of the server and of the guards.
fn lease() -> (Duration, Duration) {
    let (server, guards) = if is_long() { (15_000, 10_000) } else { (2_000, 1_200) };
    (Duration::from_millis(server), Duration::from_millis(guards))
}

fn leased() -> Options {
    let (server, guards) = lease();
    Options { server_lease: Some(server), guard_lease: Some(guards), ..Options::default() }
}

/// The one session that holds the key.
#[cfg(unix)]
async fn holder(witness: &dyn Witness, key: impl Into<LockKey>) -> i32 {
    let holders = witness.holders(key.into()).await.unwrap();
    assert_eq!(holders.len(), 1);
    holders[0].pid
}

async fn database() -> TestDatabase {
    TestServer::shared().await.unwrap().database().await.unwrap()
}

async fn connect(url: &str) -> PostgresWitness {
    PostgresWitness::connect(url).await.unwrap()
}

/// The smallest lock table that PostgreSQL has, and nobody who takes a place in it unasked.
const SMALL_TABLE: [(&str, &str); 3] =
    [("autovacuum", "off"), ("max_connections", "20"), ("max_locks_per_transaction", "10")];

async fn fill_lock_table(witness: &PostgresWitness) {
    let all = "SELECT pg_catalog.pg_advisory_lock(99, n) FROM pg_catalog.generate_series(1, 1000000) AS n";
    let error = witness.client().batch_execute(all).await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("53200"), "{error}");
}

/// The same server, as a role that needs no password.
fn as_role(url: &str, role: &str) -> String {
    url.replace("test:test@", &format!("{role}:x@"))
}

async fn execute(witness: &PostgresWitness, sql: &str) {
    witness.client().batch_execute(sql).await.unwrap();
}

/// The kind, and that the error says what is wrong and what to do.
fn assert_advice(error: &Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error:?}");
    let shown = shown(error);
    for words in words {
        assert!(shown.contains(words), "{words:?} is not in {shown}");
    }
}
