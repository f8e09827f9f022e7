//! Counts and times the runs until exhaustion: `cargo bench -p retryproof-benches --bench exhaust`, or in debug
//! `cargo bench --profile dev --bench exhaust`. With `-- --test`, it stops at two deviations.
#![expect(clippy::print_stdout, reason = "a table on stdout is what this program is for")]
#![expect(clippy::disallowed_methods, reason = "what is measured is real time")]
#![allow(missing_docs, reason = "a program without an interface")]

mod job;

use std::time::{Duration, Instant};

use retryproof::{Explore, Verdict};

fn main() {
    let quick = std::env::args().any(|argument| argument == "--test" || argument == "--quick");
    println!("deviations |      runs |   time (median) | µs a run");
    for (deviations, repetitions) in [(1, 101), (2, 21), (3, 3)] {
        if quick && deviations == 3 {
            break;
        }
        let mut runs = 0;
        let mut times: Vec<Duration> = (0..if quick { 1 } else { repetitions })
            .map(|_| {
                let start = Instant::now();
                let report = Explore::new().deviations(deviations).name("ten").run(job::ten_awaits);
                let time = start.elapsed();
                assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
                runs = report.runs();
                time
            })
            .collect();
        times.sort();
        let median = times[times.len() / 2];
        let each = median.as_secs_f64() * 1e6 / runs as f64;
        println!("{deviations:>10} | {runs:>9} | {:>12.3} ms | {each:>8.2}", median.as_secs_f64() * 1e3);
    }
}
