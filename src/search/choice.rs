//! The only place where anything is decided.
//!
//! Whatever a world does not determine by itself is a [`Choice`]: a label, a kind, a number of options, and the
//! option taken. Option 0 is always "nothing unusual"; any other option is a *deviation*. A run is named by its
//! deviations alone. Nothing here knows what the choices are about.

mod fault;
mod name;
mod options;
mod place;
mod point;
mod sampled;

pub use self::name::Name;

pub(crate) use self::fault::{Fault, FaultSet};
pub(crate) use self::options::{Ending, Options, Stalls};
pub(crate) use self::place::{Look, Place, forget, look, looking, set_look};
pub(crate) use self::point::{Point, WaitKind};
pub(crate) use self::sampled::{Dice, Pct, Random};
#[cfg(feature = "proptest")]
pub(crate) use self::sampled::{Pick, Picks};

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

/// What sort of thing may go wrong at a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// The worker process dies here.
    Crash,
    /// A call to a service fails, as services fail.
    Fault,
    /// A job is delivered again, lost, or not taken.
    Delivery,
    /// Another task runs next.
    Schedule,
    /// A timer fires very late.
    Delay,
}

/// A crash point that stands before a statement of a function.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    pub(crate) function: &'static crash_points::Function,
    /// Which of the function's points: several may stand at one place, where a macro wrote the code.
    pub(crate) ordinal: u32,
}

impl Line {
    pub(crate) fn place(self) -> Place {
        let place = self.function.points[self.ordinal as usize];
        Place { file: self.function.file, line: place.line, column: place.column }
    }
}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        self.ordinal == other.ordinal && std::ptr::eq(self.function, other.function)
    }
}

impl Eq for Line {}

impl Hash for Line {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.place(), self.ordinal).hash(state);
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.place(), self.ordinal)
    }
}

/// Who met a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Actor {
    /// The test body. It never meets a choice, but it makes effects (givens).
    Test,
    /// Code of a process outside of any attempt: a task that an attempt has spawned.
    Process(Name),
    /// A task that a process has spawned when it was booted, by its own name.
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

/// Where a choice was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Site {
    /// A call to a service, the queue among them.
    Call {
        /// `payments`
        service: Name,
        /// `charge`
        operation: Name,
    },
    /// The attempt itself: its start, its end.
    Attempt,
    /// A wait that the harness owns: `sleep`, `yield`.
    Wait(WaitKind),
    /// Before a statement of a `#[crash_points]` function.
    Line(Line),
    /// The order in which jobs are taken.
    Queue,
}

/// The name of a choice: who, where, and which of the points there.
///
/// The same label may be met several times in one run; a [`Scenario`](crate::Scenario) then counts (`~2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// Who met the choice.
    pub(crate) actor: Actor,
    /// Where.
    pub(crate) site: Site,
    /// Which of the points there.
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

/// A choice as it was met and taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// What sort of thing may go wrong.
    pub(crate) kind: Kind,
    /// Who met it, and where.
    pub(crate) label: Label,
    /// What could be taken.
    pub(crate) options: Options,
    /// What was taken.
    pub(crate) taken: u32,
}

/// A digest of a run's choices, to tell whether it took the same course again.
pub(crate) fn digest(record: &[Choice]) -> u32 {
    let mut hasher = siphasher::sip::SipHasher13::new();
    for choice in record {
        // By hand and in few pieces: what derived code does costs three times as much. A kind's options are always the
        // same but for their number.
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

/// One departure from the ordinary course: which choice of the run, counted from 0, and which option. Four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deviation(u32);

impl Deviation {
    /// The most choices a run may have; the step limit lies far below.
    pub(crate) const MAX_CHOICES: usize = 1 << 24;
    /// The most options a choice may have; further candidates are never taken first.
    pub(crate) const MAX_OPTIONS: usize = 1 << 8;

    /// The deviation that takes `option` at the choice number `at`.
    ///
    /// # Panics
    /// When either is past its bound.
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

/// A deviation as a person pastes it: by label, occurrence and the option's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The text of the label.
    pub(crate) label: String,
    /// Which meeting with that label in the run, counted from 1.
    pub(crate) nth: u32,
    /// The name of the option.
    pub(crate) option: String,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)?;
        if self.nth > 1 {
            write!(f, "~{}", self.nth)?;
        }
        write!(f, "={}", self.option)
    }
}

/// Where a run shall depart from the ordinary course.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// At these choices, in ascending order. The label of the last one is known from the run it was derived from.
    Numbered(Vec<Deviation>, Option<Label>),
    /// At the choices of these names, in the order in which they are met.
    Wanted(Vec<Wanted>),
    /// At a few places that are drawn on the way.
    Random(Random),
    /// Where [`Chooser::choose_task`] is asked, as random priorities will have it.
    Pct(Pct),
    /// At places that somebody else has drawn, each counted from the one before.
    #[cfg(feature = "proptest")]
    Picked(Picks),
}

impl Plan {
    /// No departure at all.
    pub(crate) fn ordinary() -> Self {
        Plan::Numbered(Vec::new(), None)
    }

    /// How many departures it has; of one that draws them on the way, more than of any other.
    pub(crate) fn deviations(&self) -> usize {
        match self {
            Plan::Numbered(deviations, _) => deviations.len(),
            Plan::Wanted(wanted) => wanted.len(),
            _ => usize::MAX,
        }
    }

    /// The course that a run has taken, once more.
    pub(crate) fn again(record: &[Choice]) -> Self {
        let deviations = record.iter().enumerate().filter(|(_, choice)| choice.taken != 0);
        Plan::Numbered(
            deviations.map(|(at, choice)| Deviation::new(at, choice.taken as usize)).collect(),
            None,
        )
    }
}

/// Why a run did not follow its plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Divergence {
    /// A choice of that name was never met.
    #[error("`{wanted}` was never met; the run met {met} choices, the last being {last}")]
    NeverMet {
        /// The deviation that was to be taken.
        wanted: String,
        /// How many choices the run met.
        met: usize,
        /// The last of them.
        last: String,
    },
    /// The choice was met but does not offer that option.
    #[error("`{wanted}`: that choice no longer offers this option; it offers {offered}")]
    NoSuchOption {
        /// The deviation that was to be taken.
        wanted: String,
        /// What the choice offers.
        offered: String,
    },
    /// At that place of the run another choice was met than the time before: the code is not deterministic.
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

/// Takes the options that a plan names and 0 everywhere else, and records every choice.
#[derive(Debug)]
pub(crate) struct Chooser {
    plan: Plan,
    next: usize,
    record: Vec<Choice>,
    divergence: Option<Divergence>,
}

impl Chooser {
    /// A chooser that will follow `plan`.
    #[cfg(test)]
    pub(crate) fn new(plan: Plan) -> Self {
        Self::recording_in(plan, Vec::new())
    }

    /// A chooser that will follow `plan`, with the room of a record that is no longer needed: a new one costs more than
    /// all that is put in.
    pub(crate) fn recording_in(plan: Plan, mut record: Vec<Choice>) -> Self {
        record.clear();
        Self { plan, next: 0, record, divergence: None }
    }

    /// A chooser for a run that is over.
    pub(crate) fn idle() -> Self {
        Self { plan: Plan::Wanted(Vec::new()), next: 0, record: Vec::new(), divergence: None }
    }

    /// Decides. The answer is below `options.len()`.
    #[inline]
    pub(crate) fn choose(&mut self, kind: Kind, label: Label, options: Options) -> usize {
        // Nearly all choices of a run are ordinary: for them nothing is looked at.
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

    /// Decides which task goes on. `candidates`: who could; the first is the one that would, and `label` names it. The answer is a place in `candidates`, and recorded as
    /// [`Chooser::choose`] records it, as a choice of [`Kind::Schedule`].
    ///
    /// # Panics
    /// When there is no candidate.
    pub(crate) fn choose_task(&mut self, label: Label, candidates: &[Actor]) -> usize {
        assert!(!candidates.is_empty(), "nobody to choose from at {label}");
        let options = Options::Others(candidates.len() as u32 - 1);
        let Plan::Pct(pct) = &mut self.plan else { return self.choose(Kind::Schedule, label, options) };
        let taken = pct.take(candidates);
        self.record.push(Choice { kind: Kind::Schedule, label, options, taken: taken as u32 });
        taken
    }

    fn planned(&mut self, kind: Kind, label: &Label, options: Options) -> usize {
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

    /// Every choice of the run so far, in order.
    pub(crate) fn record(&self) -> &[Choice] {
        &self.record
    }

    /// The record, why the run left its plan, if it did, and the plan. To be asked when the run is over: a deviation
    /// that was never met is a divergence, too.
    pub(crate) fn finish(self) -> (Vec<Choice>, Option<Divergence>, Plan) {
        let unmet = match &self.plan {
            Plan::Numbered(deviations, expected) => {
                deviations.get(self.next).map(|deviation| match expected {
                    Some(label) => format!("{label}={}", deviation.option()),
                    None => format!("choice {}={}", deviation.at(), deviation.option()),
                })
            }
            Plan::Wanted(wanted) => wanted.get(self.next).map(Wanted::to_string),
            // They take what comes.
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

    fn wanted(label: &str, nth: u32, option: &str) -> Wanted {
        Wanted { label: label.to_owned(), nth, option: option.to_owned() }
    }

    #[test]
    fn takes_nothing_unusual_unless_told() {
        let mut chooser = Chooser::new(Plan::Numbered(vec![], None));
        assert_eq!(chooser.choose(Kind::Crash, label(Point::Start), Options::Crash), 0);
        assert_eq!(chooser.finish().1, None);
    }

    #[test]
    fn counts_meetings_with_the_same_label() {
        let mut chooser = Chooser::new(Plan::Wanted(vec![
            wanted("job#1.1:next", 2, "crash"),
            wanted("job#1.1:next", 4, "crash"),
        ]));
        let taken: Vec<_> =
            (0..4).map(|_| chooser.choose(Kind::Crash, label(Point::Next), Options::Crash)).collect();
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
            .map(|point| chooser.choose(Kind::Crash, label(point), Options::Crash))
            .into();
        assert_eq!(taken, [0, 1, 1]);
        assert_eq!(chooser.finish().1, None);
    }

    #[test]
    fn a_label_is_met_by_the_whole_of_it() {
        for asked in ["job#1.1:star", "job#1.1:started", "job#1.1", "ob#1.1:start"] {
            let mut chooser = Chooser::new(Plan::Wanted(vec![wanted(asked, 1, "crash")]));
            assert_eq!(chooser.choose(Kind::Crash, label(Point::Start), Options::Crash), 0);
            assert!(matches!(chooser.finish().1, Some(Divergence::NeverMet { .. })));
        }
    }

    #[test]
    fn a_changed_label_an_unknown_option_and_an_unmet_choice_are_divergences() {
        let mut chooser = Chooser::new(Plan::Numbered(vec![Deviation::new(0, 1)], Some(label(Point::End))));
        assert_eq!(chooser.choose(Kind::Crash, label(Point::Start), Options::Crash), 0);
        assert_eq!(
            chooser.finish().1.unwrap().to_string(),
            "choice 0 was `job#1.1:end` the first time and `job#1.1:start` the second"
        );

        let mut chooser = Chooser::new(Plan::Numbered(vec![Deviation::new(0, 2)], Some(label(Point::End))));
        assert_eq!(chooser.choose(Kind::Crash, label(Point::End), Options::Crash), 0);
        assert_eq!(
            chooser.finish().1.unwrap().to_string(),
            "`job#1.1:end=2`: that choice no longer offers this option; it offers live, crash"
        );

        let mut chooser = Chooser::new(Plan::Wanted(vec![wanted("job#1.1:start", 1, "explode")]));
        chooser.choose(Kind::Crash, label(Point::Start), Options::Crash);
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
