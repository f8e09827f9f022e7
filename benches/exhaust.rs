//! Counts and times the runs until exhaustion: `cargo bench -p retryproof-benches --bench exhaust`, or in debug
//! `cargo bench --profile dev --bench exhaust`. With `-- --test`, it stops at two deviations.
#![expect(clippy::print_stdout, reason = "a table on stdout is what this program is for")]
#![expect(clippy::disallowed_methods, reason = "what is measured is real time")]
#![allow(missing_docs, reason = "a program without an interface")]

mod job;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use retryproof::{Explore, Verdict, World};

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
    println!("overlapping jobs |    runs | orders run |   time (median)");
    for jobs in 2..=7 {
        overlapping(jobs, if quick { 1 } else { 21 });
    }
}

/// Jobs that overlap, and write one row: each order of them is right, and has an end of its own.
fn overlapping(jobs: u32, repetitions: usize) {
    let (mut runs, mut orders) = (0, 0);
    let mut times: Vec<Duration> = (0..repetitions)
        .map(|_| {
            let begun = AtomicU64::new(0);
            let start = Instant::now();
            let report = Explore::new().deviations(1).name("overlapping").run(async |world: &World| {
                begun.fetch_add(1, Ordering::Relaxed);
                world.store();
                world.process("worker", move |p| {
                    p.slots(jobs as usize);
                    let store = p.store();
                    p.handle(async move |number: u32| store.put("row", &number).await);
                });
                world.enqueue_bulk(1..=jobs);
                world.settle().await;
            });
            let time = start.elapsed();
            assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
            // The others are the fault-free runs of orders, one job at a time, and the fault-free run once more.
            (runs, orders) = (report.runs(), begun.into_inner() - report.runs());
            time
        })
        .collect();
    times.sort();
    let median = times[times.len() / 2];
    println!("{jobs:>16} | {runs:>7} | {orders:>10} | {:>12.3} ms", median.as_secs_f64() * 1e3);
}
