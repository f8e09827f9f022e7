//! Code under test that hangs: each run ends as `Stuck`, with the scenario, the attempt and the last call. Some of them
//! leave threads behind or exit the program, so each runs in its own process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::Duration;

use expect_test::{Expect, expect};
use retryproof::service::payments::{Charge, Payments};
use retryproof::service::{ServiceContext, function};
use retryproof::{Client, Process, ServiceError, World};

use crate::support::{check, own_test};
use crate::{play, surround};

fn keyed(order: u32) -> Charge {
    Charge::of_order(order, 500).key(format!("order-{order}"))
}

/// Runs one job in one process.
async fn one(world: &World, boot: impl Fn(&Process) + 'static) {
    world.process("worker", boot);
    world.enqueue(1_u32);
    world.settle().await;
}

/// Runs a job that charges, and then calls `then`.
async fn charging(world: &World, then: impl Fn() + Clone + 'static) {
    one(world, move |p| {
        let (payments, then) = (p.payments(), then.clone());
        p.handle(async move |order: u32| {
            payments.charge(keyed(order)).await?;
            then();
            Ok::<(), ServiceError>(())
        });
    })
    .await;
}

async fn charging_blocking(world: &World, then: impl Fn(&Client<Payments>) + Clone + Send + Sync + 'static) {
    one(world, move |p| {
        let (payments, then) = (p.payments(), then.clone());
        p.handle_blocking(move |order: u32| {
            payments.charge_blocking(keyed(order))?;
            then(&payments);
            Ok::<(), ServiceError>(())
        });
    })
    .await;
}

fn waits_for_ever() {
    let (lock, never) = (Mutex::new(()), Condvar::new());
    let mut held = lock.lock().unwrap();
    loop {
        held = never.wait(held).unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "this is what it is about")]
fn sleeps_for_long() {
    std::thread::sleep(Duration::from_secs(3_600));
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(500))]
#[ignore = "run by the tests beside it"]
async fn a_loop_without_an_await(world: &World) {
    charging(world, || {
        loop {
            std::hint::spin_loop()
        }
    })
    .await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(500))]
#[ignore = "run by the tests beside it"]
async fn a_thread_that_sleeps(world: &World) {
    charging(world, sleeps_for_long).await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(500))]
#[ignore = "run by the tests beside it"]
async fn a_message_that_never_comes(world: &World) {
    charging(world, || {
        let (_kept, messages) = mpsc::channel::<()>();
        messages.recv().unwrap();
    })
    .await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(500))]
#[ignore = "run by the tests beside it"]
async fn a_condvar_that_nobody_notifies(world: &World) {
    charging(world, waits_for_ever).await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(500))]
#[ignore = "run by the tests beside it"]
#[expect(clippy::await_holding_lock, reason = "the point of the scene")]
async fn a_lock_over_an_await(world: &World) {
    world.process("worker", |p| {
        let (payments, lock) = (p.payments(), Arc::new(Mutex::new(0)));
        p.handle(async move |order: u32| {
            let mut count = lock.lock().unwrap_or_else(PoisonError::into_inner);
            payments.charge(keyed(order)).await?;
            *count += 1;
            Ok::<(), ServiceError>(())
        });
    });
    world.enqueue_bulk([1_u32, 2]);
    world.settle().await;
}

/// Hangs only in a scenario with a failed call.
#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(500))]
#[ignore = "run by the tests beside it"]
async fn a_loop_after_a_failure(world: &World) {
    one(world, |p| {
        let payments = p.payments();
        p.handle(async move |order: u32| {
            if payments.charge(keyed(order)).await.is_err() {
                waits_for_ever();
            }
        });
    })
    .await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(500))]
#[ignore = "run by the tests beside it"]
async fn a_loop_that_catches_its_crash(world: &World) {
    one(world, |p| {
        let payments = p.payments();
        p.handle(async move |order: u32| {
            loop {
                let call = std::panic::AssertUnwindSafe(|| payments.charge_blocking(keyed(order)));
                if let Ok(Ok(_)) = std::panic::catch_unwind(call) {
                    return;
                }
            }
        });
    })
    .await;
}

struct Waits;

impl Drop for Waits {
    fn drop(&mut self) {
        waits_for_ever();
    }
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(500))]
#[ignore = "run by the tests beside it"]
async fn a_destructor_that_waits(world: &World) {
    one(world, |p| {
        let payments = p.payments();
        p.handle(async move |order: u32| {
            let held = Waits;
            let charged = payments.charge(keyed(order)).await;
            std::mem::forget(held);
            charged.map(drop)
        });
    })
    .await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(500))]
#[ignore = "run by the tests beside it"]
async fn a_boot_that_waits(world: &World) {
    one(world, |p| {
        p.handle(async |_: u32| ());
        waits_for_ever();
    })
    .await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(500))]
#[ignore = "run by the tests beside it"]
async fn a_service_that_loops(world: &World) {
    let answer = |to: String, _: &mut ServiceContext<'_>| {
        waits_for_ever();
        to
    };
    world.service("sms", function("send", answer));
    one(world, |p| {
        let sms = p.service::<retryproof::service::Function<String, String>>("sms");
        p.handle(async move |_: u32| sms.call("ada".to_owned()).await.map(drop));
    })
    .await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(500))]
#[ignore = "run by the tests beside it"]
async fn a_condition_that_loops(world: &World) {
    world.process("worker", |p| {
        let payments = p.payments();
        p.handle(async move |order: u32| payments.charge(keyed(order)).await.map(drop));
    });
    world.enqueue(1_u32);
    let condition = |world: &World| {
        if world.effects().count() > 0 {
            waits_for_ever();
        }
        false
    };
    world.settle_until(condition).await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(500))]
#[ignore = "run by the tests beside it"]
async fn a_body_that_waits(world: &World) {
    charging(world, || {}).await;
    waits_for_ever();
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(500))]
#[ignore = "run by the tests beside it"]
async fn a_blocking_loop(world: &World) {
    charging_blocking(world, |_| {
        loop {
            std::hint::spin_loop()
        }
    })
    .await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(500))]
#[ignore = "run by the tests beside it"]
async fn a_blocking_handler_that_sleeps(world: &World) {
    charging_blocking(world, |_| sleeps_for_long()).await;
}

/// No client ever connects.
#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(500))]
#[ignore = "run by the tests beside it"]
async fn a_blocking_accept(world: &World) {
    charging_blocking(world, |_| {
        let _ = std::net::TcpListener::bind("127.0.0.1:0").unwrap().accept();
    })
    .await;
}

/// Time also passes for the job's own runtime: one of its calls times out.
#[retryproof::test(deviations = 1)]
async fn a_runtime_in_a_blocking_handler(world: &World) {
    one(world, |p| {
        let payments = p.payments();
        p.handle_blocking(move |order: u32| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(payments.charge(keyed(order))).map(drop)
        });
    })
    .await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(500))]
#[ignore = "run by the tests beside it"]
async fn a_blocking_loop_that_catches_its_crash(world: &World) {
    one(world, |p| {
        let payments = p.payments();
        p.handle_blocking(move |order: u32| {
            loop {
                let call = std::panic::AssertUnwindSafe(|| payments.charge_blocking(keyed(order)));
                if let Ok(Ok(_)) = std::panic::catch_unwind(call) {
                    return;
                }
            }
        });
    })
    .await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(500))]
#[ignore = "run by the tests beside it"]
async fn a_blocking_task_that_never_ends(world: &World) {
    one(world, |p| {
        let payments = p.payments();
        p.handle(async move |order: u32| {
            payments.charge(keyed(order)).await?;
            tokio::task::spawn_blocking(waits_for_ever).await.unwrap();
            Ok::<(), ServiceError>(())
        });
    })
    .await;
}

const SCENES: [&str; 17] = [
    "a_loop_without_an_await",
    "a_thread_that_sleeps",
    "a_message_that_never_comes",
    "a_condvar_that_nobody_notifies",
    "a_lock_over_an_await",
    "a_loop_after_a_failure",
    "a_loop_that_catches_its_crash",
    "a_destructor_that_waits",
    "a_boot_that_waits",
    "a_service_that_loops",
    "a_condition_that_loops",
    "a_body_that_waits",
    "a_blocking_loop",
    "a_blocking_handler_that_sleeps",
    "a_blocking_accept",
    "a_blocking_loop_that_catches_its_crash",
    "a_blocking_task_that_never_ends",
];

/// Returns the attempt that hangs, the last call, the scenario, and what happens to the thread.
fn told(scene: &str) -> String {
    let mut command = own_test(module_path!(), scene);
    surround(&mut command);
    let text = play(command.arg("--color=never")).red();
    let between = |from: &str, to: &str| {
        let (_, after) = text.split_once(from).unwrap_or_else(|| panic!("no `{from}` in:\n{text}"));
        after.split_once(to).unwrap_or_else(|| panic!("no `{to}` after `{from}` in:\n{text}")).0.to_owned()
    };
    let verdict = format!("hangs::{scene} gets stuck\n\n  ");
    let who = between(&verdict, " hangs: it made no step for 500ms of real time");
    let last = between("without a call or an await; ", ". Give");
    let scenario = between("RETRYPROOF_REPLAY='hangs::", "'");
    let thread = match () {
        () if text.contains("so the test program exits here") => "the program exits".to_owned(),
        () if text.contains(" left behind") => between("from outside: ", ", and"),
        () => "no thread of the harness is left behind".to_owned(),
    };
    format!("{who}: {last}\n    {scenario}\n    {thread}\n")
}

fn expected() -> Expect {
    expect![[r#"
        job#1.1 u32: its last call was `payments.charge` at tests/process/hangs.rs:…
            a_loop_without_an_await
            the program exits
        job#1.1 u32: its last call was `payments.charge` at tests/process/hangs.rs:…
            a_thread_that_sleeps
            the program exits
        job#1.1 u32: its last call was `payments.charge` at tests/process/hangs.rs:…
            a_message_that_never_comes
            the program exits
        job#1.1 u32: its last call was `payments.charge` at tests/process/hangs.rs:…
            a_condvar_that_nobody_notifies
            the program exits
        job#2.1 u32: its last call was at tests/process/hangs.rs:…
            a_lock_over_an_await job#1.1/payments.charge:call=timed-out
            the program exits
        job#1.1 u32: its last call was `payments.charge` at tests/process/hangs.rs:…
            a_loop_after_a_failure job#1.1/payments.charge:call=unavailable
            the program exits
        job#1.1 u32: its last call was `payments.charge` at tests/process/hangs.rs:…
            a_loop_that_catches_its_crash job#1.1/payments.charge:before=crash
            the program exits
        a destructor of `worker` (it died in job#1.1): its last call was `payments.charge` at tests/process/hangs.rs:…
            a_destructor_that_waits job#1.1/payments.charge:before=crash
            the program exits
        the process `worker`: there was no call before
            a_boot_that_waits
            the program exits
        job#1.1 u32: its last call was `sms.send` at tests/process/hangs.rs:…
            a_service_that_loops
            the program exits
        the test body: the last call before was job#1.1's `payments.charge` at tests/process/hangs.rs:…
            a_condition_that_loops
            the program exits
        the test body: the last call before was job#1.1's `payments.charge` at tests/process/hangs.rs:…
            a_body_that_waits
            the program exits
        job#1.1 u32: its last call was `payments.charge` at tests/process/hangs.rs:…
            a_blocking_loop
            `worker-slot-1` is left behind
        job#1.1 u32: its last call was `payments.charge` at tests/process/hangs.rs:…
            a_blocking_handler_that_sleeps
            `worker-slot-1` is left behind
        job#1.1 u32: its last call was `payments.charge` at tests/process/hangs.rs:…
            a_blocking_accept
            `worker-slot-1` is left behind
        job#1.1 u32: its last call was `payments.charge` at tests/process/hangs.rs:…
            a_blocking_loop_that_catches_its_crash job#1.1/payments.charge:before=crash
            `worker-slot-1` is left behind
        the process `worker`: the last call before was job#1.1's `payments.charge` at tests/process/hangs.rs:…
            a_blocking_task_that_never_ends
            no thread of the harness is left behind
    "#]]
}

#[test]
fn code_that_hangs_is_stuck() {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(BTreeMap::new());
    // Each of them waits for most of its time.
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(scene) = SCENES.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let told = told(scene);
                    all.lock().unwrap().insert(*scene, told);
                }
            });
        }
    });
    let all = all.into_inner().unwrap();
    let all: Vec<_> = SCENES.iter().filter_map(|scene| all.get(scene).cloned()).collect();
    check(all.concat(), expected());
}
