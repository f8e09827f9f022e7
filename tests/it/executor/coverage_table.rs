//! The tests of each row of `docs/spec/executor.md`. This fails for a row without a test, for a row that only the page
//! or only this list has, and for a test that does not exist.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::assert_is_test;

/// A row, and the tests for it: `file::name`.
const ROWS: &[(&str, &[&str])] = &[
    (
        "fake mode",
        &[
            "sidekiq_parity::fake_mode_a_job_goes_to_a_queue_that_can_be_looked_at_and_changed",
            "modes::a_fake_world_in_a_plain_test",
            "modes::a_fake_world_in_a_tokio_test",
        ],
    ),
    (
        "inline mode",
        &[
            "modes::inline_runs_where_it_is_enqueued_also_when_a_job_enqueues",
            "modes::an_inline_world_in_a_tokio_test",
        ],
    ),
    ("arguments go through JSON", &["sidekiq_parity::arguments_go_through_json_in_both_modes"]),
    ("drain_all", &["sidekiq_parity::drain_all_runs_what_jobs_enqueue_too"]),
    (
        "drain of a kind",
        &["sidekiq_parity::drain_of_a_kind_runs_that_kind_alone_including_those_it_enqueues"],
    ),
    (
        "a job that fails in a drain",
        &[
            "sidekiq_parity::a_job_that_fails_in_a_drain_is_popped_its_error_comes_back_and_the_jobs_behind_it_stay",
        ],
    ),
    (
        "perform_one on an empty queue",
        &["sidekiq_parity::perform_one_on_an_empty_queue_is_an_error_of_its_own"],
    ),
    ("delays", &["sidekiq_parity::delays_put_a_job_into_the_scheduled_set_and_a_time_in_the_past_means_now"]),
    (
        "bulk",
        &[
            "sidekiq_parity::bulk_ids_come_back_in_order",
            "bulk::bulk_from_a_job_is_taken_in_and_its_ids_come_back_in_order",
            "bulk::a_crash_between_two_batches_leaves_the_earlier_ones_and_none_falls_inside_of_one",
        ],
    ),
    ("retry: 26 attempts over 20 days", &["retries::retry_25_times_over_20_days_then_the_dead_set"]),
    ("backoff", &["retries::backoff_constant_exponential_and_a_function"]),
    ("retry_for", &["retries::retry_for_bounds_by_time_instead_of_count"]),
    (
        "a hook may return a delay, discard, kill",
        &[
            "retries::a_hook_may_return_a_delay_discard_or_kill",
            "retries::a_decision_is_made_by_the_error_itself",
        ],
    ),
    ("retry 0", &["retries::retry_0_goes_straight_to_the_dead_set"]),
    ("retry off", &["retries::retry_off_is_neither_retried_nor_dead_and_death_handlers_run"]),
    (
        "exhausted, error handlers, death handlers",
        &[
            "retries::exhausted_the_hook_then_the_dead_set_then_every_death_handler_and_error_handlers_for_each_failure",
        ],
    ),
    (
        "dead set: 10,000 jobs, 180 days",
        &["retries::the_dead_set_holds_10_000_jobs", "retries::the_dead_set_holds_jobs_for_180_days"],
    ),
    (
        "a shutdown is not a failure and uses up no retry",
        &[
            "shutdown::a_shutdown_is_not_a_failure_and_uses_up_no_retry",
            "shutdown::an_interrupted_job_comes_before_all_others_of_its_queue",
            "iterable::a_deploy_repeats_nothing_and_is_no_failure",
        ],
    ),
    (
        "middleware: server side",
        &[
            "middleware::the_same_stack_in_check",
            "middleware::tower_timeout_ends_an_attempt_that_takes_too_long",
            "middleware::tower_concurrency_limit_is_one_for_all_kinds_of_a_process_or_for_one_kind",
            "middleware::a_layer_around_enqueue_may_refuse_a_job",
        ],
    ),
    (
        "request-scoped context",
        &[
            "context::request_context_is_put_into_the_payload_at_enqueue_and_restored_around_perform",
            "context::request_context_is_of_the_attempt_and_not_of_the_thread",
        ],
    ),
    ("queues in strict priority", &["priorities::strict_priority_takes_high_before_low"]),
    ("queues in weighted priority", &["priorities::weighted_priority_draws_and_starves_nobody"]),
    ("concurrency per process", &["sidekiq_parity::slots_bound_how_many_jobs_run_at_once"]),
    (
        "a process that serves chosen queues",
        &["priorities::a_process_serves_chosen_queues_with_its_own_slots"],
    ),
    (
        "a stream: one partition strictly in order",
        &[
            "ordering::one_partition_strictly_in_order",
            "ordering::a_failed_job_blocks_those_behind_it_until_it_is_done_or_dead",
        ],
    ),
    ("a stream: one at a time per key", &["ordering::one_at_a_time_per_key_keys_in_parallel"]),
    ("a stream: all parallel", &["ordering::all_parallel"]),
    ("a stream: a key of none", &["ordering::a_key_of_none_is_no_key_and_never_one_key_for_all"]),
    (
        "middleware: client side",
        &[
            "middleware::a_layer_around_enqueue_may_refuse_a_job",
            "middleware::layers_may_change_the_payload_on_both_sides",
        ],
    ),
    (
        "better: the same middleware in tests",
        &[
            "middleware::the_same_stack_in_fake_mode_whether_drained_or_settled",
            "middleware::the_same_stack_in_inline_mode",
            "middleware::the_same_stack_in_check",
        ],
    ),
    ("stats", &["sidekiq_parity::stats_count_everything", "priorities::latency_is_told_for_each_queue"]),
    ("lock until executing", &["unique::until_executing_one_waits_and_a_second_comes_in_when_it_runs"]),
    ("lock until executed", &["unique::until_executed_one_at_a_time_until_it_is_over"]),
    ("lock until expired", &["unique::until_expired_at_most_one_in_that_time_whatever_becomes_of_it"]),
    ("lock while executing", &["unique::while_executing_any_number_wait_and_one_runs_at_a_time"]),
    (
        "lock until and while executing",
        &["unique::until_and_while_executing_one_waits_and_one_runs_at_a_time"],
    ),
    (
        "conflict: drop",
        &[
            "unique::conflict_drop_gives_the_id_of_the_job_that_is_there",
            "unique::conflict_drop_of_an_attempt_drops_the_job",
        ],
    ),
    (
        "conflict: raise",
        &[
            "unique::conflict_raise_is_a_typed_error_for_whoever_enqueues",
            "unique::conflict_raise_of_an_attempt_is_a_failure_that_is_tried_again",
        ],
    ),
    ("conflict: reject", &["unique::conflict_reject_goes_to_the_dead_set_and_is_no_failure"]),
    ("conflict: replace", &["unique::conflict_replace_withdraws_the_one_that_waits"]),
    ("conflict: reschedule", &["unique::conflict_reschedule_goes_to_the_back_of_the_queue_and_tries_again"]),
    (
        "a lock has an owner",
        &[
            "unique::a_lock_deleted_by_the_loser_lets_two_in_and_an_owner_prevents_it",
            "unique_checked::a_lock_deleted_by_the_loser",
        ],
    ),
    (
        "a lock has a time to live",
        &[
            "unique::a_lock_left_behind_by_a_killed_process_goes_when_its_time_to_live_is_over",
            "unique_checked::a_lock_left_behind_by_a_killed_process_without_a_time_to_live",
        ],
    ),
    ("better: drains keep the order of the queue", &["limits::drain_all_keeps_the_order_of_the_queue"]),
    (
        "better: endless drains are stopped",
        &[
            "limits::a_job_that_enqueues_itself_for_ever_is_stopped_with_an_error_that_names_the_cycle",
            "limits::jobs_that_enqueue_two_of_themselves_for_ever_are_stopped_with_an_error_that_names_the_cycle",
        ],
    ),
    ("better: draining is linear", &["priorities::a_drain_goes_on_in_time_proportional_to_the_jobs"]),
    ("better: clearing clears what it says", &["limits::clearing_one_kind_leaves_others_on_its_queue"]),
    (
        "better: scheduled jobs run when due",
        &["limits::scheduled_jobs_run_when_due_and_a_test_can_advance_the_clock"],
    ),
    (
        "better: retries, exhaustion, death handlers run",
        &["retries::retry_25_times_over_20_days_then_the_dead_set"],
    ),
    ("better: testing mode is a value", &["modes::worlds_are_values_and_independent"]),
    (
        "better: drains return what came of them",
        &[
            "limits::drains_say_what_came_of_them",
            "limits::drains_have_a_limit_a_time_and_may_leave_what_jobs_enqueue",
        ],
    ),
    ("better: assertions on the queue", &["limits::assertions_on_the_queue_list_what_was_there"]),
    (
        "delivery: at least once, at most once",
        &["sidekiq_parity::at_least_once_comes_again_when_the_lease_ends_and_at_most_once_is_gone"],
    ),
    ("bad input: a payload that does not decode", &["bad_input::a_payload_that_does_not_decode"]),
    ("bad input: a kind with no handler", &["bad_input::a_kind_with_no_handler"]),
    ("bad input: a duplicate handler", &["bad_input::a_duplicate_handler_and_queues_that_make_no_sense"]),
    ("bad input: a lock without an owner", &["bad_input::a_lock_without_an_owner"]),
    (
        "bad input: a negative delay",
        &["bad_input::a_negative_delay_cannot_be_written_and_one_past_all_time_waits_for_ever"],
    ),
    ("bad input: a replay text that does not parse", &["bad_input::a_replay_text_that_does_not_parse"]),
];

#[test]
fn the_specification_has_the_same_rows() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/spec/executor.md");
    let page = std::fs::read_to_string(page).unwrap();
    let specified: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split('`').next())
        .collect();
    let unique: BTreeSet<_> = specified.iter().copied().collect();
    assert_eq!(specified.len(), unique.len(), "docs/spec/executor.md has a row twice");
    let tested: BTreeSet<_> = ROWS.iter().map(|(row, _)| *row).collect();
    assert_eq!(tested.len(), ROWS.len(), "a row is twice in `ROWS`");
    let only = |these: &BTreeSet<&str>, others: &BTreeSet<&str>| -> Vec<String> {
        these.difference(others).map(|row| (*row).to_owned()).collect()
    };
    assert_eq!(only(&unique, &tested), Vec::<String>::new(), "rows without a test");
    assert_eq!(only(&tested, &unique), Vec::<String>::new(), "rows that docs/spec/executor.md does not have");
}

#[test]
fn each_row_has_a_test() {
    for (row, tests) in ROWS {
        assert!(!tests.is_empty(), "{row}");
        for test in *tests {
            let (file, name) = test.split_once("::").expect("file::name");
            assert_is_test(&format!("tests/it/executor/{file}"), name);
        }
    }
}
