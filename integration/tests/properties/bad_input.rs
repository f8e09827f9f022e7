//! Strategies that generate nothing, and empty cases.

use std::time::Duration;

use crate::*;

async fn anything(world: &World, _: &Workload) {
    world.settle().await;
}

#[track_caller]
fn told(result: Result<u32, PropertyError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_strategy_that_yields_nothing_is_told() {
    let nothing = |some: Workloads| match property().run(some, anything) {
        Err(PropertyError::NothingDrawn { test, reason }) => {
            assert_eq!(test, "property");
            reason
        }
        other => panic!("{other:?}"),
    };
    let without_kind = "a workload without a kind of jobs yields nothing: add one with `.kind(strategy)`";
    assert_eq!(nothing(Workloads::new()), without_kind);
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
    let empty = 3..=2_usize;
    assert_eq!(nothing(orders().jobs(empty)), "a workload with an empty range for jobs yields nothing");
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
    let empty = 3..=2_u32;
    assert_eq!(
        nothing(orders().duplicates(empty)),
        "a workload with an empty range for duplicates yields nothing"
    );
    let empty = Duration::from_secs(2)..=Duration::from_secs(1);
    assert_eq!(
        nothing(orders().delays(empty)),
        "a workload with an empty range for seconds to wait yields nothing"
    );

    let none = (0..10_u32).prop_filter("none is large enough", |number| *number > 100);
    let error = told(property().run(none, async |world: &World, _: &u32| world.settle().await));
    assert!(error.starts_with("property: the strategy yields nothing: "), "{error}");
}

#[test]
fn cases_in_which_nothing_can_go_wrong_prove_nothing() {
    let property = property();
    match property.run(orders().jobs(0..=0), anything) {
        Err(PropertyError::NothingTested { tested: 0, rejected, reason, .. }) => {
            assert!(rejected > 100, "{rejected}");
            assert!(reason.starts_with("no job was enqueued"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    // Some cases may be empty.
    let held = property.run(orders().jobs(0..=1), async |world: &World, orders: &Workload| {
        charging(world, orders, |_, order| keyed(order));
        orders.enqueue(world);
        world.settle().await;
    });
    assert_eq!(held.unwrap(), 40);
}

#[test]
#[should_panic(expected = "property: the strategy yields nothing: a workload without a kind")]
fn check_panics_with_the_error() {
    property().check(Workloads::new(), anything);
}
