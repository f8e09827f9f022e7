//! The most memory that an exploration holds: `cargo bench --bench memory`. Linux only: it reads `VmHWM`. Each size
//! is explored by a process of its own. With `-- --test` a thousand runs are the most.
#![expect(clippy::print_stdout, reason = "a table on stdout is what this program is for")]
#![allow(missing_docs, reason = "a program without an interface")]

mod job;

use std::process::Command;

use retryproof::Explore;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--runs") {
        return explore(arguments[at + 1].parse().expect("a number of runs"));
    }
    let quick = arguments.iter().any(|argument| argument == "--test" || argument == "--quick");
    println!("     runs | peak memory (KiB)");
    let sizes: &[u64] = if quick { &[1, 1_000] } else { &[1, 10_000, 1_000_000] };
    for runs in sizes {
        let own = std::env::current_exe().expect("the path of this program");
        let output = Command::new(own).args(["--runs", &runs.to_string()]).output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        println!("{runs:>9} | {:>9}", String::from_utf8_lossy(&output.stdout).trim());
    }
}

fn explore(runs: u64) {
    let report = Explore::new().deviations(4).max_runs(runs).name("memory").run(job::ten_awaits);
    assert_eq!(report.runs(), runs, "{report}");
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown");
    println!("{}", peak.trim().trim_end_matches(" kB"));
}
