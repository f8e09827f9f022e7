//! retryproof and the independent judge agree.

use retryproof_independent_judge::compare::compare;
use retryproof_independent_judge::generate::program;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Compares programs, and panics with the smallest versions of those on which the two differ.
fn agree(seed: u64, from: u64, programs: u64, size: usize, deviations: usize, most: usize) {
    let mut found = String::new();
    let mut count = 0;
    for n in from..from + programs {
        if let Some(difference) = compare(&program(seed, n, size), deviations) {
            found += &format!("--- seed {seed}, program {n}: {}\n", difference.shrunk());
            count += 1;
            if count == most {
                break;
            }
        }
    }
    assert!(count == 0, "{count} differences\n{found}");
}

#[test]
fn on_small_programs() {
    let (seed, from) = (number("JUDGE_SEED", 1), number("JUDGE_FROM", 0));
    agree(seed, from, number("JUDGE_PROGRAMS", 200), number("JUDGE_SIZE", 4) as usize, number("JUDGE_DEVIATIONS", 1) as usize, number("JUDGE_MOST", 5) as usize);
}
