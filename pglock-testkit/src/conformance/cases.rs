//! The cases, by what they are about. The list is [`__each_case!`](crate::__each_case!); a case that is added to it runs for all backends
//! that have the [power](crate::conformance::Power) which it names, if it needs one.

#![allow(clippy::unused_async, missing_docs)]

pub mod cancelling;
pub mod closing;
pub mod excluding;
pub mod keys;
pub mod queueing;
pub mod releasing;
pub mod sessions;
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
                dropped_waiter_leaves_the_local_queue,
                timed_out_waiter_leaves_the_servers_queue,
                try_succeeds_at_once_after_a_timeout,
                failed_acquires_hold_nothing,
                acquire_may_be_dropped_at_any_poll_when_free,
                acquire_may_be_dropped_at_any_poll_when_contended,
                acquires_dropped_at_random_leave_nothing,
                wait_cancelled_by_the_server_fails_and_holds_nothing: Sessions,
            ],
            releasing: [
                dropped_guard_frees_the_lock,
                released_lock_is_free_when_release_returns,
                release_may_be_dropped,
                guard_may_be_dropped_in_a_panic,
                guard_may_be_dropped_outside_a_runtime,
                guard_may_outlive_its_lock_and_manager,
                runtime_shutdown_frees_its_locks,
                current_thread_runtime_is_enough,
                releases_need_no_other_connection,
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
            keys: [
                extreme_keys_are_kept_apart,
                single_and_pair_keys_never_meet,
                names_are_taken_as_they_are,
                equal_names_meet,
            ],
            closing: [
                close_frees_locks_as_others_see: Sessions,
                close_ends_waits,
                closed_manager_refuses,
                close_twice_is_harmless,
                dropped_manager_ends_its_sessions: Sessions,
            ],
            sessions: [
                thousand_keys_are_held_on_few_sessions: Sessions,
                ended_session_is_told_to_its_guards: Sessions,
                release_of_a_lost_lock_says_so: Sessions,
                lost_lock_does_not_disturb_others: Sessions,
                waiter_survives_the_end_of_its_session: Sessions,
                lock_can_be_had_again_after_a_loss: Sessions,
                idle_waiting_sessions_are_closed: Sessions,
            ],
        }
    };
}
