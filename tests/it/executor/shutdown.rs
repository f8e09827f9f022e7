//! Processes that are stopped and started, as by a deploy.

use std::time::Duration;

use expect_test::expect;
use retryproof::job::JobState;
use retryproof::service::payments::Charge;
use retryproof::{Delivery, Explore, Report, Verdict, World};

use super::{Mail, S, assert_green, assert_violated, log, numbers, one_deviation, panic_of, worker};
use crate::support::{has_line, lines_of};

/// Sleeps for a number of seconds, and records the beginning and the end.
fn sleeping(world: &World, log: &super::Log) {
    worker(world, log, |p, log| {
        let (clock, noted) = (p.clock(), log.clone());
        let heard = log.clone();
        p.on_error(move |failed| heard.update(|log| log.push(format!("error {}", failed.error))));
        p.handle(async move |seconds: u64| {
            noted.update(|log| log.push(format!("begins {seconds}")));
            clock.sleep(Duration::from_secs(seconds)).await;
            noted.update(|log| log.push(format!("ends {seconds}")));
        })
        .max_retries(0);
        p.handle(async |_: Mail| ());
    });
}

#[test]
fn a_shutdown_is_not_a_failure_and_uses_up_no_retry() {
    let world = World::fake();
    let log = log(&world);
    sleeping(&world, &log);
    // One job ends within its 25 seconds, two overrun, and one has not begun.
    world.enqueue_bulk([60_u64, 20, 70]);
    assert!(world.settle_until(|world| world.stats().busy == 3).run());
    world.shut_down("worker");
    world.enqueue(Mail { to: 1 });
    world.settle().run();
    assert_eq!(world.now(), 25 * S);
    let stats = world.stats();
    assert_eq!((stats.slots, stats.busy, stats.failed, stats.retries, stats.dead), (0, 0, 0, 0, 0));
    // Back at the front of the queue in their order, before the jobs that were enqueued meanwhile.
    assert_eq!(numbers(&world.jobs::<u64>()), [1, 3]);
    let waiting: Vec<_> =
        world.jobs::<u64>().iter().map(|job| (job.state, job.attempts, job.failures)).collect();
    assert_eq!(waiting, [(JobState::Ready, 1, 0); 2]);
    world.start("worker");
    world.settle().run();
    assert_eq!(
        log.get(),
        ["begins 60", "begins 20", "begins 70", "ends 20", "begins 60", "begins 70", "ends 60", "ends 70"]
    );
    assert!(world.all_jobs().iter().all(|job| job.state == JobState::Done && job.failures == 0));
    assert_eq!(world.now(), 95 * S);
}

#[test]
fn an_interrupted_job_comes_before_all_others_of_its_queue() {
    let world = World::fake();
    let log = log(&world);
    worker(&world, &log, |p, log| {
        p.slots(1);
        let (clock, noted) = (p.clock(), log.clone());
        p.handle(async move |job: u32| {
            noted.update(|log| log.push(format!("{job}")));
            clock.sleep(if job == 1 && log_len(&noted) < 2 { 60 * S } else { S }).await;
        });
        let noted = log.clone();
        p.handle(async move |_: Mail| noted.update(|log| log.push("mail".to_owned())));
    });
    world.enqueue_bulk([1_u32, 2]);
    world.enqueue(Mail { to: 1 });
    assert!(world.settle_until(|world| world.stats().busy == 1).run());
    world.deploy("worker");
    world.settle().run();
    assert_eq!(log.get(), ["1", "1", "2", "mail"]);
}

fn log_len(log: &super::Log) -> usize {
    log.read(Vec::len)
}

#[test]
fn no_job_is_taken_while_a_process_stops_and_another_process_takes_them() {
    let world = World::fake();
    let log = log(&world);
    sleeping(&world, &log);
    world.enqueue(20_u64);
    assert!(world.settle_until(|world| world.stats().busy == 1).run());
    world.shut_down("worker");
    world.enqueue(Mail { to: 1 });
    assert!(!world.settle_until(|world| world.jobs::<Mail>().is_empty()).run());
    assert_eq!(world.now(), 20 * S, "it has stopped as soon as nothing runs any more");
    assert_eq!(world.jobs::<Mail>()[0].state, JobState::Ready, "it is not taken for one that nobody handles");
    world.process("other", |p| {
        p.handle(async |_: Mail| ());
    });
    world.settle().run();
    assert!(world.jobs::<Mail>().is_empty());
}

#[test]
fn a_process_in_which_nothing_runs_stops_at_once_and_starts_with_a_new_incarnation() {
    let world = World::fake();
    let booted = world.durable("booted", Vec::new());
    world.process("worker", {
        let booted = booted.clone();
        move |p| booted.update(|booted| booted.push(p.incarnation()))
    });
    world.shut_down("worker");
    assert_eq!(world.stats().slots, 0);
    world.settle().run();
    assert_eq!((booted.get(), world.now()), (vec![1], Duration::ZERO));
    world.start("worker");
    world.start("worker");
    assert_eq!((booted.get(), world.stats().slots), (vec![1, 2], 5));
    world.deploy("worker");
    world.settle().run();
    assert_eq!((booted.get(), world.now()), (vec![1, 2, 3], S), "down for a second, as after a crash");
    // A process that has crashed, and is asked to stop before it restarts, stays down.
    world.crash("worker");
    world.shut_down("worker");
    world.settle().run();
    assert_eq!(booted.get(), [1, 2, 3]);
}

#[test]
fn the_grace_period_of_a_process() {
    for (grace, end) in [(5_u32, JobState::Ready), (10, JobState::Done)] {
        let world = World::fake();
        world.process("worker", move |p| {
            let clock = p.clock();
            p.grace(grace * S);
            p.handle(async move |_: u32| clock.sleep(10 * S).await);
        });
        world.enqueue(1_u32);
        assert!(world.settle_until(|world| world.stats().busy == 1).run());
        world.shut_down("worker");
        world.settle().run();
        assert_eq!((world.all_jobs()[0].state, world.now()), (end, grace * S));
    }
}

#[test]
fn at_most_once_delivery_puts_an_interrupted_job_back_too() {
    let world = World::fake();
    world.process("worker", |p| {
        let clock = p.clock();
        p.handle(async move |_: u32| clock.sleep(60 * S).await).delivery(Delivery::AtMostOnce);
    });
    world.enqueue(1_u32);
    assert!(world.settle_until(|world| world.stats().busy == 1).run());
    world.deploy("worker");
    world.settle().run();
    assert_eq!((world.all_jobs()[0].state, world.all_jobs()[0].attempts), (JobState::Done, 2));
}

#[test]
fn a_crash_while_a_process_stops_is_a_crash() {
    let world = World::fake();
    let log = log(&world);
    sleeping(&world, &log);
    world.enqueue(20_u64);
    assert!(world.settle_until(|world| world.stats().busy == 1).run());
    world.shut_down("worker");
    world.crash("worker");
    world.settle().run();
    assert_eq!(
        (world.stats().slots, world.jobs::<u64>()[0].state),
        (0, JobState::Ready),
        "its lease is over"
    );
    world.start("worker");
    world.settle().run();
    assert_eq!((log.get().len(), world.now()), (3, 80 * S));
}

#[test]
fn destructors_of_an_interrupted_attempt_are_heard_and_those_of_a_crashed_one_are_not() {
    struct Tells(retryproof::Client<retryproof::service::payments::Payments>);
    impl Drop for Tells {
        fn drop(&mut self) {
            let _ = self.0.charge_blocking(Charge::of_order(1, 5));
        }
    }
    for (crash, charges) in [(true, 1), (false, 2)] {
        let world = World::fake();
        world.process("worker", |p| {
            let (clock, payments) = (p.clock(), p.payments());
            p.handle(async move |_: u32| {
                let _tells = Tells(payments.clone());
                clock.sleep(60 * S).await;
            });
        });
        world.enqueue(1_u32);
        assert!(world.settle_until(|world| world.stats().busy == 1).run());
        if crash {
            world.crash("worker")
        } else {
            world.deploy("worker")
        }
        world.settle().run();
        assert_eq!(world.payments().records().len(), charges);
    }
}

#[test]
fn a_job_asks_whether_its_process_is_to_stop_and_waits_for_it() {
    let world = World::fake();
    let log = log(&world);
    worker(&world, &log, |p, log| {
        let (stop, clock, noted) = (p.stop_signal(), p.clock(), log.clone());
        p.handle(async move |_: u32| {
            assert!(!stop.is_raised());
            stop.raised().await;
            noted.update(|log| log.push(format!("told at {:?}", clock.now())));
            assert!(stop.is_raised());
        });
        let (stop, noted, clock) = (p.stop_signal(), log.clone(), p.clock());
        p.handle_blocking(move |_: u64| {
            noted.update(|log| log.push(format!("{} {:?}", stop.is_raised(), clock.now())))
        });
    });
    world.enqueue(1_u32);
    world.enqueue(1_u64);
    world.enqueue_in(7 * S, Mail { to: 1 });
    assert!(world.settle_until(|world| world.now() == 7 * S).run());
    world.deploy("worker");
    world.clear_all();
    world.settle().run();
    assert_eq!(log.get(), ["false 0ns", "told at 7s"]);
    assert_eq!(world.all_jobs()[0].state, JobState::Done);
}

#[test]
fn a_process_that_is_not_there_cannot_be_stopped_or_started() {
    let world = World::fake();
    world.process("worker", |_| ());
    for (what, done) in [
        ("stopped", World::shut_down as fn(&World, &str)),
        ("stopped", World::deploy),
        ("started", World::start),
    ] {
        let message = panic_of(|| done(&world, "web"));
        assert_eq!(message, format!("there is no process `web` to be {what}; there are: [`worker`]"));
    }
}

/// Explores a job that charges and then records that it did. A deploy may come at any wait.
fn charging(explore: &Explore, deploys: bool, keyed: bool) -> Report {
    explore.run(async move |world: &World| {
        if deploys {
            world.explore_deploys();
        }
        world.process("worker", move |p| {
            let (payments, clock) = (p.payments(), p.clock());
            p.handle(async move |order: u32| {
                clock.yield_now().await;
                let charge = Charge::of_order(order, 500);
                payments.charge(if keyed { charge.key(format!("order-{order}")) } else { charge }).await
            })
            .max_retries(0);
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn a_deploy_at_any_wait_is_explored_where_the_test_asks_for_it() {
    // Faults fail the job, which has no retries, so they are excluded.
    let one = one_deviation().faults(0);
    // The waits of an attempt: before the yield, before the charge, after it happened, after its reply.
    let (with, without) = (charging(&one, true, true), charging(&one, false, true));
    assert_green(&with);
    assert_green(&without);
    assert_eq!(with.runs(), without.runs() + 4 * 2);
    assert_green(&charging(&Explore::new().name("test").faults(0), true, true));
    let bad = charging(&one.crashes(1), true, false);
    assert_eq!(bad.verdict(), Verdict::Violated, "{bad}");
    let replayed = |scenario: &str| {
        let report = charging(&one_deviation().replay(scenario), true, false);
        assert_violated(&report, "payments.charge happened twice, expected once", scenario);
        report.to_string()
    };
    let text = replayed("test job#1.1/payments.charge:happened=interrupt");
    has_line(
        &text,
        expect![
            "✗ the process stops, and the job is interrupted here, after payments.charge happened, before its reply arrives"
        ],
    );
    has_line(&text, expect!["interrupted; the job returns to the front of its queue"]);
}

#[test]
fn a_shutdown_is_no_crash_for_a_job_that_ends_in_time() {
    // Told to stop at any of its waits, the job ends nevertheless. Even a job that would repeat itself is not
    // disturbed.
    let report = charging(
        &one_deviation().faults(0).replay("test job#1.1/payments.charge:happened=stop"),
        true,
        false,
    );
    assert!(report.violations().is_empty(), "{report}");
    let text = report.to_string();
    expect![[r#"
        worker is asked to stop by t+25s
        worker has stopped
        t+1s      worker restarts
    "#]]
    .assert_eq(&lines_of(&text, "worker "));
    assert!(!text.contains("attempt 2"), "{text}");
}
