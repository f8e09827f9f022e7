//! The error tracker: what it answers, and which jobs must report to it. Reports are judged with the ends of jobs.

use super::{assert_green, assert_violated, one_deviation};
use retryproof::report::Oracle;
use retryproof::service::error_tracker::Notification;
use retryproof::service::payments::Charge;
use retryproof::service::{Operation, Refusal, Service, ServiceContext};
use retryproof::{Client, Explore, Guarantee, Report, Verdict, World};
use serde_json::json;

#[test]
fn error_tracker_notification_and_one_with_a_blank_class_or_message() {
    let report = Explore::new().name("test").run(async |world: &World| {
        let catcher = world.error_tracker();
        let noted = catcher.notify(Notification::new("Timeout", "no answer")).await.unwrap();
        let noted = serde_json::to_value(noted).unwrap();
        let id = noted["notification_id"].as_str().unwrap();
        assert!(id.len() == 12 && id.starts_with("err_"), "{id}");
        assert_eq!(noted.as_object().unwrap().len(), 1);
        for (class, message) in [("", "no answer"), ("Timeout", " "), ("", "")] {
            let rejected = catcher.notify(Notification::new(class, message)).await.unwrap();
            let expected = json!({"error": "exception class or message is missing"});
            assert_eq!(serde_json::to_value(rejected).unwrap(), expected);
        }
        assert_eq!(catcher.records(), [Notification::new("Timeout", "no answer")]);
        assert_eq!(world.effects().of("error_tracker.notify").count(), 1);
    });
    assert_eq!(report.verdict(), Verdict::NothingTested, "{report}");
}

/// When a job reports a failed charge.
#[derive(Clone, Copy, PartialEq)]
enum Tells {
    Never,
    Always,
    /// In the last attempt, until the report succeeds.
    AtLast,
}

/// Explores a charge that is retried twice, under an outage that never ends or another fault.
fn charging(explore: &Explore, tells: Tells, allow: Option<Guarantee>) -> Report {
    const RETRIES: u32 = 2;
    explore.run(async move |world: &World| {
        world.payments().explore_outages(std::time::Duration::from_secs(10)).explore_outages_for_ever();
        if let Some(guarantee) = allow {
            world.allow("error_tracker", guarantee);
        }
        let failures = world.durable("failures", 0);
        world.ignore("failures", "$");
        world.process("worker", move |p| {
            let (payments, catcher, failures) = (p.payments(), p.error_tracker(), failures.clone());
            p.handle(async move |order: u32| {
                let charge = Charge::of_order(order, 500).key(format!("order-{order}"));
                let Err(error) = payments.charge(charge).await else { return Ok(()) };
                let failed = failures.get();
                let last = failed >= RETRIES;
                failures.set(failed + 1);
                if tells == Tells::Always || last && tells == Tells::AtLast {
                    while catcher.notify(Notification::new("Charge", error.to_string())).await.is_err() {}
                }
                Err(error)
            })
            .max_retries(RETRIES);
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

const UNTOLD: &str = "job `u32` ended dead and was not reported";
const CRIED: &str = "job `u32` reported a failure that a retry resolved";
const OFTEN: &str = "job `u32` reported its failures in 3 attempts, expected one report when it is dead";
const FOR_EVER: &str = "test job#1.1/payments.charge:call=outage-for-ever";

#[test]
fn for_ever_503_dead_and_nobody_told() {
    let report = charging(&one_deviation(), Tells::Never, None);
    assert_violated(&report, UNTOLD, FOR_EVER);
    let violation = &report.violations()[0];
    assert_eq!(violation.oracle, Oracle::Accounted);
    assert_eq!(
        (&*violation.expected, &*violation.actual),
        ("u32 6 dead, reported once", "u32 6 dead, never reported")
    );
    assert_green(&charging(&one_deviation(), Tells::Never, Some(Guarantee::Unchecked)));
}

#[test]
fn every_failure_notifies() {
    let report = charging(&one_deviation(), Tells::Always, None);
    assert_violated(&report, CRIED, "test job#1.1/payments.charge:call=unavailable");
    assert_violated(&report, OFTEN, FOR_EVER);
    assert_green(&charging(&one_deviation(), Tells::Always, Some(Guarantee::AtLeastOnce)));
}

#[test]
fn transient_failures_are_silent_and_a_dead_job_tells_once() {
    assert_green(&charging(&one_deviation(), Tells::AtLast, None));
    // With any deviation: the reply to the report is lost, or the process crashes before or after it.
    assert_green(&charging(&Explore::new(), Tells::AtLast, None));
}

#[test]
fn notifications_are_no_effects() {
    // It reports in each attempt of its ordinary course: the reference run has one report, a retried run two.
    let report = one_deviation().faults(0).run(async |world: &World| {
        world.durable("nothing", ());
        world.process("worker", |p| {
            let catcher = p.error_tracker();
            p.handle(async move |_: u32| catcher.notify(Notification::new("Late", "again")).await.map(drop));
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_green(&report);
}

/// A custom pager that is judged like the error tracker.
#[derive(Clone)]
struct Pager;

impl Service for Pager {
    type Request = String;
    type Reply = ();

    fn operation(&self, _: &String) -> Operation {
        Operation::write("page".into())
    }

    fn answer(&mut self, text: String, cx: &mut ServiceContext<'_>) -> Result<(), Refusal> {
        cx.effect("page", None, &text, "");
        Ok(())
    }

    fn is_error_tracker(&self) -> bool {
        true
    }
}

#[test]
fn a_pager_of_ones_own_is_judged_alike() {
    let report = one_deviation().run(async |world: &World| {
        world.service("pager", Pager);
        world.process("worker", |p| {
            let (payments, pager): (_, Client<Pager>) = (p.payments(), p.service("pager"));
            p.handle(async move |order: u32| {
                let charged = payments.charge(Charge::of_order(order, 500).key("k")).await;
                if let Err(error) = &charged {
                    let _ = pager.call(error.to_string()).await;
                }
                charged.map(drop)
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_violated(&report, CRIED, "test job#1.1/payments.charge:call=unavailable");
}
