//! Points add no warning, not even where all are forbidden.
#![deny(warnings)]
#![forbid(
    missing_docs,
    unreachable_code,
    unreachable_pub,
    unsafe_code,
    unused_lifetimes,
    unused_qualifications,
    unused_results,
    variant_size_differences
)]
#![warn(let_underscore, rust_2018_idioms, rust_2021_compatibility)]

use crash_points::crash_points;

#[crash_points]
fn empty() {}

#[crash_points]
fn all_configured_away() {
    #[cfg(any())]
    {
        missing();
    }
}

#[crash_points]
fn endless(mut turns: u32) -> ! {
    loop {
        turns += 1;
        if turns == 3 {
            std::process::exit(0);
        }
    }
}

#[crash_points]
fn tail_never(x: u32) -> u32 {
    if x == 7 {
        std::process::exit(0)
    }
    match x {
        0 => unreachable!(),
        1 => {
            panic!("one");
        }
        _ => x,
    }
}

#[crash_points]
fn unfinished(x: u32) -> Result<u32, String> {
    let _x = x;
    todo!()
}

#[crash_points]
fn only_a_return() -> u32 {
    return 1;
}

#[crash_points]
fn names(line: u32) -> u32 {
    // The names that the generated code uses are the user's to use, too.
    let column = line;
    let hit = |column| {
        let line = column;
        line + 1
    };
    let _ = (file(), Function { name: 1 }.name);
    hit(column)
}

fn file() -> u32 {
    1
}

struct Function {
    name: u32,
}

/// Shadows what the points' places are told by.
macro_rules! line {
    () => {
        "the user's macro, and no number"
    };
}

#[crash_points]
fn shadowed_macros() -> &'static str {
    let a = line!();
    a
}

mod core {}

#[crash_points]
fn outer() -> u32 {
    #[crash_points]
    fn inner() -> u32 {
        let a = 1;
        a + 1
    }
    let a = inner();
    a + 1
}

fn main() {
    empty();
    all_configured_away();
    let _ = (tail_never(2), names(1), outer(), only_a_return(), shadowed_macros());
    let _: fn(u32) -> Result<u32, String> = unfinished;
    endless(0);
}
