//! Faults that a world turns on: stale reads, search lag, outages, and the behavior of a service that a test sets.

use std::time::Duration;

use super::{assert_green, assert_violated, one_deviation};
use crate::support::has_line;
use expect_test::expect;
use retryproof::service::Behavior;
use retryproof::service::email::Email;
use retryproof::service::payments::Charge;
use retryproof::{Explore, Report, ServiceError, Verdict, World};

const HOUR: Duration = Duration::from_secs(3_600);

/// Explores a job that looks an email up before it sends it.
fn look_before_sending(explore: &Explore, set: fn(&World)) -> Report {
    explore.run(async move |world: &World| {
        set(world);
        world.process("worker", |p| {
            let email = p.email();
            p.handle(async move |to: String| {
                if email.emails(&to, "receipt").await?.is_empty() {
                    email.send(Email::new(to, "receipt")).await?;
                }
                Ok::<_, ServiceError>(())
            });
        });
        world.enqueue("ada@example.com".to_owned());
        world.settle().await;
    })
}

fn stale(world: &World) {
    world.email().explore_stale_reads();
}

const SENT_TWICE: &str = "email.send happened twice, expected once";

#[test]
fn stale_read_shows_a_job_that_looks_before_it_sends() {
    let report = look_before_sending(&Explore::new().name("test").keep_going(), stale);
    assert_violated(
        &report,
        SENT_TWICE,
        "test job#1.1/email.send:call=reply-lost job#1.2/email.emails:call=stale",
    );
    // If searches return everything, and deliveries do not overlap, checking before sending is enough.
    assert_green(&look_before_sending(&Explore::new().deliveries(0), |_| ()));
}

#[test]
fn stale_read_leaves_alone_a_charge_with_a_key_and_what_was_there_before() {
    let report = Explore::new().run(async |world: &World| {
        world.payments().explore_stale_reads();
        world.process("worker", |p| {
            let payments = p.payments();
            p.handle(async move |order: u32| {
                if payments.charges(order).await?.is_empty() {
                    payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await?;
                }
                Ok::<_, ServiceError>(())
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_green(&report);
    // Any lookup finds an email that the test itself sent, so the job sends none.
    one_deviation().check(async |world: &World| {
        world.email().explore_stale_reads();
        world.email().search_lag(HOUR);
        world.email().send(Email::new("ada@example.com", "receipt")).await.unwrap();
        let found = world.durable("found", 0);
        let sent = found.clone();
        world.process("worker", move |p| {
            let (email, found_now) = (p.email(), sent.clone());
            p.handle(async move |to: String| {
                let found = email.emails(&to, "receipt").await?.len();
                found_now.set(found);
                Ok::<_, ServiceError>(())
            });
        });
        world.enqueue("ada@example.com".to_owned());
        world.settle().await;
        assert_eq!(found.get(), 1);
    });
}

#[test]
fn stale_read_does_not_hide_what_is_older_than_an_hour() {
    let report = Explore::new().name("test").keep_going().run(async |world: &World| {
        world.email().explore_stale_reads();
        world.process("worker", |p| {
            let email = p.email();
            p.handle(async move |to: String| {
                if email.emails(&to, "receipt").await?.is_empty() {
                    email.send(Email::new(to, "receipt")).await?;
                }
                Ok::<_, ServiceError>(())
            })
            .backoff(retryproof::Backoff::Constant(HOUR));
        });
        world.enqueue("ada@example.com".to_owned());
        world.settle().await;
    });
    // Lost replies are retried after an hour, which is fine. Crashes and second deliveries are retried earlier.
    assert!(
        crate::support::scenarios(&report).iter().all(|scenario| !scenario.contains("reply-lost")),
        "the retry comes when the record is an hour old:\n{report}"
    );
    assert_violated(
        &report,
        SENT_TWICE,
        "test job#1.1/email.send:happened=crash job#1.2/email.emails:call=stale",
    );
}

#[test]
fn stale_read_is_one_option_more_at_each_look_up() {
    // start 1, lookup before 1, call 3, pause 1, replied 1, send before 1, call 5, pause 1, happened 1, replied 1, end
    // 1, ack 1.
    let runs = |set| look_before_sending(&one_deviation(), set).runs();
    assert_eq!(runs(|_| ()), 1 + 18);
    assert_eq!(runs(stale), 1 + 19);
    assert_eq!(
        runs(|world| _ = world.email().explore_stale_reads().explore_outages(HOUR).explore_outages_for_ever()),
        1 + 19 + 4
    );
}

#[test]
fn search_lag_shows_a_job_that_looks_before_it_sends() {
    let lagging = |world: &World| _ = world.email().search_lag(Duration::from_secs(60));
    let report = look_before_sending(&one_deviation(), lagging);
    // The retry after some seconds finds nothing, and the redelivery after a minute finds the email.
    assert_violated(&report, SENT_TWICE, "test job#1.1/email.send:call=reply-lost");
    assert!(
        crate::support::scenarios(&report).iter().all(|scenario| !scenario.contains("crash")),
        "the lease is longer than the lag:\n{report}"
    );
    // A lag that is shorter than any retry does not matter, but a second delivery that comes at once does.
    let quick = |world: &World| _ = world.email().search_lag(Duration::from_secs(10));
    assert_green(&look_before_sending(&one_deviation().deliveries(0), quick));
}

/// Explores a charge with a key, and keeps its answer.
fn paying(explore: &Explore, set: fn(&World), retries: u32) -> Report {
    explore.run(async move |world: &World| {
        set(world);
        world.process("worker", move |p| {
            let payments = p.payments();
            p.handle(async move |order: u32| {
                payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await.map(drop)
            })
            .max_retries(retries);
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn an_outage_that_ends_is_outlasted_by_retries_and_one_that_never_ends_is_for_the_dead_set() {
    let outages = |world: &World| _ = world.payments().explore_outages(HOUR).explore_outages_for_ever();
    let ends = |scenario: &str, retries| {
        let explore = one_deviation().replay(format!("test job#1.1/payments.charge:call={scenario}"));
        let report = paying(&explore, outages, retries);
        (report.reason().map(str::to_owned), report.violations().len(), report.to_string())
    };
    // Both are as expected: done, or dead with nothing done.
    for (scenario, last) in [("outage", "done"), ("outage-for-ever", "so the job is dead")] {
        let (reason, violations, text) = ends(scenario, 25);
        assert_eq!((reason, violations), (None, 0), "{text}");
        let timeline = text.split("\nreplay\n").next().unwrap().trim_end();
        assert!(timeline.ends_with(last), "{text}");
    }
    let (_, _, text) = ends("outage", 25);
    has_line(&text, expect!["✗ payments.charge answers 503 from here on, for a while; nothing has happened"]);
    // 26 attempts, none of which has charged.
    let (_, _, text) = ends("outage-for-ever", 25);
    assert_eq!((text.matches("· attempt ").count(), text.matches('●').count()), (26, 0), "{text}");
    assert_green(&paying(&one_deviation(), outages, 25));
    assert_green(&paying(&Explore::new(), outages, 3));
}

#[test]
fn an_outage_catches_a_job_that_gives_up_and_calls_it_done() {
    let report = one_deviation().run(async |world: &World| {
        world.payments().explore_outages(HOUR);
        world.process("worker", |p| {
            let (payments, clock) = (p.payments(), p.clock());
            p.handle(async move |order: u32| {
                // Three tries in ten minutes are enough for any single failure.
                for _ in 0..3 {
                    let charge = Charge::of_order(order, 500).key(format!("order-{order}"));
                    if payments.charge(charge).await.is_ok() {
                        break;
                    }
                    clock.sleep(Duration::from_secs(300)).await;
                }
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    let never = "payments.charge never happened, expected once";
    assert_violated(&report, never, "test job#1.1/payments.charge:call=outage");
    assert_eq!(report.violations().len(), 1, "single failures are outlasted:\n{report}");
}

/// Returns the error, the duration and the effects of one attempt that calls a service with this behavior.
fn behaving(behave: Behavior) -> String {
    let report = Explore::new().name("test").keep_going().deviations(0).run(async move |world: &World| {
        world.payments().behavior(behave);
        world.email().behavior(behave);
        let seen = world.durable("seen", Vec::new());
        world.process("worker", {
            let seen = seen.clone();
            move |p| {
                let (payments, email, clock) = (p.payments(), p.email(), p.clock());
                let seen = seen.clone();
                p.handle(async move |order: u32| {
                    let from = clock.now();
                    let charged = payments.charge(Charge::of_order(order, 500)).await.map(|_| ());
                    let took = clock.now() - from;
                    let sent = email.send(Email::new("ada@example.com", "receipt")).await.map(|_| ());
                    let said =
                        [charged, sent].map(|said| said.map_or_else(|e| e.to_string(), |()| "ok".to_owned()));
                    seen.set(vec![said[0].clone(), said[1].clone(), format!("{took:?}")]);
                });
            }
        });
        // The test's own calls succeed nevertheless.
        world.payments().charge(Charge::of_order(7, 1)).await.unwrap();
        world.enqueue(6_u32);
        world.settle().await;
        let made: Vec<_> =
            world.effects().iter().filter(|effect| !effect.given).map(|effect| effect.name()).collect();
        panic!("{:?} {made:?}", seen.get());
    });
    let summary = report.violations()[0].summary.clone();
    summary[summary.find('[').unwrap_or_else(|| panic!("{summary}"))..].to_owned()
}

#[test]
fn behave_well() {
    assert_eq!(behaving(Behavior::Normal), r#"["ok", "ok", "0ns"] ["payments.charge", "email.send"]"#);
}

#[test]
fn behave_crash_before_anything_happened_except_email_send() {
    assert_eq!(
        behaving(Behavior::Unavailable),
        r#"["payments.charge: 503 service unavailable", "email.send: 503 service unavailable", "0ns"] ["email.send"]"#
    );
}

#[test]
fn behave_throttle() {
    let throttled = "429 too many requests, retry after 30s";
    assert_eq!(
        behaving(Behavior::Throttled),
        format!(r#"["payments.charge: {throttled}", "email.send: {throttled}", "0ns"] []"#)
    );
}

#[test]
fn behave_slow_and_slower_than_the_client_waits() {
    assert_eq!(
        behaving(Behavior::Slow(Duration::from_secs(10))),
        r#"["ok", "ok", "10s"] ["payments.charge", "email.send"]"#
    );
    assert_eq!(
        behaving(Behavior::Slow(Duration::from_secs(40))),
        r#"["payments.charge: no answer within 30s", "email.send: no answer within 30s", "30s"] ["payments.charge", "email.send"]"#
    );
}

#[test]
fn behave_crash_for_a_while_is_outlasted_and_what_crashes_after_it_has_sent_sends_again() {
    // By hand, with the deviations on top: the service is down for the first attempt, but not for a later one.
    let report = |key: bool| {
        one_deviation().run(async move |world: &World| {
            world.process("worker", move |p| {
                let (payments, email) = (p.payments(), p.email());
                p.handle(async move |order: u32| match key {
                    true => payments.charge(Charge::of_order(order, 500).key("k")).await.map(drop),
                    false => email.send(Email::new("ada@example.com", "receipt")).await.map(drop),
                })
                .max_retries(2);
            });
            world.payments().behavior(Behavior::Unavailable);
            world.email().behavior(Behavior::Unavailable);
            world.enqueue(6_u32);
            world.settle().await;
            assert_eq!(world.dead().len(), 1);
            let sent = world.effects().of("email.send").count();
            assert!(key && sent == 0 || sent >= 3, "{sent}");
            world.payments().behavior(Behavior::Normal);
            world.email().behavior(Behavior::Normal);
            world.enqueue(7_u32);
            world.settle().await;
        })
    };
    assert_green(&report(true));
    assert_eq!(report(false).verdict(), Verdict::Violated, "a second delivery sends once more");
}
