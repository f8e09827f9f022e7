//! The three lines of an order are charged one after another, in a loop.

use crash_points::crash_points;
use retryproof::report::Oracle;
use retryproof::service::payments::{Charge, Payments};
use retryproof::{Client, Explore, Report, ServiceError, World};

use crate::{Family, bad, because, good};

pub(crate) fn family() -> Family {
    let twice = "payments.charge happened twice, expected once";
    let reasons = [
        because(Oracle::Guarantee, twice, "job#1.1/payments.charge:call~2=reply-lost", "payments.charge("),
        because(Oracle::Guarantee, twice, "job#1.1/payments.charge:happened~2=crash", "payments.charge("),
        because(Oracle::Guarantee, twice, second_turn(), "let charge = "),
    ];
    Family::new(
        "loop",
        [
            bad("no key", reasons, |explore| charging(explore, false)),
            good("a key for each line", |explore| charging(explore, true)),
        ],
    )
}

#[crash_points]
async fn charge_lines(payments: Client<Payments>, order: u32, keyed: bool) -> Result<(), ServiceError> {
    for line in 1..=3 {
        let charge = Charge::of_order(order, 100 * line);
        let charge = if keyed { charge.key(format!("order-{order}-{line}")) } else { charge };
        payments.charge(charge).await?;
    }
    Ok(())
}

/// The crash before the first statement of the loop, when it is passed for the second time.
fn second_turn() -> String {
    let source = include_str!("order_lines.rs");
    let (before, _) = source.split_once("let charge = Charge::of_order(order, 100 * line)").unwrap();
    let (line, column) =
        (1 + before.matches('\n').count(), 1 + before.len() - before.rfind('\n').unwrap() - 1);
    format!("job#1.1/{}:{line}:{column}#1:line~2=crash", file!())
}

fn charging(explore: &Explore, keyed: bool) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            let payments = p.payments();
            p.handle(async move |order: u32| charge_lines(payments.clone(), order, keyed).await);
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}
