//! Request context, and thread-locals that are cleared.

use std::cell::{Cell, RefCell};

use expect_test::expect;
use retryproof::job::JobState;
use retryproof::middleware::{ClearThreadLocals, RequestContext};
use retryproof::service::email::Email;
use retryproof::{Explore, Report, World};
use tower::timeout::TimeoutLayer;

use super::{S, assert_green, assert_violated, one_deviation};
use crate::support::has_line;

thread_local! {
    static TENANT: RefCell<Option<String>> = const { RefCell::new(None) };
    static UNIT: Cell<&'static str> = const { Cell::new("Celsius") };
}

fn tenant() -> Option<String> {
    TENANT.with_borrow(Clone::clone)
}

fn carried() -> RequestContext<String> {
    RequestContext::of_thread_local("tenant", &TENANT)
}

/// Enqueues a job like a request of this tenant.
fn request(world: &World, of: &str, job: u32) {
    TENANT.set(Some(of.to_owned()));
    world.enqueue(job);
    TENANT.set(None);
}

/// Explores a job that stores a document for the tenant of its request, under a name that only depends on the job. With
/// the layer, or with the tenant read from the global at the time when the job runs.
fn storing(explore: &Explore, layered: bool) -> Report {
    explore.run(async move |world: &World| {
        TENANT.set(None);
        let stored = world.durable("stored", std::collections::BTreeMap::new());
        if layered {
            world.enqueue_layer(carried());
        }
        world.process("worker", move |p| {
            if layered {
                p.layer(carried()).enqueue_layer(carried());
            }
            let (stored, clock, queue) = (stored.clone(), p.clock(), p.queue());
            p.handle(async move |job: u32| {
                clock.sleep(S).await;
                let tenant = tenant().ok_or("no tenant")?;
                stored.update(|stored| stored.insert(job, tenant));
                // The jobs that it enqueues belong to the same tenant.
                if job < 10 {
                    queue.enqueue(job + 10).await.map(drop).map_err(|_| "the queue")
                } else {
                    Ok(())
                }
            })
            .max_retries(2);
        });
        request(world, "acme", 1);
        request(world, "umbrella", 2);
        world.settle().await;
        let stored: Vec<_> = world.all_jobs().into_iter().map(|job| (job.payload, job.context)).collect();
        let of = |tenant: &str| Some(format!("{{\"tenant\":\"{tenant}\"}}"));
        if layered {
            assert_eq!(stored[..2], [("1".to_owned(), of("acme")), ("2".to_owned(), of("umbrella"))]);
        }
    })
}

#[test]
fn request_context_is_put_into_the_payload_at_enqueue_and_restored_around_perform() {
    // With any deviation: both attempts sleep on one thread at once, crash, and are retried.
    assert_green(&storing(&one_deviation(), true));
}

#[test]
fn request_context_read_from_a_global_at_perform_time() {
    let report = storing(&one_deviation(), false);
    assert_eq!(report.verdict(), retryproof::Verdict::NothingTested, "{report}");
    has_line(&report, expect!["job#2 u32 is dead: no tenant"]);
}

#[test]
fn request_context_is_of_the_attempt_and_not_of_the_thread() {
    let world = World::fake();
    let seen = world.durable("seen", Vec::new());
    world.enqueue_layer(carried());
    world.process("worker", {
        let seen = seen.clone();
        move |p| {
            let (seen, clock) = (seen.clone(), p.clock());
            p.layer(TimeoutLayer::new(60 * S)).layer(carried());
            p.handle(async move |job: u32| {
                for _ in 0..2 {
                    seen.update(|seen| seen.push((job, tenant().unwrap_or_default())));
                    clock.sleep(S).await;
                }
                // What an attempt sets belongs to it as well.
                TENANT.set(Some(format!("set by {job}")));
                clock.sleep(S).await;
                seen.update(|seen| seen.push((job, tenant().unwrap_or_default())));
            });
        }
    });
    request(&world, "acme", 1);
    world.enqueue(2_u32);
    request(&world, "umbrella", 3);
    TENANT.set(Some("the test's".to_owned()));
    world.settle().run();
    assert_eq!(tenant().as_deref(), Some("the test's"));
    TENANT.set(None);
    let seen = seen.get();
    let of = |job| seen.iter().filter(move |(j, _)| *j == job).map(|(_, t)| &**t).collect::<Vec<_>>();
    assert_eq!(of(1), ["acme", "acme", "set by 1"]);
    assert_eq!(of(2), ["", "", "set by 2"]);
    assert_eq!(of(3), ["umbrella", "umbrella", "set by 3"]);
}

#[test]
fn request_context_is_in_place_while_what_a_crash_leaves_is_dropped() {
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            DROPPED.with_borrow_mut(|dropped| dropped.push(tenant().unwrap_or_default()));
        }
    }
    thread_local! {
        static DROPPED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }
    let world = World::fake();
    world.enqueue_layer(carried());
    world.process("worker", |p| {
        p.layer(carried());
        let clock = p.clock();
        p.handle(async move |_: u32| {
            let _guard = Guard;
            clock.sleep(S).await;
        });
    });
    request(&world, "acme", 1);
    assert!(world.settle_until(|world| world.stats().busy == 1).run());
    world.crash("worker");
    assert_eq!((DROPPED.take(), tenant()), (vec!["acme".to_owned()], None));
    world.settle().run();
    assert_eq!(DROPPED.take(), ["acme"], "the second attempt has it, too");
}

#[test]
fn request_context_that_does_not_decode_fails_the_attempt() {
    let world = World::fake();
    let number = RequestContext::<u64>::new("tenant", |_| Some(7));
    world.enqueue_layer(number);
    world.process("worker", |p| {
        p.layer(carried());
        p.handle(async |_: u32| ());
    });
    world.enqueue(1_u32);
    assert_eq!(world.all_jobs()[0].context.as_deref(), Some(r#"{"tenant":7}"#));
    assert_eq!(
        world.drain_all().run().unwrap_err().to_string(),
        "job#1 u32 failed: the request context `tenant` does not decode: invalid type: integer `7`, expected a string"
    );
    assert_eq!(world.all_jobs()[0].state, JobState::Popped);
}

/// Explores forecasts in the unit of the customer. An American job leaves Fahrenheit behind.
fn forecasts(explore: &Explore, cleared: bool) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            // A new process has thread-locals in their initial state.
            UNIT.set("Celsius");
            if cleared {
                p.layer(ClearThreadLocals::new(|| UNIT.set("Celsius")));
            }
            let email = p.email();
            p.handle(async move |american: bool| {
                if american {
                    UNIT.set("Fahrenheit");
                }
                let forecast = Email::new("ada@example.com", "forecast").data("unit", UNIT.get());
                // Sent once: checking before is enough for a single crash.
                if email.emails("ada@example.com", "forecast").await?.iter().any(|e| e.email == forecast) {
                    return Ok(());
                }
                email.send(forecast).await.map(drop)
            });
            p.slots(1);
        });
        world.enqueue_bulk([true, false]);
        world.settle().await;
        let units: Vec<_> =
            world.email().records().iter().map(|e| format!("{:?}", e.email.template_data)).collect();
        let celsius = units.iter().filter(|unit| unit.contains("Celsius")).count();
        assert!(celsius == 1, "a European had a forecast in Fahrenheit: {units:?}");
    })
}

#[test]
fn a_thread_local_left_behind_by_the_job_before() {
    let report = forecasts(&one_deviation(), false);
    let violation = &report.violations()[0];
    // A part: the text of a panic has its place in this file.
    assert!(violation.actual.contains("a European had a forecast in Fahrenheit"), "{report}");
}

#[test]
fn thread_locals_cleared_after_each_job() {
    assert_green(&forecasts(&one_deviation(), true));
}

/// Explores a job that ships with a label in the unit that it finds, and only then sets the unit. A second attempt
/// finds what the first one left behind.
fn labels(cleared: bool) -> Report {
    use retryproof::service::fulfillment::Shipment;
    one_deviation().crashes(0).run(async move |world: &World| {
        UNIT.set("Celsius");
        world.process("worker", move |p| {
            if cleared {
                p.layer(ClearThreadLocals::new(|| UNIT.set("Celsius")));
            }
            // One job at a time on a thread, because overlapping attempts see each other's values even with clearing.
            p.slots(1);
            let parcels = p.fulfillment();
            p.handle(async move |order: u32| {
                let label = format!("keep at 20 {}", UNIT.replace("Fahrenheit"));
                let parcel =
                    Shipment::of_order(order, "pr_3", 1).address(label).key(format!("order-{order}"));
                parcels.request(parcel).await.map(drop)
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn a_thread_local_left_behind_for_the_next_attempt_of_the_same_job() {
    assert_violated(
        &labels(false),
        "fulfillment.request never happened: it was answered with the stored answer of another request with the key \"order-6\"",
        "test job#1.1/fulfillment.request:call=reply-lost",
    );
    let report = labels(true);
    assert_green(&report);
    // A copy of the process, as another machine would be one, would see the thread-locals of the first attempt.
    crate::support::has_line(
        &report,
        expect_test::expect![
            "not explored: a second delivery while the first attempt runs: no slot is free for it, and a copy of the process would share its thread-locals"
        ],
    );
}

#[test]
fn thread_locals_are_cleared_after_an_attempt_that_crashed_or_panicked_too() {
    let world = World::fake();
    world.process("worker", |p| {
        let clock = p.clock();
        p.layer(ClearThreadLocals::new(|| UNIT.set("Celsius")));
        p.handle(async move |job: u32| {
            UNIT.set("Fahrenheit");
            match job {
                0 => panic!("in Fahrenheit"),
                _ => clock.sleep(S).await,
            }
        })
        .max_retries(0);
        let clock = p.clock();
        p.handle_blocking(move |_: u64| {
            UNIT.set("Kelvin");
            clock.now().checked_sub(10 * S).map(drop).ok_or("in Kelvin").expect("panics");
        })
        .max_retries(0);
    });
    world.enqueue(0_u32);
    world.settle().run();
    assert_eq!(UNIT.get(), "Celsius");
    world.enqueue(0_u64);
    world.settle().run();
    assert_eq!(UNIT.get(), "Celsius");
    world.enqueue(1_u32);
    assert!(world.settle_until(|world| world.stats().busy == 1).run());
    assert_eq!(UNIT.get(), "Fahrenheit");
    world.crash("worker");
    assert_eq!(UNIT.get(), "Celsius");
}
