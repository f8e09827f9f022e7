//! Compares an attempt that is polled by hand (`tokio_test::task`) with the same attempt run by the executor: a future
//! that is dropped at a wait leaves behind what a crash there leaves behind.

use retryproof::service::email::{Email, EmailService};
use retryproof::service::payments::{Charge, Payments};
use retryproof::{Client, Durable, Explore, ServiceError, World};
use tokio_test::{assert_pending, assert_ready_ok, task};

/// The handles of the job.
#[derive(Clone)]
struct Hands {
    payments: Client<Payments>,
    email: Client<EmailService>,
}

async fn order(hands: Hands, order: u32) -> Result<(), ServiceError> {
    hands.payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await?;
    hands.email.send(Email::new("ada@example.com", "receipt")).await?;
    Ok(())
}

/// Makes a world without injected failures, and the handles of its worker.
fn by_hand() -> (World, Hands) {
    let world = World::fake();
    let hands: Durable<Option<u32>> = world.durable("booted", None);
    let (give, taken) = std::sync::mpsc::channel();
    world.process("worker", move |p| {
        hands.set(Some(p.incarnation()));
        let _ = give.send(Hands { payments: p.payments(), email: p.email() });
    });
    let hands = taken.recv().unwrap();
    (world, hands)
}

/// Returns the effects after `polls` polls, after which the attempt is dropped, and whether it was done by then.
fn dropped_after(polls: usize) -> (Vec<String>, bool) {
    let (world, hands) = by_hand();
    let mut attempt = task::spawn(order(hands, 6));
    let mut done = false;
    for _ in 0..polls {
        done = attempt.poll().is_ready();
    }
    drop(attempt);
    (world.effects().iter().map(|effect| effect.name()).collect(), done)
}

/// Returns the effects if a crash at this point is the last event.
fn crashed_at(point: &str) -> Vec<String> {
    let left = std::sync::Mutex::new(Vec::new());
    Explore::new().name("test").deviations(1).replay(format!("test job#1.1{point}=crash")).run(
        async |world: &World| {
            world.process("worker", |p| {
                let (hands, first) =
                    (Hands { payments: p.payments(), email: p.email() }, p.incarnation() == 1);
                p.handle(async move |number: u32| match first {
                    true => order(hands.clone(), number).await,
                    false => Ok(()),
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
            // Only the run with the crash, not the one to compare with.
            if world.all_jobs()[0].attempts == 2 {
                *left.lock().unwrap() = world.effects().iter().map(|effect| effect.name()).collect();
            }
        },
    );
    left.into_inner().unwrap()
}

#[test]
fn an_attempt_goes_from_wait_to_wait() {
    let (world, hands) = by_hand();
    let mut attempt = task::spawn(order(hands, 6));
    assert_eq!(world.effects().count(), 0, "a future does nothing before it is polled");
    assert_pending!(attempt.poll());
    assert_eq!(
        world.effects().of("payments.charge").count(),
        1,
        "the charge has happened, its reply is not there"
    );
    assert!(attempt.is_woken());
    assert_pending!(attempt.poll());
    assert_eq!(world.effects().of("email.send").count(), 1);
    assert_ready_ok!(attempt.poll());
    assert_eq!(world.effects().count(), 2);
}

#[test]
fn what_is_dropped_at_a_wait_leaves_what_a_crash_there_leaves() {
    for (polls, points) in [
        (0, &[":start", "/payments.charge:before"][..]),
        (1, &["/payments.charge:happened", "/payments.charge:replied", "/email.send:before"][..]),
        (2, &["/email.send:happened", "/email.send:replied"][..]),
        (3, &[":end"][..]),
    ] {
        let (left, done) = dropped_after(polls);
        assert_eq!(done, polls == 3);
        assert_eq!(left.len(), polls.min(2));
        for point in points {
            assert_eq!(crashed_at(point), left, "{polls} polls, {point}");
        }
    }
}
