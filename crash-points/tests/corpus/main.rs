//! One source, compiled twice: with points (`annotated`) and without (`plain`). Both must do the same, to the order in
//! which temporaries are dropped. The zoo is in the folder of that name.
//!
//! Needs Rust 1.88 for the let chains among the specimens; the crates themselves do not.
#![allow(
    clippy::all,
    clippy::todo,
    reason = "the specimens are odd on purpose, and each file is loaded twice"
)]

mod support;
/// The zoo with the attribute that leaves everything alone.
#[path = "zoo"]
mod plain {
    use plain_attribute::crash_points;

    pub(crate) mod asynchronous;
    pub(crate) mod control;
    pub(crate) mod generated;
    pub(crate) mod items;
    pub(crate) mod lifetimes;
}
/// The zoo with the attribute that is tested.
#[path = "zoo"]
mod annotated {
    use crash_points::crash_points;

    pub(crate) mod asynchronous;
    pub(crate) mod control;
    pub(crate) mod generated;
    pub(crate) mod items;
    pub(crate) mod lifetimes;
}

use support::{Specimen, behaviour};

fn all(of: [&'static [Specimen]; 5]) -> Vec<Specimen> {
    of.concat()
}

fn plain_specimens() -> Vec<Specimen> {
    use plain::{asynchronous, control, generated, items, lifetimes};
    all([
        asynchronous::ALL,
        control::ALL,
        generated::ALL,
        items::ALL,
        lifetimes::ALL,
    ])
}

fn annotated_specimens() -> Vec<Specimen> {
    use annotated::{asynchronous, control, generated, items, lifetimes};
    all([
        asynchronous::ALL,
        control::ALL,
        generated::ALL,
        items::ALL,
        lifetimes::ALL,
    ])
}

/// Small numbers meet every branch; the rest meets overflow and the like.
fn inputs() -> impl Iterator<Item = i64> {
    (-20..=60).chain([i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX, 1 << 32, -(1 << 32)])
}

#[test]
fn the_zoo_is_large() {
    assert!(plain_specimens().len() >= 40, "{}", plain_specimens().len());
}

#[test]
fn points_change_nothing() {
    support::silence_panics();
    for (plain, annotated) in plain_specimens().iter().zip(annotated_specimens()) {
        assert_eq!(plain.0, annotated.0);
        for input in inputs() {
            assert_eq!(
                behaviour(plain, input),
                behaviour(&annotated, input),
                "{} with {input}",
                plain.0
            );
        }
    }
}

#[test]
fn specimens_depend_on_their_input() {
    // Otherwise `points_change_nothing` would compare next to nothing.
    support::silence_panics();
    for specimen in plain_specimens() {
        let mut seen: Vec<String> = inputs().map(|input| behaviour(&specimen, input)).collect();
        seen.sort();
        seen.dedup();
        assert!(seen.len() > 1, "{} always does {:?}", specimen.0, seen[0]);
    }
}

#[cfg(feature = "enabled")]
mod counted {
    use std::cell::Cell;

    use super::*;

    thread_local! { static PASSED: Cell<u32> = const { Cell::new(0) } }

    fn passed(specimen: &Specimen) -> u32 {
        PASSED.set(0);
        let former = crash_points::listen(Some(|_| PASSED.set(PASSED.get() + 1)));
        inputs().for_each(|input| drop(behaviour(specimen, input)));
        crash_points::listen(former);
        PASSED.get()
    }

    #[test]
    fn every_annotated_specimen_has_points_and_no_plain_one() {
        support::silence_panics();
        for specimen in annotated_specimens() {
            assert!(passed(&specimen) as usize >= inputs().count(), "{}", specimen.0);
        }
        for specimen in plain_specimens() {
            assert_eq!(passed(&specimen), 0, "{}", specimen.0);
        }
    }
}
