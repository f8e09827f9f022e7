//! The only module that makes decisions.
//!
//! Every point at which a world could go on in more than one way is a [`Choice`]: a label, a kind, a number of
//! options, and the option taken. Option 0 is always "nothing unusual". Any other option is a *deviation*. A run is
//! named by its deviations alone. This module does not know what the choices are about.

mod fault;
mod name;
mod options;
mod place;
mod point;
mod sampled;

pub use self::name::Name;

pub(crate) use self::fault::{Fault, FaultSet};
pub(crate) use self::options::{Ending, Options, Stalls};
pub(crate) use self::place::{Place, PlaceLookup, forget, look, looking, set_look};
pub(crate) use self::point::{Point, WaitKind};
pub(crate) use self::sampled::{Dice, Pct, Random};
#[cfg(feature = "proptest")]
pub(crate) use self::sampled::{Pick, Picks};

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

/// The kind of event that may go wrong at a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DeviationKind {
    /// The worker process dies here.
    Crash,
    /// A call to a service fails in one of the ways in which services fail.
    Fault,
    /// A job is delivered again, lost, or not taken.
    Delivery,
    /// Another task runs next.
    Preemption,
    /// A timer fires very late.
    Delay,
}

impl DeviationKind {
    /// All kinds, each at the index that it has as a number.
    pub(crate) const ALL: [Self; 5] =
        [Self::Crash, Self::Fault, Self::Delivery, Self::Preemption, Self::Delay];
}

/// A crash point before a statement of a function.
#[derive(Clone, Copy)]
pub(crate) struct LinePoint {
    pub(crate) function: &'static crash_points::Function,
    /// The number of the point in its function. Several points may have the same place if a macro wrote the code.
    pub(crate) ordinal: u32,
}

impl LinePoint {
    pub(crate) fn place(self) -> Place {
        let place = self.function.points[self.ordinal as usize];
        Place { file: self.function.file, line: place.line, column: place.column }
    }
}

impl PartialEq for LinePoint {
    fn eq(&self, other: &Self) -> bool {
        self.ordinal == other.ordinal && std::ptr::eq(self.function, other.function)
    }
}

impl Eq for LinePoint {}

impl Hash for LinePoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.place(), self.ordinal).hash(state);
    }
}

impl fmt::Debug for LinePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.place(), self.ordinal)
    }
}

/// The actor that reached a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Actor {
    /// The test body. It never reaches a choice, but it makes effects (givens).
    Test,
    /// Code of a process outside of any attempt: a task that an attempt has spawned.
    Process(Name),
    /// A task that a process spawned at boot, by its own name.
    Task(Name),
    /// One attempt of one job. Both count from 1.
    Attempt {
        /// The number of the job, in the order in which jobs came into the world.
        job: u32,
        /// The number of the attempt of that job.
        attempt: u32,
    },
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Test => f.write_str("test"),
            Actor::Process(name) | Actor::Task(name) => write!(f, "{name}"),
            Actor::Attempt { job, attempt } => write!(f, "job#{job}.{attempt}"),
        }
    }
}

/// The site of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Site {
    /// A call to a service or to the queue.
    Call {
        /// `payments`
        service: Name,
        /// `charge`
        operation: Name,
    },
    /// The attempt itself: its start, its end.
    Attempt,
    /// A wait that the harness controls: `sleep`, `yield`.
    Wait(WaitKind),
    /// Before a statement of a `#[crash_points]` function.
    Line(LinePoint),
    /// The order in which jobs are taken.
    Queue,
}

/// The name of a choice: its actor, its site, and the point at that site.
///
/// One run may reach the same label several times. A [`Scenario`](crate::Scenario) then counts (`~2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// The actor that reached the choice.
    pub(crate) actor: Actor,
    /// The site of the choice.
    pub(crate) site: Site,
    /// The point at that site.
    pub(crate) point: Point,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.actor)?;
        match self.site {
            Site::Call { service, operation } => write!(f, "/{service}.{operation}")?,
            Site::Attempt => {}
            Site::Wait(what) => write!(f, "/{what}")?,
            Site::Line(line) => write!(f, "/{line:?}")?,
            Site::Queue => f.write_str("/queue")?,
        }
        write!(f, ":{}", self.point)
    }
}

/// A choice as a run reached it, and the option that the run took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The kind of event that may go wrong.
    pub(crate) kind: DeviationKind,
    /// The actor, the site and the point.
    pub(crate) label: Label,
    /// The options on offer.
    pub(crate) options: Options,
    /// The option that was taken.
    pub(crate) taken: u32,
}

/// A digest of a run's choices, which shows whether the run took the same course again.
pub(crate) fn digest(record: &[Choice]) -> u32 {
    let mut hasher = siphasher::sip::SipHasher13::new();
    for choice in record {
        // Hashed by hand in few pieces, because derived code costs three times as much. The options of a kind differ
        // only in their number.
        let (who, attempt) = match choice.label.actor {
            Actor::Test => (0, 0),
            Actor::Process(name) => {
                hasher.write(name.as_str().as_bytes());
                (1, 0)
            }
            Actor::Task(name) => {
                hasher.write(name.as_str().as_bytes());
                (3, 0)
            }
            Actor::Attempt { job, attempt } => (u64::from(job) << 2 | 2, attempt),
        };
        hasher.write_u64(who << 8 | choice.kind as u64);
        hasher.write_u64(
            u64::from(attempt) << 32 | u64::from(choice.taken) << 24 | choice.options.len() as u64,
        );
        hasher.write(choice.label.point.as_str().as_bytes());
        match choice.label.site {
            Site::Call { service, operation } => {
                hasher.write(service.as_str().as_bytes());
                hasher.write(operation.as_str().as_bytes());
            }
            Site::Wait(what) => hasher.write(what.as_str().as_bytes()),
            Site::Line(line) => line.hash(&mut hasher),
            site @ (Site::Attempt | Site::Queue) => std::mem::discriminant(&site).hash(&mut hasher),
        }
    }
    (hasher.finish() >> 32) as u32
}

/// One departure from the ordinary course: the number of the choice in the run, counted from 0, and the option. Four
/// bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deviation(u32);

impl Deviation {
    /// The maximum number of choices in a run. The step limit is far lower.
    pub(crate) const MAX_CHOICES: usize = 1 << 24;
    /// The maximum number of options of a choice. Further candidates never go first.
    pub(crate) const MAX_OPTIONS: usize = 1 << 8;

    /// The deviation that takes `option` at the choice number `at`.
    ///
    /// # Panics
    /// If either is past its bound.
    pub(crate) fn new(at: usize, option: usize) -> Self {
        assert!(
            at < Self::MAX_CHOICES && option < Self::MAX_OPTIONS,
            "choice {at}, option {option}: past the bound"
        );
        Self((at as u32) << 8 | option as u32)
    }

    /// The number of the choice, counted from 0.
    pub(crate) fn at(self) -> usize {
        (self.0 >> 8) as usize
    }

    /// The option taken there.
    pub(crate) fn option(self) -> usize {
        (self.0 & 0xff) as usize
    }
}

/// A deviation as the user pastes it: by label, occurrence and the option's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviationSpec {
    /// The text of the label.
    pub(crate) label: String,
    /// The occurrence of that label in the run, counted from 1.
    pub(crate) nth: u32,
    /// The name of the option.
    pub(crate) option: String,
}

impl fmt::Display for DeviationSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)?;
        if self.nth > 1 {
            write!(f, "~{}", self.nth)?;
        }
        write!(f, "={}", self.option)
    }
}

/// The places at which a run must depart from the ordinary course.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// At these choices, in ascending order. The label is that of the last one in the run that the plan was derived from.
    Numbered(Vec<Deviation>, Option<Label>),
    /// At the choices of these names, in the order in which the run reaches them.
    Wanted(Vec<DeviationSpec>),
    /// At a few places that are drawn during the run.
    Random(Random),
    /// At calls of [`Chooser::choose_task`], according to random priorities.
    Pct(Pct),
    /// At places that proptest has drawn, each counted from the one before.
    #[cfg(feature = "proptest")]
    Picked(Picks),
}

impl Plan {
    /// Departs nowhere.
    pub(crate) fn ordinary() -> Self {
        Plan::Numbered(Vec::new(), None)
    }

    /// Returns the number of deviations. For a plan that draws them during the run, this is the largest number.
    pub(crate) fn deviations(&self) -> usize {
        match self {
            Plan::Numbered(deviations, _) => deviations.len(),
            Plan::Wanted(wanted) => wanted.len(),
            _ => usize::MAX,
        }
    }

    /// Repeats the course of a run.
    pub(crate) fn again(record: &[Choice]) -> Self {
        let deviations = record.iter().enumerate().filter(|(_, choice)| choice.taken != 0);
        Plan::Numbered(
            deviations.map(|(at, choice)| Deviation::new(at, choice.taken as usize)).collect(),
            None,
        )
    }
}

/// The reason why a run did not follow its plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Divergence {
    /// The run never reached a choice of that name.
    #[error("`{wanted}` was never met; the run met {met} choices, the last being {last}")]
    NeverMet {
        /// The deviation that the plan asked for.
        wanted: String,
        /// The number of choices that the run reached.
        met: usize,
        /// The last of them.
        last: String,
    },
    /// The run reached the choice, but the choice does not offer that option.
    #[error("`{wanted}`: that choice no longer offers this option; it offers {offered}")]
    NoSuchOption {
        /// The deviation that the plan asked for.
        wanted: String,
        /// The options that the choice offers.
        offered: String,
    },
    /// The run reached another choice at that place than the time before: the code is not deterministic.
    #[error("choice {at} was `{expected}` the first time and `{met}` the second")]
    Changed {
        /// The number of the choice, counted from 0.
        at: usize,
        /// Its label in the run it was derived from.
        expected: String,
        /// Its label now.
        met: String,
    },
}

/// Takes the options that a plan names and option 0 everywhere else, and records every choice.
#[derive(Debug)]
pub(crate) struct Chooser {
    plan: Plan,
    next: usize,
    record: Vec<Choice>,
    divergence: Option<Divergence>,
}

impl Chooser {
    /// Makes a chooser that follows `plan`.
    #[cfg(test)]
    pub(crate) fn new(plan: Plan) -> Self {
        Self::recording_in(plan, Vec::new())
    }

    /// Makes a chooser that follows `plan` and reuses the memory of an old record. A new allocation costs more than
    /// all that is put in.
    pub(crate) fn recording_in(plan: Plan, mut record: Vec<Choice>) -> Self {
        record.clear();
        Self { plan, next: 0, record, divergence: None }
    }

    /// Makes a chooser for a run that is over.
    pub(crate) fn idle() -> Self {
        Self { plan: Plan::Wanted(Vec::new()), next: 0, record: Vec::new(), divergence: None }
    }

    /// Makes a decision. The result is below `options.len()`.
    #[inline]
    pub(crate) fn choose(&mut self, kind: DeviationKind, label: Label, options: Options) -> usize {
        // Nearly all choices of a run are ordinary. They take this short path.
        let ordinary = match &self.plan {
            Plan::Numbered(deviations, _) => {
                deviations.get(self.next).is_none_or(|next| next.at() != self.record.len())
            }
            Plan::Wanted(wanted) => self.next == wanted.len(),
            Plan::Random(random) => random.is_over(),
            Plan::Pct(_) => true,
            #[cfg(feature = "proptest")]
            Plan::Picked(picks) => picks.is_over(),
        };
        let taken = if ordinary { 0 } else { self.planned(kind, &label, options) };
        debug_assert!(taken < options.len(), "an option that is not offered");
        self.record.push(Choice { kind, label, options, taken: taken as u32 });
        taken
    }

    /// Decides which task runs next. `candidates` are the tasks that can run. The first one runs in the ordinary
    /// course, and `label` names it. Returns an index into `candidates`, and records the choice as
    /// [`Chooser::choose`] does, with [`DeviationKind::Preemption`].
    ///
    /// # Panics
    /// If there is no candidate.
    pub(crate) fn choose_task(&mut self, label: Label, candidates: &[Actor]) -> usize {
        assert!(!candidates.is_empty(), "nobody to choose from at {label}");
        let options = Options::Others(candidates.len() as u32 - 1);
        let Plan::Pct(pct) = &mut self.plan else {
            return self.choose(DeviationKind::Preemption, label, options);
        };
        let taken = pct.take(candidates);
        self.record.push(Choice { kind: DeviationKind::Preemption, label, options, taken: taken as u32 });
        taken
    }

    fn planned(&mut self, kind: DeviationKind, label: &Label, options: Options) -> usize {
        if self.divergence.is_some() {
            return 0;
        }
        if let Plan::Random(random) = &mut self.plan {
            return random.take(kind, options.len());
        }
        #[cfg(feature = "proptest")]
        if let Plan::Picked(picks) = &mut self.plan {
            return picks.take(kind, options.len());
        }
        match &self.plan {
            Plan::Numbered(deviations, expected) => {
                let at = self.record.len();
                let Some(deviation) = deviations.get(self.next).filter(|d| d.at() == at) else { return 0 };
                self.next += 1;
                let last = self.next == deviations.len();
                if let Some(expected) = expected.filter(|expected| last && expected != label) {
                    self.divergence = Some(Divergence::Changed {
                        at,
                        expected: expected.to_string(),
                        met: label.to_string(),
                    });
                    return 0;
                }
                if deviation.option() >= options.len() {
                    self.divergence = Some(Divergence::NoSuchOption {
                        wanted: format!("{label}={}", deviation.option()),
                        offered: offered(options),
                    });
                    return 0;
                }
                deviation.option()
            }
            Plan::Wanted(wanted) => {
                let text = label.to_string();
                let Some(want) = wanted.get(self.next).filter(|want| want.label == text) else { return 0 };
                let met = 1 + self.record.iter().filter(|choice| choice.label == *label).count();
                if met < want.nth as usize {
                    return 0;
                }
                let Some(option) = options.find(&want.option) else {
                    self.divergence = Some(Divergence::NoSuchOption {
                        wanted: want.to_string(),
                        offered: offered(options),
                    });
                    return 0;
                };
                self.next += 1;
                option
            }
            _ => 0,
        }
    }

    /// All choices of the run so far, in order.
    pub(crate) fn record(&self) -> &[Choice] {
        &self.record
    }

    /// Returns the record, the reason why the run left its plan (if it did), and the plan. Call it when the run is
    /// over, because a deviation that was never reached is a divergence, too.
    pub(crate) fn finish(self) -> (Vec<Choice>, Option<Divergence>, Plan) {
        let unmet = match &self.plan {
            Plan::Numbered(deviations, expected) => {
                deviations.get(self.next).map(|deviation| match expected {
                    Some(label) => format!("{label}={}", deviation.option()),
                    None => format!("choice {}={}", deviation.at(), deviation.option()),
                })
            }
            Plan::Wanted(wanted) => wanted.get(self.next).map(DeviationSpec::to_string),
            // These plans take the choices as they come.
            _ => None,
        };
        let divergence = self.divergence.or_else(|| {
            unmet.map(|wanted| Divergence::NeverMet {
                wanted,
                met: self.record.len(),
                last: self.record.last().map_or("none".to_owned(), |choice| format!("`{}`", choice.label)),
            })
        });
        (self.record, divergence, self.plan)
    }
}

fn offered(options: Options) -> String {
    (0..options.len()).map(|option| options.name(option)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(point: Point) -> Label {
        Label { actor: Actor::Attempt { job: 1, attempt: 1 }, site: Site::Attempt, point }
    }

    fn wanted(label: &str, nth: u32, option: &str) -> DeviationSpec {
        DeviationSpec { label: label.to_owned(), nth, option: option.to_owned() }
    }

    #[test]
    fn takes_nothing_unusual_unless_told() {
        let mut chooser = Chooser::new(Plan::Numbered(vec![], None));
        assert_eq!(chooser.choose(DeviationKind::Crash, label(Point::Start), Options::Crash), 0);
        assert_eq!(chooser.finish().1, None);
    }

    #[test]
    fn counts_meetings_with_the_same_label() {
        let mut chooser = Chooser::new(Plan::Wanted(vec![
            wanted("job#1.1:next", 2, "crash"),
            wanted("job#1.1:next", 4, "crash"),
        ]));
        let taken: Vec<_> = (0..4)
            .map(|_| chooser.choose(DeviationKind::Crash, label(Point::Next), Options::Crash))
            .collect();
        assert_eq!(taken, [0, 1, 0, 1]);
        assert_eq!(chooser.finish().1, None);
    }

    #[test]
    fn counts_meetings_before_the_label_was_next() {
        let mut chooser = Chooser::new(Plan::Wanted(vec![
            wanted("job#1.1:start", 1, "crash"),
            wanted("job#1.1:end", 2, "crash"),
        ]));
        let taken: Vec<_> = [Point::End, Point::Start, Point::End]
            .map(|point| chooser.choose(DeviationKind::Crash, label(point), Options::Crash))
            .into();
        assert_eq!(taken, [0, 1, 1]);
        assert_eq!(chooser.finish().1, None);
    }

    #[test]
    fn a_label_is_met_by_the_whole_of_it() {
        for asked in ["job#1.1:star", "job#1.1:started", "job#1.1", "ob#1.1:start"] {
            let mut chooser = Chooser::new(Plan::Wanted(vec![wanted(asked, 1, "crash")]));
            assert_eq!(chooser.choose(DeviationKind::Crash, label(Point::Start), Options::Crash), 0);
            assert!(matches!(chooser.finish().1, Some(Divergence::NeverMet { .. })));
        }
    }

    #[test]
    fn a_changed_label_an_unknown_option_and_an_unmet_choice_are_divergences() {
        let mut chooser = Chooser::new(Plan::Numbered(vec![Deviation::new(0, 1)], Some(label(Point::End))));
        assert_eq!(chooser.choose(DeviationKind::Crash, label(Point::Start), Options::Crash), 0);
        assert_eq!(
            chooser.finish().1.unwrap().to_string(),
            "choice 0 was `job#1.1:end` the first time and `job#1.1:start` the second"
        );

        let mut chooser = Chooser::new(Plan::Numbered(vec![Deviation::new(0, 2)], Some(label(Point::End))));
        assert_eq!(chooser.choose(DeviationKind::Crash, label(Point::End), Options::Crash), 0);
        assert_eq!(
            chooser.finish().1.unwrap().to_string(),
            "`job#1.1:end=2`: that choice no longer offers this option; it offers live, crash"
        );

        let mut chooser = Chooser::new(Plan::Wanted(vec![wanted("job#1.1:start", 1, "explode")]));
        chooser.choose(DeviationKind::Crash, label(Point::Start), Options::Crash);
        assert_eq!(
            chooser.finish().1.unwrap().to_string(),
            "`job#1.1:start=explode`: that choice no longer offers this option; it offers live, crash"
        );

        let chooser = Chooser::new(Plan::Wanted(vec![wanted("job#1.1:start", 1, "crash")]));
        assert_eq!(
            chooser.finish().1.unwrap().to_string(),
            "`job#1.1:start=crash` was never met; the run met 0 choices, the last being none"
        );
    }

    #[test]
    fn a_deviation_is_four_bytes() {
        assert_eq!(size_of::<Deviation>(), 4);
        let deviation = Deviation::new(70_000, 5);
        assert_eq!((deviation.at(), deviation.option()), (70_000, 5));
    }
}
