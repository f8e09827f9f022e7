//! The service is gone for good, and the job is retried until it is dead.

use retryproof::middleware::{ReportFailures, Transient};
use retryproof::report::Oracle;
use retryproof::service::error_tracker::Notification;
use retryproof::service::payments::Charge;
use retryproof::{Explore, Process, Report, ServiceError, World};

use crate::{Family, S, bad, because, good};

pub(crate) fn family() -> Family {
    let untold = "job `u32` ended dead and was not reported";
    let for_ever = "job#1.1/payments.charge:call=outage-for-ever";
    let reasons = [because(Oracle::Accounted, untold, for_ever, "payments.charge(")];
    let last = |what| format!("{for_ever} job#1.26/error_tracker.notify:{what}");
    let unheard = "job `u32` died once, but its death handlers never completed: one of them panicked, or its process crashed";
    let by_handler = [
        because(Oracle::Accounted, unheard, last("before=crash"), "notify_blocking("),
        because(Oracle::Accounted, untold, last("before=crash"), "notify_blocking("),
        because(Oracle::Accounted, untold, last("call=unavailable"), "notify_blocking("),
    ];
    Family::new(
        "503 forever",
        [
            bad("dead, and not reported", reasons, |explore| charging(explore, |_| ())),
            bad("reported by a death handler", by_handler, |explore| charging(explore, by_a_death_handler)),
            good("reported by the job, in its last attempt", |explore| charging(explore, by_the_job)),
        ],
    )
}

/// The job is dead by then, and does not run again. If the process crashes here, or the report fails, it is lost.
fn by_a_death_handler(p: &Process) {
    let catcher = p.error_tracker();
    p.on_death(move |job| {
        let error = job.error.clone().unwrap_or_default();
        _ = catcher.notify_blocking(Notification::new("Dead", error));
    });
}

fn by_the_job(p: &Process) {
    p.layer(ReportFailures::new(p)).layer(Transient::new().error::<ServiceError>());
}

fn charging(explore: &Explore, tells: fn(&Process)) -> Report {
    explore.run(async move |world: &World| {
        world.payments().explore_outages(10 * S).explore_outages_for_ever();
        world.process("worker", move |p| {
            tells(p);
            let (payments, _catcher) = (p.payments(), p.error_tracker());
            p.handle(async move |order: u32| {
                payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}
