//! Code that computes on threads of its own. Their results are there before anything else happens.

use super::{assert_green, assert_violated, keyed, one_deviation, unkeyed};
use retryproof::{Explore, Report, World};

/// Takes about a millisecond for job 1, and a moment for job 2.
fn compute(order: u32) -> u32 {
    let steps = if order == 1 { 200_000 } else { 10 };
    (0..steps).fold(order, |number, step| std::hint::black_box(number ^ step ^ step))
}

type Charging = fn(u32) -> retryproof::service::payments::Charge;

/// Two jobs that compute something on a thread for blocking tasks, and charge.
#[cfg(feature = "tokio")]
fn computing(explore: &Explore, charge: Charging) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            let payments = p.payments();
            p.handle(async move |order: u32| -> Result<(), Box<dyn std::error::Error>> {
                let order = tokio::task::spawn_blocking(move || compute(order)).await?;
                payments.charge(charge(order)).await?;
                Ok(())
            });
        });
        world.enqueue_bulk([1_u32, 2]);
        world.settle().await;
    })
}

#[cfg(feature = "tokio")]
#[test]
fn input_26_results_of_spawn_blocking() {
    let runs = computing(&one_deviation(), keyed).runs();
    for _ in 0..3 {
        let report = computing(&one_deviation(), keyed);
        assert_green(&report);
        assert_eq!(report.runs(), runs);
    }
    assert_violated(
        &computing(&one_deviation(), unkeyed),
        "payments.charge happened twice, expected once",
        "test job#1.1/payments.charge:call=reply-lost",
    );
}

/// Two blocking jobs that compute something on scoped threads, and charge.
fn scoped(explore: &Explore, charge: Charging) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            let payments = p.payments();
            p.handle_blocking(move |order: u32| {
                let order = std::thread::scope(|scope| {
                    let parts: Vec<_> = (0..2).map(|_| scope.spawn(|| compute(order))).collect();
                    parts.into_iter().map(|part| part.join().unwrap()).max().unwrap()
                });
                payments.charge_blocking(charge(order)).map(drop)
            });
        });
        world.enqueue_bulk([1_u32, 2]);
        world.settle().await;
    })
}

#[test]
fn input_27_scoped_threads_that_are_joined() {
    let runs = scoped(&one_deviation(), keyed).runs();
    for _ in 0..3 {
        let report = scoped(&one_deviation(), keyed);
        assert_green(&report);
        assert_eq!(report.runs(), runs);
    }
    assert_violated(
        &scoped(&one_deviation(), unkeyed),
        "payments.charge happened twice, expected once",
        "test job#1.1/payments.charge:call=reply-lost",
    );
}
