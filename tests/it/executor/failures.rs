//! Transient errors stay silent while dead jobs are reported, and what the error tracker ignores.

use std::time::Duration;

use retryproof::middleware::{ReportFailures, Transient};
use retryproof::service::error_tracker::Notification;
use retryproof::service::payments::Charge;
use retryproof::{Explore, Process, Report, ServiceError, World};

use super::{S, assert_green, assert_violated, one_deviation};

const UNTOLD: &str = "job `u32` ended dead and was not reported";
const CRIED: &str = "job `u32` reported a failure that a retry resolved";
const FAULT: &str = "test job#1.1/payments.charge:call=unavailable";
const FOR_EVER: &str = "test job#1.1/payments.charge:call=outage-for-ever";

/// Explores a charge that is retried twice, under an outage that never ends or another fault.
fn charging(explore: &Explore, layers: impl Fn(&Process) + Copy + Sync + 'static) -> Report {
    explore.run(async move |world: &World| {
        world.payments().explore_outages(10 * S).explore_outages_for_ever();
        world.process("worker", move |p| {
            layers(p);
            let _catcher = p.error_tracker();
            let payments = p.payments();
            p.handle(async move |order: u32| {
                payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await
            })
            .max_retries(2);
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn every_failure_notifies() {
    assert_violated(&charging(&one_deviation(), |p| _ = p.layer(ReportFailures::new(p))), CRIED, FAULT);
}

#[test]
fn none_notifies_and_a_dead_job_is_silent() {
    assert_violated(&charging(&one_deviation(), |_| ()), UNTOLD, FOR_EVER);
}

/// Marks the errors of all services, except for one kind that was forgotten.
fn forgetful(p: &Process) {
    let listed = |error: &ServiceError| !matches!(error, ServiceError::Throttled { .. });
    p.layer(ReportFailures::new(p)).layer(Transient::new().error_if(listed));
}

#[test]
fn an_error_that_is_missing_from_the_list_notifies() {
    let report = charging(&one_deviation(), forgetful);
    assert_violated(&report, CRIED, "test job#1.1/payments.charge:call=throttled");
    assert!(
        crate::support::scenarios(&report).iter().all(|scenario| !scenario.contains("unavailable")),
        "{report}"
    );
}

#[test]
fn transient_errors_stay_silent_while_dead_jobs_tell_once() {
    let by_type = |p: &Process| {
        p.layer(ReportFailures::new(p)).layer(Transient::new().error::<ServiceError>());
    };
    assert_green(&charging(&one_deviation(), by_type));
    // With any deviation: the report fails, or its reply is lost; the process crashes before or after it.
    assert_green(&charging(&Explore::new().name("test"), by_type));
    let by_text = |p: &Process| {
        let texts = Transient::new().text("503").text("429").text("no answer");
        p.layer(ReportFailures::new(p)).layer(texts);
    };
    assert_green(&charging(&one_deviation(), by_text));
}

#[test]
fn a_list_per_job_and_one_for_all() {
    // For the one kind a timeout is transient, and for both kinds a 503.
    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("503")]
        Unavailable,
        #[error("timeout")]
        Timeout,
    }
    let world = World::fake();
    world.process("worker", |p| {
        let for_all = Transient::new().error_if(|error: &Failure| matches!(error, Failure::Unavailable));
        p.layer(ReportFailures::new(p)).layer(for_all);
        let fails = async |timeout: bool| -> Result<(), Failure> {
            Err(if timeout { Failure::Timeout } else { Failure::Unavailable })
        };
        p.handle(async move |_: u32| fails(false).await).max_retries(1);
        p.handle(async move |_: u64| fails(true).await)
            .max_retries(1)
            .layer(Transient::new().text("timeout"));
        p.handle(async move |_: i64| fails(true).await).max_retries(1);
    });
    let told = || {
        let told = world.error_tracker().records();
        world.clear_all();
        told.len()
    };
    let mut before = 0;
    for (enqueue, expected) in [
        (&(|| world.enqueue(1_u32)) as &dyn Fn() -> _, 1),
        (&|| world.enqueue(1_u64), 1),
        // At once, and when the job is dead.
        (&|| world.enqueue(1_i64), 2),
    ] {
        enqueue();
        world.settle().run();
        assert_eq!(told() - before, expected);
        before = told();
    }
    let first = &world.error_tracker().records()[0];
    assert_eq!(*first, Notification::new("Failure", "503"));
}

#[test]
fn a_panic_is_told_like_any_failure() {
    let world = World::fake();
    world.process("worker", |p| {
        p.layer(ReportFailures::new(p)).layer(Transient::new().text("first"));
        p.handle(async |job: u32| assert!(job > 9, "{}", if job == 1 { "first" } else { "second" }))
            .max_retries(1);
    });
    world.enqueue(1_u32);
    world.enqueue(2_u32);
    world.settle().run();
    let told = world.error_tracker().records();
    let count = |text: &str| told.iter().filter(|told| told.exception_message == text).count();
    assert_eq!((count("panicked: first"), count("panicked: second")), (1, 2));
    assert!(told.iter().all(|told| told.exception_class == "panic"));
}

#[test]
fn retries_bounded_by_time_are_used_up_when_the_time_is() {
    let world = World::fake();
    let log = super::log(&world);
    super::worker(&world, &log, |p, log| {
        let (log, clock) = (log.clone(), p.clock());
        let now = p.clock();
        p.layer(ReportFailures::by(p, async move |n: Notification| {
            log.update(|log| log.push(format!("{} at {:?}", n.exception_message, now.now())));
            Ok::<(), &str>(())
        }));
        p.layer(Transient::new().text("late"));
        // The last attempt begins before the time is used up, and fails after it.
        p.handle(async move |_: u32| {
            clock.sleep(10 * S).await;
            Err::<(), _>("late")
        })
        .retry_for(Duration::from_secs(50))
        .backoff(retryproof::Backoff::Constant(30 * S));
    });
    world.enqueue(1_u32);
    world.settle().run();
    assert_eq!(log.get(), ["late at 90s"], "failed at 10, 50 and 90 s");
    assert_eq!(world.dead()[0].failures, 3);
}

#[test]
fn who_is_not_heard_tells_again_for_a_while() {
    let world = World::fake();
    world.process("worker", |p| {
        let (clock, heard) = (p.clock(), std::cell::Cell::new(0));
        let heard = std::rc::Rc::new(heard);
        p.layer(ReportFailures::by(p, async move |_| {
            heard.set(heard.get() + 1);
            if clock.now() < 10 * S { Err("not there") } else { Ok(()) }
        }));
        p.handle(async |_: u32| Err::<(), _>("dead")).max_retries(0);
    });
    world.enqueue(1_u32);
    world.settle().run();
    assert_eq!((world.now(), world.dead().len()), (14 * S, 1), "after 2, 4 and 8 seconds");
}

/// Reports each failure to the error tracker from an error handler, as its client does by itself in production. The
/// catcher ignores what should not be seen, and a dead job reports another class.
fn told_by_hooks(ignored: &'static [&'static str]) -> Report {
    one_deviation().faults(1).run(async move |world: &World| {
        world.error_tracker().ignore(ignored.iter().copied());
        world.process("worker", move |p| {
            let (payments, catcher) = (p.payments(), p.error_tracker());
            p.on_error(move |failed| {
                let class = if failed.downcast_ref::<ServiceError>().is_some() { "Transient" } else { "Bug" };
                let _ = catcher.notify_blocking(Notification::new(class, failed.error));
            });
            p.handle(async move |order: u32| {
                payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn the_error_tracker_has_a_list_of_ignored_errors() {
    assert_violated(&told_by_hooks(&["Bug"]), CRIED, FAULT);
    assert_green(&told_by_hooks(&["Timeout", "Transient"]));
    let world = World::fake();
    let catcher = world.error_tracker();
    catcher.ignore(["Timeout"]);
    for class in ["Timeout", "Bug"] {
        let noted = catcher.notify(Notification::new(class, "no answer"));
        world.process(class, |_| ());
        drop(noted);
    }
    assert!(catcher.records().is_empty(), "a call does nothing unless awaited");
    let noted: Vec<_> = ["Timeout", "Bug"]
        .map(|class| catcher.notify_blocking(Notification::new(class, "no answer")).unwrap())
        .into_iter()
        .map(|noted| serde_json::to_value(noted).unwrap()["notification_id"].is_string())
        .collect();
    assert_eq!(noted, [true, true], "to the caller an ignored one looks like any other");
    assert_eq!(catcher.records(), [Notification::new("Bug", "no answer")]);
    assert_eq!(world.effects().of("error_tracker.notify").count(), 1);
    let blank = catcher.notify_blocking(Notification::new("Timeout", " ")).unwrap();
    assert!(
        serde_json::to_value(blank).unwrap()["error"].is_string(),
        "what is missing is missed all the same"
    );
}

#[test]
fn a_dead_job_whose_class_is_ignored_has_told_nobody() {
    let report = one_deviation().run(async |world: &World| {
        world.payments().explore_outages(10 * S).explore_outages_for_ever();
        world.error_tracker().ignore(["ServiceError"]);
        world.process("worker", |p| {
            p.layer(ReportFailures::new(p)).layer(Transient::new().error::<ServiceError>());
            let payments = p.payments();
            p.handle(async move |order: u32| {
                payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await
            })
            .max_retries(1);
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_violated(&report, UNTOLD, FOR_EVER);
}
