//! Code under test that does not come back: each ends as `Stuck`, with the scenario, the attempt and its last call. Where
//! nothing can end the thread the program ends, so each is run in a process of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::Duration;

use expect_test::{Expect, expect};
use retryproof::service::payments::{Charge, Payments};
use retryproof::service::{Cx, function};
use retryproof::{Client, Process, ServiceError, World};

use crate::support::{has_line, own_test};
use crate::{Played, play, surround};

fn keyed(order: u32) -> Charge {
    Charge::of_order(order, 500).key(format!("order-{order}"))
}

/// One job in one process.
async fn one(world: &World, boot: impl Fn(&Process) + 'static) {
    world.process("worker", boot);
    world.enqueue(1_u32);
    world.settle().await;
}

/// A job that charges, and does this after it.
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

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(300))]
#[ignore = "run by the tests beside it"]
async fn a_loop_without_an_await(world: &World) {
    charging(world, || loop { std::hint::spin_loop() }).await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(300))]
#[ignore = "run by the tests beside it"]
async fn a_thread_that_sleeps(world: &World) {
    charging(world, sleeps_for_long).await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(300))]
#[ignore = "run by the tests beside it"]
async fn a_message_that_never_comes(world: &World) {
    charging(world, || {
        let (_kept, messages) = mpsc::channel::<()>();
        messages.recv().unwrap();
    })
    .await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(300))]
#[ignore = "run by the tests beside it"]
async fn a_condvar_that_nobody_notifies(world: &World) {
    charging(world, waits_for_ever).await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(300))]
#[ignore = "run by the tests beside it"]
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

/// Hangs in a scenario alone: after a failed call.
#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(300))]
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

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(300))]
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

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(300))]
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

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(300))]
#[ignore = "run by the tests beside it"]
async fn a_boot_that_waits(world: &World) {
    one(world, |p| {
        p.handle(async |_: u32| ());
        waits_for_ever();
    })
    .await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(300))]
#[ignore = "run by the tests beside it"]
async fn a_service_that_loops(world: &World) {
    let answer = |to: String, _: &mut Cx<'_>| {
        waits_for_ever();
        Ok::<_, retryproof::service::Refusal>(to)
    };
    world.service("sms", function("send", answer));
    one(world, |p| {
        let sms = p.service::<retryproof::service::Function<String, String>>("sms");
        p.handle(async move |_: u32| sms.call("ada".to_owned()).await.map(drop));
    })
    .await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(300))]
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

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(300))]
#[ignore = "run by the tests beside it"]
async fn a_body_that_waits(world: &World) {
    charging(world, || {}).await;
    waits_for_ever();
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(300))]
#[ignore = "run by the tests beside it"]
async fn a_blocking_loop(world: &World) {
    charging_blocking(world, |_| loop { std::hint::spin_loop() }).await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(300))]
#[ignore = "run by the tests beside it"]
async fn a_blocking_handler_that_sleeps(world: &World) {
    charging_blocking(world, |_| sleeps_for_long()).await;
}

/// The runtime's own thread waits for sockets, and nobody lets time pass for it.
#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(300))]
#[ignore = "run by the tests beside it"]
async fn a_runtime_in_a_blocking_handler(world: &World) {
    world.payments().behave(retryproof::service::Behave::Slow(Duration::from_secs(60)));
    one(world, |p| {
        let payments = p.payments();
        p.handle_blocking(move |order: u32| {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            let within = async { tokio::time::timeout(Duration::from_secs(3_600), payments.charge(keyed(order))).await };
            runtime.block_on(within).unwrap().map(drop)
        });
    })
    .await;
}

#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(300))]
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

/// What is between two steps is a task of tokio's that never rests.
#[retryproof::test(deviations = 1, watchdog = Duration::from_millis(300))]
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

fn run(scene: &str) -> Played {
    let mut command = own_test(module_path!(), scene);
    surround(&mut command);
    play(command.arg("--color=never"))
}

#[test]
fn show_all() {
    for scene in std::env::var("SCENES").unwrap_or_default().split(' ') {
        let began = std::time::SystemTime::now();
        let played = run(scene);
        eprintln!("======== {scene} {:?} {}", began.elapsed(), played.text);
    }
}
