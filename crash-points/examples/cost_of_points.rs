//! Measures the cost of a point: `cargo run --release --example cost_of_points --features enabled`.
#![expect(clippy::print_stdout, reason = "to print is what it is for")]
#![expect(clippy::disallowed_methods, reason = "to take the time is what it is for")]

use std::hint::black_box;
use std::time::Instant;

use crash_points::{Point, crash_points};

const ROUNDS: u32 = 20_000_000;
const POINTS: u32 = 10;

/// Ten points around the smallest code that a compiler does not remove.
macro_rules! ten_statements {
    ($(#[$attribute:ident])? $name:ident) => {
        $(#[$attribute])?
        #[inline(never)]
        fn $name(mut x: u32) -> u32 {
            x = black_box(x + 1);
            x = black_box(x + 1);
            x = black_box(x + 1);
            x = black_box(x + 1);
            x = black_box(x + 1);
            x = black_box(x + 1);
            x = black_box(x + 1);
            x = black_box(x + 1);
            x = black_box(x + 1);
            x
        }
    };
}

ten_statements!(plain);
ten_statements!(
    #[crash_points]
    annotated
);

/// The minimum of seven measurements, in nanoseconds per call.
fn nanoseconds(f: fn(u32) -> u32) -> f64 {
    let measure = || {
        let start = Instant::now();
        for round in 0..ROUNDS {
            black_box(f(round));
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
    };
    (0..7).map(|_| measure()).fold(f64::INFINITY, f64::min)
}

fn empty(_: Point) {}

fn main() {
    const { assert!(crash_points::ENABLED, "nothing to measure") }
    let plain = nanoseconds(plain);
    let inactive = nanoseconds(annotated);
    crash_points::listen(Some(empty));
    let active = nanoseconds(annotated);
    let a_point = |with: f64| (with - plain) / f64::from(POINTS);
    println!("plain function           {plain:6.2} ns a call");
    println!("an inactive point        {:6.2} ns", a_point(inactive));
    println!("a point, empty listener  {:6.2} ns", a_point(active));
}
