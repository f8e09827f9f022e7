//! A job that treats any end of its step as a success, including a panic, and so an unwinding crash.

use std::panic::{AssertUnwindSafe, catch_unwind};

use retryproof::report::Oracle;
use retryproof::service::payments::Charge;
use retryproof::{Explore, Report, World};

use crate::{Family, bad, because, good};

pub(crate) fn family() -> Family {
    let twice = "payments.charge happened twice, expected once";
    let happened = "job#1.1/payments.charge:happened=crash";
    let lost = "payments.charge never happened, expected once";
    let reasons = [
        because(Oracle::Guarantee, twice, happened, "charge_blocking("),
        because(Oracle::Guarantee, lost, "job#1.1/payments.charge:call=unavailable", "charge_blocking("),
    ];
    Family::new(
        "swallowed crash",
        [
            // In a harness that looks at the payload of the panic, the job would have ended well.
            bad("catches all", reasons, |explore| charging(explore, false)),
            good("catches panics, returns errors, and has a key", |explore| charging(explore, true)),
        ],
    )
}

fn charging(explore: &Explore, mended: bool) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            let payments = p.payments();
            p.handle_blocking(move |order: u32| {
                let charge = Charge::of_order(order, 500);
                let charge = if mended { charge.key(format!("order-{order}")) } else { charge };
                match catch_unwind(AssertUnwindSafe(|| payments.charge_blocking(charge))) {
                    Ok(Err(error)) if mended => Err(error),
                    _ => Ok(()),
                }
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}
