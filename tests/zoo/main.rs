//! Jobs that must be told apart, as `docs/spec/jobs.md` specifies them: one file per family, each bad job beside its
//! good twin. The harness must fail every bad job for the reason given and for no other, and must pass every good job.
//!
//! ZOO.md contains the results, and the tests compare it with what they find.
//! `RETRYPROOF_BLESS=1 cargo test --release --test zoo the_table -- --nocapture` writes it.

mod specimen;
mod table;

mod order_in_one_job;
mod order_in_a_chain;
mod email_looked_up;
mod fulfillment_key;
mod payment_key;
mod payment_declined;
mod add_stock;
mod set_stock;
mod decrement_and_mark_paid;
mod enqueue_in_a_transaction;
mod enqueue_after_the_commit;
mod counter_in_a_database;
mod rate_limit;
mod optimistic_lock;
mod state_machine_lock;
mod refresh;
mod unique_waiting;
mod unique_without_key;
mod thread_local_unit;
mod request_context;
mod nightly_bulk;
mod retry_0;
mod transient_or_not;
mod fetch_without_acknowledgement;
mod destructor;
mod swallowed_crash;
mod order_lines;
mod find_or_create;
mod reserve_then_die;
mod class_level_unit;
mod pool_too_small;
mod call_in_a_transaction;
mod for_ever_503;
mod sent_before;
mod web_request;
mod visibility_timeout;
mod acknowledgement;
mod partition_of_a_log;

use specimen::{Family, bad, because, good, stuck};

type Done<T = ()> = Result<T, Box<dyn std::error::Error>>;

const S: std::time::Duration = std::time::Duration::from_secs(1);

/// Lists the modules of the families, and generates a test for each.
macro_rules! families {
    ($($family:ident)*) => {
        /// Returns all families, in the order of the table.
        fn families() -> Vec<Family> {
            vec![$($family::family(),)*]
        }

        mod told_apart {
            $(#[test]
            fn $family() {
                crate::$family::family().judge();
            })*
        }
    };
}

families! {
    order_in_one_job
    order_in_a_chain
    email_looked_up
    fulfillment_key
    payment_key
    payment_declined
    add_stock
    set_stock
    decrement_and_mark_paid
    enqueue_in_a_transaction
    enqueue_after_the_commit
    counter_in_a_database
    rate_limit
    optimistic_lock
    state_machine_lock
    refresh
    unique_waiting
    unique_without_key
    thread_local_unit
    request_context
    nightly_bulk
    retry_0
    transient_or_not
    fetch_without_acknowledgement
    destructor
    swallowed_crash
    order_lines
    find_or_create
    reserve_then_die
    class_level_unit
    pool_too_small
    call_in_a_transaction
    for_ever_503
    sent_before
    web_request
    visibility_timeout
    acknowledgement
    partition_of_a_log
}
