//! The source of the jobs, with the fate of each line: what a crash there leaves, and which violations begin there.

use std::collections::BTreeMap;

use super::{Code, LineCrash, Report, source};
use crate::search::scenario::Scenario;

/// The number of lines around a marked line that an excerpt shows.
const AROUND: u32 = 3;
/// The maximum numbers of parts, and of lines of a part.
const MOST_PARTS: usize = 6;
const MOST_LINES: usize = 80;

/// A part of a source file.
#[derive(Clone, Debug)]
pub(crate) struct Listing<'r> {
    /// The name of the function, if the whole function is shown.
    pub(crate) function: Option<&'static str>,
    pub(crate) file: String,
    pub(crate) lines: Vec<ListedLine<'r>>,
}

/// A line of a source file.
#[derive(Clone, Debug)]
pub(crate) struct ListedLine<'r> {
    pub(crate) number: u32,
    pub(crate) text: String,
    /// Whether a crash point is before a statement of this line.
    pub(crate) is_point: bool,
    /// The crashes before this line, one for each different outcome.
    pub(crate) crashes: Vec<&'r LineCrash>,
    /// The violations whose last deviation is here.
    pub(crate) causes: Vec<ListedCause<'r>>,
    /// The labels of the run that the report shows.
    pub(crate) labels: Vec<&'r str>,
}

/// A violation, with one way that leads to it.
#[derive(Clone, Debug)]
pub(crate) struct ListedCause<'r> {
    pub(crate) code: Code,
    pub(crate) summary: &'r str,
    pub(crate) cause: &'r [String],
    pub(crate) scenario: &'r Scenario,
}

impl ListedLine<'_> {
    /// Whether something is wrong after a failure here.
    pub(crate) fn is_bad(&self) -> bool {
        !self.causes.is_empty() || self.crashes.iter().any(|crash| !crash.after_recovery.is_empty())
    }
}

/// The crashes, causes and labels of a report, by file and line.
#[derive(Default)]
struct Fates<'r> {
    points: BTreeMap<(String, u32), Vec<&'r LineCrash>>,
    causes: BTreeMap<(String, u32), Vec<ListedCause<'r>>>,
    labels: BTreeMap<(String, u32), Vec<&'r str>>,
}

impl<'r> Fates<'r> {
    fn of(report: &'r Report) -> Self {
        let mut fates = Self::default();
        for function in report.lines.functions() {
            for point in &function.points {
                let crashes = fates.points.entry((function.file.to_owned(), point.line)).or_default();
                for crash in &point.crashes {
                    let is_same = |known: &&LineCrash| {
                        (&known.after_crash, &known.after_recovery)
                            == (&crash.after_crash, &crash.after_recovery)
                    };
                    if !crashes.iter().any(is_same) {
                        crashes.push(crash);
                    }
                }
            }
        }
        for violation in &report.violations {
            for path in &violation.paths {
                let place = path.place.as_deref().and_then(|place| place.rsplit_once(':'));
                let Some((file, line)) = place else { continue };
                let Ok(line) = line.parse() else { continue };
                let summary = path.other.as_ref().map_or(&violation.summary, |(_, summary)| summary);
                let (code, cause, scenario) = (path.code, &*path.cause, &path.scenario);
                let listed = ListedCause { code, summary, cause, scenario };
                fates.causes.entry((file.to_owned(), line)).or_default().push(listed);
            }
        }
        for mark in report.showing.iter().flat_map(|showing| &showing.marks) {
            let labels = fates.labels.entry((mark.place.file.to_owned(), mark.place.line)).or_default();
            if !labels.contains(&&*mark.text) {
                labels.push(&mark.text);
            }
        }
        fates
    }

    /// Returns lines of a source file. Removes the labels and causes that they show.
    fn take(
        &mut self,
        file: &str,
        source: &str,
        lines: std::ops::RangeInclusive<u32>,
    ) -> Vec<ListedLine<'r>> {
        let text = |number: u32| source.lines().nth((number as usize).wrapping_sub(1));
        let mut listed = Vec::new();
        for (number, text) in lines.filter_map(|number| Some((number, text(number)?))).take(MOST_LINES) {
            let key = (file.to_owned(), number);
            listed.push(ListedLine {
                number,
                text: text.trim_end().to_owned(),
                is_point: self.points.contains_key(&key),
                crashes: self.points.get(&key).cloned().unwrap_or_default(),
                causes: self.causes.remove(&key).unwrap_or_default(),
                labels: self.labels.remove(&key).unwrap_or_default(),
            });
        }
        let indent = |line: &ListedLine<'_>| line.text.len() - line.text.trim_start_matches(' ').len();
        let is_empty = |line: &&ListedLine<'_>| line.text.is_empty();
        let shallowest = listed.iter().filter(|line| !is_empty(line)).map(indent).min().unwrap_or_default();
        listed
            .iter_mut()
            .for_each(|line| line.text = line.text.get(shallowest..).unwrap_or_default().to_owned());
        listed
    }
}

/// Returns the functions of the map, and the surroundings of all other places that the report names. Files that are not
/// on this machine are left out.
pub(crate) fn listings(report: &Report) -> Vec<Listing<'_>> {
    let mut fates = Fates::of(report);
    let mut listings = Vec::new();
    for function in report.lines.functions().iter().take(MOST_PARTS) {
        let lines = function.points.iter().map(|point| point.line);
        let (Some(first), Some(last)) = (lines.clone().min(), lines.max()) else { continue };
        let Some(source) = source::read(function.file) else { continue };
        let (from, to) = (head(&source, first), last + 1);
        let lines = fates.take(function.file, &source, from..=to);
        listings.push(Listing { function: Some(function.name), file: function.file.to_owned(), lines });
    }
    let places: Vec<_> = fates.labels.keys().chain(fates.causes.keys()).cloned().collect();
    let mut files: Vec<String> = places.iter().map(|(file, _)| file.clone()).collect();
    files.sort();
    files.dedup();
    for file in files {
        let Some(source) = source::read(&file) else { continue };
        let mut lines: Vec<u32> =
            places.iter().filter(|(of, _)| *of == file).map(|(_, line)| *line).collect();
        lines.sort_unstable();
        for (from, to) in ranges(&lines) {
            if listings.len() < MOST_PARTS {
                let lines = fates.take(&file, &source, from..=to);
                listings.push(Listing { function: None, file: file.clone(), lines });
            }
        }
    }
    listings.retain(|listing| !listing.lines.is_empty());
    listings
}

/// Returns the line on which the head of a function begins, if it is close above the first statement.
fn head(source: &str, first: u32) -> u32 {
    const MOST: u32 = 8;
    let lines: Vec<&str> = source.lines().collect();
    let above = (first.saturating_sub(MOST).max(1)..first).rev();
    let is_head = |number: &u32| {
        lines.get(*number as usize - 1).is_some_and(|line| source::begins_function(line.trim()))
    };
    above.into_iter().find(is_head).unwrap_or(first.saturating_sub(1).max(1))
}

/// Returns the ranges of lines around these lines, without overlaps.
fn ranges(lines: &[u32]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for line in lines {
        let (from, to) = (line.saturating_sub(AROUND).max(1), line + AROUND);
        match ranges.last_mut().filter(|(_, end)| from <= *end + 1) {
            Some((_, end)) => *end = to,
            None => ranges.push((from, to)),
        }
    }
    ranges
}
