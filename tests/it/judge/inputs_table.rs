//! The tests of each input of `docs/spec/judge.md`. This fails for a row without a test, for a row that only the page or
//! only this list has, and for a test that does not exist.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::assert_is_test;

/// A row, and its tests: `path::name`, from the root of the repository.
const ROWS: &[(&str, &[&str])] = &[
    ("J1", &["tests/it/judge/orders::input_1_an_order_that_contradicts_the_run_is_no_excuse"]),
    (
        "J2",
        &["tests/it/judge/orders::input_2_a_job_due_in_an_hour_does_not_come_before_one_that_is_done_now"],
    ),
    ("J3", &["tests/it/judge/ignored::input_3_a_cursor_that_moves_past_a_slower_writer"]),
    (
        "J4",
        &["tests/it/judge/giving_up::input_4_half_a_transfer_is_told_whether_the_job_is_dead_or_discarded"],
    ),
    ("J5", &["tests/it/judge/giving_up::input_5_charged_and_cancelled_is_half_way"]),
    ("J6", &["tests/it/checks/deviations::input_6_a_mutex_in_each_process_guards_nothing"]),
    ("J7", &["tests/it/checks/schedules::the_lease_ends_and_a_second_worker_starts_the_same_job"]),
    ("J8", &["tests/it/checks/deviations::input_8_which_process_takes_a_job_is_a_choice"]),
    ("J9", &["tests/it/checks/deviations::input_9_calls_made_side_by_side_take_effect_in_any_order"]),
    ("J10", &["tests/it/checks/deviations::input_10_an_enqueue_that_is_not_answered_in_time"]),
    ("J11", &["tests/it/judge/orders::input_11_a_lock_of_ten_years_is_a_state_that_nobody_leaves"]),
    ("J12", &["tests/it/judge/inputs::a_job_that_ships_although_the_card_was_declined"]),
    ("J13", &["tests/it/judge/inputs::a_second_card_under_the_key_of_a_declined_one"]),
    ("J14", &["tests/it/checks/cancelled::input_14_a_tenant_of_the_thread_that_only_one_job_sets"]),
    (
        "J15",
        &["tests/it/checks/deviations::input_15_a_slot_is_given_back_by_its_worker_and_by_the_supervisor"],
    ),
    ("J16", &["tests/it/checks/cancelled::input_16_select_drops_a_put_whose_answer_is_late"]),
    (
        "J17",
        &["tests/it/judge/names::input_17_one_charge_under_a_drawn_and_stored_key_is_right_and_two_are_two"],
    ),
    ("J18", &["tests/it/judge/ignored::input_18_numbers_with_gaps"]),
    ("J19", &["tests/it/judge/ignored::input_19_a_volatile_field_of_a_body"]),
    ("J20", &["tests/it/judge/refusals::input_20_the_key_of_a_later_attempt_derives_from_the_first_refusal"]),
    ("J21", &["tests/it/judge/names::input_21_ids_of_identical_mails_are_names"]),
    ("J22", &["tests/it/judge/orders::input_22_seven_jobs_that_write_the_same_row_are_right"]),
    ("J23", &["tests/it/judge/terms::input_23_a_job_that_may_be_lost"]),
    (
        "J24",
        &[
            "tests/it/judge/terms::input_24_a_batch_stands_for_its_items",
            "tests/it/judge/terms::input_24_a_batch_of_another_job_is_no_repetition",
        ],
    ),
    ("J25", &["tests/it/judge/terms::input_25_a_hook_that_is_posted_until_it_answers"]),
    ("J26", &["tests/it/checks/other_threads::input_26_results_of_spawn_blocking"]),
    ("J27", &["tests/it/checks/other_threads::input_27_scoped_threads_that_are_joined"]),
    ("J28", &["tests/it/judge/assignments::input_28_a_condition_that_reads_the_store"]),
    ("J29", &["tests/it/judge/assignments::input_29_the_same_request_again_after_an_answer_without_effect"]),
    (
        "J30",
        &[
            "tests/process/ratchet::a_residual_at_one_call_hides_no_fault_at_another",
            "tests/process/ratchet::a_known_fault_in_one_branch_of_a_handler_hides_none_in_another",
        ],
    ),
    ("J31", &["tests/process/hangs::code_that_hangs_is_stuck"]),
    ("J32", &["tests/it/checks/limits::ten_thousand_correct_jobs_are_too_many"]),
    ("J33", &["tests/it/judge/guarantees::input_33_a_second_job_that_sends_the_same_mail_is_no_repetition"]),
    ("J34", &["tests/it/checks/wording::of_two_jobs_with_the_same_bug_both_lines_are_named"]),
    (
        "J35",
        &[
            "tests/it/checks/deviations::input_35_a_poison_job_is_retried_forever_unless_its_receives_are_counted",
        ],
    ),
    ("J36", &["tests/it/checks/deviations::input_36_what_is_refused_again_and_again"]),
    ("J37", &["tests/it/judge/orders::input_37_an_effect_before_its_time_is_told"]),
    ("J38", &["tests/it/checks/cancelled::input_38_a_lock_stays_with_the_connection_whose_call_was_dropped"]),
    ("J39", &["tests/it/checks/deviations::input_39_a_loop_stands_still_past_its_lease"]),
    ("J40", &["tests/it/checks/deviations::input_40_a_queue_that_loses_what_it_has_accepted"]),
    ("J41", &["tests/process/ratchet::a_known_fault_hides_no_deadlock"]),
    ("J42", &["tests/process/ratchet::an_assertion_that_is_known_to_fail_hides_no_effect"]),
    ("J43", &["tests/process/ratchet::an_assertion_that_is_known_to_fail_hides_no_other_one"]),
    ("J44", &["tests/process/ratchet::what_a_test_no_longer_asks_for_or_newly_excuses_is_less_coverage"]),
    ("J45", &["tests/it/lines::a_poisoned_lock_does_not_pass_as_an_exploration_that_may_be_incomplete"]),
];

/// Rows without a test yet. Add none.
const OPEN: &[&str] = &["J46", "J47", "J48", "J49", "J50", "J51"];

#[test]
fn the_specification_has_the_same_inputs() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/spec/judge.md");
    let page = std::fs::read_to_string(page).unwrap();
    let specified: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| J")?.split(' ').next())
        .map(|number| format!("J{number}"))
        .collect();
    let known: BTreeSet<_> =
        ROWS.iter().map(|(row, _)| row).chain(OPEN).map(|row| (*row).to_owned()).collect();
    assert_eq!(known.len(), ROWS.len() + OPEN.len(), "a row is twice in `ROWS` and `OPEN`");
    assert_eq!(specified, known);
}

#[test]
fn each_input_has_a_test() {
    for test in ROWS.iter().flat_map(|(_, tests)| *tests) {
        let (file, name) = test.split_once("::").expect("path::name");
        assert_is_test(file, name);
    }
}
