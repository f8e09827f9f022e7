//! The list of checks: as a table, and as JSON (`docs/cargo-retryproof.schema.json`).

use std::cmp::Reverse;
use std::io::Write;

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::results::TestResult;
use crate::text::{duration, in_one_line};

/// The number of slow checks that are named.
const MOST_SLOW: usize = 3;
/// Faster checks are not worth naming.
const SLOW: u64 = 1_000;

/// Prints the checks.
pub(crate) fn print(results: &[TestResult], is_json: bool, out: &mut impl Write) -> Result<(), Failure> {
    if is_json {
        serde_json::to_writer_pretty(&mut *out, &document(results)).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    let name = |result: &TestResult| in_one_line(&result.report.test);
    let widest = results.iter().map(|result| name(result).chars().count()).max().unwrap_or(0).min(60);
    let mut slowest: Vec<&TestResult> = results.iter().collect();
    slowest.sort_by_key(|result| Reverse(result.measured.milliseconds));
    for result in &slowest {
        let (name, verdict) = (name(result), verdict(result));
        let (runs, took) = (result.report.runs, duration(result.measured.milliseconds));
        writeln!(out, "{name:<widest$}  {runs:>9} runs  {took:>9}  {verdict}")?;
    }
    let failed = results.iter().filter(|result| !result.passes).count();
    writeln!(out, "{} checks, {failed} failed", results.len())?;
    slowest.retain(|result| result.measured.milliseconds >= SLOW);
    let slow: Vec<_> = slowest.iter().take(MOST_SLOW).map(|result| name(result)).collect();
    if !slow.is_empty() {
        writeln!(out, "slowest: {}", slow.join(", "))?;
    }
    Ok(())
}

/// `retry-proof`, `violated RP0002`, `violated RP0002 (recorded)`
fn verdict(result: &TestResult) -> String {
    let code = result.code.as_ref().map(|code| format!(" {code}")).unwrap_or_default();
    let verdict = match result.report.verdict.as_str() {
        "RetryProof" => "retry-proof".to_owned(),
        other => in_one_line(&format!("{}{code}", other.to_lowercase())),
    };
    let shown = if result.replayed { " (one scenario)" } else { "" };
    match (result.passes, result.report.verdict.as_str()) {
        (true, "Violated") => format!("{verdict} (recorded){shown}"),
        _ => format!("{verdict}{shown}"),
    }
}

fn document(results: &[TestResult]) -> Value {
    let checks: Vec<Value> = results.iter().map(check).collect();
    let failed = results.iter().filter(|result| !result.passes).count();
    json!({ "format": 1, "checks": checks, "failed": failed })
}

fn check(result: &TestResult) -> Value {
    let report = &result.report;
    let violations = report.violations.iter().map(|violation| {
        json!({
            "code": violation.code,
            "summary": violation.summary,
            "scenario": violation.scenario,
            "causes": violation.cause,
            "place": violation.place,
            "runs": violation.runs,
            "help": violation.help,
        })
    });
    json!({
        "name": report.test,
        "package": result.package,
        "binary": result.binary,
        "verdict": report.verdict,
        "passes": result.passes,
        "replayed": result.replayed,
        "code": result.code,
        "reason": report.reason,
        "runs": report.runs,
        "deviations": report.deviations,
        "exhausted": report.exhausted,
        "milliseconds": result.measured.milliseconds,
        "violations": violations.collect::<Vec<_>>(),
    })
}
