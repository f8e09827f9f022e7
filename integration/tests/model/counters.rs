//! The class-level counter, a counter behind a lock, and what a memory ordering that is too weak allows.

use retryproof::sync::atomic::{AtomicBool, AtomicU32, Ordering, Ordering::SeqCst};
use retryproof::sync::{Arc, LazyLock, Mutex, RwLock};
use retryproof::thread;

use crate::{assert_fails, assert_holds, run};

static SENT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(0));

fn read_add_write() {
    let sent = SENT.load(SeqCst);
    SENT.store(sent + 1, SeqCst);
}

fn add() {
    SENT.fetch_add(1, SeqCst);
}

fn two_jobs(job: fn()) {
    let workers = [thread::spawn(job), thread::spawn(job)];
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert_eq!(SENT.load(SeqCst), 2, "an email was not counted");
}

#[test]
fn a_class_level_counter_loses_an_increment() {
    let report = assert_fails("an email was not counted", || two_jobs(read_add_write));
    let steps: Vec<_> = report.steps().iter().map(|step| (step.thread, step.operation.as_str())).collect();
    let of_counter: Vec<_> = steps.into_iter().filter(|(_, what)| what.starts_with("AtomicU32")).collect();
    let expected = [
        (1, "AtomicU32#1.load(SeqCst) → 0"),
        (2, "AtomicU32#1.load(SeqCst) → 0"),
        (2, "AtomicU32#1.store(1, SeqCst)"),
        (1, "AtomicU32#1.store(1, SeqCst)"),
        (0, "AtomicU32#1.load(SeqCst) → 1"),
    ];
    assert_eq!(of_counter, expected, "{report}");
    assert!(
        report.steps().iter().any(|step| step.place.starts_with("integration/tests/model/counters.rs:12:"))
    );
}

#[test]
fn fetch_add_loses_none() {
    assert_holds(|| two_jobs(add));
}

#[test]
fn the_report_is_the_same_each_time() {
    let report = || run(|| two_jobs(read_add_write)).to_string();
    let first = report();
    assert_eq!(first, report());
    // The same in any process: what threads did, where, and to what.
    assert_eq!(first, include_str!("lost.txt"));
}

fn behind_a_lock(job: fn(&Mutex<u32>)) {
    let sent = Arc::new(Mutex::new(0_u32));
    let others = sent.clone();
    let other = thread::spawn(move || job(&others));
    job(&sent);
    other.join().unwrap();
    assert_eq!(*sent.lock().unwrap(), 2);
}

#[test]
fn a_lock_that_is_given_back_in_between_is_none() {
    let report = assert_fails("left: 1", || {
        behind_a_lock(|sent| {
            let read = *sent.lock().unwrap();
            *sent.lock().unwrap() = read + 1;
        });
    });
    assert!(report.to_string().contains("Mutex#1.lock()"), "{report}");
}

#[test]
fn a_lock_that_is_held_meanwhile_does() {
    assert_holds(|| behind_a_lock(|sent| *sent.lock().unwrap() += 1));
}

fn with_readers(job: fn(&RwLock<u32>)) {
    let stock = Arc::new(RwLock::new(1_u32));
    let others = stock.clone();
    let other = thread::spawn(move || job(&others));
    job(&stock);
    other.join().unwrap();
    assert!(*stock.read().unwrap() < 2, "sold twice");
}

#[test]
fn what_was_read_may_be_old_when_it_is_written() {
    // Both threads see a stock of one.
    assert_fails("overflow", || {
        with_readers(|stock| {
            let is_there = *stock.read().unwrap() > 0;
            if is_there {
                *stock.write().unwrap() -= 1;
            }
        });
    });
    assert_holds(|| {
        with_readers(|stock| {
            let mut stock = stock.write().unwrap();
            *stock = stock.saturating_sub(1);
        });
    });
}

fn publish(store: Ordering, load: Ordering) {
    let shared = Arc::new((AtomicU32::new(0), AtomicBool::new(false)));
    let writes = shared.clone();
    let writer = thread::spawn(move || {
        writes.0.store(6, Ordering::Relaxed);
        writes.1.store(true, store);
    });
    if shared.1.load(load) {
        assert_eq!(shared.0.load(Ordering::Relaxed), 6, "ready, and not there");
    }
    writer.join().unwrap();
}

#[test]
fn an_ordering_that_is_too_weak_shows() {
    let report = assert_fails("ready, and not there", || publish(Ordering::Relaxed, Ordering::Relaxed));
    let last = &report.steps().last().unwrap().operation;
    assert_eq!(last, "AtomicU32#1.load(Relaxed) → 0", "stored before, and not seen:\n{report}");
    assert_holds(|| publish(Ordering::Release, Ordering::Acquire));
}

#[test]
fn every_method_of_an_atomic_is_told() {
    let report = assert_fails("the end", || {
        let number = AtomicU32::new(1);
        assert_eq!(number.swap(3, SeqCst), 1);
        assert_eq!(number.compare_exchange(3, 5, SeqCst, Ordering::Relaxed), Ok(3));
        assert_eq!(number.compare_exchange(3, 5, SeqCst, Ordering::Relaxed), Err(5));
        assert_eq!(number.fetch_update(SeqCst, SeqCst, |number| number.checked_add(1)), Ok(5));
        assert_eq!(number.fetch_max(9, SeqCst), 6);
        assert_eq!(number.into_inner(), 9);
        panic!("the end");
    });
    let told: Vec<_> = report.steps().iter().map(|step| step.operation.as_str()).collect();
    let expected = [
        "AtomicU32#1.swap(3, SeqCst) → 1",
        "AtomicU32#1.compare_exchange(3, 5, SeqCst, Relaxed) → Ok(3)",
        "AtomicU32#1.compare_exchange(3, 5, SeqCst, Relaxed) → Err(5)",
        "AtomicU32#1.load(SeqCst) → 5",
        "AtomicU32#1.compare_exchange(5, 6, SeqCst, SeqCst) → Ok(5)",
        "AtomicU32#1.fetch_max(9, SeqCst) → 6",
    ];
    assert_eq!(told, expected);
}

/// Each thread announces itself, and checks whether the other one has.
fn both_enter(store: Ordering, load: Ordering) {
    let doors = Arc::new((AtomicBool::new(false), AtomicBool::new(false)));
    let others = doors.clone();
    let other = thread::spawn(move || {
        others.0.store(true, store);
        !others.1.load(load)
    });
    doors.1.store(true, store);
    let mine = !doors.0.load(load);
    assert!(!(mine && other.join().unwrap()), "both are in");
}

#[test]
fn what_only_one_order_for_all_forbids() {
    assert_fails("both are in", || both_enter(Ordering::Release, Ordering::Acquire));
    assert_holds(|| both_enter(SeqCst, SeqCst));
}
