//! The map of a job: for each line, the state after a crash there, the state after recovery, and the verdict.

use std::fmt;

use serde::Serialize;

use super::{source, words};
use crate::executor::watch::States;
use crate::judge::oracle::Finding;
use crate::search::choice::{LinePoint, Name};
use crate::search::scenario::Scenario;
use crate::system::effect::Effect;

/// The map of the `#[crash_points]` functions that the jobs ran in the fault-free run.
///
/// Its `Display` shows the source and, beside each line, what a crash before the line leaves behind, and the outcome
/// after recovery.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct LineMap {
    functions: Vec<FunctionMap>,
}

/// The map of one function.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FunctionMap {
    /// The name, such as `Shop::complete`, as far as the attribute can see it.
    pub name: &'static str,
    /// The source file.
    pub file: &'static str,
    /// The points, in source order.
    pub points: Vec<PointMap>,
}

/// One point: the place before a statement.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PointMap {
    /// The line, counted from 1.
    pub line: u32,
    /// The column in characters, counted from 1.
    pub column: u32,
    /// One crash for each time that the point was passed. Empty if the point was never reached.
    pub crashes: Vec<LineCrash>,
}

/// The outcome of a crash at a point.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LineCrash {
    /// The scenario that crashes here.
    pub scenario: Scenario,
    /// The effects that had happened by then, and the states that had changed.
    pub after_crash: Vec<String>,
    /// The problems after all retries. Empty if the outcome is as expected.
    pub after_recovery: Vec<String>,
}

impl LineMap {
    /// The functions, in the order in which they first ran.
    pub fn functions(&self) -> &[FunctionMap] {
        &self.functions
    }

    /// Whether no point was passed, which means that no function of the jobs is annotated.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// The points that were never reached, as `file:line:column`.
    pub fn unreached(&self) -> Vec<String> {
        let never = |function: &FunctionMap| {
            let points = function.points.iter().filter(|point| point.crashes.is_empty());
            points
                .map(|point| format!("{}:{}:{}", function.file, point.line, point.column))
                .collect::<Vec<_>>()
        };
        self.functions.iter().flat_map(never).collect()
    }

    pub(crate) fn add(&mut self, line: LinePoint, crash: LineCrash) {
        let known = self.functions.iter().position(|f| (f.file, f.name, f.at()) == key(line));
        let at = known.unwrap_or_else(|| {
            let points = line.function.points.iter();
            let points = points
                .map(|place| PointMap { line: place.line, column: place.column, crashes: Vec::new() })
                .collect();
            self.functions.push(FunctionMap { name: line.function.name, file: line.function.file, points });
            self.functions.len() - 1
        });
        self.functions[at].points[line.ordinal as usize].crashes.push(crash);
    }
}

impl FunctionMap {
    fn at(&self) -> (u32, u32) {
        self.points.first().map_or((0, 0), |point| (point.line, point.column))
    }
}

fn key(line: LinePoint) -> (&'static str, &'static str, (u32, u32)) {
    let first = line.function.points.first().map_or((0, 0), |place| (place.line, place.column));
    (line.function.file, line.function.name, first)
}

/// Returns what a crash left behind: the effects, and the states that changed.
pub(crate) fn wreck(effects: &[Effect], before: &States, after: &States) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    let mut counted: Vec<(String, usize)> = Vec::new();
    for effect in effects.iter().filter(|effect| !effect.given) {
        match counted.iter_mut().find(|(name, _)| *name == effect.name()) {
            Some((_, count)) => *count += 1,
            None => counted.push((effect.name(), 1)),
        }
    }
    told.extend(counted.into_iter().map(|(name, count)| match count {
        1 => name,
        count => format!("{count} × {name}"),
    }));
    let was = |name: Name| before.iter().find(|(known, _)| *known == name).map(|(_, json)| json);
    for (name, json) in after.iter().filter(|(name, json)| was(*name) != Some(json)) {
        const MOST: usize = 24;
        told.push(if json.len() <= MOST {
            format!("{name} = {json}")
        } else {
            format!("{name} changed{}", changed_at(was(*name), json))
        });
    }
    told
}

/// Returns the fields in which a state that is an object changed, as ` at $.stock`.
fn changed_at(before: Option<&String>, after: &str) -> String {
    type Fields = serde_json::Map<String, serde_json::Value>;
    const MOST: usize = 2;
    let Ok(after) = serde_json::from_str::<Fields>(after) else { return String::new() };
    let before = before.and_then(|json| serde_json::from_str::<Fields>(json).ok()).unwrap_or_default();
    let mut changed: Vec<&String> = after
        .iter()
        .filter(|(field, value)| before.get(*field) != Some(value))
        .map(|(field, _)| field)
        .collect();
    changed.extend(before.keys().filter(|field| !after.contains_key(*field)));
    changed.sort();
    let shown: Vec<_> = changed.iter().take(MOST).map(|field| format!("$.{field}")).collect();
    match changed.len() {
        0 => String::new(),
        count if count > MOST => format!(" at {} and {} more", shown.join(", "), count - MOST),
        _ => format!(" at {}", shown.join(", ")),
    }
}

/// Returns what is wrong after recovery.
pub(crate) fn recovery(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(words::in_short).collect()
}

/// The widths of the source, of what a crash leaves, and of what is wrong after recovery. With its margins, a row has 100
/// columns.
const SOURCE: usize = 36;
const LEFT: usize = 24;
const RECOVERED: usize = 23;

impl fmt::Display for LineMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, function) in self.functions.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            writeln!(f, "{} · {}", function.name, function.file)?;
            writeln!(
                f,
                "  {:>4}   {:<SOURCE$} │ {:<LEFT$} → after recovery",
                "line", "", "a crash before it leaves"
            )?;
            let source = source::read(function.file);
            let line = |number: u32| {
                let lines = source.as_deref().and_then(|source| source.lines().nth(number as usize - 1));
                lines.unwrap_or_default()
            };
            let indent = |text: &str| text.len() - text.trim_start().len();
            let shallowest =
                function.points.iter().map(|point| indent(line(point.line))).min().unwrap_or_default();
            let mut above = None;
            for point in &function.points {
                let source = line(point.line).get(shallowest..).unwrap_or_default();
                write!(f, "{}", row(point, source, above))?;
                above = Some(point);
            }
        }
        Ok(())
    }
}

/// The lines of a cell that lists things, or `none`.
fn cell(things: &[String], none: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for (at, thing) in things.iter().enumerate() {
        let comma = if at + 1 < things.len() { "," } else { "" };
        let last = lines.last_mut().expect("there is a first line");
        if last.is_empty() {
            *last = format!("{thing}{comma}");
        } else if last.chars().count() + 1 + thing.chars().count() + comma.len() <= width {
            last.push_str(&format!(" {thing}{comma}"));
        } else {
            lines.push(format!("{thing}{comma}"));
        }
    }
    if things.is_empty() {
        lines[0] = none.to_owned();
    }
    lines
}

/// Renders the rows of one point: one for each different outcome of a crash there.
fn row(point: &PointMap, source: &str, above: Option<&PointMap>) -> String {
    let source = match source.char_indices().nth(SOURCE) {
        Some((at, _)) => {
            format!("{}…", &source[..source[..at].char_indices().next_back().map_or(0, |(at, _)| at)])
        }
        None => source.to_owned(),
    };
    let number = point.line;
    if point.crashes.is_empty() {
        return format!("  {number:>4} · {source:<SOURCE$} │ never reached\n");
    }
    let mut rows = String::new();
    let mut told: Vec<(&[String], &[String])> = Vec::new();
    for crash in &point.crashes {
        // Show iterations of a loop with the same outcome once.
        let both = (crash.after_crash.as_slice(), crash.after_recovery.as_slice());
        if told.contains(&both) {
            continue;
        }
        let mark = if crash.after_recovery.is_empty() { '✓' } else { '✗' };
        let left = cell(&crash.after_crash, "nothing", LEFT);
        let after = cell(&crash.after_recovery, "as expected", RECOVERED);
        let is_same = |above: &PointMap| {
            above.crashes.last().is_some_and(|last| (&*last.after_crash, &*last.after_recovery) == both)
        };
        if told.is_empty() && left.len().max(after.len()) > 1 && above.is_some_and(is_same) {
            rows.push_str(&format!("  {number:>4} {mark} {source:<SOURCE$} │ the same\n"));
            told.push(both);
            continue;
        }
        for at in 0..left.len().max(after.len()) {
            let (number, mark, source) = match (at, told.is_empty()) {
                (0, true) => (number.to_string(), mark, source.as_str()),
                (0, false) => (String::new(), mark, ""),
                _ => (String::new(), ' ', ""),
            };
            let [left, after] = [&left, &after].map(|cell| cell.get(at).map_or("", String::as_str));
            let arrow = if at == 0 { '→' } else { ' ' };
            let row = format!("  {number:>4} {mark} {source:<SOURCE$} │ {left:<LEFT$} {arrow} {after}");
            rows.push_str(row.trim_end());
            rows.push('\n');
        }
        told.push(both);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_is_too_long_to_show_names_the_fields_that_changed() {
        let told = |before: &str, after: &str| {
            let states = |json: &str| vec![(Name::from("store"), json.to_owned())];
            wreck(&[], &states(before), &states(after)).join("; ")
        };
        let orders = r#"{"order-6":"placed","order-7":"placed"}"#;
        assert_eq!(told(orders, r#"{"order-6":"placed","order-7":"paid"}"#), "store changed at $.order-7");
        assert_eq!(
            told(orders, r#"{"a":1,"b":2,"order-6":"paid and sent"}"#),
            "store changed at $.a, $.b and 2 more"
        );
        assert_eq!(told("[]", "[1000000000,1000000000,1000000000]"), "store changed");
        assert_eq!(told("1", "2"), "store = 2");
        assert_eq!(told(orders, orders), "");
    }
}
