//! Calls to real external systems, which threads stand for: the harness waits for them in real time, and crashes and
//! fails them at the call. Nothing else runs meanwhile, unless they wait for a lock.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use expect_test::expect;
use retryproof::external::ExternalFault;
use retryproof::job::JobState;
use retryproof::{Explore, External, Report, Verdict, World};
use tokio::sync::oneshot;

use crate::support::has_line;

/// A server with one lock, with a thread for each call: real time passes, and the second call waits.
#[derive(Clone, Default)]
struct Server {
    lock: Arc<(Mutex<Option<u32>>, Condvar)>,
    waiting: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
}

impl Server {
    /// Takes a while, on another thread.
    async fn does<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> T + Send + 'static) -> T {
        let (reply, replied) = oneshot::channel();
        let server = self.clone();
        server.calls.fetch_add(1, Ordering::SeqCst);
        thread::spawn(move || {
            thread::park_timeout(Duration::from_millis(1));
            let _ = reply.send(work(&server));
        });
        replied.await.expect("the server answers")
    }

    async fn locks(&self, by: u32) {
        self.does(move |server| {
            let mut held = server.lock.0.lock().unwrap();
            if held.is_some() {
                server.waiting.fetch_add(1, Ordering::SeqCst);
                held = server.lock.1.wait_while(held, |held| held.is_some()).unwrap();
                server.waiting.fetch_sub(1, Ordering::SeqCst);
            }
            *held = Some(by);
        })
        .await;
    }

    async fn unlocks(&self) {
        self.does(|server| {
            *server.lock.0.lock().unwrap() = None;
            server.lock.1.notify_one();
            // It takes a moment until it is known that a waiting call continued.
            while server.waiting.load(Ordering::SeqCst) > 0 && server.lock.0.lock().unwrap().is_none() {
                thread::yield_now();
            }
        })
        .await;
    }
}

fn one_call(
    deviations: usize,
    call: impl AsyncFn(&External) -> Result<(), String> + Clone + Sync + 'static,
) -> Report {
    Explore::new().name("t").deviations(deviations).deliveries(0).run(async move |world: &World| {
        let (call, done) = (call.clone(), world.durable("done", false));
        world.process("worker", move |p| {
            let (external, call, done) = (p.external("db"), call.clone(), done.clone());
            p.handle(async move |_: u32| {
                call(&external).await?;
                done.set(true);
                Ok::<_, String>(())
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn a_call_has_three_crash_points_and_fails_only_where_it_is_said_how() {
    let runs = |call| one_call_runs(call);
    // The fault-free run, and crashes at the start and the end of the job.
    let none = runs(0);
    assert_eq!(none, 3);
    // Before, happened, replied.
    assert_eq!(runs(1), none + 3);
    // And unreachable, reply lost.
    assert_eq!(runs(2), none + 5);
    // A read: before, replied, unreachable.
    assert_eq!(runs(3), none + 3);
}

fn one_call_runs(which: u32) -> u64 {
    let report = one_call(1, async move |external: &External| match which {
        0 => Ok(()),
        1 => external.call("write a row", async { Ok(()) }).await,
        2 => external.call("write a row", async { Ok(()) }).on_fault(|fault| Err(fault.to_string())).await,
        _ => {
            external
                .call("read a row", async { Ok(()) })
                .read_only()
                .on_fault(|fault| Err(fault.to_string()))
                .await
        }
    });
    report.runs()
}

/// Explores the rows of a database that survives every crash, and a job that inserts a row.
fn inserting(blocks: bool, twice: bool) -> Report {
    Explore::new().name("t").deviations(1).run(async move |world: &World| {
        let rows = Arc::new(Mutex::new(BTreeSet::<(u32, usize)>::new()));
        let seen = rows.clone();
        world.observe("rows", move || seen.lock().unwrap().clone());
        world.process("worker", move |p| {
            let (external, rows) = (p.external("db"), rows.clone());
            // A row differs each time, unless it only contains the job's number.
            let insert = move |rows: &Mutex<BTreeSet<_>>, job| {
                let mut rows = rows.lock().unwrap();
                let number = if twice { rows.len() } else { 0 };
                rows.insert((job, number));
                Ok::<_, String>(())
            };
            if blocks {
                p.handle_blocking(move |job: u32| {
                    let call = external.call_blocking("insert", || insert(&rows, job));
                    call.on_fault(|fault| Err(fault.to_string())).run()
                });
            } else {
                p.handle(async move |job: u32| {
                    let call = external.call("insert", async { insert(&rows, job) });
                    call.on_fault(|fault| Err(fault.to_string())).await
                });
            }
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn what_happens_outside_again_is_found_and_what_may_happen_again_is_not() {
    for blocks in [false, true] {
        let report = inserting(blocks, true);
        assert_eq!(report.verdict(), Verdict::Violated, "{report}");
        let scenarios = crate::support::scenarios(&report);
        assert!(scenarios.iter().any(|s| s == "t job#1.1/db.insert:call=reply-lost"), "{scenarios:?}");
        assert!(scenarios.iter().any(|s| s == "t job#1.1/db.insert:happened=crash"), "{scenarios:?}");
        assert_eq!(inserting(blocks, false).verdict(), Verdict::RetryProof);
    }
    let text = inserting(false, true).to_string();
    has_line(&text, expect!["✗ db.insert happens, but its reply is lost"]);
}

#[test]
fn what_is_not_reached_has_not_happened_and_what_is_lost_has() {
    for blocks in [false, true] {
        let met = Arc::new(Mutex::new(BTreeSet::new()));
        let noted = met.clone();
        let report = Explore::new().name("t").deviations(1).run(async move |world: &World| {
            let (noted, done) = (noted.clone(), world.durable("done", false));
            world.process("worker", move |p| {
                let (external, noted, done) = (p.external("db"), noted.clone(), done.clone());
                let happened = AtomicUsize::new(0);
                let look = move |happened: &AtomicUsize, result: Result<(), ExternalFault>| {
                    let expected = usize::from(result != Err(ExternalFault::Unreachable));
                    assert_eq!(happened.load(Ordering::SeqCst), expected, "{result:?}");
                    noted.lock().unwrap().insert(format!("{result:?}"));
                    done.set(true);
                };
                if blocks {
                    p.handle_blocking(move |_: u32| {
                        happened.store(0, Ordering::SeqCst);
                        let work = || {
                            happened.fetch_add(1, Ordering::SeqCst);
                            Ok(())
                        };
                        look(&happened, external.call_blocking("write", work).on_fault(Err).run());
                    });
                } else {
                    p.handle(async move |_: u32| {
                        happened.store(0, Ordering::SeqCst);
                        let work = async {
                            happened.fetch_add(1, Ordering::SeqCst);
                            Ok(())
                        };
                        look(&happened, external.call("write", work).on_fault(Err).await);
                    });
                }
            });
            world.enqueue(6_u32);
            world.settle().await;
        });
        assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
        assert_eq!(met.lock().unwrap().len(), 3, "{met:?}");
    }
}

#[test]
fn a_call_is_waited_for_in_real_time_and_no_virtual_time_passes() {
    let server = Server::default();
    let calls = server.calls.clone();
    let report = Explore::new().deviations(1).run(async move |world: &World| {
        let server = server.clone();
        let times = world.durable("times", Vec::<u64>::new());
        let noted = times.clone();
        world.process("worker", move |p| {
            let (external, clock, server, times) =
                (p.external("db"), p.clock(), server.clone(), noted.clone());
            // A timer of its own would let time pass as soon as nothing runs.
            p.spawn("timer", async {
                loop {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
            p.handle(async move |job: u32| {
                for _ in 0..3 {
                    external
                        .call("asks", server.does(|_| thread::park_timeout(Duration::from_millis(1))))
                        .await;
                }
                // Also in a tokio task.
                let (theirs, other) = (external.clone(), server.clone());
                let task = tokio::spawn(async move { theirs.call("asks", other.does(|_| 6)).await });
                assert_eq!(task.await.unwrap(), 6);
                let now = clock.now();
                times.update(|times| {
                    times.clear();
                    times.push(now.as_millis() as u64 + u64::from(job));
                });
            });
        });
        world.ignore("times", "$[*]");
        world.enqueue(6_u32);
        let is_done = |world: &World| world.jobs::<u32>().iter().all(|job| job.state == JobState::Done);
        world.settle_until(is_done).await;
        let elapsed = world.now().as_millis();
        assert!(!(10..1_000).contains(&elapsed), "{elapsed}");
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(calls.load(Ordering::SeqCst) as u64 > 4 * report.runs() / 2);
}

/// Explores two jobs that take the lock, record that they hold it, and release it.
fn locking(waits: bool, more: bool) -> (Report, Vec<Vec<String>>) {
    let courses = Mutex::new(Vec::new());
    // One deviation to ask while the other job holds the lock, and one to continue before the other job does.
    let deviations = if more { 2 } else { 1 };
    let report = Explore::new().name("t").deviations(deviations).crashes(0).faults(0).deliveries(0).run(
        async |world: &World| {
            let server = Server::default();
            if waits {
                let waiting = server.waiting.clone();
                // Real time decides nothing then, however slow the machine is.
                world.external("db").lock_probe(move || std::future::ready(waiting.load(Ordering::SeqCst)));
            } else {
                world.external("db").block_timeout(Duration::from_millis(100));
            }
            let course = Rc::new(RefCell::new(Vec::new()));
            let noted = course.clone();
            let done = world.durable("done", BTreeSet::new());
            world.process("worker", move |p| {
                let done = done.clone();
                let (external, server, noted) = (p.external("db"), server.clone(), noted.clone());
                p.handle(async move |job: u32| {
                    if more {
                        noted.borrow_mut().push(format!("{job} asks"));
                    }
                    external.call("lock", server.locks(job)).await;
                    noted.borrow_mut().push(format!("{job} has it"));
                    external.call("work", server.does(|_| ())).await;
                    noted.borrow_mut().push(format!("{job} gives it back"));
                    external.call("unlock", server.unlocks()).await;
                    if more {
                        external.call("more", server.does(|_| ())).await;
                        noted.borrow_mut().push(format!("{job} has done more"));
                    }
                    done.update(|done| done.insert(job));
                });
            });
            world.enqueue(1_u32);
            world.enqueue(2_u32);
            world.settle().await;
            courses.lock().unwrap().push(course.take());
        },
    );
    (report, courses.into_inner().unwrap())
}

#[test]
fn who_waits_for_a_lock_lets_the_others_go_on_and_goes_on_after_them() {
    for waits in [true, false] {
        let (report, courses) = locking(waits, false);
        assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
        let orders: BTreeSet<_> = courses.iter().cloned().collect();
        let in_turn = |one, other| {
            [
                format!("{one} has it"),
                format!("{one} gives it back"),
                format!("{other} has it"),
                format!("{other} gives it back"),
            ]
            .to_vec()
        };
        // The lock separates the jobs no matter which one is first, and both orders occur.
        assert_eq!(orders, BTreeSet::from([in_turn(1, 2), in_turn(2, 1)]), "{courses:?}");
        // Each wait is one step, no matter how often it was polled.
        let (again, _) = locking(waits, false);
        assert_eq!(report.to_string(), again.to_string());
    }
}

#[test]
fn whoever_has_waited_may_go_on_before_the_one_who_had_the_lock_does_more() {
    let (report, courses) = locking(true, true);
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    let before = |course: &Vec<String>| {
        let at = |text: &str| course.iter().position(|noted| noted == text).unwrap();
        at("1 has it") < at("2 asks")
            && at("2 asks") < at("1 gives it back")
            && at("1 gives it back") < at("2 has it")
            && at("2 has it") < at("1 has done more")
    };
    assert!(courses.iter().any(before), "{courses:?}");
    // In the fault-free run, the running job continues.
    assert!(!before(&courses[0]), "{courses:?}");
}

#[test]
fn whoever_waits_outside_for_ever_is_stuck_and_it_is_said_where() {
    let report = Explore::new().name("t").deviations(0).run(async |world: &World| {
        world.external("db").block_timeout(Duration::from_millis(20));
        world.process("worker", |p| {
            let external = p.external("db");
            p.handle(async move |_: u32| {
                external.call("take a connection", std::future::pending::<()>()).await
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    let text = report.to_string();
    has_line(
        &text,
        expect![
            "deadlock: nothing can go on and no timer is set; job#1.1 u32 waits at tests/it/external.rs:… for `db.take-a-connection`, which waits for a connection, or a lock"
        ],
    );
}

#[test]
fn whoever_is_known_to_wait_for_a_lock_is_said_to() {
    let report = Explore::new().name("t").deviations(0).run(async |world: &World| {
        let server = Server::default();
        let waiting = server.waiting.clone();
        world.external("db").lock_probe(move || std::future::ready(waiting.load(Ordering::SeqCst)));
        world.external("db").block_timeout(Duration::from_millis(20));
        world.process("worker", move |p| {
            let (external, server) = (p.external("db"), server.clone());
            p.handle(async move |job: u32| {
                external.call("lock", server.locks(job)).await;
                external.call("lock", server.locks(job)).await;
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    has_line(&report, expect!["waits at tests/it/external.rs:… for `db.lock`, which waits for a lock"]);
}

#[test]
fn what_a_dead_incarnation_leaves_open_is_closed_before_it_restarts() {
    let open = Arc::new(Mutex::new(Vec::new()));
    let (report, left) = (open.clone(), open.clone());
    let report = {
        let open = report;
        Explore::new().name("t").deviations(1).run(async move |world: &World| {
            let (closed, opened) = (open.clone(), open.clone());
            world.external("db").on_process_death(move |process, incarnation| {
                let closed = closed.clone();
                async move {
                    // In real time.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    closed.lock().unwrap().retain(|known| *known != (process.to_string(), incarnation));
                }
            });
            let done = world.durable("done", false);
            world.process("worker", move |p| {
                let done = done.clone();
                let (name, external) = (p.name().to_string(), p.external("db"));
                let is_connected = opened.lock().unwrap().iter().any(|(known, _)| *known == name);
                assert!(!is_connected, "{name} is still connected");
                opened.lock().unwrap().push((name, p.incarnation()));
                p.handle(async move |_: u32| {
                    external.call("asks", std::future::ready(())).await;
                    done.set(true);
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(report.runs() > 5, "{report}");
    assert_eq!(*left.lock().unwrap(), [], "the last one, too");
}

#[test]
fn what_the_test_does_itself_it_does_through_the_world() {
    let says = |text: &str, report: Report| {
        assert_eq!(report.verdict(), Verdict::NothingTested, "{report}");
        assert!(report.to_string().contains(text), "{report}");
    };
    let text =
        "`db` is set up, and waited for, by the test: use `world.external(…)`, not the handle of a process";
    says(
        text,
        one_call(0, async |external: &External| {
            external.block_timeout(Duration::ZERO);
            Ok(())
        }),
    );
    let world = World::fake();
    let external = world.external("db");
    let (kept, slow) = (external.clone(), async { tokio::time::sleep(Duration::from_millis(1)).await });
    external.block_on(slow);
    world.process("worker", move |p| {
        let kept = kept.clone();
        p.handle(async move |_: u32| kept.call("asks", std::future::ready(())).await);
    });
    world.enqueue(6_u32);
    assert!(world.drain_all().run().is_ok());
}

#[test]
fn processes_that_sleep_in_tokio_wake_in_the_order_of_their_timers() {
    let world = World::fake();
    let log = Rc::new(RefCell::new(Vec::new()));
    for number in 0..2_u64 {
        let log = log.clone();
        world.process(format!("worker-{number}"), move |p| {
            let (log, clock) = (log.clone(), p.clock());
            p.spawn("loop", async move {
                loop {
                    log.borrow_mut().push((number, clock.now().as_secs()));
                    tokio::time::sleep(Duration::from_secs(5 + 2 * number)).await;
                }
            });
        });
    }
    let noted = log.clone();
    let until = |_: &World| noted.borrow().len() >= 8;
    futures_util::FutureExt::now_or_never(world.settle_until(until)).expect("it ends");
    assert_eq!(*log.borrow(), [(0, 0), (1, 0), (0, 5), (1, 7), (0, 10), (1, 14), (0, 15), (0, 20)]);
}
