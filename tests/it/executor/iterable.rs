//! Jobs that iterate over many items and save how far they have come.

use std::convert::Infallible;

use retryproof::job::JobState;
use retryproof::service::email::Email;
use retryproof::service::payments::Charge;
use retryproof::{Backoff, Durable, Explore, HandlerOptions, Process, Report, World};

use super::{S, assert_green, assert_violated, log, one_deviation, panic_of};

/// Iterates over the numbers below the job's own, and records each. Each takes a second.
fn counting<'p>(p: &'p Process, seen: &Durable<Vec<u32>>) -> HandlerOptions<'p> {
    let (clock, seen) = (p.clock(), seen.clone());
    p.handle_iterable(
        async |below: &u32, cursor: Option<u32>| {
            let first = cursor.map_or(0, |last| last + 1);
            Ok::<_, Infallible>((first..*below).map(|item| (item, item)))
        },
        async move |_: &u32, item: u32| {
            clock.sleep(S).await;
            seen.update(|seen| seen.push(item));
        },
    )
}

/// Makes a world in which one job iterates over ten numbers, and saves after every `every` of them.
fn over_ten(every: u32) -> (World, Durable<Vec<u32>>) {
    let world = World::fake();
    let seen = world.durable("seen", Vec::new());
    world.process("worker", {
        let seen = seen.clone();
        move |p| _ = counting(p, &seen).save_every(every)
    });
    world.enqueue(10_u32);
    (world, seen)
}

#[test]
fn a_kill_repeats_at_most_the_stretch_since_the_last_save() {
    for (every, again) in [(1, &[][..]), (4, &[4, 5]), (100, &[0, 1, 2, 3, 4, 5])] {
        let (world, seen) = over_ten(every);
        let six = seen.clone();
        assert!(world.settle_until(move |_| six.read(Vec::len) == 6).run());
        world.crash("worker");
        world.settle().run();
        let expected: Vec<_> = (0..6).chain(again.iter().copied()).chain(6..10).collect();
        assert_eq!(seen.get(), expected, "saved every {every}");
        let job = &world.all_jobs()[0];
        assert_eq!((job.state, job.attempts, job.failures), (JobState::Done, 2, 0));
    }
}

#[test]
fn a_deploy_repeats_nothing_and_is_no_failure() {
    let (world, seen) = over_ten(100);
    let six = seen.clone();
    assert!(world.settle_until(move |_| six.read(Vec::len) == 6).run());
    world.deploy("worker");
    world.settle().run();
    assert_eq!(seen.get(), (0..10).collect::<Vec<_>>());
    let job = &world.all_jobs()[0];
    assert_eq!((job.state, job.attempts, job.failures), (JobState::Done, 2, 0));
    // The seventh item ends, and the cursor is saved. A second later the process runs again.
    assert_eq!((job.cursor.as_deref(), world.now()), (Some("6"), 11 * S));
}

#[test]
fn a_retry_goes_on_from_the_last_save() {
    let world = World::fake();
    let log = log(&world);
    super::worker(&world, &log, |p, log| {
        let noted = log.clone();
        p.handle_iterable(
            async |_: &u32, cursor: Option<u32>| {
                Ok::<_, &str>((cursor.map_or(0, |last| last + 1)..6).map(|item| (item, item)))
            },
            async move |_: &u32, item: u32| {
                noted.update(|log| log.push(format!("{item}")));
                if item == 3 && noted.read(Vec::len) < 5 { Err("unlucky") } else { Ok(()) }
            },
        )
        .save_every(2)
        .backoff(Backoff::Constant(S));
    });
    world.enqueue(1_u32);
    world.settle().run();
    assert_eq!(log.get(), ["0", "1", "2", "3", "2", "3", "4", "5"]);
    assert_eq!(world.all_jobs()[0].failures, 1);
}

#[test]
fn items_come_page_by_page_until_there_are_none() {
    let world = World::fake();
    let log = log(&world);
    super::worker(&world, &log, |p, log| {
        let (asked, noted) = (log.clone(), log.clone());
        p.handle_iterable(
            async move |_: &u32, cursor: Option<String>| {
                asked.update(|log| log.push(format!("after {cursor:?}")));
                let rows = ["a", "b", "c", "d", "e"].map(str::to_owned);
                let after = rows.into_iter().filter(move |row| cursor.as_ref().is_none_or(|last| row > last));
                Ok::<_, &str>(after.take(2).map(|row| (row.clone(), row)).collect::<Vec<_>>())
            },
            async move |_: &u32, row: String| noted.update(|log| log.push(row)),
        );
    });
    world.enqueue(1_u32);
    world.drain_all().run().unwrap();
    let asked = |last: &str| format!("after Some({last:?})");
    let expected = ["after None", "a", "b", &asked("b"), "c", "d", &asked("d"), "e", &asked("e")];
    assert_eq!(log.get(), expected);
}

#[test]
fn what_goes_wrong_with_the_enumerator_fails_the_attempt() {
    let world = World::fake();
    world.process("worker", |p| {
        p.handle_iterable(
            async |how: &u32, _: Option<u32>| if *how == 0 { Err("no rows") } else { Ok([(7, ())]) },
            async |_: &u32, (): ()| (),
        );
    });
    let error = |job: u32| {
        world.enqueue(job);
        world.drain_all().run().unwrap_err().to_string()
    };
    assert_eq!(error(0), "job#1 u32 failed: no rows");
    assert_eq!(
        error(1),
        "job#2 u32 failed: the items after the cursor 7 end at that same cursor, so they would never end; `next` must \
         return the items after its cursor"
    );
}

#[test]
fn only_an_iterable_job_saves_a_cursor() {
    let world = World::fake();
    let message = panic_of(|| _ = world.process("worker", |p| _ = p.handle(async |_: u32| ()).save_every(5)));
    assert_eq!(message, "u32 saves no cursor; use `p.handle_iterable(…)` to process it item by item");
}

/// Explores a job that charges each of three customers, and saves the cursor after each.
fn billing(explore: &Explore, keyed: bool, every: u32) -> Report {
    explore.run(async move |world: &World| {
        world.explore_deploys();
        world.process("worker", move |p| {
            let payments = p.payments();
            p.handle_iterable(
                async |_: &String, cursor: Option<u32>| {
                    Ok::<_, Infallible>((cursor.unwrap_or(0) + 1..=3).map(|order| (order, order)))
                },
                async move |_: &String, order: u32| {
                    let charge = Charge::of_order(order, 500);
                    payments.charge(if keyed { charge.key(format!("order-{order}")) } else { charge }).await
                },
            )
            .save_every(every);
            p.slots(1);
        });
        world.enqueue("november".to_owned());
        world.settle().await;
    })
}

#[test]
fn the_crash_before_a_save_is_explored_and_the_item_that_it_repeats_is_found() {
    for ending in ["crash", "interrupt"] {
        let scenario = format!("test job#1.1/queue.save_cursor:before={ending}");
        let report = billing(&one_deviation().replay(&scenario), false, 1);
        assert_violated(&report, "payments.charge happened twice, expected once", &scenario);
        let after = scenario.replace("before", "happened");
        let report = billing(&one_deviation().replay(after), false, 1);
        assert!(report.violations().is_empty(), "{report}");
    }
    for every in [1, 2] {
        assert_green(&billing(&one_deviation(), true, every));
    }
    assert_green(&billing(&Explore::new().name("test").faults(1), true, 2));
}

#[test]
fn a_save_has_a_crash_point_on_either_side() {
    let runs = |items: u32| {
        let report = one_deviation().run(async move |world: &World| {
            let seen = world.durable("seen", ());
            world.process("worker", move |p| {
                let seen = seen.clone();
                p.slots(1);
                p.handle_iterable(
                    async |below: &u32, cursor: Option<u32>| {
                        Ok::<_, Infallible>((cursor.map_or(0, |c| c + 1)..*below).map(|item| (item, ())))
                    },
                    async move |_: &u32, ()| seen.set(()),
                );
            });
            world.enqueue(items);
            world.settle().await;
        });
        assert_green(&report);
        report.runs()
    };
    // start, end, ack; and for each item two, and a stall.
    assert_eq!([runs(0), runs(1), runs(3)], [4, 7, 13]);
}

#[test]
fn who_has_lost_the_lease_does_not_turn_the_cursor_back() {
    // Two concurrent deliveries: the last one must not make a third one repeat what is saved. The good twin has keys.
    let report = Explore::new().name("test").deviations(2).faults(0).run(async |world: &World| {
        world.process("worker", |p| {
            let email = p.email();
            p.handle_iterable(
                async |_: &String, cursor: Option<u32>| {
                    Ok::<_, Infallible>((cursor.map_or(0, |c| c + 1)..2).map(|item| (item, item)))
                },
                async move |_: &String, item: u32| {
                    email.send(Email::new(format!("{item}@example.com"), "news")).await
                },
            );
        });
        world.allow("email", retryproof::Guarantee::AtLeastOnce);
        world.enqueue("news".to_owned());
        world.settle().await;
        let (job, sent) = (&world.all_jobs()[0], world.email().records());
        assert_eq!((job.state, job.cursor.as_deref()), (JobState::Done, Some("1")));
        // With two deviations, an item is sent at most three times.
        assert!(sent.len() <= 2 + 4, "{sent:?}");
    });
    assert_green(&report);
}

#[test]
fn who_has_lost_the_lease_and_is_interrupted_has_not_failed() {
    let settings = one_deviation().replay("test job#1.1/yield:pause=past-lease");
    let report = settings.run(async |world: &World| {
        let failures = world.durable("failures", Vec::new());
        world.process("worker", {
            let failures = failures.clone();
            move |p| {
                let (clock, failures) = (p.clock(), failures.clone());
                p.on_error(move |failed| failures.update(|failures| failures.push(failed.error.to_string())));
                p.handle_iterable(
                    async |_: &u32, cursor: Option<u32>| {
                        Ok::<_, Infallible>((cursor.map_or(0, |c| c + 1)..2).map(|item| (item, item)))
                    },
                    async move |_: &u32, _: u32| {
                        clock.yield_now().await;
                        clock.sleep(10 * S).await;
                    },
                );
            }
        });
        world.enqueue(1_u32);
        // The first attempt continues beside the second one.
        world.settle_until(|world| world.all_jobs()[0].attempts == 2).await;
        assert_eq!((world.now(), world.stats().busy), (60 * S, 2));
        world.deploy("worker");
        world.settle().await;
        let job = &world.all_jobs()[0];
        assert_eq!((job.state, job.attempts, world.now()), (JobState::Done, 3, 81 * S));
        assert_eq!(failures.get(), Vec::<String>::new());
    });
    assert_ne!(report.verdict(), retryproof::Verdict::Violated, "{report}");
}

/// Whenever the kill comes, and however often the cursor is saved: every item is processed, in order except for one
/// section that is repeated, which is shorter than the interval between saves.
#[test]
fn no_item_is_left_out_and_few_come_twice() {
    for (every, killed, deploy) in
        (1_u32..5).flat_map(|every| (0_usize..10).flat_map(move |k| [false, true].map(|d| (every, k, d))))
    {
        let (world, seen) = over_ten(every);
        let looked = seen.clone();
        let far = |world: &World| world.stats().busy == 1 && looked.read(Vec::len) == killed;
        assert!(world.settle_until(far).run());
        if deploy {
            world.deploy("worker")
        } else {
            world.crash("worker")
        }
        world.settle().run();
        let mut done = seen.get();
        let repeated = done.len() - 10;
        assert!(repeated < every as usize || repeated == 0, "{done:?}");
        assert!(!deploy || repeated == 0, "{done:?}");
        assert_eq!(&done[..killed], (0..killed as u32).collect::<Vec<_>>());
        done.sort_unstable();
        done.dedup();
        assert_eq!(done, (0..10).collect::<Vec<_>>());
    }
}
