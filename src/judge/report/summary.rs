//! A report as Markdown, for the page of a CI run.

use super::explored::explored;
use super::{Report, Verdict};

/// Characters of a report's text in a summary. The page of a step takes a megabyte in all.
const MOST_TEXT: usize = 30_000;

/// The summary of one test: a line where it passes, otherwise what is wrong, with the report folded up below.
///
/// `added`: what is to be said beside the report, a line each.
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
            [] => "when nothing goes wrong".to_owned(),
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

/// What a test that passes says of itself, on one line.
pub(crate) fn one_line(report: &Report) -> String {
    let line = format!("{} is {}: {}", report.test, known(report.verdict), runs(report));
    match report.unexplored.as_slice() {
        [] => line,
        unexplored => format!("{line}; not explored: {}", unexplored.join(", ")),
    }
}

/// The verdict with which a test passes.
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

/// Text in which nothing is Markdown or HTML.
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

/// Text as code, whatever backticks are in it.
fn code(text: &str) -> String {
    let fence = "`".repeat(longest_run(text) + 1);
    let blank = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{blank}{text}{blank}{fence}")
}

/// The most backticks that stand side by side.
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
