//! The numbers of runs, counted by hand.

use super::{explore, keyed, one_deviation, paying};
use retryproof::{Explore, Report, World};

fn charging(deviations: usize) -> Report {
    explore(
        &Explore::new().deviations(deviations),
        paying(async |payments, id| payments.charge(keyed(id)).await.map(drop)),
    )
}

#[test]
fn one_charge() {
    // The choices of an attempt, with their options beyond 0: start 1, before the charge 1, its call 5 (unavailable,
    // reply lost, throttled, timed out, timed out but done), pause 1, happened 1, replied 1, end 1, ack 1: 12.
    assert_eq!(charging(0).runs(), 1);
    assert_eq!(charging(1).runs(), 1 + 12);
    // Level 2: the deviations after the first one, in the run that has the first one. After a crash (start, before,
    // happened, replied, end) or the second delivery, a whole attempt follows: 6 × 12. After each of the five faults,
    // the first attempt still has happened, replied and end, and then a whole attempt follows: 5 × (3 + 12). The three
    // faults that do not time out may also lose the lease before: 3 more.
    let again = 6 * 12;
    let after_faults = 5 * (3 + 12) + 3;
    // When the lease ends, the job may go to the same process instead of a fresh copy (1), and either attempt may run (1).
    // The second one is a whole attempt (12), and may be preempted in its charge (1). The first one still has happened,
    // replied and end (3), and nothing waits for its acknowledgement.
    let overtaken = 1 + 1 + 12 + 1 + 3;
    assert_eq!(charging(2).runs(), 1 + 12 + again + after_faults + overtaken);
}

#[test]
fn a_read_has_fewer_points() {
    // start 1, before 1, call 3 (unavailable, throttled, timed out), pause 1, replied 1, end 1, ack 1: 9. There is one
    // state, so that there is something to test.
    let report = one_deviation().run(async |world: &World| {
        world.durable("nothing", ());
        world.process("worker", paying(async |payments, id| payments.charges(id).await.map(drop)));
        world.enqueue(super::Order { id: 1 });
        world.settle().await;
    });
    assert_eq!(report.runs(), 1 + 9);
}

#[test]
fn a_sleep_and_an_enqueue() {
    // Job 1: start 1, sleep 1, enqueue before 1, call 4 (refused, reply lost, timed out, timed out but done), pause 1,
    // happened 1, replied 1, end 1, ack 1: 12. Before happened, job 2 exists and may run first: 1. Job 2: start 1, end 1,
    // ack 1: 3.
    let report = one_deviation().run(async |world: &World| {
        world.durable("nothing", ());
        world.process("worker", |p| {
            let (clock, queue) = (p.clock(), p.queue());
            p.handle(async move |_: super::Order| {
                clock.sleep(std::time::Duration::from_secs(1)).await;
                queue.enqueue(1_u8).await.map(drop)
            });
            p.handle(async |_: u8| ());
        });
        world.enqueue(super::Order { id: 1 });
        world.settle().await;
    });
    assert_eq!(report.runs(), 1 + 12 + 1 + 3);
}

#[test]
fn a_call_and_its_webhook() {
    // The call has the 12 choices of a charge, and the webhook may come before the reply or late: 2. The webhook itself
    // has start 1, end 1, ack 1: 3.
    let report = one_deviation().run(async |world: &World| {
        let book = |order: u32, cx: &mut retryproof::service::ServiceContext<'_>| {
            cx.webhook(&order.to_string());
            cx.effect("book", Some("6"), &order, "tx_")
        };
        let bank = world.service("bank", retryproof::service::function("book", book));
        world.process("worker", move |p| {
            let bank = p.client(&bank);
            p.handle(async move |order: u32| bank.call(order).await.map(drop));
            p.handle(async |_: String| ());
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_eq!(report.runs(), 1 + 12 + 2 + 3, "{report}");
}

#[test]
fn bounds_for_one_kind() {
    let runs = |explore: Explore| explore_charging(&explore).runs();
    // Of the 12 single deviations, 5 are faults, 5 are crashes, and 2 are deliveries.
    assert_eq!(runs(one_deviation().faults(0)), 1 + 7);
    assert_eq!(runs(one_deviation().crashes(0)), 1 + 7);
    assert_eq!(runs(one_deviation().deliveries(0)), 1 + 10);
    assert_eq!(runs(one_deviation().crashes(0).faults(0).deliveries(0)), 1);
    // At most two crashes, and nothing else: 1 + 5 + 5 × 5.
    assert_eq!(runs(Explore::new().faults(0).deliveries(0)), 1 + 5 + 25);
}

fn explore_charging(settings: &Explore) -> Report {
    explore(settings, paying(async |payments, id| payments.charge(keyed(id)).await.map(drop)))
}

#[test]
fn blocking_calls_have_the_same_points() {
    let report = explore(&one_deviation(), |p| {
        let payments = p.payments();
        p.handle_blocking(move |order: super::Order| payments.charge_blocking(keyed(order.id)).map(drop));
    });
    // One charge, as above.
    assert_eq!(report.runs(), 1 + 12, "{report}");
    super::assert_green(&report);
}

#[test]
fn nothing_goes_wrong_in_a_drain_and_all_may_after_it() {
    let report = one_deviation().run(async |world: &World| {
        world.process("worker", paying(async |payments, id| payments.charge(keyed(id)).await.map(drop)));
        world.enqueue(super::Order { id: 1 });
        assert_eq!(world.drain_all().await.unwrap().performed, 1);
        world.enqueue(super::Order { id: 2 });
        world.settle().await;
    });
    // The choices of one charge, as above.
    assert_eq!(report.runs(), 1 + 12, "{report}");
}

#[test]
fn a_job_that_is_popped_before_it_runs_is_not_delivered_again() {
    let popped = |settings: &Explore| {
        explore(settings, |p| {
            let payments = p.payments();
            p.handle(async move |order: super::Order| payments.charge(keyed(order.id)).await.map(drop))
                .delivery(retryproof::Delivery::AtMostOnce);
        })
    };
    // As above, except for the lease and the acknowledgement.
    assert_eq!(popped(&one_deviation()).runs(), 1 + 10);
    // At its end, there is nothing to lose.
    let report = popped(&one_deviation().replay("test job#1.1:end=crash"));
    assert_eq!((report.reason(), report.violations().len()), (None, 0), "{report}");
}
