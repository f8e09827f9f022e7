//! Jobs that ask the operating system for the time and for random numbers take the same course in each run.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "that jobs may use them is what is tested here"
)]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use expect_test::expect;
use rand::Rng;
use retryproof::service::payments::Charge;
use retryproof::{Code, Explore, Report, Verdict, World};
use retryproof_determinism as _;

const DAY: Duration = Duration::from_secs(86_400);

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Everything that a job may draw from the operating system.
fn drawn() -> String {
    // The order of the entries depends on the hash seed of the thread.
    let letters: HashMap<char, ()> = ('a'..='z').map(|letter| (letter, ())).collect();
    let letters: String = letters.keys().collect();
    let mut bytes = [0; 5];
    rand::fill(&mut bytes);
    let (dice, id) = (rand::rng().random_range(1..=6), uuid::Uuid::new_v4());
    let of_thread = std::thread::spawn(|| (uuid::Uuid::new_v4(), rand::random::<u64>())).join().unwrap();
    format!("{letters} {bytes:?} {dice} {id} {of_thread:?} {:?}", SystemTime::now())
}

/// A job that keeps what it has drawn. `async_too` handles it on the thread of the executor, otherwise on one of its own.
fn keeps(explore: &Explore, is_async: bool) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            let store = p.store();
            match is_async {
                true => {
                    p.handle(async move |order: u32| store.put(format!("order:{order}"), &drawn()).await);
                }
                false => {
                    p.handle_blocking(move |order: u32| {
                        store.put_blocking(format!("order:{order}"), &drawn())
                    });
                }
            }
        });
        world.enqueue_in(3 * DAY, 6_u32);
        world.settle().await;
    })
}

#[test]
fn what_a_job_draws_is_the_same_in_each_run() {
    for is_async in [true, false] {
        let report = keeps(&Explore::new().name("test").deviations(0), is_async);
        assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
        assert!(report.exhausted());
    }
}

/// Its library counts in a static, which outlives the run. The values differ, but nothing else does.
#[test]
fn an_id_that_begins_with_the_time_is_an_id_like_others() {
    let explore = |is_kept: bool| {
        Explore::new().name("test").deviations(1).deliveries(0).run(async move |world: &World| {
            world.process("worker", move |p| {
                let (payments, store) = (p.payments(), p.store());
                p.handle(async move |order: u32| {
                    let drawn = uuid::Uuid::now_v7().to_string();
                    let row = format!("key:{order}");
                    let known = store.get::<String>(&row).await.map_err(|error| error.to_string())?;
                    let key = known.filter(|_| is_kept).map_or(drawn, |known| known.value);
                    store.put(&row, &key).await.map_err(|error| error.to_string())?;
                    let charge = Charge::of_order(order, 500).key(key);
                    payments.charge(charge).await.map(drop).map_err(|error| error.to_string())
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    let (kept, redrawn) = (explore(true), explore(false));
    assert_eq!(kept.verdict(), Verdict::RetryProof, "{kept}");
    assert_eq!(redrawn.verdict(), Verdict::Violated, "{redrawn}");
    assert_eq!(redrawn.violations()[0].summary, "payments.charge happened twice, expected once");
}

/// Returns the value in the store at the end of the fault-free run.
fn value(seed: u64) -> String {
    let values = std::sync::Mutex::new(Vec::new());
    Explore::new().name("test").deviations(0).seed(seed).run(async |world: &World| {
        world.process("worker", |p| {
            let store = p.store();
            p.handle(async move |order: u32| store.put(format!("order:{order}"), &drawn()).await);
        });
        world.enqueue(6_u32);
        world.settle().await;
        let kept = world.store().get::<String>("order:6").await.unwrap().unwrap();
        values.lock().unwrap().push(kept.value);
    });
    let values = values.into_inner().unwrap();
    // The runs with other seeds are among them, but the first is this seed's.
    values[0].clone()
}

#[test]
fn the_seed_of_the_exploration_decides_what_is_drawn() {
    assert_eq!(value(1), value(1));
    assert_ne!(value(1), value(2));
}

#[test]
fn the_time_of_day_is_that_of_the_world_and_advances_with_it() {
    let report = Explore::new().name("test").deviations(0).run(async |world: &World| {
        let times = world.durable("times", Vec::new());
        let of_process = times.clone();
        world.process("worker", move |p| {
            let (times, clock) = (of_process.clone(), p.clock());
            p.handle(async move |_: u32| {
                times.update(|times| times.push(seconds()));
                clock.sleep(DAY).await;
                times.update(|times| times.push(seconds()));
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
        expect!["[1767225600, 1767312000]"].assert_eq(&format!("{:?}", times.get()));
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

/// A bug stays one: the key of a charge that is drawn anew in each attempt does not protect it.
#[test]
fn a_key_that_each_attempt_draws_is_found() {
    let report = Explore::new().name("test").deviations(1).run(async |world: &World| {
        world.process("worker", |p| {
            let payments = p.payments();
            p.handle(async move |order: u32| {
                let key = uuid::Uuid::new_v4().to_string();
                payments.charge(Charge::of_order(order, 500).key(key)).await.map(drop)
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert_eq!(report.violations()[0].summary, "payments.charge happened twice, expected once");
}

/// A discount that ends at a date: a retry that comes late pays the full price, unless the price was decided with the order.
#[test]
fn a_decision_by_the_date_is_explored_like_any_other() {
    let explore = |is_decided: bool| {
        Explore::new().name("test").deviations(2).delays(1).run(async move |world: &World| {
            world.process("worker", move |p| {
                let payments = p.payments();
                p.handle(async move |(order, decided): (u32, u64)| {
                    let is_over = SystemTime::now() > UNIX_EPOCH + Duration::from_secs(1_767_225_600) + DAY;
                    let price = if is_over && !is_decided { 500 } else { decided };
                    let charge = Charge::of_order(order, price).key(format!("order-{order}"));
                    payments.charge(charge).await.map(drop)
                });
            });
            world.enqueue((6_u32, 400_u64));
            world.settle().await;
        })
    };
    let (decided, redecided) = (explore(true), explore(false));
    assert_eq!(redecided.verdict(), Verdict::Violated, "{redecided}");
    let first = redecided.violations()[0].paths[0].scenario.to_string();
    expect!["test job#1.1:start=crash job#1.1:lease=days-late"].assert_eq(&first);
    assert_eq!(decided.verdict(), Verdict::RetryProof, "{decided}");
}

#[test]
fn threads_outside_of_a_scenario_get_the_operating_system() {
    let own = seconds();
    assert!(own > 1_767_225_600 + 86_400 * 30, "the real time: {own}");
    assert_ne!(uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    keeps(&Explore::new().name("test").deviations(0), true);
    assert!(seconds() >= own);
}

#[test]
fn the_report_is_the_same_each_time() {
    let explore = || keeps(&Explore::new().name("test").deviations(2), false).to_string();
    let first = explore();
    for _ in 0..20 {
        assert_eq!(explore(), first);
    }
}

/// A server that the harness does not know.
fn serve() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut byte = [0];
            let mut stream = stream.unwrap();
            while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
        }
    });
    address
}

#[test]
fn a_connection_to_something_unexplored_is_a_warning() {
    let address = serve();
    let explore = |is_denied: bool| {
        Explore::new().name("test").deviations(0).run(async move |world: &World| {
            if is_denied {
                world.deny_warnings();
            }
            world.process("worker", move |p| {
                let store = p.store();
                p.handle_blocking(move |order: u32| {
                    let (mut stream, mut reply) = (TcpStream::connect(address).unwrap(), [0]);
                    stream.write_all(&[7]).unwrap();
                    stream.read_exact(&mut reply).unwrap();
                    store.put_blocking(format!("order:{order}"), &reply[0])
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
        })
    };
    let warned = explore(false);
    assert_eq!(warned.verdict(), Verdict::RetryProof, "{warned}");
    let warnings: Vec<String> = warned.warnings().iter().map(ToString::to_string).collect();
    expect!["code under test connects to a port of 127.0.0.1, where nothing goes wrong and nothing is compared: its server is real and keeps its state from run to run; put it behind the harness (`world.upstream`, `p.external`, `retryproof-postgres`), or give the code the address of a fake"].assert_eq(&warnings.join("\n"));
    let denied = explore(true);
    assert_eq!(denied.code(), Some(Code::Unexplored), "{denied}");
}

/// A job that draws on a thread of tokio for blocking tasks, and in a task.
fn draws_elsewhere(explore: &Explore) -> Report {
    explore.run(async |world: &World| {
        world.process("worker", |p| {
            let store = p.store();
            p.handle(async move |order: u32| {
                let blocking =
                    tokio::task::spawn_blocking(|| uuid::Uuid::new_v4().to_string()).await.unwrap();
                let spawned = tokio::spawn(async { uuid::Uuid::new_v4().to_string() }).await.unwrap();
                store.put(format!("order:{order}"), &(blocking, spawned)).await
            });
        });
        world.enqueue(6_u32);
        world.enqueue(7_u32);
        world.settle().await;
    })
}

#[test]
fn tasks_and_explorations_on_several_threads_draw_the_same() {
    let one = draws_elsewhere(&Explore::new().name("test").deviations(1));
    assert_eq!(one.verdict(), Verdict::RetryProof, "{one}");
    let two = draws_elsewhere(&Explore::new().name("test").deviations(1).threads(2));
    assert_eq!(two.to_string(), one.to_string());
}

#[tokio::test]
async fn a_check_inside_of_a_runtime_is_simulated_too() {
    let report = keeps(&Explore::new().name("test").deviations(0), true);
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

/// Counts what it has drawn when its thread ends.
struct DrawsAtTheEnd;

impl Drop for DrawsAtTheEnd {
    fn drop(&mut self) {
        let (id, now) = (uuid::Uuid::new_v4(), SystemTime::now());
        assert!(!id.is_nil() && now > UNIX_EPOCH);
    }
}

thread_local! {
    static AT_THE_END: DrawsAtTheEnd = const { DrawsAtTheEnd };
}

#[test]
fn a_panic_a_destructor_of_a_thread_and_a_hanging_job_end_as_ever() {
    let explore = |does: fn()| {
        let explore = Explore::new().name("test").deviations(0).watchdog(Duration::from_secs(1));
        explore.run(async move |world: &World| {
            world.process("worker", move |p| {
                let store = p.store();
                p.handle_blocking(move |order: u32| {
                    AT_THE_END.with(|_| ());
                    does();
                    store.put_blocking(format!("order:{order}"), &1)
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
            assert!(world.store().get::<u32>("order:6").await.unwrap().is_some(), "the order is there");
        })
    };
    assert_eq!(explore(|| ()).verdict(), Verdict::RetryProof);
    let panicked = explore(|| panic!("the job's own"));
    assert_eq!(panicked.code(), Some(Code::Panicked), "{panicked}");
    static HELD: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let held = HELD.lock().unwrap();
    let stuck = explore(|| drop(HELD.lock()));
    assert_eq!(stuck.verdict(), Verdict::Stuck, "{stuck}");
    drop(held);
}
