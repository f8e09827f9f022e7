//! Queues: strict and weighted priority, and processes that serve certain queues.

use retryproof::World;

use super::{Mail, S, log, noting, worker};

/// Adds a worker with one slot that serves queues as `serve` sets it: `u32`s are in `low`, and `Mail`s in `high`.
fn serving(world: &World, log: &super::Log, serve: fn(&retryproof::Process)) {
    worker(world, log, move |p, log| {
        let noted = log.clone();
        p.handle(async move |job: u32| noted.update(|log| log.push(format!("low {job}")))).queue("low");
        let noted = log.clone();
        p.handle(async move |mail: Mail| noted.update(|log| log.push(format!("high {}", mail.to))))
            .queue("high");
        p.slots(1);
        serve(p);
    });
}

fn interleaved(world: &World, jobs: u32) {
    for job in 0..jobs {
        world.enqueue(job);
        world.enqueue(Mail { to: job });
    }
}

#[test]
fn strict_priority_takes_high_before_low() {
    for drain in [true, false] {
        let world = World::fake();
        let log = log(&world);
        // Jobs that were enqueued before the process exists are in the right queue nevertheless.
        interleaved(&world, 2);
        serving(&world, &log, |p| _ = p.queues(["high", "low"]));
        if drain {
            world.drain_all().run().unwrap();
        } else {
            world.settle().run();
        }
        assert_eq!(log.get(), ["high 0", "high 1", "low 0", "low 1"]);
    }
}

#[test]
fn without_queues_the_order_is_that_of_arrival() {
    let world = World::fake();
    let log = log(&world);
    serving(&world, &log, |_| ());
    interleaved(&world, 2);
    world.settle().run();
    assert_eq!(log.get(), ["low 0", "high 0", "low 1", "high 1"]);
}

#[test]
fn weighted_priority_draws_and_starves_nobody() {
    let run = || {
        let world = World::fake();
        let log = log(&world);
        serving(&world, &log, |p| _ = p.weighted_queues([("high", 3), ("low", 1)]));
        interleaved(&world, 1_000);
        world.drain_all().limit(1_000).run().unwrap();
        log.get()
    };
    let log = run();
    let high = log.iter().filter(|noted| noted.starts_with("high")).count();
    assert!((700..800).contains(&high), "{high} of 1000; three in four are to be expected");
    assert_eq!(log, run(), "the draws are the same each time");
    // Within a queue, the order is that of arrival.
    for queue in ["high", "low"] {
        let of_queue: Vec<_> = log.iter().filter_map(|noted| noted.strip_prefix(queue)).collect();
        let expected: Vec<_> = (0..of_queue.len()).map(|job| format!(" {job}")).collect();
        assert_eq!(of_queue, expected);
    }
}

#[test]
fn a_process_serves_chosen_queues_with_its_own_slots() {
    let world = World::fake();
    let most = world.durable("most", (0_u32, 0_u32));
    // One queue, one slot: one job at a time.
    for (name, queue, slots) in [("serial", "serial", 1), ("rest", "default", 4)] {
        let most = most.clone();
        world.process(name, move |p| {
            p.slots(slots).queues([queue]);
            let (clock, noted) = (p.clock(), most.clone());
            p.handle(async move |_: u32| {
                noted.update(|(now, most)| (*now, *most) = (*now + 1, (*most).max(*now + 1)));
                clock.sleep(S).await;
                noted.update(|(now, _)| *now -= 1);
            })
            .queue("serial");
            let clock = p.clock();
            p.handle(async move |_: Mail| clock.sleep(S).await);
        });
    }
    world.enqueue_bulk(0..4_u32);
    world.enqueue_bulk((0..8).map(|to| Mail { to }));
    world.settle_until(|world| world.jobs::<Mail>().is_empty()).run();
    assert_eq!(world.now(), 2 * S, "eight in four slots");
    world.settle().run();
    assert_eq!((most.get(), world.now()), ((0, 1), 4 * S));
}

#[test]
fn latency_is_told_for_each_queue() {
    let world = World::fake();
    let log = log(&world);
    serving(&world, &log, |_| ());
    world.enqueue(1_u32);
    world.advance(4 * S);
    world.enqueue(Mail { to: 1 });
    world.enqueue_in(S, Mail { to: 2 });
    world.advance(2 * S);
    let latency: Vec<_> = world.stats().latency.into_iter().collect();
    assert_eq!(latency, [("high".into(), 2 * S), ("low".into(), 6 * S)]);
}

#[test]
fn a_drain_goes_on_in_time_proportional_to_the_jobs() {
    // Not a measurement (see benches/drain.rs), but quadratic work would make this take minutes.
    let world = World::fake();
    let log = log(&world);
    worker(&world, &log, |p, _| {
        p.handle(async |_: u32| ());
        p.handle(async |_: Mail| ()).queue("other");
    });
    world.enqueue_bulk(0..50_000_u32);
    world.enqueue_bulk((0..50_000).map(|to| Mail { to }));
    assert_eq!(world.drain::<Mail>().run().unwrap().succeeded, 50_000);
    assert_eq!(world.drain_all().run().unwrap().succeeded, 50_000);
    let idle = World::fake();
    noting(&idle, &super::log(&idle));
    assert_eq!(idle.drain_all().run().unwrap().performed, 0);
}
