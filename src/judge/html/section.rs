//! The part of the page about one test.

use super::lanes;
use super::markup::Markup;
use crate::judge::report::diagram::{Count, Diagram};
use crate::judge::report::listing::{ListedLine, Listing, listings};
use crate::judge::report::words::{self, cut};
use crate::judge::report::{Report, ShownRun, Verdict, Violation, explored};
use crate::search::scenario::Scenario;

/// A part grows no longer than this by whole violations, so that ten tests fit into 300 KB.
const ENOUGH_BYTES: usize = 14 << 10;
/// The maximum number of violations with a diagram.
pub(crate) const MOST_DRAWN: usize = 8;
/// The maximum number of steps of a diagram.
const MOST_STEPS: usize = 40;
/// The maximum number of rows in a table, and of lines in a list.
const MOST_ROWS: usize = 40;
const MOST_NOTES: usize = 20;
/// The maximum number of characters of the report's text, and of any other text.
const MOST_TEXT: usize = 6_000;
const MOST_CHARS: usize = 400;
/// The maximum number of causes and crashes that a line shows.
const MOST_FATES: usize = 3;

/// Renders what an exploration found. `id` is unique in the page, and `added` are lines to print in addition.
pub(super) fn section(report: &Report, id: &str, passes: bool, added: &[String]) -> Markup {
    let mut html = Markup::default();
    let class = if passes { "test pass" } else { "test" };
    html.element("section", &[("class", class), ("id", id)], |html| {
        html.leaf("h2", "", &report.test);
        html.leaf(
            "p",
            "verdict",
            &format!("{} · {}", verdict(report, passes), first_line(&explored(report))),
        );
        if let Some(reason) = &report.reason {
            html.leaf("pre", "reason", &short(reason));
        }
        let runs: Vec<&ShownRun> = report.showing.iter().collect();
        if report.violations.is_empty() {
            runs.iter().for_each(|run| course(report, run, "the run", html));
        }
        let mut drawn = 0;
        for (at, violation) in report.violations.iter().enumerate().take(MOST_DRAWN) {
            let run = if at == 0 {
                report.showing.as_ref()
            } else {
                report.showings.get(at).and_then(|all| all.first())
            };
            let Some(run) = run else { break };
            let mut article = Markup::default();
            self::violation(report, violation, run, &format!("{id}-{}", at + 1), &mut article);
            if at > 0 && html.len() + article.len() > ENOUGH_BYTES {
                break;
            }
            html.append(article);
            drawn += 1;
        }
        source(report, html);
        causes(report, drawn, html);
        extent(report, added, html);
        html.element("details", &[("class", "text")], |html| {
            html.leaf("summary", "", "The report as text");
            html.leaf("pre", "", &cut(&report.to_string(), MOST_TEXT));
        });
    });
    html
}

/// Says in a few words what came of a test.
pub(super) fn verdict(report: &Report, passes: bool) -> &'static str {
    match report.verdict {
        Verdict::RetryProof if !passes => "covers less than recorded",
        Verdict::Violated if passes => "not retry-proof, as recorded",
        Verdict::RetryProof => "retry-proof",
        Verdict::Violated => "not retry-proof",
        Verdict::NothingTested => "nothing was tested",
        Verdict::Incomplete => "incomplete",
        Verdict::Nondeterministic => "not deterministic",
        Verdict::Stuck => "stuck",
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn short(text: &str) -> String {
    cut(text, MOST_CHARS).into_owned()
}

fn violation(report: &Report, violation: &Violation, run: &ShownRun, id: &str, html: &mut Markup) {
    html.element("article", &[("id", id)], |html| {
        html.element("h3", &[], |html| {
            let link = violation.code.link();
            html.element("a", &[("class", "code"), ("href", &link)], |html| {
                html.text(violation.code.as_str())
            });
            html.text(&format!(" {}", short(&violation.summary)));
        });
        if let Some(count) = run.count() {
            counts(&count, html);
        }
        course(report, run, &violation.summary, html);
        html.element("div", &[("class", "diff")], |html| {
            let pairs: Vec<_> = run.findings.iter().map(words::expected_and_actual).collect();
            for (expected, actual) in pairs.iter().take(MOST_FATES) {
                difference(expected, actual, html);
            }
        });
        for help in violation.help.lines() {
            html.leaf("p", "help", help);
        }
    });
}

/// Draws a dot for each effect that should have happened, and for each that did.
fn counts(count: &Count, html: &mut Markup) {
    const MOST: usize = 12;
    let dots = |title: &str, class: &str, number: usize, html: &mut Markup| {
        html.element("span", &[("class", "dots")], |html| {
            html.text(title);
            (0..number.min(MOST)).for_each(|at| {
                let class = if at >= count.expected { "dot over" } else { class };
                html.leaf("i", class, "");
            });
            (number..count.expected.min(MOST)).for_each(|_| html.leaf("i", "dot gone", ""));
            html.leaf("b", "", &number.to_string());
        });
    };
    html.element("p", &[("class", "counts")], |html| {
        html.leaf("code", "", &count.what);
        dots("expected ", "dot", count.expected, html);
        dots("actual ", "dot", count.actual, html);
    });
}

/// Draws a run, with its deviations above and its replay line below.
fn course(report: &Report, run: &ShownRun, label: &str, html: &mut Markup) {
    let causes = run.causes();
    if !causes.is_empty() {
        html.element("ol", &[("class", "cause")], |html| {
            causes.iter().for_each(|cause| html.leaf("li", "", cause));
        });
    }
    lanes::draw(&Diagram::of(run, MOST_STEPS), label, html);
    replay(report, &run.scenario, html);
}

fn replay(report: &Report, scenario: &Scenario, html: &mut Markup) {
    let (scenario, command) = report.replay_line(scenario);
    let line = format!("{scenario} {command}");
    html.element("div", &[("class", "replay")], |html| {
        html.leaf("code", "", &line);
        html.constant("<button type=\"button\" class=\"copy\">Copy</button>");
    });
}

/// Writes two lines, with the part in which they differ marked.
fn difference(expected: &str, actual: &str, html: &mut Markup) {
    let common = |one: &mut dyn Iterator<Item = char>, other: &mut dyn Iterator<Item = char>| {
        one.zip(other).take_while(|(one, other)| one == other).count()
    };
    let (long, short) = (expected.chars().count(), actual.chars().count());
    let before = common(&mut expected.chars(), &mut actual.chars());
    let after = common(&mut expected.chars().rev(), &mut actual.chars().rev()).min(long.min(short) - before);
    for (class, mark, text) in [("minus", "del", expected), ("plus", "ins", actual)] {
        let chars: Vec<char> = text.chars().collect();
        // A long text is shown around the difference.
        let from = before.saturating_sub(MOST_CHARS / 4);
        let to = chars.len() - after;
        let until = chars.len().min(to.min(before + MOST_CHARS / 2) + MOST_CHARS / 4);
        let part = |from: usize, to: usize| chars[from.min(to)..to].iter().collect::<String>();
        html.element("div", &[("class", class)], |html| {
            html.leaf("span", "sr", if class == "minus" { "expected: " } else { "actual: " });
            html.text(if from > 0 { "…" } else { "" });
            html.text(&part(from, before));
            html.leaf(if mark == "del" { "del" } else { "ins" }, "", &part(before, to.min(until)));
            html.text(&part(to.min(until), until));
            html.text(if until < chars.len() { "…" } else { "" });
        });
    }
}

/// Shows the source of the jobs, with the fate of each line.
fn source(report: &Report, html: &mut Markup) {
    let listings = listings(report);
    if listings.is_empty() {
        return;
    }
    html.leaf("h3", "", "The lines of the job");
    html.leaf("p", "hint", "Red: a failure here leads to a violation. Green: every crash here is recovered. Open a line to see what a crash leaves.");
    for Listing { function, file, lines } in listings {
        html.element("div", &[("class", "src")], |html| {
            let title = function.map(|name| format!("{name} · {file}")).unwrap_or(file);
            html.leaf("div", "file", &title);
            lines.iter().for_each(|line| self::line(report, line, html));
        });
    }
}

fn line(report: &Report, line: &ListedLine<'_>, html: &mut Markup) {
    let class = match (line.is_bad(), line.is_point, line.crashes.is_empty()) {
        (true, _, _) => "ln bad",
        (false, true, true) => "ln never",
        (false, true, false) => "ln good",
        (false, false, _) => "ln",
    };
    let head = |html: &mut Markup| {
        html.leaf("span", "no", &line.number.to_string());
        html.leaf("code", "", &short(&line.text));
    };
    if line.crashes.is_empty() && line.causes.is_empty() && line.labels.is_empty() {
        html.element("div", &[("class", class)], |html| {
            head(html);
            html.leaf("em", "", if class == "ln never" { "never reached" } else { "" });
        });
        return;
    }
    html.element("details", &[("class", class)], |html| {
        html.element("summary", &[], |html| {
            head(html);
            line.labels.iter().for_each(|label| html.leaf("em", "", label));
        });
        html.element("div", &[("class", "fate")], |html| {
            for crash in line.crashes.iter().take(MOST_FATES) {
                let list = |things: &[String], none: &str| match things {
                    [] => none.to_owned(),
                    things => things.join(", "),
                };
                let left = list(&crash.after_crash, "nothing");
                let after = list(&crash.after_recovery, "as expected");
                let class = if crash.after_recovery.is_empty() { "good" } else { "bad" };
                html.leaf(
                    "p",
                    class,
                    &short(&format!("A crash before this line leaves {left}. After recovery: {after}.")),
                );
            }
            for cause in line.causes.iter().take(MOST_FATES) {
                let text = format!("{}: {} — {}", cause.code, words::causes(cause.cause), cause.summary);
                html.leaf("p", "bad", &short(&text));
            }
            if let Some(cause) = line.causes.first() {
                replay(report, cause.scenario, html);
            } else if let Some(crash) = line.crashes.first() {
                replay(report, &crash.scenario, html);
            }
            let more = line.causes.len().saturating_sub(MOST_FATES);
            if more > 0 {
                html.leaf("p", "", &format!("… and {more} more in the table below"));
            }
        });
    });
}

/// Lists all violations, with all ways that lead to them.
fn causes(report: &Report, drawn: usize, html: &mut Markup) {
    let ways = report
        .violations
        .iter()
        .flat_map(|violation| violation.paths.iter().map(move |path| (violation, path)));
    let count = ways.clone().count();
    if count == 0 {
        return;
    }
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let title = format!("{} to {}", plural(count, "way"), plural(report.violations.len(), "violation"));
    html.leaf("h3", "", &format!("All causes: {title}"));
    if report.violations.len() > drawn {
        html.leaf(
            "p",
            "hint",
            &format!("The pictures show the first {drawn}. A replay line shows any other."),
        );
    }
    html.element("label", &[("class", "filter")], |html| {
        html.text("Filter ");
        html.void("input", &[("type", "search"), ("placeholder", "crash, RP0002, a file …")]);
        html.element("output", &[("aria-live", "polite")], |_| {});
    });
    html.element("ul", &[("class", "ways"), ("tabindex", "0"), ("aria-label", "All causes")], |html| {
        for (violation, path) in ways.take(MOST_ROWS) {
            html.element("li", &[], |html| {
                let summary = path.other.as_ref().map_or(&violation.summary, |(_, summary)| summary);
                let summary = format!(" {} ", cut(summary, MOST_CHARS / 4));
                let place = path.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
                let runs = if path.runs == 1 { "1 run".to_owned() } else { format!("{} runs", path.runs) };
                let why = short(&format!("{}{place}, {runs}", words::causes(&path.cause)));
                html.element("span", &[], |html| {
                    html.leaf("b", "", path.code.as_str());
                    html.text(&summary);
                    html.leaf("span", "why", &why);
                });
                let (scenario, command) = report.replay_line(&path.scenario);
                let line = format!("{scenario} {command}");
                html.element(
                    "button",
                    &[("type", "button"), ("class", "copy"), ("data-copy", &line)],
                    |html| {
                        html.text("Copy replay");
                    },
                );
            });
        }
    });
    if count > MOST_ROWS {
        let text = format!("… and {} more; RETRYPROOF_VERBOSE=1 prints all violations", count - MOST_ROWS);
        html.leaf("p", "hint", &text);
    }
}

/// Says what was explored, and what was not.
fn extent(report: &Report, added: &[String], html: &mut Markup) {
    html.element("div", &[("class", "extent")], |html| {
        html.element("div", &[], |html| {
            html.leaf("h3", "", "Explored");
            let label = format!("{} of {} runs failed", report.violated, report.runs);
            let share = 100 * report.violated / report.runs.max(1);
            html.element("div", &[("class", "share"), ("role", "img"), ("aria-label", &label)], |html| {
                html.element("i", &[("style", &format!("width:{share}%"))], |_| {});
            });
            explored(report).lines().for_each(|line| html.leaf("p", "", &short(line)));
        });
        html.element("div", &[], |html| {
            html.leaf("h3", "", "Not explored");
            if report.unexplored.is_empty() {
                html.leaf("p", "", "nothing inside the bound and this world");
            }
            html.element("ul", &[], |html| {
                report.unexplored.iter().take(MOST_NOTES).for_each(|line| html.leaf("li", "", &short(line)));
            });
        });
    });
    let warnings = report.warnings.iter().map(|warning| format!("warning: {warning}"));
    let notes = report.notes.iter().map(|note| format!("note: {note}"));
    let all: Vec<String> = warnings.chain(notes).chain(added.iter().cloned()).collect();
    if !all.is_empty() {
        html.element("ul", &[("class", "notes")], |html| {
            all.iter().take(MOST_NOTES).for_each(|line| html.leaf("li", "", &short(line)));
        });
    }
}
