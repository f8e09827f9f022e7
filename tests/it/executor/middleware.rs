//! Middleware: any layer around perform and around enqueue, the same in every mode.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use retryproof::job::{EnqueueError, JobFailure, JobState, NewJob};
use retryproof::middleware::{EnqueueService, Perform, PerformService};
use retryproof::service::payments::Charge;
use retryproof::{Explore, Process, World};
use tower::limit::ConcurrencyLimitLayer;
use tower::timeout::TimeoutLayer;
use tower::{Layer, Service, ServiceBuilder, service_fn};

use super::{Log, Mail, S, assert_green, assert_violated, log, one_deviation, panic_of};

/// A layer like those of users: its future is boxed and `Send`, and it knows nothing about the service that it wraps
/// except for the request.
#[derive(Clone)]
struct Traced {
    name: &'static str,
    log: Log,
}

#[derive(Clone)]
struct Tracing<S> {
    inner: S,
    layer: Traced,
}

impl<S> Layer<S> for Traced {
    type Service = Tracing<S>;

    fn layer(&self, inner: S) -> Tracing<S> {
        Tracing { inner, layer: self.clone() }
    }
}

trait Request {
    fn text(&self) -> String;
}

impl Request for Perform {
    fn text(&self) -> String {
        format!("perform {}.{} {}", self.job.number, self.job.attempts, self.job.payload)
    }
}

impl Request for NewJob {
    fn text(&self) -> String {
        format!("enqueue {} {}", self.kind, self.payload)
    }
}

impl<R: Request, S> Service<R> for Tracing<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
    S::Response: 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let Traced { name, log } = self.layer.clone();
        let text = request.text();
        log.update(|log| log.push(format!("{name}: {text}")));
        let inner = self.inner.call(request);
        Box::pin(async move {
            let ended = inner.await;
            let how = if ended.is_ok() { "done" } else { "failed" };
            log.update(|log| log.push(format!("{name}: {how}")));
            ended
        })
    }
}

/// Registers a `u32` that enqueues a `Mail` with its number, with layers on all sides.
fn traced(p: &Process, log: &Log) {
    let traced = |name| Traced { name, log: log.clone() };
    p.enqueue_layer(traced("client"));
    p.layer(traced("outer")).layer(traced("inner"));
    let queue = p.queue();
    p.handle(async move |job: u32| queue.enqueue(Mail { to: job }).await.map(drop)).layer(traced("u32"));
    p.handle(async |_: Mail| ());
}

const TRACE: [&str; 14] = [
    "test: enqueue u32 7",
    "test: done",
    "outer: perform 1.1 7",
    "inner: perform 1.1 7",
    "u32: perform 1.1 7",
    "client: enqueue it::executor::Mail {\"to\":7}",
    "client: done",
    "u32: done",
    "inner: done",
    "outer: done",
    "outer: perform 2.1 {\"to\":7}",
    "inner: perform 2.1 {\"to\":7}",
    "inner: done",
    "outer: done",
];

fn in_world(world: &World) -> Log {
    let log = log(world);
    world.enqueue_layer(Traced { name: "test", log: log.clone() });
    super::worker(world, &log, traced);
    log
}

#[test]
fn the_same_stack_in_fake_mode_whether_drained_or_settled() {
    for settled in [false, true] {
        let world = World::fake();
        let log = in_world(&world);
        world.enqueue(7_u32);
        match settled {
            true => world.settle().run(),
            false => drop(world.drain_all().run().unwrap()),
        }
        assert_eq!(log.get(), TRACE);
    }
}

#[test]
fn the_same_stack_in_inline_mode() {
    let world = World::inline();
    let log = in_world(&world);
    world.enqueue(7_u32);
    // The mail is performed where it is enqueued, inside the client's layer.
    let mut expected = TRACE.to_vec();
    let mail: Vec<_> = expected.drain(10..).collect();
    expected.splice(6..6, mail);
    assert_eq!(log.get()[2..], expected[2..]);
}

#[test]
fn the_same_stack_in_check() {
    let report = Explore::new().name("test").deviations(0).run(async |world: &World| {
        let log = in_world(world);
        world.enqueue(7_u32);
        world.settle().await;
        assert_eq!(log.get(), TRACE);
    });
    assert_green(&report);
}

#[test]
fn the_first_layer_around_enqueue_is_the_outermost() {
    let world = World::fake();
    let log = log(&world);
    let traced = |name| Traced { name, log: log.clone() };
    world.enqueue_layer(traced("outer")).enqueue_layer(traced("inner"));
    super::worker(&world, &log, |p, log| {
        let traced = |name| Traced { name, log: log.clone() };
        p.enqueue_layer(traced("outer")).enqueue_layer(traced("inner"));
        let queue = p.queue();
        p.handle(async move |job: u32| queue.enqueue(u64::from(job)).await.map(drop));
        p.handle(async |_: u64| ());
    });
    world.enqueue(7_u32);
    world.settle().run();
    let through = |kind| {
        ["outer: enqueue", "inner: enqueue"]
            .map(|layer| format!("{layer} {kind} 7"))
            .into_iter()
            .chain(["inner: done".to_owned(), "outer: done".to_owned()])
    };
    assert_eq!(log.get(), through("u32").chain(through("u64")).collect::<Vec<_>>());
}

#[test]
fn layers_around_perform_bring_no_choices_of_their_own() {
    let runs = |layered: bool| {
        // A reply that is later than the timeout of the layer is one more thing to go wrong: it is left out here.
        let report = Explore::new().name("test").delays(0).run(async move |world: &World| {
            world.process("worker", move |p| {
                if layered {
                    // Longer than the client of a service waits, so it cuts no attempt short.
                    p.layer(TimeoutLayer::new(600 * S)).layer(ConcurrencyLimitLayer::new(1));
                }
                let payments = p.payments();
                p.slots(1);
                p.handle(async move |order: u32| {
                    payments.charge(Charge::of_order(order, 500).key(format!("{order}"))).await
                });
            });
            world.enqueue(1_u32);
            world.settle().await;
        });
        assert_green(&report);
        report.runs()
    };
    assert_eq!(runs(true), runs(false));
}

#[test]
fn tower_timeout_ends_an_attempt_that_takes_too_long() {
    let world = World::fake();
    world.process("worker", |p| {
        let clock = p.clock();
        p.handle(async move |seconds: u64| clock.sleep(Duration::from_secs(seconds)).await)
            .layer(TimeoutLayer::new(10 * S))
            .max_retries(0);
    });
    world.enqueue_bulk([5_u64, 60]);
    world.settle().run();
    let ends: Vec<_> = world.all_jobs().into_iter().map(|job| (job.state, job.error)).collect();
    assert_eq!(ends, [(JobState::Done, None), (JobState::Dead, Some("request timed out".to_owned()))]);
    assert_eq!(world.now(), 10 * S);
}

#[test]
fn tower_concurrency_limit_is_one_for_all_kinds_of_a_process_or_for_one_kind() {
    // Six jobs of ten seconds each, of two kinds, in five slots.
    for (limited, seconds) in [("nothing", 20), ("all", 60), ("one kind", 30)] {
        let world = World::fake();
        world.process("worker", move |p| {
            let limit = || ConcurrencyLimitLayer::new(1);
            if limited == "all" {
                p.layer(limit());
            }
            let clock = p.clock();
            let handler = p.handle(async move |_: u32| clock.sleep(10 * S).await);
            if limited == "one kind" {
                handler.layer(limit());
            }
            let clock = p.clock();
            p.handle(async move |_: Mail| clock.sleep(10 * S).await);
        });
        for job in 0..3_u32 {
            world.enqueue(job);
            world.enqueue(Mail { to: job });
        }
        world.settle().run();
        assert_eq!(world.now(), seconds * S, "{limited}");
    }
}

#[test]
fn a_crash_drops_what_the_layers_hold() {
    // The permit of a crashed attempt is dropped with the process, and the next incarnation has its own limit.
    let report = one_deviation().run(async |world: &World| {
        let done = world.durable("done", Vec::new());
        world.process("worker", {
            move |p| {
                let (clock, done) = (p.clock(), done.clone());
                p.layer(ConcurrencyLimitLayer::new(1));
                p.handle(async move |job: u32| {
                    clock.sleep(S).await;
                    done.update(|done| {
                        done.push(job);
                        done.sort_unstable();
                        done.dedup();
                    });
                });
            }
        });
        world.enqueue_bulk([1_u32, 2]);
        world.settle().await;
    });
    assert_green(&report);
}

/// Reverses a payload, as the layer does on the way in and out.
fn turned(payload: &str) -> String {
    payload.chars().rev().collect()
}

#[test]
fn layers_may_change_the_payload_on_both_sides() {
    let world = World::fake();
    let seen = world.durable("seen", Vec::new());
    world.enqueue_layer(tower::util::MapRequestLayer::new(|mut request: NewJob| {
        request.payload = turned(&request.payload);
        request
    }));
    world.process("worker", {
        let seen = seen.clone();
        move |p| {
            let seen = seen.clone();
            p.layer(tower::util::MapRequestLayer::new(|mut request: Perform| {
                request.job.payload = turned(&request.job.payload);
                request
            }));
            p.handle(async move |job: u32| seen.update(|seen| seen.push(job)));
        }
    });
    world.enqueue(123_u32);
    assert_eq!(world.jobs::<u32>()[0].payload, "321");
    world.settle().run();
    assert_eq!(seen.get(), [123]);
    // A payload that does not decode is dead with its reason, as without layers, and is not retried.
    world.enqueue_raw("u32", "\"x");
    world.settle().run();
    let dead = &world.dead()[0];
    assert_eq!((dead.attempts, dead.failures), (1, 1));
    let error = "job#2 u32 does not decode: expected value at line 1 column 1; its payload is x\"";
    assert_eq!(dead.error.as_deref(), Some(error));
}

#[test]
fn errors_of_jobs_come_through_layers_with_their_type_and_panics_as_failures() {
    let world = World::fake();
    let log = log(&world);
    super::worker(&world, &log, |p, log| {
        let (heard, traced) = (log.clone(), Traced { name: "layer", log: log.clone() });
        p.layer(TimeoutLayer::new(10 * S)).layer(traced);
        p.on_error(move |failed| {
            let own = failed.downcast_ref::<&str>().copied();
            heard.update(|heard| heard.push(format!("{own:?} {}", failed.error)));
        });
        p.handle(async |job: u32| match job {
            0 => Err::<(), _>("typed"),
            _ => panic!("untyped"),
        })
        .max_retries(0);
    });
    world.enqueue_bulk([0_u32, 1]);
    world.settle().run();
    let log: Vec<_> = log.get().into_iter().filter(|line| !line.contains("perform")).collect();
    assert_eq!(log, ["layer: failed", "Some(\"typed\") typed", "layer: failed", "None panicked: untyped"]);
}

#[test]
fn blocking_handlers_have_the_same_layers_and_crash_in_them() {
    let report = one_deviation().run(async |world: &World| {
        let performed = world.durable("performed", 0);
        world.ignore("performed", "$");
        world.process("worker", move |p| {
            let (payments, performed) = (p.payments(), performed.clone());
            p.layer(TimeoutLayer::new(10 * S));
            p.layer(tower::util::MapRequestLayer::new(move |request: Perform| {
                performed.update(|performed| *performed += 1);
                request
            }));
            p.handle_blocking(move |order: u32| payments.charge_blocking(Charge::of_order(order, 500)));
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_violated(
        &report,
        "payments.charge happened twice, expected once",
        "test job#1.1/payments.charge:happened=crash",
    );
}

#[test]
fn a_crash_of_blocking_code_is_no_failure_to_the_layers_around_it() {
    let failures = Arc::new(AtomicU32::new(0));
    let seen = failures.clone();
    let report = one_deviation().faults(0).run(async move |world: &World| {
        let seen = seen.clone();
        world.process("worker", move |p| {
            let (payments, seen) = (p.payments(), seen.clone());
            p.layer(tower::util::MapErrLayer::new(move |failure: JobFailure| {
                seen.fetch_add(1, Ordering::Relaxed);
                failure
            }));
            p.handle_blocking(move |order: u32| {
                payments.charge_blocking(Charge::of_order(order, 500).key(format!("order-{order}")))
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_green(&report);
    assert_eq!(failures.load(Ordering::Relaxed), 0);
}

#[test]
fn a_layer_around_enqueue_may_refuse_a_job() {
    #[derive(Debug, thiserror::Error)]
    #[error("no jobs on Sundays")]
    struct Sunday;
    let refusing = || {
        tower::layer::layer_fn(|inner: EnqueueService| {
            ServiceBuilder::new()
                .filter(|request: NewJob| if request.kind == "u32" { Err(Sunday) } else { Ok(request) })
                .service(inner)
        })
    };
    let world = World::fake();
    let log = log(&world);
    super::worker(&world, &log, move |p, log| {
        p.enqueue_layer(refusing());
        let (queue, noted) = (p.queue(), log.clone());
        p.handle(async move |_: Mail| {
            let blocking = queue.enqueue_blocking(1_u32).unwrap_err();
            let bulk = queue.enqueue_bulk([1_u32, 2]).await.unwrap_err();
            let error = queue.enqueue(1_u32).await.unwrap_err();
            assert_eq!(blocking, error);
            assert_eq!(bulk, error);
            assert!(matches!(error, EnqueueError::Layer { .. }));
            noted.update(|log| log.push(error.to_string()));
            queue.enqueue_blocking(8_u64).map(drop)
        });
    });
    world.enqueue(Mail { to: 1 });
    world.drain::<Mail>().run().unwrap();
    assert_eq!(log.get(), ["u32 was not enqueued: no jobs on Sundays"]);
    assert_eq!((world.jobs::<u32>().len(), world.jobs::<u64>().len()), (0, 1));
    world.enqueue_layer(refusing());
    assert_eq!(panic_of(|| _ = world.enqueue(1_u32)), "u32 was not enqueued: no jobs on Sundays");
}

#[test]
fn a_layer_around_enqueue_that_waits_cannot_be_had_from_code_that_blocks() {
    let world = World::fake();
    world.process("worker", |p| {
        let clock = p.clock();
        p.enqueue_layer(tower::layer::layer_fn(move |inner: EnqueueService| {
            let clock = clock.clone();
            service_fn(move |request: NewJob| {
                let (mut inner, clock) = (inner.clone(), clock.clone());
                async move {
                    clock.sleep(S).await;
                    inner.call(request).await
                }
            })
        }));
        let queue = p.queue();
        p.handle(async move |waits: bool| match waits {
            true => queue.enqueue(1_u32).await.map(drop),
            false => queue.enqueue_blocking(1_u32).map(drop),
        });
    });
    world.enqueue(true);
    world.drain::<bool>().run().unwrap();
    assert_eq!((world.jobs::<u32>().len(), world.now()), (1, S));
    world.enqueue(false);
    assert_eq!(
        world.drain::<bool>().run().unwrap_err().to_string(),
        "job#3 bool failed: u32 was not enqueued: a layer around the queue waits, which is impossible in blocking code; \
         enqueue it with `enqueue(…).await`"
    );
}

#[test]
fn a_layer_around_enqueue_may_be_added_after_the_queue_is_given_out() {
    let world = World::fake();
    world.process("worker", |p| {
        let queue = p.queue();
        p.enqueue_layer(tower::util::MapRequestLayer::new(|mut job: NewJob| {
            job.delay = S;
            job
        }));
        p.handle(async move |order: u32| queue.enqueue(format!("confirm {order}")).await.map(drop));
    });
    world.enqueue(6_u32);
    world.drain::<u32>().run().unwrap();
    assert_eq!(world.scheduled().len(), 1, "the layer has delayed it");
}

#[test]
fn any_tower_service_is_a_handler_and_its_readiness_is_respected() {
    // Three jobs of ten seconds each, with five slots and a limit of one. Each clone must be ready before its call.
    let world = World::fake();
    world.process("worker", |p| {
        let clock = p.clock();
        let service = service_fn(move |seconds: u64| {
            let clock = clock.clone();
            async move {
                clock.sleep(Duration::from_secs(seconds)).await;
                if seconds == 13 { Err("unlucky") } else { Ok("ignored") }
            }
        });
        let limited = ServiceBuilder::new().concurrency_limit(1).service(service);
        p.handle_service::<u64, _>(limited).max_retries(0);
    });
    world.enqueue_bulk([10_u64, 10, 13]);
    world.settle().run();
    assert_eq!(world.now(), 33 * S);
    let ends: Vec<_> = world.all_jobs().into_iter().map(|job| (job.state, job.error)).collect();
    assert_eq!(
        ends,
        [(JobState::Done, None), (JobState::Done, None), (JobState::Dead, Some("unlucky".to_owned()))]
    );
}

#[test]
fn a_service_as_a_handler_is_explored_like_any_handler() {
    let explored = |keyed: bool| {
        one_deviation().run(async move |world: &World| {
            world.process("worker", move |p| {
                let payments = p.payments();
                p.handle_service::<u32, _>(service_fn(move |order: u32| {
                    let charge = Charge::of_order(order, 500);
                    payments.charge(if keyed { charge.key(order.to_string()) } else { charge })
                }));
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    assert_green(&explored(true));
    assert_violated(
        &explored(false),
        "payments.charge happened twice, expected once",
        "test job#1.1/payments.charge:happened=crash",
    );
}

/// Layers and services are `Send`, so that layers fit that need it. What they run need not be.
#[test]
fn what_layers_wrap_is_send() {
    fn is_send<T: Send>() {}
    is_send::<PerformService>();
    is_send::<retryproof::middleware::PerformFuture>();
    is_send::<EnqueueService>();
    is_send::<retryproof::future::EnqueueFuture>();
    is_send::<retryproof::future::EnqueueBulkFuture>();
    fn is_sync<T: Sync>() {}
    is_sync::<PerformService>();
    is_sync::<retryproof::JobQueue>();
    let world = World::fake();
    world.process("worker", |p| {
        let local = std::rc::Rc::new(());
        p.handle(async move |_: u32| drop(local.clone())).layer(tower::util::BoxCloneService::layer());
    });
    world.enqueue(1_u32);
    world.drain_all().run().unwrap();
}
