//! What an exploration covers: by names that stay the same when code moves.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::LineMap;
use crate::search::choice::{Actor, Choice, Kind, Label, Site};

/// What an exploration covers, as it is written down to be compared with a later one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Coverage {
    /// Every scenario inside the bounds ran.
    pub(crate) exhausted: bool,
    /// How many deviations a run may have, in all and of each kind.
    pub(crate) bounds: BTreeMap<String, usize>,
    /// Where something could go wrong when nothing did: `CompleteOrder/payments.charge:call`.
    pub(crate) points: BTreeSet<String>,
    /// Of each `#[crash_points]` function that was passed, the points that were never reached.
    pub(crate) unreached: BTreeMap<String, usize>,
}

impl Coverage {
    /// `kind_of`: the kind of the job of a number. `most`: how many deviations of a kind there may be.
    pub(crate) fn new(
        reference: &[Choice],
        lines: &LineMap,
        kind_of: impl Fn(u32) -> &'static str,
        total: usize,
        most: impl Fn(Kind) -> usize,
    ) -> Self {
        let open = reference.iter().filter(|choice| choice.options.len() > 1 && most(choice.kind) > 0);
        let kinds = [
            ("crashes", Kind::Crash),
            ("faults", Kind::Fault),
            ("deliveries", Kind::Delivery),
            ("switches", Kind::Schedule),
            ("delays", Kind::Delay),
        ];
        let of_kinds = kinds.map(|(name, kind)| (name.to_owned(), most(kind).min(total)));
        let unreached = lines.functions().iter().map(|function| {
            let never = function.points.iter().filter(|point| point.crashes.is_empty());
            (function.name.to_owned(), never.count())
        });
        Self {
            exhausted: false,
            bounds: of_kinds.into_iter().chain([("deviations".to_owned(), total)]).collect(),
            points: open.map(|choice| point(choice.label, &kind_of)).collect(),
            unreached: unreached.collect(),
        }
    }

    /// What `self` covered and `now` does not, in words, a line each.
    pub(crate) fn lost(&self, now: &Self) -> Vec<String> {
        let mut lost = Vec::new();
        if self.exhausted && !now.exhausted {
            lost.push("every scenario inside the bound ran, and now they do not".to_owned());
        }
        for (name, &was) in &self.bounds {
            let is = now.bounds.get(name).copied().unwrap_or(0);
            if is < was {
                lost.push(format!("{name} = {was} is now {is}"));
            }
        }
        for point in self.points.difference(&now.points) {
            lost.push(format!("`{point}` is no longer met"));
        }
        for (function, &was) in &self.unreached {
            match now.unreached.get(function) {
                None => lost.push(format!("no line of `{function}` is passed any more")),
                Some(&is) if is > was => {
                    lost.push(format!("points of `{function}` that are never reached: {is}, before {was}"));
                }
                Some(_) => {}
            }
        }
        lost
    }
}

/// Where a choice was met, without the numbers of jobs, attempts and lines.
fn point(label: Label, kind_of: impl Fn(u32) -> &'static str) -> String {
    let who = match label.actor {
        Actor::Attempt { job, .. } => kind_of(job).to_owned(),
        other => other.to_string(),
    };
    let point = label.point;
    match label.site {
        Site::Call { service, operation } => format!("{who}/{service}.{operation}:{point}"),
        Site::Attempt => format!("{who}:{point}"),
        Site::Wait(what) => format!("{who}/{what}:{point}"),
        Site::Line(line) => format!("{who}/{}:{point}", line.function.name),
        Site::Queue => format!("{who}/queue:{point}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage(points: &[&str], deviations: usize, unreached: usize) -> Coverage {
        Coverage {
            exhausted: true,
            bounds: BTreeMap::from([("deviations".to_owned(), deviations)]),
            points: points.iter().map(|point| (*point).to_owned()).collect(),
            unreached: BTreeMap::from([("complete".to_owned(), unreached)]),
        }
    }

    #[test]
    fn what_is_no_longer_covered_is_named() {
        let was = coverage(&["a", "b"], 2, 1);
        assert_eq!(was.lost(&was), [""; 0]);
        assert_eq!(was.lost(&coverage(&["a", "b", "c"], 3, 0)), [""; 0], "more is no loss");
        assert_eq!(was.lost(&coverage(&["b"], 2, 1)), ["`a` is no longer met"]);
        assert_eq!(was.lost(&coverage(&["a", "b"], 1, 1)), ["deviations = 2 is now 1"]);
        let lines = was.lost(&coverage(&["a", "b"], 2, 3));
        assert_eq!(lines, ["points of `complete` that are never reached: 3, before 1"]);
        let now = Coverage { exhausted: false, unreached: BTreeMap::new(), ..was.clone() };
        assert_eq!(
            was.lost(&now),
            [
                "every scenario inside the bound ran, and now they do not",
                "no line of `complete` is passed any more"
            ]
        );
    }
}
