//! The listener of points, and what it may do.
#![cfg(feature = "enabled")]
#![allow(clippy::let_and_return, reason = "a `let` and a tail are two points")]

use std::cell::Cell;
use std::panic::{catch_unwind, resume_unwind};

use crash_points::{Listener, Point, crash_points, listen};

thread_local! {
    static HEARD: Cell<u32> = const { Cell::new(0) };
    static NEVER_HEARD: Cell<u32> = const { Cell::new(0) };
}

fn count(_: Point) {
    HEARD.set(HEARD.get() + 1);
}

fn count_elsewhere(_: Point) {
    NEVER_HEARD.set(NEVER_HEARD.get() + 1);
}

#[crash_points]
fn three() -> u32 {
    let a = 1;
    let b = 2;
    a + b
}

#[test]
fn points_are_on() {
    const { assert!(crash_points::ENABLED) }
}

#[test]
fn nobody_listens_at_first_and_after_none() {
    assert!(listen(None).is_none());
    three();
    assert_eq!(HEARD.get(), 0);
    listen(Some(count));
    three();
    assert_eq!(HEARD.get(), 3);
    listen(None);
    three();
    assert_eq!(HEARD.get(), 3);
}

#[test]
fn listen_returns_the_former() {
    let same = |a: Option<Listener>, b: Listener| a.is_some_and(|a| std::ptr::fn_addr_eq(a, b));
    assert!(listen(Some(count)).is_none());
    assert!(same(listen(Some(count_elsewhere)), count));
    assert!(same(listen(None), count_elsewhere));
    assert!(listen(None).is_none());
}

#[test]
fn a_listener_hears_its_own_thread_only() {
    listen(Some(count));
    std::thread::spawn(three).join().expect("it does not panic");
    assert_eq!(HEARD.get(), 0);
    three();
    assert_eq!(HEARD.get(), 3);
}

#[test]
fn a_listener_may_unwind() {
    listen(Some(|point| {
        count(point);
        if point.ordinal == 1 {
            resume_unwind(Box::new("crash"));
        }
    }));
    let end = catch_unwind(three);
    assert_eq!(
        *end.expect_err("it crashed").downcast::<&str>().expect("our payload"),
        "crash"
    );
    assert_eq!(HEARD.get(), 2);
}

#[test]
fn a_listener_may_change_the_listener() {
    listen(Some(|point| {
        count(point);
        listen(None);
    }));
    three();
    assert_eq!(HEARD.get(), 1);
}

#[test]
fn points_pass_in_the_destructors_of_thread_locals() {
    struct AtTheEnd;
    impl Drop for AtTheEnd {
        fn drop(&mut self) {
            assert_eq!(three(), 3);
        }
    }
    thread_local! { static LAST: AtTheEnd = const { AtTheEnd } }
    let thread = std::thread::spawn(|| {
        LAST.with(|_| ());
        listen(Some(|_| ()));
        LAST.with(|_| ());
    });
    thread.join().expect("points do not panic while a thread ends");
}
