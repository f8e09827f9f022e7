//! An online shop: the job that completes an order, in three versions, each with every order of `fixtures/orders.json`.
//!
//! ```text
//! cargo run --example order_pipeline            # the reports
//! cargo run --example order_pipeline -- --json  # the same for programs
//! ```
//!
//! You will see three sections and a table. `naive` charges twice after a lost reply. `chain`, one job per call, still
//! enqueues twice and sends twice. `retryproof` has keys, look-ups and an outbox, and every scenario ends well.
//!
//! Start reading with `naive.rs`, then `chain.rs`, then `retry_proof.rs`.

mod order;
mod shop;
mod naive;
mod chain;
mod retry_proof;
mod versions;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use retryproof::{Report, Scenario, Verdict};

use order::Orders;
use versions::{Summary, Version, checks, sum_up};

const ORDERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/orders.json");
const REPLAY: &str = "RETRYPROOF_REPLAY";

const HELP: &str = "\
Checks three versions of an order job with the orders of fixtures/orders.json.

Usage: cargo run --example order_pipeline [-- OPTION]

Options:
  --json  print an array with a summary of each version
  --help  print this

Environment:
  RETRYPROOF_REPLAY='SCENARIO'  run that one scenario of a report again, and print nothing else
  NO_COLOR                      no colour on a terminal either

Exit code: 0 if each verdict is as it should be (naive and chain violated, retryproof retry-proof), otherwise 1;
of a replay: 0 if nothing is wrong in the scenario, 1 if something is. 2 if nothing could be checked.
";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let json = match arguments.iter().map(|a| a.to_str()).collect::<Vec<_>>()[..] {
        [] => false,
        [Some("--json")] => true,
        [Some("--help" | "-h")] => return print(HELP).map_or_else(|error| error, |()| ExitCode::SUCCESS),
        _ => {
            let given: Vec<_> = arguments.iter().map(|a| a.to_string_lossy()).collect();
            return refuse(&format!("unexpected argument: {}; try --help", given.join(" ")));
        }
    };
    run(json).unwrap_or_else(|code| code)
}

/// Reports as an exit code whether all verdicts are as expected, or whether that could not be determined.
fn run(json: bool) -> Result<ExitCode, ExitCode> {
    let orders = order::load(Path::new(ORDERS)).map_err(|error| refuse(&error.to_string()))?;
    let checks = checks(orders);
    match std::env::var_os(REPLAY) {
        Some(scenario) => replay(&scenario.to_string_lossy(), &checks, json),
        None => explore(&checks, json),
    }
}

fn explore(checks: &[Orders], json: bool) -> Result<ExitCode, ExitCode> {
    let orders = checks.iter().map(Orders::len).sum();
    // Hides itself if stderr is not a terminal.
    let bar = ProgressBar::new((checks.len() * Version::ALL.len()) as u64);
    bar.set_style(
        ProgressStyle::with_template("{spinner} {bar:30} {pos}/{len} checks, {msg}")
            .expect("the template is well formed"),
    );
    let bar = &bar;
    // One thread for each version. The last version is half of the work.
    let summaries = std::thread::scope(|scope| {
        let under_way =
            Version::ALL.map(|version| (version, scope.spawn(move || check_all(version, checks, bar))));
        let mut summaries = Vec::new();
        for (version, reports) in under_way {
            let reports = reports.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let summary = sum_up(version, orders, reports).ok_or_else(|| refuse("there are no orders"))?;
            if !json {
                bar.suspend(|| print(&section(version, &summary)))?;
            }
            summaries.push((version, summary));
        }
        Ok::<_, ExitCode>(summaries)
    })?;
    bar.finish_and_clear();
    if json {
        print_json(summaries.iter().map(|(_, summary)| summary))?;
    } else {
        print(&table(&summaries))?;
    }
    let expected = summaries.iter().all(|(version, summary)| summary.verdict == version.should_be());
    Ok(ExitCode::from(u8::from(!expected)))
}

fn check_all(version: Version, checks: &[Orders], bar: &ProgressBar) -> Vec<Report> {
    let check = |orders: &Orders| {
        bar.set_message(version.name_of(orders));
        let report = version.check(orders);
        bar.inc(1);
        report
    };
    checks.iter().map(check).collect()
}

/// Replays one scenario. The exploration itself reads it from the environment. This only finds the check that it
/// belongs to.
fn replay(text: &str, checks: &[Orders], json: bool) -> Result<ExitCode, ExitCode> {
    let scenario: Scenario = text.parse().map_err(|error| refuse(&format!("{REPLAY}: {error}")))?;
    let mut all = Version::ALL.iter().flat_map(|&version| checks.iter().map(move |orders| (version, orders)));
    let named = all.find(|(version, orders)| version.name_of(orders) == scenario.test());
    let (version, orders) = named.ok_or_else(|| {
        let (test, like) = (scenario.test(), Version::Naive.name_of(&checks[0]));
        refuse(&format!("{REPLAY}: there is no check `{test}`; their names are like `{like}`"))
    })?;
    let report = version.check(orders);
    let summary = sum_up(version, orders.len(), vec![report]).expect("there is one report");
    if json {
        print_json(std::iter::once(&summary))?;
    } else {
        print(&text_of(&summary.report))?;
    }
    Ok(ExitCode::from(match (summary.verdict, summary.report.reason()) {
        (Verdict::RetryProof, _) => 0,
        (Verdict::Violated | Verdict::Stuck, _) => 1,
        _ => 2,
    }))
}

/// The output for a version.
fn section(version: Version, summary: &Summary) -> String {
    let title = format!("{}: {}", version.name(), version.explained());
    let rule = "─".repeat(title.chars().count());
    let explored = explored(summary);
    match summary.verdict {
        Verdict::RetryProof => format!(
            "{title}\n{rule}\n\nretry-proof: {explored}.\nEach run ended as if nothing had gone wrong.\n\n"
        ),
        verdict => {
            let violated = verdict == Verdict::Violated;
            let what = if violated { "The smallest scenario that fails" } else { "The report" };
            let report = text_of(&summary.report);
            format!("{title}\n{rule}\n\n{verdict:?}: {explored}.\n{what}:\n\n{report}\n")
        }
    }
}

fn explored(summary: &Summary) -> String {
    let Summary { orders, runs, merged, deviations, .. } = summary;
    let which = match summary.exhausted {
        true => format!("These are all scenarios of up to {deviations} deviations"),
        false => "The search of an order stops where the fewest deviations show a bug".to_owned(),
    };
    format!("{runs} runs of {orders} orders, and {merged} that were merged with one of them.\n{which}")
}

fn table(summaries: &[(Version, Summary)]) -> String {
    let line = |(version, summary): &(Version, Summary)| {
        let Summary { name, verdict, runs, violations, .. } = summary;
        let verdict = format!("{verdict:?}");
        let judged =
            if summary.verdict == version.should_be() { "as it should be" } else { "NOT as it should be" };
        format!(
            "{name:<12}{verdict:<14}{runs:>8} runs {:>3} kinds of violation   {judged}\n",
            violations.len()
        )
    };
    summaries.iter().map(line).collect()
}

fn text_of(report: &Report) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    if std::io::stdout().is_terminal() && !plain { report.to_ansi() } else { report.to_string() }
}

fn print_json<'s>(summaries: impl Iterator<Item = &'s Summary>) -> Result<(), ExitCode> {
    let summaries: Vec<_> = summaries.collect();
    let text = serde_json::to_string_pretty(&summaries).map_err(|error| refuse(&error.to_string()))?;
    print(&format!("{text}\n"))
}

/// Prints to stdout. A reader may close the pipe early (`| head`), which must not cause a panic.
fn print(text: &str) -> Result<(), ExitCode> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| refuse(&error.to_string()))
}

fn refuse(reason: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "order_pipeline: {reason}");
    ExitCode::from(2)
}
