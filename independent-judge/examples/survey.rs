//! Lists the programs on which retryproof and the independent judge differ: a few of each kind, after shrinking.
//!
//! `cargo run --release -p retryproof-independent-judge --example survey -- seed=1 from=0 programs=1000 size=4
//! deviations=1 most=3`

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::BTreeMap;

use retryproof_independent_judge::compare::compare;
use retryproof_independent_judge::generate::program;
use retryproof_independent_judge::program::{Policy, Step};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, otherwise: u64| {
        let word = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        word.map_or(otherwise, |word| word.parse().expect("a number"))
    };
    let only = words.iter().find_map(|word| word.strip_prefix("only="));
    let (seed, from, most) = (number("seed", 1), number("from", 0), number("most", 3));
    let (size, deviations) = (number("size", 4) as usize, number("deviations", 1) as usize);
    let mut sorts: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut green, mut red) = (0, 0);
    for n in from..from + number("programs", 1_000) {
        let mut program = program(seed, n, size);
        if words.iter().any(|word| word == "retry") {
            program.jobs.iter_mut().for_each(|job| job.policy = Policy::Retry);
        }
        if words.iter().any(|word| word == "nodraw") {
            let draws = |step: &Step| matches!(step, Step::Draw | Step::DrawStored(_));
            program.jobs.iter_mut().for_each(|job| job.steps.retain(|step| !draws(step)));
        }
        let Err(difference) = compare(&program, deviations) else {
            continue;
        };
        match difference.ours.is_red() {
            true => red += 1,
            false => green += 1,
        }
        let sort = difference.sort();
        let count = sorts.entry(sort).or_default();
        *count += 1;
        if *count <= most && only.is_none_or(|only| sort.contains(only)) {
            println!("--- seed {seed}, program {n}: {}", difference.shrunk());
        }
    }
    println!("{sorts:?}; of the programs that differ the judge calls {green} green and {red} red");
}
