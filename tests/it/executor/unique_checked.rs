//! Unique jobs under `check`: crashes around lock and unlock, and the classic bugs, each beside its correct twin.

use std::time::Duration;

use expect_test::expect;
use retryproof::report::Oracle;
use retryproof::service::email::Email;
use retryproof::{Backoff, Conflict, Delivery, Explore, HandlerOptions, Report, Unique, Verdict, World};
use serde::{Deserialize, Serialize};

use super::S;
use crate::support::has_line;

const HOUR: Duration = Duration::from_secs(3_600);

/// Enqueues a [`Fetch`].
#[derive(Clone, Serialize, Deserialize)]
struct Plan(u32);

#[derive(Clone, Serialize, Deserialize)]
struct Fetch(u32);

fn feed(job: &Fetch) -> Option<u32> {
    Some(job.0)
}

fn explore() -> Explore {
    Explore::new().name("test").deviations(1)
}

/// Explores a job that enqueues a unique job, which pays. Its own retries come after ten seconds.
fn planned(explore: &Explore, unique: Unique) -> Report {
    explore.run(async move |world: &World| {
        let unique = unique.clone();
        world.process("worker", move |p| {
            let (queue, payments) = (p.queue(), p.payments());
            p.handle(async move |job: Plan| queue.enqueue(Fetch(job.0)).await)
                .backoff(Backoff::Constant(10 * S));
            p.handle(async move |job: Fetch| {
                let charge = retryproof::service::payments::Charge::of_order(job.0, 500);
                payments.charge(charge.key(format!("order-{}", job.0))).await
            })
            .unique(unique.clone());
        });
        world.enqueue(Plan(1));
        world.settle().await;
    })
}

#[track_caller]
fn assert_found(report: &Report, oracle: Oracle, summary: &str, scenario: &str) {
    let found = report.violations().iter().any(|v| {
        (v.oracle, v.summary.as_str()) == (oracle, summary) && crate::support::comes_about_in(v, scenario)
    });
    assert!(found, "{oracle:?} `{summary}` in `{scenario}` is not among:\n{report}");
}

#[track_caller]
fn assert_green(report: &Report) {
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

#[test]
fn crash_points_in_lock_and_unlock_are_counted_by_hand() {
    // Crashes alone. Plan: start, before, happened and replied of its enqueue, end: 5. Fetch: the same of its charge:
    // 5.
    let explore = || explore().faults(0).deliveries(0).preemptions(0).delays(0);
    let none = planned(&explore(), Unique::until_executed(|_: &Fetch| None::<u32>));
    assert_eq!(none.runs(), 1 + 5 + 5, "no key, no lock, no choice: {none}");
    // Between lock and enqueue 1, release before and after 2.
    let queued = planned(&explore(), Unique::until_executed(feed).ttl(30 * S));
    assert_eq!(queued.runs(), none.runs() + 1 + 2, "{queued}");
    let queued = planned(&explore(), Unique::until_executing(feed).ttl(30 * S));
    assert_eq!(queued.runs(), none.runs() + 1 + 2, "{queued}");
    // The lock is never released.
    let expires = planned(&explore(), Unique::until_expired(30 * S, feed));
    assert_eq!(expires.runs(), none.runs() + 1, "{expires}");
    // Acquire before and after, release before and after.
    let running = planned(&explore(), Unique::while_executing(feed).ttl(30 * S));
    assert_eq!(running.runs(), none.runs() + 4, "{running}");
    let both = planned(&explore(), Unique::until_and_while_executing(feed).ttl(30 * S));
    assert_eq!(both.runs(), none.runs() + 1 + 2 + 4, "{both}");
}

#[test]
fn every_lock_with_an_owner_and_a_time_to_live_is_retryproof() {
    let ttl = 30 * S;
    for unique in [
        Unique::until_executing(feed).ttl(ttl),
        Unique::until_executed(feed).ttl(ttl),
        Unique::until_expired(ttl, feed),
        Unique::while_executing(feed).ttl(ttl),
        Unique::until_and_while_executing(feed).ttl(ttl),
    ] {
        for conflict in [
            Conflict::Drop,
            Conflict::Raise,
            Conflict::Reject,
            Conflict::Replace,
            Conflict::Reschedule(10 * S),
        ] {
            let while_executing = format!("{unique:?}").contains("lock: WhileExecuting");
            if while_executing && conflict == Conflict::Replace {
                continue;
            }
            let report = planned(&explore(), unique.clone().on_conflict(conflict));
            assert_green(&report);
        }
    }
    assert_green(&planned(&explore().deviations(2), Unique::until_and_while_executing(feed).ttl(ttl)));
}

#[test]
fn a_lock_left_behind_by_a_killed_process_without_a_time_to_live() {
    let between = "test job#1.1/queue.enqueue:locked=crash";
    let left = "a lock was never released: 1 of `Fetch`, held by a job that never entered the queue \
                because its enqueuing process died; it never expires";
    // Dropped in favor of a job that does not exist: it never runs, but the caller believes that it will.
    let report = planned(&explore(), Unique::until_executed(feed));
    assert_found(&report, Oracle::Guarantee, "payments.charge never happened, expected once", between);
    assert_found(&report, Oracle::Accounted, left, between);
    has_line(
        &report,
        expect!["finds the lock 1 held by a job that never entered the queue because its enqueuing"],
    );
    // The correct twin: a time to live that ends before the caller is retried.
    assert_green(&planned(&explore(), Unique::until_executed(feed).ttl(30 * S)));
    // A time to live that is too long, with a conflict that nobody learns of, loses the job nevertheless.
    let report = planned(&explore(), Unique::until_executed(feed).ttl(HOUR));
    assert_found(&report, Oracle::Guarantee, "payments.charge never happened, expected once", between);
    // If the caller learns of the conflict, it is retried until the time to live ends.
    assert_green(&planned(
        &explore(),
        Unique::until_executed(feed).ttl(200 * S).on_conflict(Conflict::Raise),
    ));
    assert_green(&planned(
        &explore(),
        Unique::until_executed(feed).ttl(HOUR).on_conflict(Conflict::Reschedule(60 * S)),
    ));
    assert_green(&planned(&explore(), Unique::until_executed(feed).on_conflict(Conflict::Replace)));
}

/// Explores two jobs of one feed. The worker of the first one may crash, and then the job is lost: at most once.
fn popped(unique: Unique) -> Report {
    explore().faults(0).run(async move |world: &World| {
        let unique = unique.clone();
        world.allow("email.send", retryproof::Guarantee::AtMostOnce);
        world.process("worker", move |p| {
            let email = p.email();
            p.handle(async move |job: (u32, String)| {
                email.send(Email::new(&job.1, "digest")).await.map(drop)
            })
            .delivery(Delivery::AtMostOnce)
            .unique(unique.clone());
        });
        world.enqueue((1_u32, "ada".to_owned()));
        world.enqueue((1_u32, "bob".to_owned()));
        world.settle().await;
    })
}

#[test]
fn a_lock_whose_job_is_gone_leaves_the_others_waiting_for_ever() {
    let key = |job: &(u32, String)| Some(job.0);
    let report = popped(Unique::while_executing(key));
    let reason = report.reason().unwrap_or_default().to_owned();
    assert_eq!(report.verdict(), Verdict::Violated, "the loss of the job itself: {report}");
    let text = format!("{report}\n{reason}");
    has_line(
        &text,
        expect![
            "error[RP0044]: job `(u32, alloc::string::String)` was lost when its worker crashed: the queue had already removed it"
        ],
    );
    // A part: each violation names its own job. With a time to live, the other job runs. That the first job is lost is what at-most-once means, and still
    // reported.
    let report = popped(Unique::while_executing(key).ttl(30 * S));
    assert!(
        report.violations().iter().all(|v| v.summary.contains("was lost when its worker crashed")),
        "{report}"
    );
}

/// Explores a fetch that fails once and is retried after ten seconds. Meanwhile, its feed is planned again.
fn retried(unique: Unique) -> Report {
    // Checking before sending is not enough for a job that loses its lease while it runs, which is not the subject
    // here.
    explore().deliveries(0).run(async move |world: &World| {
        let unique = unique.clone();
        let tries = world.durable("tries", 0_u32);
        world.ignore("tries", "$");
        world.process("worker", move |p| {
            let (email, tries) = (p.email(), tries.clone());
            p.handle(async move |job: Fetch| {
                tries.update(|tries| *tries += 1);
                if tries.get() == 1 {
                    return Err("not yet".to_owned());
                }
                let sent = email.emails(&format!("feed-{}", job.0), "digest").await;
                if sent.map_err(|error| error.to_string())?.is_empty() {
                    email
                        .send(Email::new(format!("feed-{}", job.0), "digest"))
                        .await
                        .map_err(|error| error.to_string())?;
                }
                Ok(())
            })
            .backoff(Backoff::Constant(10 * S))
            .unique(unique.clone());
        });
        world.enqueue(Fetch(1));
        world.settle_until(|world| !world.retries().is_empty()).await;
        world.enqueue(Fetch(1));
        assert_eq!(world.jobs::<Fetch>().len(), 1, "one fetch of a feed at a time");
        world.settle().await;
    })
}

#[test]
fn a_duplicate_while_in_retry() {
    let report = retried(Unique::until_executing(feed).ttl(HOUR));
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    has_line(
        &report.violations()[0].summary,
        expect![
            "the test body panicked at tests/it/executor/unique_checked.rs:…: assertion `left == right` failed: one fetch of a feed at a time"
        ],
    );
    assert_green(&retried(Unique::until_executed(feed).ttl(HOUR)));
}

/// Explores three jobs of one feed that add one to a counter that they read ten seconds before.
fn counting(unique: Unique) -> Report {
    explore().crashes(0).deliveries(0).run(async move |world: &World| {
        let unique = unique.clone();
        let counter = world.durable("counter", 0_u32);
        world.process("worker", move |p| {
            let (clock, counter) = (p.clock(), counter.clone());
            p.handle(async move |_: (u32, u32)| {
                let read = counter.get();
                clock.sleep(10 * S).await;
                counter.set(read + 1);
            })
            .unique(unique.clone());
        });
        (0..3_u32).for_each(|nth| _ = world.enqueue((1_u32, nth)));
        world.settle().await;
    })
}

#[test]
fn a_lock_deleted_by_the_loser() {
    let unique = || Unique::while_executing(|job: &(u32, u32)| Some(job.0)).ttl(HOUR);
    let busy = Conflict::Reschedule(4 * S);
    let report = counting(unique().when_busy(busy).without_owner());
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(report.violations()[0].summary.starts_with("counter is"), "{report}");
    has_line(&report, expect![[r#"releases the lock 1, which another job holds"#]]);
    assert_green(&counting(unique().when_busy(busy)));
    assert_green(&counting(unique()));
}

#[test]
fn unique_no_key_unrelated_jobs_do_not_wait_for_each_other() {
    let took = |key: fn(&Fetch) -> Option<u32>| {
        let world = World::fake();
        world.process("worker", move |p| {
            let clock = p.clock();
            p.handle(async move |_: Fetch| clock.sleep(10 * S).await).unique(Unique::while_executing(key));
        });
        world.enqueue_bulk((1..=5).map(Fetch));
        world.settle().run();
        world.now()
    };
    // A missing key taken as one key for all jobs, and as no key.
    assert_eq!((took(|_| Some(0)), took(|_| None)), (50 * S, 10 * S));
}

#[test]
fn self_conflict_a_job_that_enqueues_itself_holds_under_every_crash() {
    let chained = |lock: fn(HandlerOptions<'_>) -> HandlerOptions<'_>| {
        explore().run(async move |world: &World| {
            world.process("worker", move |p| {
                let (queue, payments) = (p.queue(), p.payments());
                lock(p.handle(async move |job: Fetch| {
                    let charge = retryproof::service::payments::Charge::of_order(job.0, 500);
                    payments
                        .charge(charge.key(format!("page-{}", job.0)))
                        .await
                        .map_err(|e| e.to_string())?;
                    if job.0 < 3 {
                        queue.enqueue(Fetch(job.0 + 1)).await.map_err(|e| e.to_string())?;
                    }
                    Ok::<_, String>(())
                }));
            });
            world.enqueue(Fetch(1));
            world.settle().await;
        })
    };
    assert_green(&chained(|job| job));
    assert_green(&chained(|job| job.unique(Unique::until_executed(|_: &Fetch| Some("all")).ttl(HOUR))));
    assert_green(&chained(|job| job.unique(Unique::until_executed(|_: &Fetch| Some("all")))));
}

#[test]
fn a_bulk_of_unique_jobs_may_die_between_each_lock_and_its_job() {
    let bulk = |explore: Explore, unique: Unique| {
        explore.run(async move |world: &World| {
            let unique = unique.clone();
            world.process("worker", move |p| {
                let (queue, payments) = (p.queue(), p.payments());
                p.handle(async move |_: Plan| queue.enqueue_bulk([Fetch(1), Fetch(2)]).await.map(drop))
                    .backoff(Backoff::Constant(10 * S));
                p.handle(async move |job: Fetch| {
                    let charge = retryproof::service::payments::Charge::of_order(job.0, 500);
                    payments.charge(charge.key(format!("order-{}", job.0))).await
                })
                .unique(unique.clone());
            });
            world.enqueue(Plan(1));
            world.settle().await;
        })
    };
    assert_green(&bulk(explore(), Unique::until_executed(feed).ttl(30 * S)));
    for nth in ["", "~2"] {
        let scenario = format!("test job#1.1/queue.enqueue_bulk:locked{nth}=crash");
        let report = bulk(explore().replay(&scenario), Unique::until_executed(feed));
        assert_found(&report, Oracle::Guarantee, "payments.charge never happened, expected once", &scenario);
    }
}

#[test]
fn replays_name_the_points_inside_of_lock_and_unlock() {
    for scenario in [
        "test job#1.1/queue.enqueue:locked=crash",
        "test job#2.1/locks.release:before=crash",
        "test job#2.1/locks.acquire:before=crash",
        "test job#2.1/locks.acquire:after=crash",
        "test job#2.1/locks.release:before~2=crash",
        "test job#2.1/locks.release:after~2=crash",
    ] {
        let report =
            planned(&explore().replay(scenario), Unique::until_and_while_executing(feed).ttl(30 * S));
        assert_eq!((report.reason(), report.violations().len()), (None, 0), "{report}");
        // A part: the rest of the line differs in each iteration.
        assert!(report.to_string().contains("the process crashes here"), "{report}");
    }
}
