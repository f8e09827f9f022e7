//! Measures the peak memory of an exploration: `cargo bench -p retryproof-benches --bench memory`. Linux only, because
//! it reads `VmHWM`. Each size has its own process. With `-- --test`, the largest has a thousand runs. Then measures a
//! queued job.
#![expect(clippy::print_stdout, reason = "a table on stdout is what this program is for")]
#![allow(missing_docs, reason = "a program without an interface")]

mod job;

use std::process::Command;

use retryproof::{Explore, World};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--runs") {
        return explore(arguments[at + 1].parse().expect("a number of runs"));
    }
    if let Some(at) = arguments.iter().position(|argument| argument == "--queued") {
        return queued(arguments[at + 1].parse().expect("a number of jobs"));
    }
    let quick = arguments.iter().any(|argument| argument == "--test" || argument == "--quick");
    println!("     runs | peak memory (KiB)");
    let sizes: &[u64] = if quick { &[1, 1_000] } else { &[1, 10_000, 1_000_000] };
    for runs in sizes {
        println!("{runs:>9} | {:>9}", own_process("--runs", *runs));
    }
    let jobs = if quick { 10_000 } else { 1_000_000 };
    println!("a queued job takes {} bytes, of {jobs}", own_process("--queued", jobs));
}

/// Returns the output of this program with this argument.
fn own_process(argument: &str, number: u64) -> String {
    let own = std::env::current_exe().expect("the path of this program");
    let output = Command::new(own).args([argument, &number.to_string()]).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Returns the memory that is held now, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    1_024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB")
}

/// Enqueues jobs with payloads of eight digits, all different.
fn queued(jobs: u64) {
    let world = World::fake();
    let before = resident();
    for job in 0..jobs {
        world.enqueue(10_000_000 + job);
    }
    println!("{}", (resident() - before) / jobs);
    assert_eq!(world.stats().enqueued as u64, jobs);
}

fn explore(runs: u64) {
    let report = Explore::new().deviations(4).max_runs(runs).name("memory").run(job::ten_awaits);
    assert_eq!(report.runs(), runs, "{report}");
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown");
    println!("{}", peak.trim().trim_end_matches(" kB"));
}
