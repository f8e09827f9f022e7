//! Which failures of a charge are reported, and when.

use retryproof::middleware::{ReportFailures, Transient};
use retryproof::report::Oracle;
use retryproof::service::payments::Charge;
use retryproof::{Explore, Process, Report, ServiceError, World};

use crate::{Family, S, bad, because, good};

pub(crate) fn family() -> Family {
    let line = "payments.charge(";
    let cried = "job `u32` reported a failure that a retry resolved";
    let often = "job `u32` reported its failures in 3 attempts, expected one report when it is dead";
    let untold = "job `u32` ended dead and was not reported";
    let unavailable = "job#1.1/payments.charge:call=unavailable";
    let for_ever = "job#1.1/payments.charge:call=outage-for-ever";
    let every = [
        because(Oracle::Accounted, cried, unavailable, line),
        because(Oracle::Accounted, often, for_ever, line),
    ];
    Family::new(
        "transient or not",
        [
            bad("every failure notifies", every, |explore| charging(explore, telling)),
            bad("no failure notifies", [because(Oracle::Accounted, untold, for_ever, line)], |explore| {
                charging(explore, |_| ())
            }),
            good("transient failures are silent, dead jobs are reported", |explore| {
                charging(explore, |p| {
                    telling(p);
                    p.layer(Transient::new().error::<ServiceError>());
                })
            }),
        ],
    )
}

fn telling(p: &Process) {
    p.layer(ReportFailures::new(p));
}

/// Explores a charge that is retried twice.
pub(crate) fn charging(explore: &Explore, layers: fn(&Process)) -> Report {
    explore.run(async move |world: &World| {
        world.payments().explore_outages(10 * S).explore_outages_for_ever();
        world.process("worker", move |p| {
            layers(p);
            // An error tracker exists, whether jobs report to it or not.
            let (payments, _catcher) = (p.payments(), p.error_tracker());
            p.handle(async move |order: u32| {
                payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await
            })
            .max_retries(2);
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}
