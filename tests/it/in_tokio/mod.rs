//! Handlers run in a tokio context: its clock is the world's, and the tasks that they spawn die with their process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use retryproof::service::email::Email;
use retryproof::service::payments::Charge;
use retryproof::{Backoff, Explore, Report, ServiceError, Verdict, World};

const S: Duration = Duration::from_secs(1);

/// Explores a world with one worker that runs `job`, which gets the process's payment client.
fn explore<R: retryproof::job::JobResult + 'static>(
    job: impl AsyncFn(retryproof::Client<retryproof::service::payments::Payments>) -> R
    + Clone
    + Send
    + Sync
    + 'static,
) -> Report {
    Explore::new().name("test").deviations(1).run(async |world: &World| {
        let job = job.clone();
        world.process("worker", move |p| {
            let (payments, job) = (p.payments(), job.clone());
            p.handle(async move |_order: u32| job(payments.clone()).await);
        });
        world.enqueue(1_u32);
        world.settle().await;
    })
}

fn charge() -> Charge {
    Charge::of_order(1, 500).key("order-1")
}

#[test]
fn sleeps_take_virtual_time_and_both_clocks_agree() {
    // Tokio's timers tick in milliseconds, so one and a half become two.
    let report = Explore::new().name("test").run(async |world: &World| {
        let seen = world.durable("seen", (0_u64, 0_u64));
        world.process("worker", move |p| {
            let (clock, seen) = (p.clock(), seen.clone());
            p.handle(async move |_: u32| {
                let (world, tokio) = (clock.now(), tokio::time::Instant::now());
                tokio::time::sleep(90 * S).await;
                clock.sleep(30 * S).await;
                tokio::time::sleep(Duration::from_micros(1_500)).await;
                let passed = (tokio.elapsed(), clock.now() - world);
                seen.set((passed.0.as_millis() as u64, passed.1.as_millis() as u64));
                assert_eq!(passed.0, passed.1);
                assert_eq!(passed.0, Duration::from_millis(120_002));
            });
        });
        world.enqueue(1_u32);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

#[test]
fn the_clocks_agree_across_attempts() {
    let report = explore_with_failure(async |attempt: u32, started: tokio::time::Instant| {
        // On tokio's clock, too, the second attempt comes a minute after the first one.
        attempt == 1 || started.elapsed() == 60 * S
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

/// Explores a job that fails once and is retried a minute later. `check` gets the number of the attempt, and the time
/// on tokio's clock at which the process booted.
fn explore_with_failure(
    check: impl AsyncFn(u32, tokio::time::Instant) -> bool + Clone + Sync + 'static,
) -> Report {
    Explore::new().name("test").deviations(0).run(async |world: &World| {
        let attempts = world.durable("attempts", 0_u32);
        let check = check.clone();
        world.process("worker", move |p| {
            let (attempts, check, booted) = (attempts.clone(), check.clone(), tokio::time::Instant::now());
            p.handle(async move |_: u32| {
                let attempt = attempts.update(|n| {
                    *n += 1;
                    *n
                });
                assert!(check(attempt, booted).await, "attempt {attempt}");
                if attempt == 1 { Err("once") } else { Ok(()) }
            })
            .backoff(Backoff::Constant(60 * S))
            .max_retries(1);
        });
        world.enqueue(1_u32);
        world.settle().await;
    })
}

#[test]
fn spawn_select_and_channels_work() {
    let report = explore(async |payments| {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::time::sleep(5 * S).await;
            let charged = payments.charge(charge()).await;
            let _ = sender.send(());
            charged
        });
        tokio::select! {
            biased;
            _ = receiver => {}
            () = tokio::time::sleep(600 * S) => return Err("too late".to_owned()),
        }
        task.await.map_err(|error| error.to_string())?.map(drop).map_err(|error| error.to_string())
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(report.runs() > 5, "{report}");
}

#[test]
fn tower_timeout_layer_times_out_in_virtual_time() {
    use tower::{Layer, Service, ServiceExt};
    let report = explore(async |payments| {
        let slow = tower::service_fn(|_: ()| async {
            tokio::time::sleep(3_600 * S).await;
            Ok::<(), std::io::Error>(())
        });
        let mut service = tower::timeout::TimeoutLayer::new(10 * S).layer(slow);
        let started = tokio::time::Instant::now();
        let error = service.ready().await.unwrap().call(()).await.unwrap_err();
        assert!(error.is::<tower::timeout::error::Elapsed>());
        assert_eq!(started.elapsed(), 10 * S);
        payments.charge(charge()).await.map(drop)
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

#[test]
fn spawned_tasks_die_with_their_process() {
    // The spawned task would charge a minute after the job began, without a key. In the explored crashes the process
    // dies before that, so only a new attempt may charge.
    static CHARGES: AtomicU32 = AtomicU32::new(0);
    let report = explore(async |payments| {
        let inner = payments.clone();
        let task = tokio::spawn(async move {
            tokio::time::sleep(60 * S).await;
            CHARGES.fetch_add(1, Ordering::Relaxed);
            inner.charge(charge()).await
        });
        // A crash here must stop the task above.
        let _ = payments.charges(1).await;
        task.await.unwrap().map(drop)
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    let report = explore(async |payments| {
        let inner = payments.clone();
        drop(tokio::spawn(async move { inner.charge(Charge::of_order(1, 500)).await }));
        payments.charges(1).await.map(drop)
    });
    // A spawned task that nothing waits for: its charge is repeated with the job.
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
}

#[test]
fn a_crash_inside_a_spawned_task_is_a_crash_of_the_process() {
    let report = explore(async |payments| {
        tokio::spawn(async move { payments.charge(Charge::of_order(1, 500)).await }).await.unwrap().map(drop)
    });
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let crash = report
        .violations()
        .iter()
        .any(|v| crate::support::comes_about_in(v, "test worker/payments.charge:happened=crash"));
    assert!(crash, "{report}");
}

#[test]
fn blocking_tasks_are_waited_for() {
    let report = explore(async |payments| {
        let answer = tokio::task::spawn_blocking(|| 40 + 2).await.unwrap();
        assert_eq!(answer, 42);
        payments.charge(charge()).await.map(drop)
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

#[test]
fn a_job_enqueued_by_a_spawned_task_is_taken_at_once() {
    let report = Explore::new().name("test").deviations(0).run(async |world: &World| {
        let taken = world.durable("taken", 0);
        world.process("worker", {
            let taken = taken.clone();
            move |p| {
                let (queue, clock, taken) = (p.queue(), p.clock(), taken.clone());
                p.handle(async move |_: u32| {
                    let queue = queue.clone();
                    let task = tokio::spawn(async move {
                        tokio::time::sleep(5 * S).await;
                        queue.enqueue(1_u8).await.unwrap();
                        tokio::time::sleep(600 * S).await;
                    });
                    task.await.unwrap();
                });
                p.handle(async move |_: u8| taken.set(clock.now().as_secs()));
            }
        });
        world.enqueue(1_u32);
        world.settle().await;
        assert_eq!((taken.get(), world.now()), (5, 605 * S));
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

/// A tokio task, or a thread, that is still running when the next incarnation runs, which spawns nothing.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread that the harness does not wait for goes on in real time"
)]
fn spawning(thread: bool) -> Report {
    let settings = Explore::new().name("test").replay("test job#1.1/yield:before=crash");
    settings.run(async move |world: &World| {
        let (boots, late) = (world.durable("boots", 0_u32), world.durable("late", 0_u32));
        ["boots", "late"].into_iter().for_each(|state| world.ignore(state, "$"));
        world.process("worker", {
            let (boots, late) = (boots.clone(), late.clone());
            move |p| {
                let (clock, late) = (p.clock(), late.clone());
                let booted = boots.update(|boots| std::mem::replace(boots, *boots + 1));
                p.handle(async move |_: u32| {
                    let late = late.clone();
                    let spawned = match (booted, thread) {
                        (0, true) => tokio::task::spawn_blocking(move || {
                            std::thread::sleep(Duration::from_millis(10));
                            late.update(|late| *late += 1);
                        }),
                        (0, false) => tokio::spawn(async move {
                            tokio::time::sleep(5 * S).await;
                            late.update(|late| *late += 1);
                        }),
                        _ => return tokio::time::sleep(60 * S).await,
                    };
                    clock.yield_now().await;
                    spawned.await.unwrap();
                });
            }
        });
        world.enqueue(1_u32);
        world.settle().await;
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(late.get(), u32::from(boots.get() == 1));
    })
}

#[test]
fn what_a_dead_process_has_spawned_writes_nothing_more() {
    for thread in [false, true] {
        let report = spawning(thread);
        assert_eq!((report.reason(), report.violations().len()), (None, 0), "{report}");
    }
}

#[test]
fn tokios_clock_is_the_same_in_each_run_and_after_each_blocking_wait() {
    let report =
        Explore::new().name("test").deviations(1).faults(0).deliveries(0).run(async |world: &World| {
            let passed = world.durable("passed", 0);
            world.process("worker", move |p| {
                let (clock, passed) = (p.clock(), passed.clone());
                p.handle(async move |_: u32| {
                    let started = clock.now();
                    tokio::time::sleep(Duration::from_micros(1_500)).await;
                    clock.sleep(Duration::from_micros(1_700)).await;
                    tokio::time::sleep(Duration::from_micros(1_500)).await;
                    passed.set((clock.now() - started).as_micros() as u64);
                    clock.sleep(Duration::from_micros(300)).await;
                });
            });
            world.enqueue(1_u32);
            world.settle().await;
        });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    let settings = Explore::new().name("test").replay("test job#1.1/payments.charge:call=timed-out");
    let report = settings.run(async |world: &World| {
        let seen = world.durable("seen", 0);
        world.ignore("seen", "$");
        world.process("worker", {
            let seen = seen.clone();
            move |p| {
                let (clock, payments, seen) = (p.clock(), p.payments(), seen.clone());
                p.handle(async move |_: u32| {
                    let started = tokio::time::Instant::now();
                    let failed = payments.charge_blocking(charge()).is_err();
                    clock.yield_now().await;
                    seen.set(started.elapsed().as_secs());
                    assert_eq!(started.elapsed(), if failed { 30 * S } else { Duration::ZERO });
                    payments.charge(charge()).await.map(drop)
                })
                .max_retries(0);
            }
        });
        world.enqueue(1_u32);
        world.settle().await;
        assert!(world.dead().is_empty());
    });
    assert_eq!((report.reason(), report.violations().len()), (None, 0), "{report}");
}

#[test]
fn combinators_with_wakers_of_their_own_work() {
    let report = explore(async |payments| {
        let calls =
            (0..3).map(|order| payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))));
        let results = futures_util::future::join_all(calls).await;
        results.into_iter().collect::<Result<Vec<_>, ServiceError>>().map(drop)
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

#[test]
fn a_check_inside_a_tokio_test_works() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        let report = explore(async |payments| payments.charge(charge()).await.map(drop));
        assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let report = explore(async |payments| payments.charge(charge()).await.map(drop));
        assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    });
}

#[test]
fn a_deadlock_in_tokio_is_found_and_does_not_hang() {
    let report = explore(async |payments| {
        payments.charge(charge()).await?;
        let (_sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let _ = receiver.await;
        Ok::<(), ServiceError>(())
    });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    let reason = report.reason().unwrap();
    assert!(reason.starts_with("deadlock: nothing can go on and no timer is set; job#1.1 u32 waits; it called last at tests/it/in_tokio/mod.rs:"), "{reason}");
}

#[test]
fn the_futures_of_handles_are_send_and_the_handles_sync() {
    fn send<T: Send>(_: &T) {}
    fn send_sync<T: Send + Sync + Clone>(_: &T) {}
    let report = Explore::new().name("test").deviations(0).run(async |world: &World| {
        world.process("worker", |p| {
            let (payments, email, parcels) = (p.payments(), p.email(), p.fulfillment());
            let (queue, clock, rng) = (p.queue(), p.clock(), p.rng());
            send_sync(&payments);
            send_sync(&email);
            send_sync(&parcels);
            send_sync(&queue);
            send_sync(&clock);
            send_sync(&rng);
            send(&payments.charge(charge()));
            send(&email.send(Email::new("a", "b")));
            send(&queue.enqueue(1_u32));
            send(&clock.sleep(S));
            // The future of an attempt need not be.
            p.handle(async move |_: u32| {
                let local = std::rc::Rc::new(1);
                payments.charge(charge()).await.map(|_| drop(local))
            });
        });
        send_sync(&world.durable("d", 1));
        world.enqueue(1_u32);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

#[test]
fn the_body_may_wait_in_tokio_too() {
    let report = Explore::new().name("test").run(async |world: &World| {
        world.process("worker", |p| {
            let payments = p.payments();
            p.handle(async move |_: u32| payments.charge(charge()).await.map(drop));
        });
        tokio::time::sleep(10 * S).await;
        assert_eq!(world.now(), 10 * S);
        world.enqueue(1_u32);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

#[test]
fn a_process_with_spawned_tasks_gives_the_same_report_each_time() {
    let texts: Vec<_> = (0..3)
        .map(|_| {
            explore(async |payments| {
                let calls = (0..3).map(|order| {
                    let payments = payments.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(7 * order)).await;
                        payments.charge(Charge::of_order(order, 500)).await
                    })
                });
                for task in calls.collect::<Vec<_>>() {
                    task.await.unwrap()?;
                }
                Ok::<(), ServiceError>(())
            })
            .to_string()
        })
        .collect();
    assert_eq!(texts[0], texts[1]);
    assert_eq!(texts[1], texts[2]);
    assert!(texts[0].contains("NOT retry-proof"), "{}", texts[0]);
}

#[test]
fn a_dead_process_does_nothing_more_in_combinators() {
    // `join!` polls its second branch even if the first one has just died.
    static AFTER_DEATH: AtomicU64 = AtomicU64::new(0);
    let report = Explore::new().name("test").deviations(1).run(async |world: &World| {
        let writes = world.durable("writes", 0_u32);
        let kept = Arc::new(writes.clone());
        world.process("worker", move |p| {
            let (payments, writes) = (p.payments(), kept.clone());
            p.handle(async move |_: u32| {
                let second = async {
                    AFTER_DEATH.fetch_add(1, Ordering::Relaxed);
                    writes.set(1);
                };
                let (charged, ()) = tokio::join!(payments.charge(charge()), second);
                writes.set(2);
                charged.map(drop)
            });
        });
        world.enqueue(1_u32);
        world.settle().await;
        assert_eq!(writes.get(), 2);
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(AFTER_DEATH.load(Ordering::Relaxed) > 5);
}

#[test]
fn two_tasks_at_the_same_service_take_the_same_course_each_time() {
    // Enough runs for tokio's runtime, which is reused, to check its queues in another order.
    let report = Explore::new().name("test").run(async |world: &World| {
        world.process("worker", |p| {
            let payments = p.payments();
            p.handle(async move |_: u32| {
                let (one, other) = (payments.clone(), payments.clone());
                let one = tokio::spawn(async move { one.charge(Charge::of_order(1, 100).key("a")).await });
                let other =
                    tokio::spawn(async move { other.charge(Charge::of_order(2, 100).key("b")).await });
                one.await.unwrap()?;
                other.await.unwrap().map(drop)
            });
        });
        world.enqueue(1_u32);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(report.runs() > 400, "{report}");
}

#[test]
fn a_call_that_a_job_blocks_on_unwinds_when_its_process_dies() {
    let report = Explore::new().name("test").deviations(1).faults(0).run(async |world: &World| {
        world.process("worker", |p| {
            let payments = p.payments();
            p.handle_blocking(move |_: u32| futures_executor(payments.charge(charge())).map(drop));
        });
        world.enqueue(1_u32);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

/// The smallest `block_on`, which knows nothing about the harness.
fn futures_executor<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut cx = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        std::thread::park();
    }
}
