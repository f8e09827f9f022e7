//! Data and scenario shrink together.

use retryproof::Verdict;

use expect_test::expect;

use crate::support::check;
use crate::*;

/// Returns the case of a report, without its seed.
fn case_in(report: &str) -> &str {
    let (_, from) = report.split_once("\nthe smallest case found\n").expect("a case");
    from.split("\n  seed ").next().unwrap_or_default().trim()
}

#[test]
fn the_smallest_order_in_the_smallest_scenario() {
    let report = falsified(property().run(orders(), async |world: &World, orders: &Workload| {
        // From 500 on, the key is forgotten.
        charging(
            world,
            orders,
            |_, order| if order < 500 { keyed(order) } else { Charge::of_order(order, 1) },
        );
        orders.enqueue(world);
        world.settle().await;
    }));
    let violation = &report.violations()[0];
    assert_eq!(violation.summary, "payments.charge happened twice, expected once", "{report}");
    assert_eq!(
        violation.scenario.to_string(),
        "property job#1.1/payments.charge:call=reply-lost",
        "{report}"
    );
    let text = report.to_string();
    check(case_in(&text), expect!["Workload(u32 500 in high)"]);
    // A part: the seed is another one in each run.
    assert!(text.contains("\nreplay\n  RETRYPROOF_SEED='property "), "{text}");
    assert!(!text.contains("RETRYPROOF_REPLAY"), "{text}");
}

#[test]
fn a_failure_that_needs_two_crashes_keeps_two() {
    let report = falsified(property().cases(300).run(orders(), async |world: &World, orders: &Workload| {
        charging(world, orders, |incarnation, order| {
            Charge::of_order(order, 1).key(format!("{order}-{}", incarnation / 3))
        });
        orders.enqueue(world);
        world.settle().await;
    }));
    let text = report.to_string();
    check(case_in(&text), expect!["Workload(u32 1 in high)"]);
    assert_eq!(report.violations()[0].scenario.deviations().len(), 2, "{text}");
    assert!(report.violations()[0].scenario.deviations().iter().all(|d| d.ends_with("=crash")), "{text}");
}

/// Two tasks read, wait and write.
async fn lost_update(world: &World, tasks: &u8) {
    let (tasks, counter) = (*tasks, world.durable("counter", 0_u32));
    world.process("worker", move |p| {
        let (counter, clock) = (counter.clone(), p.clock());
        p.slots(3);
        p.handle(async move |_: u8| {
            let read = counter.get();
            clock.yield_now().await;
            counter.set(read + 1);
        });
    });
    (0..tasks).for_each(|task| _ = world.enqueue(task));
    world.settle().await;
}

#[test]
fn schedules_are_drawn_and_shrink_too() {
    let calm = property().cases(60).scenarios(Scenarios::of(0..=0));
    let held = calm.clone().preemptions(Preemptions::of(0..=0)).run(1..4_u8, lost_update);
    assert_eq!(held.unwrap(), 60, "in the usual order they do not meet");
    let report = falsified(calm.preemptions(Preemptions::of(0..=2)).run(1..4_u8, lost_update));
    let text = report.to_string();
    // Two tasks are enough.
    check(case_in(&text), expect!["2"]);
}

#[test]
fn what_fails_by_itself_needs_no_scenario() {
    let report = falsified(property().run(0..100_u32, async |world: &World, number: &u32| {
        world.durable("nothing", ());
        world.process("worker", |p| {
            p.handle(async |_: u32| ());
        });
        world.enqueue(*number);
        world.settle().await;
        assert!(*number < 10, "too large: {number}");
    }));
    assert_eq!(report.verdict(), Verdict::Violated);
    let text = report.to_string();
    check(case_in(&text), expect!["10"]);
    assert_eq!(report.violations()[0].scenario.to_string(), "property", "{text}");
}

#[test]
fn the_same_seed_gives_the_same_report_and_another_seed_other_cases() {
    let with = |seed: u64| {
        falsified(property().seed(seed).run(orders(), async |world: &World, orders: &Workload| {
            charging(world, orders, |_, order| Charge::of_order(order, 1));
            orders.enqueue(world);
            world.settle().await;
        }))
        .to_string()
    };
    assert_eq!(with(0), with(0));
    let seed = |text: &str| text.split("\n  seed ").nth(1).unwrap()[..16].to_owned();
    assert_ne!(seed(&with(0)), seed(&with(1)));
}

#[test]
fn data_shrink_even_where_the_drawn_scenario_no_longer_fits_them() {
    // Three lookups, a charge, and more lookups: the drawn place of the charge is a small share of a long run, and
    // becomes a lookup in a short one.
    for seed in 0..8 {
        let faults = Explore::new().name("property").crashes(0).deliveries(0);
        let property = property().seed(seed).explore(faults).cases(500).scenarios(Scenarios::of(1..=1));
        let report = falsified(property.run(30..200_u32, async |world: &World, looks: &u32| {
            let looks = *looks;
            world.process("worker", move |p| {
                let payments = p.payments();
                p.handle(async move |order: u32| {
                    for _ in 0..3 {
                        payments.charges(order).await?;
                    }
                    payments
                        .charge(if looks < 31 { keyed(order) } else { Charge::of_order(order, 1) })
                        .await?;
                    for _ in 0..looks {
                        payments.charges(order).await?;
                    }
                    Ok::<(), retryproof::ServiceError>(())
                });
            });
            world.enqueue(1_u32);
            world.settle().await;
        }));
        check(case_in(&report.to_string()), expect!["31"]);
    }
}
