//! Limits, and the messages if one is reached.

use std::time::Duration;

use expect_test::expect;
use retryproof::model::Model;
use retryproof::sync::Arc;
use retryproof::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use retryproof::{Verdict, thread};

use crate::support::has_line;

/// Two threads of two operations each.
fn four_operations() {
    let number = Arc::new(AtomicU32::new(0));
    let others = number.clone();
    let twice = |number: &AtomicU32| {
        number.fetch_add(1, SeqCst);
        number.fetch_add(1, SeqCst);
    };
    let other = thread::spawn(move || twice(&others));
    twice(&number);
    other.join().unwrap();
    assert_eq!(number.load(SeqCst), 4);
}

#[test]
fn a_limit_makes_it_incomplete() {
    let all = Model::new().run(four_operations);
    assert_eq!(all.verdict(), Verdict::RetryProof, "{all}");
    // 6 orders of the accesses, and in each of them either thread may be the last to drop the `Arc`.
    assert_eq!(all.executions(), 14);
    has_line(&all, expect![[r#"14 executions, every order"#]]);
    let some = Model::new().max_executions(13).run(four_operations);
    assert_eq!((some.verdict(), some.executions()), (Verdict::Incomplete, 13), "{some}");
    assert!(some.summary().unwrap().starts_with("stopped by max_executions = 13, after 13;"), "{some}");
    assert!(!some.exhausted());
    // A limit that equals the number of executions is not reached.
    let all = Model::new().max_executions(14).run(four_operations);
    assert_eq!(all.verdict(), Verdict::RetryProof, "{all}");
    let none = Model::new().max_time(Duration::ZERO).run(four_operations);
    assert_eq!((none.verdict(), none.executions()), (Verdict::Incomplete, 0), "{none}");
    assert!(none.summary().unwrap().starts_with("stopped by max_time = 0ns"), "{none}");
    Model::new().max_executions(5).allow_incomplete().check(four_operations);
}

#[test]
#[should_panic(expected = "stopped by max_executions = 5")]
fn an_incomplete_one_does_not_pass() {
    Model::new().max_executions(5).check(four_operations);
}

#[test]
fn a_bound_of_interruptions_is_said() {
    let bounded = Model::new().max_preemptions(1).run(four_operations);
    assert_eq!(bounded.verdict(), Verdict::RetryProof, "{bounded}");
    assert!(bounded.executions() < 14 && !bounded.exhausted(), "{bounded}");
    has_line(
        &bounded,
        expect![
            "3 executions of up to 1 interruptions; loom may skip an order that is not equivalent to another"
        ],
    );
}

#[test]
fn a_loop_that_waits_without_yielding_goes_on_for_ever() {
    let waits = |pause: fn()| {
        Model::new().max_branches(200).run(move || {
            let is_ready = Arc::new(AtomicBool::new(false));
            let says = is_ready.clone();
            let other = thread::spawn(move || says.store(true, SeqCst));
            while !is_ready.load(SeqCst) {
                pause();
            }
            other.join().unwrap();
        })
    };
    let spins = waits(|| {});
    assert_eq!(spins.verdict(), Verdict::Stuck, "{spins}");
    let reason = spins.summary().unwrap();
    has_line(
        reason,
        expect![
            "thread 0 runs forever: more than 200 places where threads take turns. A loop that waits for another thread must call `thread::yield_now`; or raise `max_branches`"
        ],
    );
    assert_eq!(waits(thread::yield_now).verdict(), Verdict::RetryProof);
}

#[test]
fn the_failure_with_the_fewest_interruptions_is_shown() {
    // No preemption is needed: the second thread runs after the first one has ended.
    let report = Model::new().run(|| {
        let number = Arc::new(AtomicU32::new(0));
        let work = |number: Arc<AtomicU32>| {
            thread::spawn(move || {
                number.fetch_add(1, SeqCst);
                number.fetch_add(1, SeqCst);
            })
        };
        let both = [work(number.clone()), work(number.clone())];
        both.into_iter().for_each(|one| one.join().unwrap());
        assert_ne!(number.load(SeqCst), 4);
    });
    let threads: Vec<_> = report.steps().iter().map(|step| step.thread).collect();
    let mut turns = threads.clone();
    turns.dedup();
    assert!(turns.len() <= 5, "{report}");
}
