//! The tests of each row of `docs/spec/services.md`, from the whole workspace. This fails for a row without a test,
//! for a row that only the page or only this list has, and for a test that does not exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const ROWS: &[(&str, &[&str])] = &[
    ("index", &["the_pages_show_what_was_done_and_escape_it"]),
    ("payments.status", &["the_pages_show_what_was_done_and_escape_it"]),
    ("email.status", &["the_pages_show_what_was_done_and_escape_it"]),
    ("error_tracker.status", &["the_pages_show_what_was_done_and_escape_it"]),
    ("fulfillment.status", &["a_parcel_is_requested_once_a_key"]),
    (
        "payments.charge",
        &[
            "payments_charge_success",
            "payments_charge_with_a_known_key_has_the_stored_answer_and_charges_nothing",
            "payments_charge_declined_is_recorded_and_the_same_key_is_a_new_attempt",
            "a_charge_is_made_once_a_key",
            "a_declined_charge_may_be_tried_again",
        ],
    ),
    ("payments.charges", &["payments_charges_of_an_order", "a_charge_is_made_once_a_key"]),
    (
        "fulfillment.request",
        &[
            "fulfillment_request_accepted",
            "fulfillment_request_with_a_known_key_has_the_stored_answer",
            "fulfillment_request_with_a_blank_address_is_rejected",
            "a_parcel_is_requested_once_a_key",
        ],
    ),
    (
        "email.send",
        &[
            "email_send_queued",
            "email_send_without_to_or_template_id_is_not_queued",
            "an_email_is_sent_as_often_as_it_is_asked_for",
        ],
    ),
    ("email.emails", &["email_emails_that_match_both", "an_email_is_sent_as_often_as_it_is_asked_for"]),
    (
        "error_tracker.notify",
        &[
            "error_tracker_notification_and_one_with_a_blank_class_or_message",
            "the_error_tracker_wants_both_texts",
        ],
    ),
    ("clear", &["what_was_done_is_emptied"]),
    ("pages", &["the_pages_show_what_was_done_and_escape_it"]),
    ("check: accept", &["accept_is_looked_at_first"]),
    ("check: body", &["then_the_body_then_what_the_headers_want_then_the_route"]),
    (
        "check: slow",
        &[
            "slow_is_between_one_and_ten_seconds_and_always_the_same",
            "behave_slow_and_slower_than_the_client_waits",
        ],
    ),
    ("check: throttle", &["then_the_body_then_what_the_headers_want_then_the_route", "behave_throttle"]),
    (
        "check: crash",
        &[
            "a_crash_comes_before_anything_happens_but_for_emails",
            "behave_crash_before_anything_happened_except_email_send",
        ],
    ),
    (
        "Unavailable",
        &["a_function_has_every_fault_and_crash_point", "an_async_client_meets_every_fault_and_crash_point"],
    ),
    (
        "ReplyLost",
        &["a_function_has_every_fault_and_crash_point", "an_async_client_meets_every_fault_and_crash_point"],
    ),
    (
        "Throttled",
        &["a_function_has_every_fault_and_crash_point", "an_async_client_meets_every_fault_and_crash_point"],
    ),
    (
        "TimedOut",
        &["a_function_has_every_fault_and_crash_point", "an_async_client_meets_every_fault_and_crash_point"],
    ),
    (
        "StaleRead",
        &[
            "stale_read_shows_a_job_that_looks_before_it_sends",
            "stale_read_does_not_hide_what_is_older_than_an_hour",
        ],
    ),
    ("Outage", &["an_outage_that_ends_is_outlasted_by_retries_and_one_that_never_ends_is_for_the_dead_set"]),
    ("key expiry", &["idempotency_keys_ttl_the_key_expires_and_the_retry_comes_on_day_three"]),
    (
        "reused key",
        &[
            "refused_reused_keys_are_an_error_and_no_stored_answer",
            "other_parameters_in_the_second_attempt_are_found_where_the_first_one_happened",
        ],
    ),
    ("key in flight", &["keys_in_flight_a_key_whose_first_request_is_still_running_is_a_conflict"]),
    ("search lag", &["search_lag_shows_a_job_that_looks_before_it_sends"]),
    ("rows", &["whatever_is_asked_is_answered"]),
    (
        "transactions",
        &["resource_counter", "a_statement_whose_connection_is_lost_rolls_the_transaction_back"],
    ),
    (
        "row locks",
        &["who_wants_a_locked_row_waits_for_the_commit", "rows_that_others_have_locked_are_skipped"],
    ),
    ("pool", &["a_pool_in_which_all_wait_for_a_second_connection_is_stuck_and_named"]),
    (
        "hygiene",
        &[
            "a_call_to_the_outside_while_a_transaction_is_open",
            "an_enqueue_while_a_transaction_is_open",
            "a_pool_smaller_than_the_slots_that_need_it",
        ],
    ),
    ("own service", &["a_function_has_every_fault_and_crash_point", "a_service_of_ones_own_has_every_fault"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the names in the first cell of each row of the page.
fn specified() -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/spec/services.md")).unwrap();
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" |"));
    cells.flat_map(|(cell, _)| cell.split('`').step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn the_specification_has_the_same_rows() {
    let tested: Vec<_> = ROWS.iter().map(|(row, _)| (*row).to_owned()).collect();
    assert_eq!(specified(), tested, "on the left docs/spec/services.md, on the right `ROWS`");
}

/// Collects the text of every test file of the workspace.
fn tests_under(folder: &Path, is_tests: bool, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                tests_under(&path, is_tests || name == "tests", found);
            }
        } else if is_tests && name.ends_with(".rs") {
            found.push(std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn each_row_has_a_test() {
    let mut files = Vec::new();
    tests_under(&root(), false, &mut files);
    let names: BTreeSet<_> = files.iter().flat_map(|text| tests_in(text)).collect();
    assert!(names.len() > 500, "only {} tests found", names.len());
    for (row, tests) in ROWS {
        assert!(!tests.is_empty(), "{row}");
        for test in *tests {
            assert!(names.contains(test), "{row}: there is no test {test}");
        }
    }
}

/// Returns the names of the functions right after an attribute that ends in `test]`.
fn tests_in(text: &str) -> impl Iterator<Item = &str> {
    text.split("test]\n").skip(1).filter_map(|after| {
        let line = after.lines().find(|line| !line.trim_start().starts_with("#["))?;
        line.trim_start().trim_start_matches("async ").strip_prefix("fn ")?.split('(').next()
    })
}
