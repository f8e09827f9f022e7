//! Renders a report as Markdown, for the summary page of a CI run.

use super::explored::explored;
use super::{Report, Verdict};

/// The limit for a report's text, in characters. GitHub limits the summary of a step to 1 MiB.
const MOST_TEXT: usize = 30_000;

/// Summarizes one test: one line if it passes, otherwise its violations with the folded report below.
///
/// `added` are lines to print in addition to the report.
pub(crate) fn markdown(report: &Report, passes: bool, added: &[String]) -> String {
    let test = code(&report.test);
    let runs = runs(report);
    if passes {
        let known = if report.replayed { "replay of one scenario" } else { known(report.verdict) };
        let mut text = format!("- ✅ {test}: {known} ({runs})\n");
        added.iter().for_each(|line| text.push_str(&format!("  - {}\n", plain(line))));
        return text;
    }
    let verdict = match report.verdict {
        Verdict::Violated => "is **not retry-proof**",
        Verdict::NothingTested => "tested **nothing**",
        Verdict::Incomplete => "is **incomplete**",
        Verdict::Nondeterministic => "is **not deterministic**",
        Verdict::Stuck => "gets **stuck**",
        Verdict::RetryProof => "covers **less than recorded**",
    };
    let mut text = format!("- ❌ {test} {verdict} ({runs})\n");
    if let Some(reason) = report.reason.as_ref().and_then(|reason| reason.lines().next()) {
        text.push_str(&format!("  - {}\n", plain(reason)));
    }
    for violation in &report.violations {
        let place = violation.place.as_ref().map(|place| format!(" ({})", code(place))).unwrap_or_default();
        let cause = match violation.cause.as_slice() {
            [] => "in the fault-free run".to_owned(),
            cause => cause.join("; then "),
        };
        text.push_str(&format!("  - {}: {}{place}\n", plain(&violation.summary), plain(&cause)));
        text.push_str(&format!("    {}\n", code(&format!("RETRYPROOF_REPLAY='{}'", violation.scenario))));
    }
    added.iter().for_each(|line| text.push_str(&format!("  - {}\n", plain(line))));
    let whole = report.to_string();
    let shown = match whole.char_indices().nth(MOST_TEXT) {
        Some((at, _)) => format!("{}…\n", &whole[..at]),
        None => whole,
    };
    let fence = "`".repeat(3.max(longest_run(&shown) + 1));
    let block: String = format!("{fence}text\n{shown}{fence}").lines().map(|l| format!("  {l}\n")).collect();
    text.push_str(&format!("\n  <details><summary>report</summary>\n\n{block}\n  </details>\n\n"));
    text
}

/// Returns the line that a passing test prints.
pub(crate) fn one_line(report: &Report) -> String {
    let line = format!("{} is {}: {}", report.test, known(report.verdict), runs(report));
    match report.unexplored.as_slice() {
        [] => line,
        unexplored => format!("{line}; not explored: {}", unexplored.join(", ")),
    }
}

/// Names the verdict of a passing test.
fn known(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Violated => "not retry-proof, as recorded",
        Verdict::Incomplete => "incomplete, which the test allows",
        _ => "retry-proof",
    }
}

fn runs(report: &Report) -> String {
    explored(report).lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// Escapes Markdown and HTML.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' => plain.extend(['\\', c]),
            '&' => plain.push_str("&amp;"),
            '\n' | '\r' => plain.push(' '),
            c => plain.push(c),
        }
    }
    plain
}

/// Formats a text as inline code, even if it contains backticks.
fn code(text: &str) -> String {
    let fence = "`".repeat(longest_run(text) + 1);
    let blank = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{blank}{text}{blank}{fence}")
}

/// Returns the length of the longest run of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markdown() {
        assert_eq!(plain("a_b <c> `d` & *e*\nf"), "a\\_b \\<c\\> \\`d\\` &amp; \\*e\\* f");
        assert_eq!(code("a::b"), "`a::b`");
        assert_eq!(code("a `b` ``c``"), "``` a `b` ``c`` ```");
        assert_eq!(longest_run("no"), 0);
    }
}
