//! retryproof and the independent judge agree on random programs.
//!
//! `JUDGE_SEED=7 cargo test -p retryproof-independent-judge --test agreement` tries other programs.

use retryproof_independent_judge::compare::compare;
use retryproof_independent_judge::generate::program;
use retryproof_independent_judge::judge::gives_up_unprovoked;

/// The number of differences that are shrunk and shown.
const SHOWN: usize = 5;

fn seed() -> u64 {
    std::env::var("JUDGE_SEED").map_or(1, |text| text.parse().expect("JUDGE_SEED is a number"))
}

/// Compares a number of programs with up to `size` steps per job, and panics with the smallest versions of those on
/// which the two differ.
fn agree(programs: u64, size: usize, deviations: usize) {
    let seed = seed();
    let mut found = Vec::new();
    let (mut red, mut green) = (0, 0);
    for number in 0..programs {
        let program = program(seed, number, size);
        // Undecided: whether a job that also gives up in the fault-free run may do nothing after a fault. Here it may,
        // like any other job that gives up. retryproof requires what it does in the fault-free run.
        if gives_up_unprovoked(&program) {
            continue;
        }
        match compare(&program, deviations) {
            Ok(true) => red += 1,
            Ok(false) => green += 1,
            Err(difference) => {
                found.push(format!("--- seed {seed}, program {number}: {}", difference.shrunk()));
                if found.len() == SHOWN {
                    break;
                }
            }
        }
    }
    assert!(found.is_empty(), "the first {} differences:\n{}", found.len(), found.join("\n"));
    // A comparison of programs with equal verdicts shows nothing.
    assert!(red > programs / 10 && green > programs / 10, "{red} red and {green} green");
}

#[test]
fn on_programs_with_one_deviation() {
    agree(150, 4, 1);
}

#[test]
fn on_programs_with_two_deviations() {
    agree(25, 3, 2);
}

#[test]
#[ignore = "nightly: takes minutes, in release"]
fn on_many_programs() {
    agree(10_000, 8, 1);
    agree(1_000, 5, 2);
}
