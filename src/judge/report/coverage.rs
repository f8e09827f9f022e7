//! Records what an exploration covers, by names that do not change when code moves.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use super::LineMap;
use crate::search::choice::{Actor, Choice, Label, Options, Site};

/// The points at which a deviation is possible, such as `CompleteOrder/payments.charge:call`, with its options.
pub(crate) type Points = BTreeMap<String, BTreeSet<String>>;

/// The coverage of an exploration. The baseline file stores it, to compare it with later explorations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Coverage {
    /// Every scenario inside the bounds ran.
    pub(crate) exhausted: bool,
    /// The maximum number of deviations in total and of each kind, and the number of samples past it.
    pub(crate) bounds: BTreeMap<String, u64>,
    /// The points of fault-free runs.
    pub(crate) points: Points,
    /// The points that only runs with deviations reach, such as a call that undoes another one.
    pub(crate) points_after_failures: Points,
    /// The number of unreached points in each `#[crash_points]` function that ran.
    pub(crate) unreached: BTreeMap<String, usize>,
    /// The checks of the test in addition to outcomes.
    pub(crate) checked: BTreeSet<String>,
    /// The exceptions that the test allows.
    pub(crate) excused: BTreeSet<String>,
    /// A crash poisoned a lock, so the rest of that run could not be tested.
    pub(crate) poisoned: bool,
    /// The jobs of some runs have more orders than were tried.
    pub(crate) undecided: bool,
}

/// The points that were reached in many runs.
#[derive(Debug, Default)]
pub(crate) struct MetPoints {
    points: Points,
    /// Digests of known points, because nearly all choices of a run are known.
    known: BTreeSet<u64>,
}

impl MetPoints {
    /// Adds the choices of a run. `kind_of` returns the kind of the job with a number.
    pub(crate) fn add(&mut self, record: &[Choice], kind_of: impl Fn(u32) -> &'static str) {
        for choice in record.iter().filter(|choice| choice.options.len() > 1) {
            let label = choice.label;
            let mut hasher = SipHasher13::new();
            match label.actor {
                Actor::Attempt { job, .. } => hasher.write(kind_of(job).as_bytes()),
                other => other.hash(&mut hasher),
            }
            (label.site, label.point, choice.kind).hash(&mut hasher);
            match choice.options {
                Options::Faults(faults) => faults.hash(&mut hasher),
                // The number of tasks to choose from makes no difference.
                Options::Counted(_) | Options::Others(_) => {}
                Options::Stall(stalls) => stalls.hash(&mut hasher),
                named => named.len().hash(&mut hasher),
            }
            if self.known.insert(hasher.finish()) {
                let options = self.points.entry(point(label, &kind_of)).or_default();
                options.extend(unusual(choice.options));
            }
        }
    }

    pub(crate) fn append(&mut self, next: Self) {
        self.known.extend(next.known);
        for (point, options) in next.points {
            self.points.entry(point).or_default().extend(options);
        }
    }

    pub(crate) fn points(&self) -> &Points {
        &self.points
    }
}

/// Returns the names of all options except the default. All options of a choice between tasks have one name.
fn unusual(options: Options) -> Vec<String> {
    match options {
        Options::Counted(_) | Options::Others(_) => vec!["other".to_owned()],
        named => (1..named.len()).map(|option| named.name(option)).collect(),
    }
}

impl Coverage {
    /// Lists what `self` covers and `now` does not, and what only `now` allows, in one line each.
    /// `is_whole` is false if `now` is only a shard.
    pub(crate) fn lost(&self, now: &Self, is_whole: bool) -> Vec<String> {
        let mut lost = Vec::new();
        if self.exhausted && !now.exhausted {
            lost.push("every scenario inside the bound ran before, but not now".to_owned());
        }
        if now.poisoned && !self.poisoned {
            lost.push("a crash poisons a lock, and the rest of that run is not tested".to_owned());
        }
        if now.undecided && !self.undecided {
            lost.push("the jobs of some runs have more orders than were tried".to_owned());
        }
        for (name, &was) in &self.bounds {
            let is = now.bounds.get(name).copied().unwrap_or(0);
            if is < was {
                lost.push(format!("{name} = {was} is now {is}"));
            }
        }
        lost.extend(
            self.checked.difference(&now.checked).map(|what| format!("`{what}` is no longer checked")),
        );
        lost.extend(now.excused.difference(&self.excused).map(|what| format!("`{what}` is new")));
        lost_points(&self.points, &now.points, "", &mut lost);
        if is_whole {
            let where_met = " after a failure";
            lost_points(&self.points_after_failures, &now.points_after_failures, where_met, &mut lost);
        }
        for (function, &was) in &self.unreached {
            match now.unreached.get(function) {
                None => lost.push(format!("no line of `{function}` runs any more")),
                Some(&is) if is > was => {
                    lost.push(format!("unreached points of `{function}`: {is}, previously {was}"));
                }
                Some(_) => {}
            }
        }
        lost
    }
}

fn lost_points(was: &Points, now: &Points, where_met: &str, lost: &mut Vec<String>) {
    for (point, options) in was {
        let Some(left) = now.get(point) else {
            lost.push(format!("`{point}` is no longer reached{where_met}"));
            continue;
        };
        for option in options.difference(left) {
            lost.push(format!("`{point}={option}` is no longer explored{where_met}"));
        }
    }
}

/// Counts the unreached points of each function.
pub(crate) fn unreached(lines: &LineMap) -> BTreeMap<String, usize> {
    let unreached = lines.functions().iter().map(|function| {
        let never = function.points.iter().filter(|point| point.crashes.is_empty());
        (function.name.to_owned(), never.count())
    });
    unreached.collect()
}

/// Names the point of a choice, without the numbers of jobs, attempts and lines.
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

    fn coverage(points: &[&str], deviations: u64, unreached: usize) -> Coverage {
        let options = || BTreeSet::from(["crash".to_owned()]);
        Coverage {
            exhausted: true,
            bounds: BTreeMap::from([("deviations".to_owned(), deviations)]),
            points: points.iter().map(|point| ((*point).to_owned(), options())).collect(),
            unreached: BTreeMap::from([("complete".to_owned(), unreached)]),
            ..Coverage::default()
        }
    }

    #[test]
    fn what_is_no_longer_covered_is_named() {
        let was = coverage(&["a", "b"], 2, 1);
        let lost = |now: &Coverage| was.lost(now, true);
        assert_eq!(lost(&was), [""; 0]);
        assert_eq!(lost(&coverage(&["a", "b", "c"], 3, 0)), [""; 0], "more is no loss");
        assert_eq!(lost(&coverage(&["b"], 2, 1)), ["`a` is no longer reached"]);
        assert_eq!(lost(&coverage(&["a", "b"], 1, 1)), ["deviations = 2 is now 1"]);
        let lines = lost(&coverage(&["a", "b"], 2, 3));
        assert_eq!(lines, ["unreached points of `complete`: 3, previously 1"]);
        let now = Coverage { exhausted: false, unreached: BTreeMap::new(), ..was.clone() };
        assert_eq!(
            lost(&now),
            [
                "every scenario inside the bound ran before, but not now",
                "no line of `complete` runs any more"
            ]
        );
        let mut now = was.clone();
        now.points.insert("a".to_owned(), BTreeSet::new());
        assert_eq!(lost(&now), ["`a=crash` is no longer explored"]);
        assert_eq!(lost(&Coverage { poisoned: true, ..was.clone() }).len(), 1);
    }

    #[test]
    fn less_is_checked_or_more_excused_in_a_shard_too() {
        let set = |what: &str| BTreeSet::from([what.to_owned()]);
        let plain = coverage(&["a"], 2, 0);
        let strict = Coverage { checked: set("deny_warnings"), ..plain.clone() };
        let lax = Coverage { excused: set("allow(\"email.send\", AtLeastOnce)"), ..plain.clone() };
        for is_whole in [true, false] {
            assert_eq!(strict.lost(&plain, is_whole), ["`deny_warnings` is no longer checked"]);
            assert_eq!(plain.lost(&lax, is_whole), ["`allow(\"email.send\", AtLeastOnce)` is new"]);
            assert_eq!(plain.lost(&strict, is_whole), [""; 0]);
            assert_eq!(lax.lost(&plain, is_whole), [""; 0]);
        }
    }

    #[test]
    fn what_only_runs_with_failures_meet_is_not_asked_of_a_shard() {
        let plain = coverage(&["a"], 2, 0);
        let refunds = Coverage { points_after_failures: coverage(&["refund"], 2, 0).points, ..plain.clone() };
        assert_eq!(refunds.lost(&plain, true), ["`refund` is no longer reached after a failure"]);
        assert_eq!(refunds.lost(&plain, false), [""; 0]);
    }
}
