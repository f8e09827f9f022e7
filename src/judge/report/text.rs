//! Renders a report as text.

use std::borrow::Cow;

use super::explored::explored;
use super::{Report, ShownRun, Verdict, Violation, crossing, source, timeline, words};
use crate::search::scenario::Scenario;

/// The maximum number of lines of a timeline. A longer one is cut in the middle, except in a replay.
const MOST_LINES: usize = 60;
/// The maximum number of columns of a line, except in a replay.
const MOST_COLUMNS: usize = 100;
/// The maximum number of columns of a line that ends in a request, a reply or a payload, except in a replay.
const MOST_REQUEST_COLUMNS: usize = 80;
/// If this variable is set and not empty, a report prints the replay lines of all violations.
const VERBOSE: &str = "RETRYPROOF_VERBOSE";

struct Page {
    text: String,
    colour: bool,
}

impl Page {
    /// Writes one line. Text from the code under test must not steer the terminal.
    fn line(&mut self, text: impl AsRef<str>) {
        // A payload may be long. Its beginning is enough to recognize it.
        const MOST: usize = 600;
        let text = text.as_ref().trim_end();
        let shown = match text.char_indices().nth(MOST) {
            Some((at, _)) => format!("{}… ({} bytes more)", &text[..at], text.len() - at),
            None => text.to_owned(),
        };
        self.text.push_str(&words::visible(&shown));
        self.text.push('\n');
    }

    fn heading(&mut self, text: &str) {
        self.line("");
        self.styled(text, "1");
    }

    fn red(&mut self, text: &str) {
        self.styled(text, "31");
    }

    fn styled(&mut self, text: &str, style: &str) {
        let at = self.text.len();
        self.line(text);
        if self.colour {
            self.text.insert_str(at, &format!("\x1b[{style}m"));
            self.text.insert_str(self.text.len() - 1, "\x1b[0m");
        }
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
    for line in explored(report).lines().flat_map(|line| wrapped(line, 2, MOST_COLUMNS - 2)) {
        page.line(format!("  {line}"));
    }
    for unexplored in &report.unexplored {
        page.line(format!("  not explored: {unexplored}"));
    }
    if let Some(code) = report.code() {
        let first = report.violations.first();
        page.line("");
        for help in first.map_or(code.help(), |first| first.help.as_str()).lines() {
            wrapped(&format!("help: {help}"), 6, MOST_COLUMNS).iter().for_each(|line| page.line(line));
        }
        page.line(format!("see: {}", code.link()));
    }
    page.text
}

fn headline(report: &Report, page: &mut Page) {
    let test = &report.test;
    let line = match report.verdict {
        Verdict::RetryProof if report.replayed => {
            format!("{test}: replay of one scenario, which passes now: it ends like the fault-free run")
        }
        Verdict::RetryProof => match report.share {
            Some(share) => format!("{test}: shard {share} found nothing wrong"),
            None => format!("{test} is retry-proof"),
        },
        Verdict::Violated => format!("{test} is NOT retry-proof"),
        Verdict::NothingTested => format!("{test}: nothing was tested"),
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

/// Shows the generated data.
#[cfg(feature = "proptest")]
fn drawn(case: &super::Case, page: &mut Page) {
    page.heading("the smallest case found");
    case.case.lines().for_each(|line| page.line(format!("  {line}")));
    let before = match case.held {
        0 => "the first case".to_owned(),
        1 => "after 1 case that passed".to_owned(),
        held => format!("after {held} cases that passed"),
    };
    page.line(format!("  seed {}, {before}", case.seed));
    if let Some(file) = &case.kept {
        page.line(format!("  kept in {file}: the next run of this test tries it first"));
    }
}

fn show(report: &Report, showing: &ShownRun, page: &mut Page) {
    let wrong = showing.findings.first().map(|first| (words::summary(first), showing.code_of(first)));
    if !showing.marks.is_empty() {
        page.line("");
        let excerpt = source::excerpt(
            wrong.as_ref().map(|(wrong, code)| (&**wrong, Some(*code))),
            &showing.marks,
            page.colour,
        );
        page.text.push_str(&format!("{}\n", excerpt.trim_end()));
    } else if let Some((wrong, code)) = wrong {
        page.line("");
        page.line(format!("error[{code}]: {wrong}"));
    }
    if let Some(paths) = report.violations.first().and_then(|first| paths(report, first)) {
        page.line("");
        wrapped(&paths, 2, MOST_COLUMNS).iter().for_each(|line| page.line(line));
    }
    if let Some(likewise) = report.violations.first().and_then(likewise) {
        page.line("");
        wrapped(&likewise, 2, MOST_COLUMNS).iter().for_each(|line| page.line(line));
    }
    page.heading("what happened");
    timeline(report, showing, page);
    let crossings = crossing::crossings(&showing.events);
    if !showing.findings.is_empty() && !crossings.is_empty() {
        page.heading("interleaving");
        crossings.iter().flat_map(words::crossing).for_each(|line| page.line(format!("  {line}")));
    }
    if !showing.findings.is_empty() {
        let whose = words::whose(&showing.findings[0], &showing.order);
        page.heading(&format!("expected ({whose})"));
        let pairs: Vec<_> = showing.findings.iter().map(words::expected_and_actual).collect();
        for (expected, _) in &pairs {
            page.line(shortened(report, &format!("  {expected}")));
        }
        page.heading("actual");
        for (_, actual) in &pairs {
            page.red(&shortened(report, &format!("  {actual}")));
        }
    }
    page.heading("replay");
    replay(report, &showing.scenario, "  ", page);
}

/// Prints the command that replays a run. A long command takes two lines that can be pasted together.
fn replay(report: &Report, scenario: &Scenario, indent: &str, page: &mut Page) {
    let (scenario, command) = report.replay_line(scenario);
    let line = format!("{indent}{scenario} {command}");
    match line.chars().count() <= MOST_COLUMNS {
        true => page.line(line),
        false => {
            page.line(format!("{indent}{scenario} \\"));
            page.line(format!("{indent}  {command}"));
        }
    }
}

/// Wraps a text, and indents all lines except the first one.
fn wrapped(text: &str, indent: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a first line");
        if line.trim().is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= most {
            line.push_str(&format!(" {word}"));
        } else {
            lines.push(format!("{}{word}", " ".repeat(indent)));
        }
    }
    lines
}

/// Cuts a line of an outcome, except in a replay.
fn shortened<'t>(report: &Report, line: &'t str) -> Cow<'t, str> {
    if report.replayed { Cow::Borrowed(line) } else { words::cut(line, MOST_COLUMNS) }
}

/// Prints the first and the last lines of a timeline, and all lines on which the outcome depends.
fn timeline(report: &Report, showing: &ShownRun, page: &mut Page) {
    let lines = match report.replayed {
        true => timeline::lines(&showing.events, &showing.repeated),
        false => timeline::folded(&showing.events, &showing.repeated),
    };
    let cut = if report.replayed { 0 } else { lines.len().saturating_sub(MOST_LINES) };
    let from = MOST_LINES * 2 / 3;
    let is_cut = |index: usize| cut > 0 && (from..from + cut).contains(&index) && !lines[index].decides();
    let mut index = 0;
    while index < lines.len() {
        let hidden = (index..lines.len()).take_while(|at| is_cut(*at)).count();
        if hidden > 0 {
            let s = if hidden == 1 { "" } else { "s" };
            page.line(format!("  … {hidden} more line{s}; the replay shows all of them"));
            index += hidden;
            continue;
        }
        let timeline::TimelineLine { text, deviation, may_be_cut, .. } = &lines[index];
        let shown = match (report.replayed, may_be_cut) {
            (true, _) => vec![text.clone()],
            (false, true) => vec![words::cut(text, MOST_REQUEST_COLUMNS).into_owned()],
            (false, false) => {
                let indent = text.len() - text.trim_start_matches(' ').len();
                let (whole, rest) = (text.trim_start_matches(' '), indent.max(10) + 2);
                let lines = wrapped(whole, rest, MOST_COLUMNS - 2 - indent);
                let first = format!("{}{}", " ".repeat(indent), lines[0]);
                std::iter::once(first).chain(lines.into_iter().skip(1)).collect()
            }
        };
        for line in shown {
            match deviation {
                true => page.red(&format!("  {line}")),
                false => page.line(format!("  {line}")),
            }
        }
        index += 1;
    }
}

/// Summarizes the ways that lead to a violation, with their places, in one line.
fn paths(report: &Report, violation: &Violation) -> Option<String> {
    let mut ways: Vec<(String, Vec<&str>)> = Vec::new();
    for path in &violation.paths {
        let place = path.place.as_deref().filter(|_| violation.is_left);
        let words = path.brief.join(" and ");
        if words.is_empty() {
            continue;
        }
        let known = ways.iter().position(|(known, _)| *known == words).unwrap_or_else(|| {
            ways.push((words, Vec::new()));
            ways.len() - 1
        });
        let places = &mut ways[known].1;
        places.extend(place.filter(|place| !places.contains(place)));
    }
    let is_alone = ways.iter().map(|(_, places)| places.len().max(1)).sum::<usize>() < 2 || report.replayed;
    let runs = if violation.runs == 1 { "1 run".to_owned() } else { format!("{} runs", violation.runs) };
    // The place of the violation is shown already.
    let main = violation.place.as_deref();
    let way = |(words, places): (String, Vec<&str>)| match places[..] {
        [] => words,
        [only] if Some(only) == main => words,
        _ => format!("{words} ({})", join_places(&places)),
    };
    (!is_alone).then(|| {
        let ways: Vec<_> = ways.into_iter().map(way).collect();
        format!("in {runs}, after {}", either(&ways))
    })
}

/// Joins alternatives: `a, b or c`.
fn either(ways: &[String]) -> String {
    match ways {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        ways => ways.concat(),
    }
}

/// Names what else failures at the same place leave undone, or left otherwise.
fn likewise(violation: &Violation) -> Option<String> {
    (!violation.likewise.is_empty())
        .then(|| format!("the same failures also affect: {}", violation.likewise.join(", ")))
}

/// Joins places, each `file:line`. Several lines of one file have the file once.
fn join_places(places: &[&str]) -> String {
    let mut text = String::new();
    let mut file = "";
    for (at, place) in places.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        match place.rsplit_once(':') {
            Some((same, line)) if same == file => text.push_str(&format!("{comma}{line}")),
            _ => text.push_str(&format!("{comma}{place}")),
        }
        file = place.rsplit_once(':').map_or("", |(file, _)| file);
    }
    text
}

fn others(report: &Report, page: &mut Page) {
    let shown = usize::from(report.showing.is_some());
    let others = report.violations.get(shown..).unwrap_or_default();
    if others.is_empty() {
        return;
    }
    page.heading("also");
    let is_verbose = std::env::var_os(VERBOSE).is_some_and(|set| !set.is_empty());
    for violation in others {
        let place = violation.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
        let Violation { code, summary, scenario, .. } = violation;
        let line = format!("  {code}: {summary}");
        let room = MOST_COLUMNS.saturating_sub(place.chars().count());
        page.line(format!("{}{place}", words::cut(&line, room)));
        let has_other_places =
            violation.is_left && violation.paths.iter().any(|path| path.place != violation.place);
        for line in paths(report, violation)
            .iter()
            .filter(|_| has_other_places)
            .flat_map(|paths| wrapped(paths, 2, MOST_COLUMNS - 4))
        {
            page.line(format!("    {line}"));
        }
        for line in likewise(violation).iter().flat_map(|all| wrapped(all, 2, MOST_COLUMNS - 4)) {
            page.line(format!("    {line}"));
        }
        if is_verbose {
            page.line(format!("    {}", words::causes(&violation.cause)));
            replay(report, scenario, "    ", page);
        }
    }
    if !is_verbose {
        page.line(format!("  {VERBOSE}=1 prints the replay lines of these"));
    }
}

/// Renders one violation, without its place in the code.
pub(super) fn of_violation(violation: &Violation) -> String {
    let Violation { code, summary, expected, actual, scenario, .. } = violation;
    let cause = words::causes(&violation.cause);
    let [summary, cause, expected, actual] =
        [summary, &cause, expected, actual].map(|text| words::visible(text));
    format!(
        "{code}: {summary}\n  {cause}\n  expected: {expected}\n  actual: {actual}\n  RETRYPROOF_REPLAY='{scenario}'"
    )
}

fn warnings(report: &Report, page: &mut Page) {
    if report.warnings.is_empty() {
        return;
    }
    page.heading("warnings");
    report.warnings.iter().for_each(|warning| page.line(format!("  {warning}")));
}
