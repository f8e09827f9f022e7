//! Threads that wait for each other: locks, condition variables, channels, parked threads.

use expect_test::expect;
use retryproof::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use retryproof::sync::{Arc, Condvar, Mutex, mpsc};
use retryproof::{Verdict, thread};

use crate::support::has_line;
use crate::{assert_fails, assert_holds, run};

fn two_locks(first: fn(&(Mutex<u32>, Mutex<u32>)), second: fn(&(Mutex<u32>, Mutex<u32>))) {
    let rows = Arc::new((Mutex::new(1), Mutex::new(2)));
    let others = rows.clone();
    let other = thread::spawn(move || first(&others));
    second(&rows);
    other.join().unwrap();
}

fn stock_then_order((stock, order): &(Mutex<u32>, Mutex<u32>)) {
    let mut stock = stock.lock().unwrap();
    *stock += *order.lock().unwrap();
}

fn order_then_stock((stock, order): &(Mutex<u32>, Mutex<u32>)) {
    let mut order = order.lock().unwrap();
    *order += *stock.lock().unwrap();
}

#[test]
fn two_locks_in_two_orders() {
    let report = run(|| two_locks(stock_then_order, order_then_stock));
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    assert_eq!(report.summary(), Some("deadlock: no thread can go on"));
    let text = report.to_string();
    let waits = |thread, line, lock, holder, since| {
        format!(
            "thread {thread} waits at integration/tests/model/waiting.rs:{line} in Mutex#{lock}.lock(), which thread {holder} has held since integration/tests/model/waiting.rs:{since}"
        )
    };
    assert!(text.contains(&waits(0, "26:22", 1, 1, "20:27")), "{text}");
    assert!(text.contains(&waits(1, "21:22", 2, 0, "25:27")), "{text}");
    has_line(&text, expect!["|                           ---- thread 1 has held Mutex#1 since here"]);
    assert_eq!(text, run(|| two_locks(stock_then_order, order_then_stock)).to_string());
    assert_holds(|| two_locks(stock_then_order, stock_then_order));
}

#[test]
fn one_lock_twice() {
    let report = run(|| {
        let lock = Mutex::new(0);
        let _held = lock.lock().unwrap();
        let _again = lock.lock().unwrap();
    });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    has_line(
        &report,
        expect![
            "thread 0 waits at integration/tests/model/waiting.rs:… in Mutex#1.lock(), which it holds itself"
        ],
    );
}

#[test]
fn try_lock_says_that_it_is_held() {
    assert_holds(|| {
        let lock = Arc::new((Mutex::new(0_u32), AtomicU32::new(0)));
        let others = lock.clone();
        let job = |(lock, refused): &(Mutex<u32>, AtomicU32)| match lock.try_lock() {
            Ok(mut number) => *number += 1,
            Err(_) => drop(refused.fetch_add(1, SeqCst)),
        };
        let other = thread::spawn(move || job(&others));
        job(&lock);
        other.join().unwrap();
        assert_eq!(*lock.0.lock().unwrap() + lock.1.load(SeqCst), 2);
    });
}

fn ready(wait: fn(&(Mutex<bool>, Condvar))) {
    let pair = Arc::new((Mutex::new(false), Condvar::new()));
    let others = pair.clone();
    let other = thread::spawn(move || {
        *others.0.lock().unwrap() = true;
        others.1.notify_one();
    });
    wait(&pair);
    other.join().unwrap();
}

#[test]
fn a_notification_before_anybody_waits_is_lost() {
    let report = run(|| {
        ready(|(is_ready, changed)| {
            let is_ready = is_ready.lock().unwrap();
            drop(changed.wait(is_ready).unwrap());
        });
    });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    has_line(&report, expect!["thread 0 waits at integration/tests/model/waiting.rs:… in Condvar#1.wait()"]);
    assert_holds(|| {
        ready(|(is_ready, changed)| {
            let is_ready = changed.wait_while(is_ready.lock().unwrap(), |is_ready| !*is_ready).unwrap();
            assert!(*is_ready);
        });
    });
}

#[test]
fn a_channel_ends_when_nobody_is_left_to_send() {
    assert_holds(|| {
        let (jobs, todo) = mpsc::channel();
        let worker = thread::spawn(move || todo.iter().sum::<u32>());
        jobs.send(3).unwrap();
        drop(jobs);
        assert_eq!(worker.join().unwrap(), 3);
    });
}

#[test]
fn a_channel_whose_sender_is_kept_never_ends() {
    let report = run(|| {
        let (jobs, todo) = mpsc::channel::<u32>();
        let worker = thread::spawn(move || todo.iter().count());
        jobs.send(1).unwrap();
        worker.join().unwrap();
        drop(jobs);
    });
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    let text = report.to_string();
    has_line(&text, expect!["thread 0 waits at integration/tests/model/waiting.rs:…: it joins thread 1"]);
    has_line(&text, expect!["thread 0 waits at integration/tests/model/waiting.rs:…: it joins thread 1"]);
}

#[test]
fn a_bounded_channel_holds_its_sender_up() {
    let two = |bound| {
        run(move || {
            let (jobs, todo) = mpsc::sync_channel(bound);
            let worker = thread::spawn(move || {
                jobs.send(1).unwrap();
                jobs.send(2).unwrap();
                jobs
            });
            if bound > 1 {
                drop(worker.join().unwrap());
            }
            assert_eq!((todo.recv(), todo.recv()), (Ok(1), Ok(2)));
        })
    };
    assert_eq!(two(1).verdict(), Verdict::RetryProof);
    assert_eq!(two(2).verdict(), Verdict::RetryProof);
}

#[test]
fn parked_threads_are_woken() {
    assert_holds(|| {
        let is_ready = Arc::new(AtomicBool::new(false));
        let (says, main) = (is_ready.clone(), thread::current());
        let other = thread::spawn(move || {
            says.store(true, SeqCst);
            main.unpark();
        });
        while !is_ready.load(SeqCst) {
            thread::park();
        }
        other.join().unwrap();
    });
    let report = run(thread::park);
    assert_eq!(report.verdict(), Verdict::Stuck, "{report}");
    has_line(&report, expect!["thread 0 waits: park"]);
}

#[test]
fn an_arc_that_owns_itself_is_never_dropped() {
    struct Node(Mutex<Option<Arc<Node>>>);
    let report = run(|| {
        let node = Arc::new(Node(Mutex::new(None)));
        let itself = node.clone();
        *node.0.lock().unwrap() = Some(itself);
    });
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert_eq!(report.summary(), Some("an `Arc` is never dropped: usually a cycle, or `mem::forget`"));
}

#[test]
fn who_is_last_to_drop_is_explored() {
    // Either thread may be the last, so `into_inner` may give the value to either of them, but to exactly one.
    let last =
        |report: retryproof::model::ModelReport| report.summary().map(str::to_owned).unwrap_or_default();
    let race = |unwrapped: fn(bool, bool)| {
        run(move || {
            let shared = Arc::new(6);
            let other = shared.clone();
            let other = thread::spawn(move || Arc::into_inner(other).is_some());
            let mine = Arc::into_inner(shared).is_some();
            unwrapped(mine, other.join().unwrap());
        })
    };
    // A part: the text of a panic has its place in this file.
    assert!(last(race(|mine, _| assert!(mine, "not mine"))).contains("not mine"));
    assert!(last(race(|_, other| assert!(other, "not the other's"))).contains("not the other's"));
}

#[test]
fn a_failure_while_others_wait_is_told() {
    // What the others hold is not dropped, and nothing hangs.
    let report = assert_fails("not caught", || {
        let lock = Arc::new(Mutex::new(0));
        let others = lock.clone();
        let other = thread::spawn(move || drop(others.lock()));
        let _held = lock.lock().unwrap();
        if *lock.try_lock().map_or(_held, |again| again) == 0 {
            panic!("not caught");
        }
        drop(other);
    });
    has_line(&report, expect!["|                  ^^^^^^^^ thread 0: Mutex#1.try_lock() → held by another"]);
}
