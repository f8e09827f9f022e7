//! Code that is not a valid model.

use expect_test::expect;
use retryproof::model::{Model, ModelError};
use retryproof::sync::atomic::{AtomicU32, Ordering::SeqCst};
use retryproof::sync::{Arc, Mutex};
use retryproof::{Verdict, model, thread};

use crate::run;
use crate::support::has_line;

fn with_another_thread(code: impl FnOnce()) {
    let other = thread::spawn(|| {});
    code();
    other.join().unwrap();
}

#[track_caller]
fn error_of(code: impl Fn() + Send + Sync + 'static) -> ModelError {
    let report = run(code);
    assert_eq!(report.verdict(), Verdict::Incomplete, "{report}");
    let error = report.error().expect("it is misused").clone();
    assert_eq!(report.summary(), Some(error.to_string().as_str()));
    error
}

#[test]
fn what_was_made_outside_is_not_used_inside() {
    let counter = Arc::new(AtomicU32::new(0));
    let error = error_of(move || {
        with_another_thread(|| {
            counter.fetch_add(1, SeqCst);
        });
    });
    let ModelError::MadeOutside { kind, used } = &error else { panic!("{error}") };
    assert_eq!(*kind, "AtomicU32");
    assert!(used.starts_with("integration/tests/model/misuse.rs:32:"), "{used}");
    has_line(
        &error,
        expect![
            "integration/tests/model/misuse.rs:…: a AtomicU32 that was made outside the model is used in it. Make it in the model's closure; a static must be a `retryproof::sync::LazyLock`"
        ],
    );
}

#[test]
fn what_one_execution_made_is_not_used_in_another() {
    let kept: std::sync::OnceLock<Mutex<u32>> = std::sync::OnceLock::new();
    let error = error_of(move || {
        let lock = kept.get_or_init(|| Mutex::new(0));
        with_another_thread(|| *lock.lock().unwrap() += 1);
    });
    assert!(matches!(error, ModelError::Outlived { kind: "Mutex", .. }), "{error}");
}

#[test]
#[should_panic(expected = "the AtomicU32 made in a model at integration/tests/model/misuse.rs:")]
fn what_was_made_inside_is_not_used_outside() {
    let kept = std::sync::Arc::new(std::sync::Mutex::new(None));
    let keep = kept.clone();
    run(move || {
        with_another_thread(|| *keep.lock().unwrap() = Some(AtomicU32::new(6)));
    });
    let number = kept.lock().unwrap().take().unwrap();
    number.load(SeqCst);
}

#[test]
fn more_threads_than_there_can_be() {
    let error = error_of(|| {
        let all: Vec<_> = (0..5).map(|_| thread::spawn(|| {})).collect();
        all.into_iter().for_each(|one| one.join().unwrap());
    });
    assert_eq!(error, ModelError::TooManyThreads { most: 5 });
    let few = Model::new().max_threads(2).run(|| with_another_thread(|| drop(thread::spawn(|| {}))));
    assert_eq!(few.error(), Some(&ModelError::TooManyThreads { most: 2 }), "{few}");
    for asked in [0, 1, 6] {
        let report = Model::new().max_threads(asked).run(|| {});
        assert_eq!(report.error(), Some(&ModelError::NoSuchThreads { asked, most: 5 }));
    }
}

#[test]
fn a_bound_under_which_nothing_runs() {
    let report = Model::new().max_executions(0).run(|| {});
    assert_eq!(report.error(), Some(&ModelError::Nothing { setting: "max_executions" }));
    let report = Model::new().max_branches(0).run(|| {});
    assert_eq!(report.error(), Some(&ModelError::Nothing { setting: "max_branches" }));
    assert_eq!((report.verdict(), report.executions()), (Verdict::Incomplete, 0));
}

#[test]
fn a_model_in_a_model() {
    let report = run(|| {
        with_another_thread(|| {
            let inner = run(|| {});
            assert_eq!(inner.error(), Some(&ModelError::Nested), "{inner}");
        });
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
}

#[test]
fn without_a_second_thread_nothing_is_tested() {
    let report = run(|| {
        AtomicU32::new(0).fetch_add(1, SeqCst);
    });
    assert_eq!(report.verdict(), Verdict::NothingTested, "{report}");
    has_line(
        report.summary().unwrap(),
        expect![
            "there never was a second thread: start threads with `retryproof::thread::spawn` in the model's closure"
        ],
    );
}

#[test]
fn an_execution_that_is_not_like_the_others() {
    let times = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let report = run(move || {
        let time = times.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let number = AtomicU32::new(0);
        with_another_thread(|| number.store(time, SeqCst));
    });
    assert_eq!(report.verdict(), Verdict::Nondeterministic, "{report}");
    let reason = report.summary().unwrap();
    has_line(
        reason,
        expect![
            "the model's closure does not repeat its behavior when it is run again: the first time thread 0 has AtomicU32#1.store(0, SeqCst) at integration/tests/model/misuse.rs:…, the second time thread 0 has AtomicU32#1.store(1, SeqCst) at integration/tests/model/misuse.rs:…. Make everything that it depends on anew in each execution: no statics, no time, no random numbers, no order of a `HashMap`"
        ],
    );
    has_line(
        reason,
        expect![
            "the model's closure does not repeat its behavior when it is run again: the first time thread 0 has AtomicU32#1.store(0, SeqCst) at integration/tests/model/misuse.rs:…, the second time thread 0 has AtomicU32#1.store(1, SeqCst) at integration/tests/model/misuse.rs:…. Make everything that it depends on anew in each execution: no statics, no time, no random numbers, no order of a `HashMap`"
        ],
    );
}

#[test]
#[should_panic(expected = "does NOT hold in every order")]
fn the_function_panics_with_the_report() {
    model(|| with_another_thread(|| panic!("wrong")));
}

#[test]
fn a_thread_that_is_not_waited_for_may_go_on_afterwards() {
    // The closure may return first. Its thread still runs, and its panic is a failure.
    let report = run(|| drop(thread::spawn(|| panic!("after the end"))));
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    has_line(
        report.summary().unwrap(),
        expect!["thread 1 panicked at integration/tests/model/misuse.rs:…: after the end"],
    );
}

#[test]
fn a_lock_that_a_panic_went_past() {
    let past = |is_taken_again: bool| {
        move || {
            let lock = Arc::new(Mutex::new(0));
            let others = lock.clone();
            let other = thread::spawn(move || {
                let panics = std::panic::AssertUnwindSafe(|| {
                    let _held = others.lock();
                    panic!("caught");
                });
                assert!(std::panic::catch_unwind(panics).is_err());
            });
            other.join().unwrap();
            if is_taken_again {
                let _ = lock.lock();
            }
        }
    };
    assert_eq!(run(past(false)).verdict(), Verdict::RetryProof);
    assert_eq!(error_of(past(true)), ModelError::Poisoned { thread: 0 });
}
