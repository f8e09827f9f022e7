//! Preemptions, and redeliveries while the first attempt is still running.

use std::time::Duration;

use super::{assert_green, assert_violated, explore, keyed, one_deviation, paying, unkeyed};
use crate::support::has_line;
use expect_test::expect;
use retryproof::report::Oracle;
use retryproof::service::email::Email;
use retryproof::{Durable, Explore, Process, Report, ServiceError, Verdict, World};
use serde::{Deserialize, Serialize};

/// A job that adds to a counter.
#[derive(Serialize, Deserialize)]
struct Add {
    amount: u32,
}

/// Allows preemptions only.
fn preemptions(most: usize) -> Explore {
    Explore::new().name("test").deviations(most).crashes(0).faults(0).deliveries(0)
}

/// Explores two jobs that add to one counter, in one process with a slot for each of them.
fn adding(settings: &Explore, boot: impl Fn(&Process, &Durable<u32>) + Clone + Sync + 'static) -> Report {
    settings.run(async |world: &World| {
        let counter = world.durable("counter", 0_u32);
        let boot = boot.clone();
        world.process("worker", move |p| boot(p, &counter));
        world.enqueue(Add { amount: 1 });
        world.enqueue(Add { amount: 10 });
        world.settle().await;
    })
}

fn read_add_write(p: &Process, counter: &Durable<u32>) {
    let (clock, counter) = (p.clock(), counter.clone());
    p.handle(async move |add: Add| {
        let read = counter.get();
        clock.yield_now().await;
        counter.set(read + add.amount);
    });
}

fn add_at_once(p: &Process, counter: &Durable<u32>) {
    let (clock, counter) = (p.clock(), counter.clone());
    p.handle(async move |add: Add| {
        clock.yield_now().await;
        counter.update(|counter| *counter += add.amount);
        clock.yield_now().await;
    });
}

/// Explores `jobs` jobs of `steps` steps each, which no outcome shows.
fn idling(settings: &Explore, jobs: u32, steps: u32) -> Report {
    settings.run(async move |world: &World| {
        world.durable("nothing", ());
        world.process("worker", move |p| {
            let clock = p.clock();
            p.handle(async move |_: u32| {
                for _ in 1..steps {
                    clock.yield_now().await;
                }
            });
        });
        world.enqueue_bulk(0..jobs);
        world.settle().await;
    })
}

#[test]
fn every_order_of_the_steps_of_two_and_of_three_workers() {
    // 6 steps, 3 of them by the first job: 6! / (3! × 3!).
    assert_eq!(idling(&preemptions(usize::MAX), 2, 3).runs(), 20);
    // 6! / (2! × 2! × 2!), and 8! / (4! × 4!).
    assert_eq!(idling(&preemptions(usize::MAX), 3, 2).runs(), 90);
    assert_eq!(idling(&preemptions(usize::MAX), 2, 4).runs(), 70);
    // A single worker has no choice.
    assert_eq!(idling(&preemptions(usize::MAX), 1, 3).runs(), 1);
}

#[test]
fn orders_within_a_bound() {
    // The ordinary run has a choice before the first, second and third step. Then the second job is alone.
    assert_eq!(idling(&preemptions(1), 2, 3).runs(), 1 + 3);
    // A job that ran first may be preempted before its second and before its third step.
    assert_eq!(idling(&preemptions(2), 2, 3).runs(), 1 + 3 + 3 * 2);
    assert_eq!(idling(&preemptions(2).preemptions(1), 2, 3).runs(), 1 + 3);
    assert_eq!(idling(&preemptions(2).preemptions(0), 2, 3).runs(), 1);
}

#[test]
fn no_slot_no_overtaking() {
    let in_slots = |slots: usize| {
        preemptions(usize::MAX).run(async move |world: &World| {
            world.durable("nothing", ());
            world.process("worker", move |p| {
                let clock = p.clock();
                p.slots(slots).handle(async move |_: u32| clock.yield_now().await);
            });
            world.enqueue_bulk(0..3_u32);
            world.settle().await;
        })
    };
    assert_eq!(in_slots(1).runs(), 1);
    // The third job begins when one of the first two has ended.
    assert_eq!(in_slots(2).runs(), two_slots([2, 2, 2]));
    assert_eq!(in_slots(3).runs(), 90);
}

/// Counts the orders in which two workers can run jobs with these numbers of steps, if each takes the next job when it
/// is free.
fn two_slots(steps: [u32; 3]) -> u64 {
    fn orders(steps: [u32; 3]) -> u64 {
        let running: Vec<usize> = (0..3).filter(|&job| steps[job] > 0).take(2).collect();
        if running.is_empty() {
            return 1;
        }
        let after = |job: usize| {
            let mut left = steps;
            left[job] -= 1;
            orders(left)
        };
        running.into_iter().map(after).sum()
    }
    orders(steps)
}

#[test]
fn a_lost_update_is_found_and_the_steps_that_crossed_are_named() {
    let report = adding(&Explore::new().name("test"), read_add_write);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let lost = report.violations().iter().find(|v| v.oracle == Oracle::Serial).expect("a lost update");
    assert_eq!(lost.expected, "counter = 11");
    let report = adding(&preemptions(1), read_add_write);
    let lost = &report.violations()[0];
    assert_eq!(lost.scenario.to_string(), "test job#1.1/yield:next=other");
    assert_eq!((lost.oracle, &*lost.actual), (Oracle::Serial, "counter = 1"));
    let text = report.to_string();
    has_line(&text, expect!["✗ attempt 1 of job#2 runs here"]);
    has_line(&text, expect![[r#"job#1 Add {"amount":1} · attempt 1 on worker"#]]);
    let replayed = adding(&preemptions(1).replay(lost.scenario.to_string()), read_add_write);
    assert_eq!(replayed.violations()[0].actual, lost.actual);
}

#[test]
fn an_atomic_update_is_left_alone() {
    let green = adding(&preemptions(usize::MAX), add_at_once);
    assert_green(&green);
    assert_eq!(green.runs(), 20, "three steps each");
    // What a job does twice depends on its own deliveries, not on those of the other job.
    let report = adding(&preemptions(2).deliveries(1), add_at_once);
    assert_violated(&report, "counter is", "test job#1.1/yield:pause=past-lease");
}

#[test]
fn both_look_and_both_send() {
    let welcome = |settings: &Explore| {
        settings.run(async |world: &World| {
            world.process("worker", |p| {
                let email = p.email();
                p.handle(async move |_job: u32| {
                    if email.emails("ada@example.com", "welcome").await?.is_empty() {
                        email.send(Email::new("ada@example.com", "welcome")).await?;
                    }
                    Ok::<_, ServiceError>(())
                });
            });
            world.enqueue(1_u32);
            world.enqueue(2_u32);
            world.settle().await;
        })
    };
    let report = welcome(&preemptions(1));
    let overtaken = "test job#1.1/email.emails:next=other";
    assert_violated(&report, "email.send happened twice, expected once", overtaken);
    let text = report.to_string();
    let crossed = text.split("interleaving\n").nth(1).expect("a crossing").lines().take(3);
    let crossed: Vec<_> = crossed.map(|line| line.split(" (").next().unwrap()).collect();
    assert_eq!(
        crossed,
        [
            "  attempt 1 of job#1: email.emails",
            "      attempt 1 of job#2: email.send",
            "  attempt 1 of job#1: email.send"
        ]
    );
    assert_green(&welcome(&preemptions(0)));
}

#[test]
fn an_older_refresh_overwrites_a_newer_one() {
    let refreshing = |guarded: bool| {
        preemptions(1).run(async move |world: &World| {
            let page = world.durable("page", 0_u32);
            let latest = world.durable("fetches", 0_u32);
            world.process("worker", move |p| {
                let (clock, page, latest) = (p.clock(), page.clone(), latest.clone());
                p.handle(async move |_job: u8| {
                    let fetched = latest.update(|latest| {
                        *latest += 1;
                        *latest
                    });
                    clock.yield_now().await;
                    page.update(|page| *page = if guarded { fetched.max(*page) } else { fetched });
                });
            });
            world.enqueue(1_u8);
            world.enqueue(2_u8);
            world.settle().await;
        })
    };
    let report = refreshing(false);
    assert_violated(&report, "page is", "test job#1.1/yield:next=other");
    assert_green(&refreshing(true));
}

#[test]
fn a_job_that_is_enqueued_before_the_commit_runs_before_it() {
    let enqueuing = |settings: &Explore, first: bool| {
        settings.run(async move |world: &World| {
            let order = world.durable("order", None::<u32>);
            world.process("worker", move |p| {
                let (queue, written, read) = (p.queue(), order.clone(), order.clone());
                let email = p.email();
                p.handle(async move |id: u32| {
                    if !first {
                        written.set(Some(id));
                    }
                    let enqueued = queue.enqueue("confirm".to_owned()).await;
                    written.set(Some(id));
                    enqueued.map(drop)
                });
                p.handle(async move |_: String| match read.get() {
                    Some(id) => email.send(Email::new(format!("{id}@example.com"), "thanks")).await.map(drop),
                    None => Ok(()),
                });
            });
            world.enqueue(7_u32);
            world.settle().await;
        })
    };
    let never = "email.send never happened, expected once";
    assert_violated(&enqueuing(&preemptions(1), true), never, "test job#1.1/queue.enqueue:next=other");
    assert_green(&enqueuing(&preemptions(2), false));
}

#[test]
fn the_lease_ends_and_a_second_worker_starts_the_same_job() {
    // The key is the same in both attempts, so the second one gets the answer of the first.
    assert_green(&explore(&Explore::new(), paying(async |p, id| p.charge(keyed(id)).await.map(drop))));
    let look_and_pay = paying(async |payments, id| {
        if payments.charges(id).await?.is_empty() {
            payments.charge(unkeyed(id)).await?;
        }
        Ok::<_, ServiceError>(())
    });
    let overtaken = one_deviation().crashes(0).faults(0);
    let report = explore(&overtaken, look_and_pay.clone());
    let twice = "payments.charge happened twice, expected once";
    assert_violated(&report, twice, "test job#1.1/payments.charges:pause=past-lease");
    let text = report.to_string();
    for part in [
        "attempt 1: the worker stalls past its lease: the job is redelivered while this attempt is still running",
        "t+60s     worker#2 starts, a fresh copy of worker",
        "          job#1 Order {\"id\":1} · attempt 2 on worker#2",
        "          job#1 · attempt 1 continues",
        "done, but the queue has redelivered the job",
        "interleaving\n  attempt 1 of job#1: payments.charges (tests/it/checks/schedules.rs:",
    ] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    // Without a second delivery, none of this happens. A process of one slot is no protection (input 7).
    assert_green(&explore(&overtaken.clone().deliveries(0), look_and_pay.clone()));
    let alone = explore(&overtaken, move |p| {
        p.slots(1);
        look_and_pay(p);
    });
    assert_violated(&alone, twice, "test job#1.1/payments.charges:pause=past-lease");
}

#[test]
fn an_attempt_whose_lease_is_over_is_not_listened_to() {
    // Attempt 1 fails after it has lost its lease. Its own process learns of that, but the queue does not.
    let report = one_deviation().replay("test job#1.1/yield:pause=past-lease").run(async |world: &World| {
        let failures = world.durable("failures", 0_u32);
        let begun = world.durable("begun", 0_u32);
        let heard = failures.clone();
        world.process("worker", move |p| {
            let (clock, begun, heard) = (p.clock(), begun.clone(), heard.clone());
            p.on_error(move |_| heard.update(|heard| *heard += 1));
            p.handle(async move |_: u8| {
                let attempt = begun.update(|begun| {
                    *begun += 1;
                    *begun
                });
                clock.yield_now().await;
                if attempt == 1 { Err("too late") } else { Ok(()) }
            });
        });
        world.enqueue(1_u8);
        world.settle().await;
        let job = &world.all_jobs()[0];
        assert_eq!((job.state, job.attempts, job.failures), (retryproof::job::JobState::Done, 2, 0));
        assert_eq!((failures.get(), world.now()), (1, Duration::from_secs(60)));
    });
    assert_ne!(report.verdict(), Verdict::Violated, "{report}");
}

#[test]
fn processes_overtake_each_other_too() {
    let report = preemptions(1).run(async |world: &World| {
        let counter = world.durable("counter", 0_u32);
        for name in ["one", "two"] {
            let counter = counter.clone();
            world.process(name, move |p| {
                p.slots(1);
                read_add_write(p, &counter);
            });
        }
        world.enqueue(Add { amount: 1 });
        world.enqueue(Add { amount: 10 });
        world.settle().await;
    });
    let otherwise = "counter is";
    assert_violated(&report, otherwise, "test job#1.1/yield:next=other");
}

#[test]
fn those_that_wake_at_the_same_moment_may_wake_in_either_order() {
    let sleeping = |settings: &Explore| {
        settings.run(async |world: &World| {
            let last = world.durable("last", 0_u8);
            world.process("worker", move |p| {
                let (clock, last) = (p.clock(), last.clone());
                p.handle(async move |job: u8| {
                    clock.sleep(Duration::from_secs(5)).await;
                    last.set(job);
                });
            });
            world.enqueue(1_u8);
            world.enqueue(2_u8);
            world.settle().await;
        })
    };
    // Choices: which job begins, and which wakes first. If the second one begins first, it wakes first unless it is
    // preempted.
    assert_eq!(sleeping(&preemptions(usize::MAX)).runs(), 4);
    // Either job may be the last one when they run one at a time.
    assert_green(&sleeping(&preemptions(2)));
}

/// Explores a table of jobs and two workers that poll it, as many shops have it.
fn polling(settings: &Explore, claim_at_once: bool) -> Report {
    settings.run(async move |world: &World| {
        let table = world.durable("table", ["ready"; 2]);
        for name in ["one", "two"] {
            let table = table.clone();
            world.process(name, move |p| {
                let (clock, email, table) = (p.clock(), p.email(), table.clone());
                p.spawn("poller", async move {
                    let claim = |at: &mut Option<usize>| {
                        table.update(|rows| {
                            if claim_at_once {
                                *at = rows.iter().position(|row| *row == "ready");
                            }
                            at.map(|at| rows[at] = "running")
                        });
                    };
                    loop {
                        let mut at = table.read(|rows| rows.iter().position(|row| *row == "ready"));
                        clock.yield_now().await;
                        claim(&mut at);
                        match at {
                            Some(at) => {
                                email.send(Email::new(format!("{at}@example.com"), "hello")).await?;
                                table.update(|rows| rows[at] = "done");
                            }
                            None => clock.sleep(Duration::from_secs(10)).await,
                        }
                    }
                    #[expect(unreachable_code, reason = "names the error of the loop")]
                    Ok::<(), ServiceError>(())
                });
            });
        }
        world.settle_until(move |_| table.get() == ["done"; 2]).await;
    })
}

#[test]
fn loops_of_the_users_own_overtake_each_other() {
    let report = polling(&preemptions(1), false);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let twice = &report.violations()[0];
    assert_eq!(twice.summary, "email.send happened twice, expected once", "{report}");
    assert_eq!(twice.scenario.to_string(), "test one/poller/yield:next=other");
    has_line(&report, expect!["two/poller continues"]);
    assert_green(&polling(&preemptions(3), true));
}

#[test]
fn a_loop_that_fails_takes_its_process_with_it() {
    // A claimed row whose worker crashed: no worker takes it again, and the test never settles.
    let report = polling(&one_deviation().deliveries(0).max_steps(500), true);
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    let reason = report.reason().unwrap();
    has_line(
        reason,
        expect!["500 steps and no end: one/poller runs forever, or longer than `Explore::max_steps` allows"],
    );
    assert!(report.to_string().contains("one/poller"), "{report}");
    // The loop's own error ends the process, which then restarts.
    let report = one_deviation().replay("test worker/loop/payments.charge:call=unavailable").run(
        async |world: &World| {
            let paid = world.durable("paid", false);
            let done = paid.clone();
            world.process("worker", move |p| {
                let (payments, done, incarnation) = (p.payments(), done.clone(), p.incarnation());
                p.spawn("loop", async move {
                    if !done.get() {
                        payments.charge(keyed(incarnation)).await?;
                        done.set(true);
                    }
                    Ok::<_, ServiceError>(())
                });
            });
            world.settle().await;
            assert!(paid.get());
        },
    );
    let text = report.to_string();
    has_line(&text, expect![[r#"the process exits: payments.charge: 503 service unavailable"#]]);
    has_line(&text, expect!["t+1s      worker restarts"]);
}

#[test]
#[should_panic(
    expected = "the task `worker/loop` was spawned twice; give each task of a process a name of its own"
)]
fn two_tasks_of_one_name() {
    World::fake().process("worker", |p| {
        p.spawn("loop", async {});
        p.spawn("loop", async {});
    });
}

/// Explores tasks that each take one step after another.
fn crowd(tasks: u32) -> Report {
    preemptions(1).max_runs(2).run(async move |world: &World| {
        world.durable("nothing", ());
        world.process("worker", move |p| {
            for number in 0..tasks {
                let clock = p.clock();
                p.spawn(format!("task-{number}"), async move { clock.yield_now().await });
            }
        });
        world.settle().await;
    })
}

#[test]
fn more_tasks_than_a_choice_has_options_are_told() {
    let note = "note: more than 256 tasks could run at once, but a choice has only 256 options";
    let report = crowd(257);
    assert!(report.to_string().contains(note), "{report}");
    let report = crowd(256);
    assert!(!report.to_string().contains("could run at once"), "{report}");
}
