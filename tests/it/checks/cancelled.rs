//! Calls whose callers do not wait for their replies: dropped by `select!` or a timeout, after they have happened.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use expect_test::expect;
use retryproof::{Explore, Report, World};

use super::{Order, assert_green, assert_violated, explore, keyed, one_deviation};
use crate::support::has_line;

const S: Duration = Duration::from_secs(1);

/// A job that notes that an order is paid, and waits for the store for five seconds.
fn noting(settings: &Explore, is_returned: bool) -> Report {
    explore(settings, move |p| {
        let store = p.store();
        p.handle(async move |_: Order| -> Result<(), Box<dyn std::error::Error>> {
            tokio::select! {
                // Without it, tokio draws which branch is polled first.
                biased;
                put = store.put("state", "paid") => drop(put?),
                () = tokio::time::sleep(5 * S) => {
                    if is_returned {
                        return Err("the store does not answer".into());
                    }
                    store.put("state", "unknown").await?;
                }
            }
            Ok(())
        });
    })
}

#[test]
fn input_16_select_drops_a_put_whose_answer_is_late() {
    let unknown = "store.state is \"unknown\", expected \"paid\"";
    assert_violated(&noting(&one_deviation(), false), unknown, "test job#1.1/store.put:call=timed-out");
    // The same, and it has happened.
    let report = noting(&one_deviation().faults(0), false);
    assert_violated(&report, unknown, "test job#1.1/store.put:reply=late");
    has_line(
        &report,
        expect![
            "t+5s        store.put (tests/it/checks/cancelled.rs:…) had happened, and is dropped before its"
        ],
    );
    has_line(
        &report,
        expect![
            "help: wait for the answer, or treat the call as one whose reply was lost: a call was dropped before"
        ],
    );
    assert_green(&noting(&one_deviation(), true));
}

/// A job that charges under a lock of the database. If the lock does not come within a second, the job tries again later.
/// The lock belongs to the connection, which goes back to the pool, and in the fixed version is closed.
fn locking(is_closed: bool) -> Report {
    one_deviation().run(async move |world: &World| {
        let locked = Arc::new(AtomicBool::new(false));
        world.process("worker", move |p| {
            // The connections of a process that dies are closed.
            locked.store(false, SeqCst);
            let (database, payments, locked) = (p.external("database"), p.payments(), locked.clone());
            p.slots(1);
            p.handle(async move |order: Order| -> Result<(), Box<dyn std::error::Error>> {
                let lock = database.call("lock", async { !locked.swap(true, SeqCst) });
                match tokio::time::timeout(S, lock).await {
                    Ok(true) => {}
                    Ok(false) => return Err("locked by another connection".into()),
                    Err(late) => {
                        if is_closed {
                            locked.store(false, SeqCst);
                        }
                        return Err(late.into());
                    }
                }
                let charged = payments.charge(keyed(order.id)).await;
                database.call("unlock", async { locked.store(false, SeqCst) }).await;
                charged?;
                Ok(())
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    })
}

#[test]
fn input_38_a_lock_stays_with_the_connection_whose_call_was_dropped() {
    let report = locking(false);
    let never = "payments.charge never happened, expected once";
    assert_violated(&report, never, "test job#1.1/database.lock:reply=late");
    assert_green(&locking(true));
}

thread_local! {
    static TENANT: RefCell<Option<u32>> = const { RefCell::new(None) };
}

/// Two jobs of which one sets the tenant of its thread. Both charge for the tenant, the second one for the tenant that it finds.
fn for_tenant(is_set_by_each: bool, orders: [u32; 2]) -> Report {
    one_deviation().run(async move |world: &World| {
        world.process("worker", move |p| {
            let payments = p.payments();
            p.slots(1);
            p.handle(async move |order: u32| -> Result<(), Box<dyn std::error::Error>> {
                if order == 1 || is_set_by_each {
                    TENANT.set(Some(order));
                }
                let tenant = TENANT.with_borrow(|tenant| tenant.unwrap_or_default());
                payments.charge(keyed(10 * order + tenant)).await?;
                Ok(())
            });
        });
        world.enqueue_bulk(orders);
        world.settle().await;
    })
}

#[test]
fn input_14_a_tenant_of_the_thread_that_only_one_job_sets() {
    let found = "payments.charge happened with different content or a different key than expected: a job found what another job had left behind";
    // The second order finds it in each run; the first one, only in the second run on a thread.
    for orders in [[1, 2], [2, 1]] {
        let report = for_tenant(false, orders);
        assert_violated(&report, found, "test");
        assert_green(&for_tenant(true, orders));
    }
}
