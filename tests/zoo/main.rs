//! Jobs that must be told apart: a file a family, each bad job beside its mended twin. The harness calls every bad one bad
//! for the reason given and for no other, and every good one good.
//!
//! What it found is in ZOO.md, which is held equal to what it finds now.
//! `RETRYPROOF_BLESS=1 cargo test --release --test zoo the_table -- --nocapture` writes it anew.

mod specimen;
mod table;

use specimen::{Family, bad, because, good, stuck};

type Done<T = ()> = Result<T, Box<dyn std::error::Error>>;

const S: std::time::Duration = std::time::Duration::from_secs(1);

/// Declares the file of each family, lists what it keeps, and has each be judged by a test of its own name.
macro_rules! families {
    ($($family:ident)*) => {
        $(mod $family;)*

        /// All there are, in the order of the table.
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
    fulfilment_key
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
    pool_too_small
    call_in_a_transaction
    for_ever_503
    sent_before
}
