//! Times an exploration on one thread and on several: `cargo bench -p retryproof-benches --bench threads`. With `--
//! --test`, once and smaller.
#![expect(clippy::print_stdout, reason = "a table on stdout is what this program is for")]
#![expect(clippy::disallowed_methods, reason = "what is measured is real time")]
#![allow(missing_docs, reason = "a program without an interface")]

mod job;

use std::time::{Duration, Instant};

use retryproof::{Explore, Report};

/// Explores, and returns the time.
fn explore(deviations: usize, max_runs: u64, threads: usize) -> (Duration, Report) {
    let settings = Explore::new().deviations(deviations).max_runs(max_runs).threads(threads).name("ten");
    let start = Instant::now();
    let report = settings.run(job::ten_awaits);
    (start.elapsed(), report)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--test" || argument == "--quick");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{cores} cores");
    println!("deviations |     runs | threads | time (median) | times as fast");
    for (deviations, max_runs, rounds) in [(2, u64::MAX, 15), (3, 60_000, 7)] {
        if quick && deviations > 2 {
            break;
        }
        // In turn, so that other load affects both.
        let mut times = [const { Vec::new() }; 2];
        let mut runs = 0;
        for _ in 0..if quick { 1 } else { rounds } {
            let (one, alone) = explore(deviations, max_runs, 1);
            let (two, together) = explore(deviations, max_runs, 2);
            assert_eq!(alone.to_string(), together.to_string());
            runs = alone.runs();
            times[0].push(one);
            times[1].push(two);
        }
        let [one, two] = times.map(median);
        for (threads, time) in [(1, one), (2, two)] {
            let faster = one.as_secs_f64() / time.as_secs_f64();
            let ms = time.as_secs_f64() * 1e3;
            println!("{deviations:>10} | {runs:>8} | {threads:>7} | {ms:>10.2} ms | {faster:>6.2}");
        }
    }
}
