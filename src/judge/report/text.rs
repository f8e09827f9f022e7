//! The report as text: the bug is seen before it is read.

use super::explored::explored;
use super::{Code, Report, Showing, Verdict, Violation, Warning, crossing, source, timeline, words};

/// A timeline longer than this is cut in its middle, except in a replay.
const MOST_LINES: usize = 60;

struct Page {
    text: String,
    colour: bool,
}

impl Page {
    fn line(&mut self, text: impl AsRef<str>) {
        // A payload may be as long as it likes; what tells one from another stands at its beginning.
        const MOST: usize = 600;
        let text = text.as_ref().trim_end();
        match text.char_indices().nth(MOST) {
            Some((at, _)) => {
                self.text.push_str(&format!("{}… ({} bytes more)", &text[..at], text.len() - at))
            }
            None => self.text.push_str(text),
        }
        self.text.push('\n');
    }

    fn heading(&mut self, text: &str) {
        self.line("");
        let text = if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() };
        self.line(text);
    }

    fn red(&mut self, text: &str) {
        let text = if self.colour { format!("\x1b[31m{text}\x1b[0m") } else { text.to_owned() };
        self.line(text);
    }
}

pub(super) fn render(report: &Report, colour: bool) -> String {
    let mut page = Page { text: String::new(), colour };
    headline(report, &mut page);
    #[cfg(feature = "proptest")]
    if let Some(case) = &report.case {
        drawn(case, &mut page);
    }
    if let Some(showing) = &report.showing {
        show(report, showing, &mut page);
    }
    others(report, &mut page);
    warnings(report, &mut page);
    if !report.lines.is_empty() {
        page.heading("by line");
        report.lines.to_string().lines().for_each(|line| page.line(format!("  {line}")));
    }
    for note in &report.notes {
        page.line(format!("note: {note}"));
    }
    page.heading("explored");
    page.line(format!("  {}", explored(report)));
    if let Some(code) = report.code() {
        page.line("");
        page.line(code.advice(report.violations.first().and_then(keyless)));
    }
    page.text
}

fn headline(report: &Report, page: &mut Page) {
    let test = &report.test;
    let line = match report.verdict {
        Verdict::RetryProof => match report.share {
            Some(share) => format!("{test}: shard {share} shows nothing wrong"),
            None => format!("{test} is retry-proof"),
        },
        Verdict::Violated => format!("{test} is NOT retry-proof"),
        Verdict::NothingTested => format!("{test}: nothing was tested"),
        Verdict::Incomplete if report.replayed && report.reason.is_none() => {
            format!("{test}: replay of one scenario, which ends as if nothing had gone wrong")
        }
        Verdict::Incomplete if report.replayed => format!("{test}: replay of one scenario"),
        Verdict::Incomplete => format!("{test}: the exploration is incomplete"),
        Verdict::Nondeterministic => format!("{test} is not deterministic"),
        Verdict::Stuck => format!("{test} gets stuck"),
    };
    page.line(line);
    if let Some(reason) = &report.reason {
        page.line("");
        for line in reason.lines() {
            page.line(format!("  {line}"));
        }
    }
}

/// The data, where they were drawn.
#[cfg(feature = "proptest")]
fn drawn(case: &super::Case, page: &mut Page) {
    page.heading("the smallest case found");
    case.case.lines().for_each(|line| page.line(format!("  {line}")));
    let before = match case.held {
        0 => "the first case".to_owned(),
        1 => "after one case that held".to_owned(),
        held => format!("after {held} cases that held"),
    };
    page.line(format!("  seed {}, {before}", case.seed));
    if let Some(file) = &case.kept {
        page.line(format!("  kept in {file}: the next run of this test tries it first"));
    }
}

fn show(report: &Report, showing: &Showing, page: &mut Page) {
    let wrong = showing.findings.first().map(|first| (words::summary(first), showing.code_of(first)));
    if !showing.marks.is_empty() {
        page.line("");
        page.line(source::excerpt(
            wrong.as_ref().map(|(wrong, code)| (&**wrong, Some(*code))),
            &showing.marks,
            page.colour,
        ));
    } else if let Some((wrong, code)) = wrong {
        page.line("");
        page.line(format!("error[{code}]: {wrong}"));
    }
    page.heading("what happened");
    let lines = timeline::lines(&showing.events, &showing.repeated);
    let cut = if report.replayed { 0 } else { lines.len().saturating_sub(MOST_LINES) };
    for (index, line) in lines.iter().enumerate() {
        let from = MOST_LINES * 2 / 3;
        if cut > 0 && index == from {
            page.line(format!("  … {cut} more lines; the replay shows them all"));
        }
        if cut > 0 && (from..from + cut).contains(&index) {
            continue;
        }
        match line.deviation {
            true => page.red(&format!("  {}", line.text)),
            false => page.line(format!("  {}", line.text)),
        }
    }
    let crossings = crossing::crossings(&showing.events);
    if !showing.findings.is_empty() && !crossings.is_empty() {
        page.heading("what crossed");
        crossings.iter().flat_map(words::crossing).for_each(|line| page.line(format!("  {line}")));
    }
    if !showing.findings.is_empty() {
        page.heading("expected (when nothing goes wrong)");
        let pairs: Vec<_> = showing.findings.iter().map(words::expected_and_actual).collect();
        for (expected, _) in &pairs {
            page.line(format!("  {expected}"));
        }
        page.heading("actual");
        for (_, actual) in &pairs {
            page.red(&format!("  {actual}"));
        }
    }
    page.heading("replay");
    page.line(format!("  {}", report.replay_line(&showing.scenario)));
}

/// The effect that a violation is about, if it bore no key.
fn keyless(violation: &Violation) -> Option<&str> {
    violation.effect.as_deref().filter(|_| violation.bore_no_key)
}

fn others(report: &Report, page: &mut Page) {
    let shown = usize::from(report.showing.is_some());
    let others = report.violations.get(shown..).unwrap_or_default();
    if others.is_empty() {
        return;
    }
    page.heading("also");
    let mut told: Vec<&str> = Vec::new();
    for violation in others {
        if told.contains(&violation.summary.as_str()) {
            continue;
        }
        told.push(&violation.summary);
        page.line(format!("  {}", violation.summary));
        for same in others.iter().filter(|other| other.summary == violation.summary) {
            let place = same.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
            let cause = words::causes(&same.cause);
            page.line(format!("    - {}: {cause}{place}", same.code));
            page.line(format!("      RETRYPROOF_REPLAY='{}'", same.scenario));
        }
    }
    // That of the first one is the last line of the report.
    let mut advised: Vec<Code> = report.code().into_iter().collect();
    for violation in others {
        if !advised.contains(&violation.code) {
            advised.push(violation.code);
            page.line(format!("  {}", violation.code.advice(keyless(violation))));
        }
    }
}

/// One violation by itself, without its place in the code.
pub(super) fn of_violation(violation: &Violation) -> String {
    let Violation { code, summary, expected, actual, scenario, .. } = violation;
    let cause = words::causes(&violation.cause);
    format!(
        "{code}: {summary}\n  {cause}\n  expected: {expected}\n  actual: {actual}\n  RETRYPROOF_REPLAY='{scenario}'"
    )
}

fn warnings(report: &Report, page: &mut Page) {
    if report.warnings.is_empty() {
        return;
    }
    page.heading("warnings");
    for Warning { summary, advice, place } in &report.warnings {
        let place = place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
        page.line(format!("  {summary}{place}: {advice}"));
    }
}
