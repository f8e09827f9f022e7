//! How a caller sees each fault, how long it waits, and what remains of a wait that is given up.

use std::time::Duration;

use super::{Order, assert_green, explore, keyed, one_deviation, paying};
use retryproof::{Durable, Explore, Process, Report, World};

const S: Duration = Duration::from_secs(1);

/// Replays one scenario of a job that ends well, and returns the text that the job recorded, and when everything ended.
fn noted(
    scenario: &str,
    boot: impl Fn(&Process, Durable<String>) + Clone + Sync + 'static,
) -> (String, Duration) {
    let over = std::sync::Mutex::new(Vec::new());
    let report = Explore::new().name("test").replay(format!("test {scenario}")).run(async |world: &World| {
        let note = world.durable("note", String::new());
        world.ignore("note", "$");
        let (boot, inner) = (boot.clone(), note.clone());
        world.process("worker", move |p| boot(p, inner.clone()));
        world.enqueue(Order { id: 1 });
        world.settle().await;
        over.lock().unwrap().push((note.get(), world.now()));
    });
    assert!(report.reason().is_none(), "{report}");
    // Two fault-free runs come first: one to compare with, and one for its course.
    over.into_inner().unwrap().swap_remove(2)
}

/// Returns what a call answers, and how many seconds it takes: the async form and the blocking one.
fn seen(read: bool, fault: &str) -> [String; 2] {
    let operation = if read { "charges" } else { "charge" };
    let scenario = format!("job#1.1/payments.{operation}:call={fault}");
    let waiting = noted(&scenario, move |p, note| {
        let (payments, clock) = (p.payments(), p.clock());
        p.handle(async move |order: Order| {
            let error = match read {
                true => payments.charges(order.id).await.map(drop).err(),
                false => payments.charge(keyed(order.id)).await.map(drop).err(),
            };
            note.set(format!("{} after {:?}", error.unwrap(), clock.now()));
        });
    });
    let blocking = noted(&scenario, move |p, note| {
        let (payments, clock) = (p.payments(), p.clock());
        p.handle_blocking(move |order: Order| {
            let error = match read {
                true => payments.charges_blocking(order.id).map(drop).err(),
                false => payments.charge_blocking(keyed(order.id)).map(drop).err(),
            };
            note.set(format!("{} after {:?}", error.unwrap(), clock.now()));
        });
    });
    [waiting.0, blocking.0]
}

#[test]
fn each_fault_is_seen_for_what_it_is() {
    let unavailable = "503 service unavailable after 0ns";
    let throttled = "429 too many requests, retry after 30s after 0ns";
    let timed_out = "no answer within 30s after 30s";
    for (read, fault, expected) in [
        (false, "unavailable", unavailable),
        (false, "reply-lost", unavailable),
        (false, "throttled", throttled),
        (false, "timed-out", timed_out),
        (false, "timed-out-but-done", timed_out),
        (true, "unavailable", unavailable),
        (true, "throttled", throttled),
        (true, "timed-out", timed_out),
    ] {
        let expected = format!("payments.{}: {expected}", if read { "charges" } else { "charge" });
        assert_eq!(seen(read, fault), [expected.clone(), expected], "{fault}");
    }
}

#[test]
fn a_wait_lasts_as_long_as_it_says_whoever_wakes_its_task() {
    // A second wait in the same task wakes it after a second.
    let (note, _) = noted("job#1.1/payments.charge:call=timed-out", |p, note| {
        let (payments, clock) = (p.payments(), p.clock());
        p.handle(async move |order: Order| {
            let charging = async { payments.charge(keyed(order.id)).await.map(|_| clock.now()) };
            let timed_out = async { charging.await.map_err(|_| clock.now()).unwrap_err() };
            let slept = async {
                clock.sleep(5 * S).await;
                clock.now()
            };
            let woken = futures_util::join!(timed_out, slept, clock.sleep(S));
            note.set(format!("{:?} {:?}", woken.0, woken.1));
        });
    });
    assert_eq!(note, "30s 5s");
}

#[test]
fn a_wait_that_is_given_up_keeps_nobody_waiting() {
    use futures_util::future::select;
    let (_, over) = noted("job#1.1/payments.charge:call=timed-out", |p, _| {
        let (payments, clock) = (p.payments(), p.clock());
        p.handle(async move |order: Order| {
            drop(select(payments.charge(keyed(order.id)), clock.sleep(S)).await)
        });
    });
    assert_eq!(over, S);
    let (_, over) = noted("", |p, _| {
        let clock = p.clock();
        p.handle(async move |_: Order| drop(select(clock.sleep(3_600 * S), clock.sleep(S)).await));
    });
    assert_eq!(over, S);
}

/// Explores four jobs of one second each, and returns when all were done.
fn done_in(slots: usize) -> (Report, Duration) {
    let over = std::sync::Mutex::new(Duration::ZERO);
    let report = Explore::new().name("test").deviations(0).run(async |world: &World| {
        world.durable("nothing", ());
        world.process("worker", move |p| {
            let clock = p.slots(slots).clock();
            p.handle(async move |_: Order| clock.sleep(S).await);
        });
        for id in 1..=4 {
            world.enqueue(Order { id });
        }
        world.settle().await;
        *over.lock().unwrap() = world.now();
    });
    let over = *over.lock().unwrap();
    (report, over)
}

#[test]
fn a_process_runs_as_many_jobs_at_once_as_it_has_slots() {
    for (slots, seconds) in [(1, 4), (2, 2), (3, 2), (4, 1)] {
        let (report, over) = done_in(slots);
        assert_green(&report);
        assert_eq!(over, seconds * S, "{slots} slots");
    }
    // A crash frees the slot.
    let crash = Explore::new().name("test").deviations(1).faults(0).deliveries(0);
    assert_green(&explore(&crash, |p| {
        let payments = p.slots(1).payments();
        p.handle(async move |order: Order| payments.charge(keyed(order.id)).await.map(drop));
    }));
    assert_green(&explore(
        &one_deviation(),
        paying(async |payments, id| payments.charge(keyed(id)).await.map(drop)),
    ));
}

#[test]
fn a_process_restarts_after_a_second_and_a_lease_ends_after_a_minute() {
    let report = Explore::new().name("test").replay("test job#1.1:start=crash").run(async |world: &World| {
        let began = world.durable("began", Vec::new());
        world.ignore("began", "$");
        world.process("worker", {
            let began = began.clone();
            move |p| {
                let (clock, began) = (p.clock(), began.clone());
                p.handle(async move |order: Order| {
                    began.update(|began| began.push((order.id, clock.now().as_micros())));
                    // A time that is not a full millisecond is kept if nothing waits in tokio.
                    clock.sleep(Duration::from_micros(1_500)).await;
                    began.update(|began| began.push((order.id, clock.now().as_micros())));
                });
            }
        });
        world.enqueue(Order { id: 1 });
        world.enqueue(Order { id: 2 });
        world.settle().await;
        // Both at once, or one after the other after a redelivery.
        let (calm, crashed) = (
            [(1, 0), (2, 0), (1, 1_500), (2, 1_500)],
            [(2, 1_000_000), (2, 1_001_500), (1, 60_000_000), (1, 60_001_500)],
        );
        assert!([calm, crashed].contains(&began.get().try_into().unwrap()), "{:?}", began.get());
    });
    assert_eq!((report.reason(), report.violations().len()), (None, 0), "{report}");
}

#[test]
fn what_one_attempt_draws_does_not_move_what_another_one_draws() {
    // The first attempt of the first job crashes before it draws. The second job draws the same number as without the
    // crash.
    let drawn = std::sync::Mutex::new(std::collections::BTreeSet::new());
    let report = Explore::new().name("test").replay("test job#1.1:start=crash").run(async |world: &World| {
        let number = world.durable("number", 0);
        let kept = number.clone();
        world.process("worker", move |p| {
            let (rng, number) = (p.rng(), kept.clone());
            p.handle(async move |order: Order| {
                let drawn = rng.next_u64();
                if order.id == 2 {
                    number.set(drawn);
                }
            });
        });
        world.enqueue(Order { id: 1 });
        world.enqueue(Order { id: 2 });
        world.settle().await;
        drawn.lock().unwrap().insert(number.get());
    });
    assert_eq!((report.reason(), report.violations().len()), (None, 0), "{report}");
    // One for the seed of the exploration, and one for each of the two seeds that show what is generated.
    assert_eq!(drawn.into_inner().unwrap().len(), 3);
}

#[test]
fn the_seed_moves_random_numbers_and_backoffs() {
    let drawn = |seed: u64| {
        let drawn = std::sync::Mutex::new((0, Duration::ZERO));
        let report = Explore::new().name("test").deviations(0).seed(seed).run(async |world: &World| {
            world.durable("nothing", ());
            world.process("worker", |p| {
                p.handle(async |_: Order| Err::<(), _>("always")).max_retries(5);
                p.handle(async |_: u8| ());
            });
            world.enqueue(Order { id: 1 });
            world.enqueue(1_u8);
            world.settle().await;
            *drawn.lock().unwrap() = (world.rng().next_u64(), world.now());
        });
        assert_green(&report);
        drawn.into_inner().unwrap()
    };
    let (one, other) = (drawn(1), drawn(2));
    assert_eq!(one, drawn(1));
    assert_ne!(one.0, other.0);
    assert_ne!(one.1, other.1);
}
