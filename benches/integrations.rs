//! Measures runs per second with and without each integration: `cargo bench -p retryproof-benches --bench
//! integrations`. Each line is measured in its own process, in rounds, so that a slow minute of the machine affects
//! all lines. With `-- --test`, each runs once.
#![expect(clippy::print_stdout, reason = "a table on stdout is what this program is for")]
#![expect(clippy::disallowed_methods, reason = "what is measured is real time")]
#![allow(missing_docs, reason = "a program without an interface")]

mod job;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use retryproof::proptest::{Preemptions, Property, Scenarios};
use retryproof::service::payments::Charge;
use retryproof::{Explore, Report, ServiceError, World};
use tracing::{Instrument, info, info_span};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The lines of the table, each with the line to compare it with.
const LINES: [(&str, &str); 13] = [
    ("run", ""),
    ("check, nothing kept", "run"),
    ("check, as always", "run"),
    ("check with keep_regressions", "run"),
    ("check with ratchet", "run"),
    ("check with GITHUB_STEP_SUMMARY", "run"),
    ("run, report as text and JSON", "run"),
    ("a job that logs, no subscriber", ""),
    ("the same with the layer", "a job that logs, no subscriber"),
    ("the same with the layer and fmt", "a job that logs, no subscriber"),
    ("random scenarios", ""),
    ("the same as a property", "random scenarios"),
    ("attempts polled by hand (tokio-test)", ""),
];
const TURNS: usize = 9;
/// The number of explorations in a round.
const REPETITIONS: u32 = 5;

fn ten() -> Explore {
    Explore::new().name("ten").deviations(2)
}

/// Logs three events in a span, beside a call.
async fn logging(world: &World) {
    world.process("worker", |p| {
        let payments = p.payments();
        p.handle(async move |order: u32| {
            let work = async {
                info!(order, "charging");
                payments.charge(Charge::of_order(order, 500).key("k")).await?;
                info!(order, "charged");
                payments.charge(Charge::of_order(order, 700).key("l")).await?;
                info!("done");
                Ok::<(), ServiceError>(())
            };
            work.instrument(info_span!("order", order)).await
        });
    });
    world.enqueue(6_u32);
    world.settle().await;
}

fn logs() -> u64 {
    Explore::new().name("logs").deviations(2).run(logging).runs()
}

/// Does the work of a line, and returns the number of runs.
fn work(line: &str) -> u64 {
    let count = |report: Report| {
        assert!(report.is_retryproof(), "{report}");
        report.runs()
    };
    let cases = 2_000;
    match line {
        "run" => count(ten().run(job::ten_awaits)),
        "check with keep_regressions" => counted(ten().keep_regressions()),
        "check with ratchet" => counted(ten().ratchet()),
        "run, report as text and JSON" => {
            let report = ten().run(job::ten_awaits);
            std::hint::black_box((
                report.to_string(),
                serde_json::to_string(&report).expect("a report is JSON"),
            ));
            count(report)
        }
        "random scenarios" => ten().deviations(0).random(cases).run(job::ten_awaits).sampled(),
        "the same as a property" => {
            let property = Property::new().explore(ten()).cases(cases as u32);
            let property = property.scenarios(Scenarios::of(1..=3)).preemptions(Preemptions::of(0..=0));
            let held = property.run(0..10_u8, async |world: &World, _: &u8| job::ten_awaits(world).await);
            u64::from(held.expect("the job is retry-proof"))
        }
        "attempts polled by hand (tokio-test)" => by_hand(20_000),
        line if line.starts_with("check") => counted(ten()),
        _ => logs(),
    }
}

fn counted(explore: Explore) -> u64 {
    explore.check(job::ten_awaits);
    // As many as `run` reports.
    0
}

fn by_hand(attempts: u64) -> u64 {
    let world = World::fake();
    let (give, taken) = std::sync::mpsc::channel();
    world.process("worker", move |p| _ = give.send(p.payments()));
    let payments = taken.recv().expect("the process was booted");
    for order in 0..attempts {
        let charge = payments.charge(Charge::of_order(order, 500));
        let mut attempt = tokio_test::task::spawn(charge);
        while attempt.poll().is_pending() {}
    }
    attempts
}

/// Measures a line in its own process, in runs per second.
fn measure(line: &str, runs: u64) -> f64 {
    let layer = retryproof::tracing::ScenarioLayer::new();
    match line {
        "the same with the layer" => tracing_subscriber::registry().with(layer).init(),
        "the same with the layer and fmt" => {
            let fmt = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
            tracing_subscriber::registry().with(fmt).with(layer).init();
        }
        _ => {}
    }
    work(line);
    let start = Instant::now();
    let mut all = 0;
    for _ in 0..REPETITIONS {
        all += match work(line) {
            // `check` does not report the number.
            0 => runs,
            counted => counted,
        };
    }
    all as f64 / start.elapsed().as_secs_f64()
}

fn start(line: &str, runs: u64, folder: &Path) -> f64 {
    let mut command = Command::new(std::env::current_exe().expect("a program has a path"));
    command.args(["--line", line, &runs.to_string()]).env("CARGO_MANIFEST_DIR", folder);
    command.env_remove("CI").env_remove("GITHUB_STEP_SUMMARY").env("RETRYPROOF_KEEP", folder.join("kept"));
    match line {
        "check, nothing kept" => _ = command.env("RETRYPROOF_KEEP", "off"),
        "check with GITHUB_STEP_SUMMARY" => _ = command.env("GITHUB_STEP_SUMMARY", folder.join("summary.md")),
        _ => {}
    }
    let output = command.output().expect("the program starts itself");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("it prints a number")
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, flag, line, runs] = &arguments[..] {
        if flag == "--line" {
            return println!("{}", measure(line, runs.parse().expect("a number of runs")));
        }
    }
    let turns = if arguments.iter().any(|a| a == "--test" || a == "--quick") { 1 } else { TURNS };
    let folder = std::env::temp_dir().join(format!("retryproof-integrations-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("there is room for files");
    let runs = work("run");
    let mut figures = vec![Vec::new(); LINES.len()];
    for _ in 0..turns {
        for (figures, (line, _)) in figures.iter_mut().zip(LINES) {
            figures.push(start(line, runs, &folder));
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
    // The fastest round, because other load on the machine can only slow a round down.
    let best: Vec<f64> = figures.iter().map(|figures| figures.iter().copied().fold(0.0, f64::max)).collect();
    println!("{:<38} | a second | of the one without", "");
    for ((line, without), figure) in LINES.iter().zip(&best) {
        let base = LINES.iter().position(|(other, _)| other == without).map(|at| best[at]);
        let share = base.map(|base| format!("{:.2}", figure / base)).unwrap_or_default();
        println!("{line:<38} | {figure:>8.0} | {share}");
    }
}
