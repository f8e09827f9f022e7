//! Points at which a run could go on in more than one way. Option 0 is the ordinary course, and any other option is a
//! deviation.

use std::fmt;

/// The kind of a deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Crash,
    Fault,
    Delivery,
    Schedule,
}

/// The options of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Options {
    Named(&'static [&'static str]),
    /// The task itself, or one of this number of other tasks.
    Others(usize),
}

impl Options {
    fn len(self) -> usize {
        match self {
            Options::Named(names) => names.len(),
            Options::Others(others) => others + 1,
        }
    }
}

/// An attempt of a job, both counted from 1.
pub type Actor = (usize, usize);

/// The name of a choice: its actor, its call, and the point there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    pub actor: Actor,
    /// `store.get`, or empty at the start and the end of an attempt.
    pub site: &'static str,
    pub point: &'static str,
}

/// A choice of a run, and the option that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub kind: Kind,
    pub label: Label,
    pub options: Options,
    pub taken: usize,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Label { actor: (job, attempt), site, point } = self;
        let slash = if site.is_empty() { "" } else { "/" };
        write!(f, "job#{job}.{attempt}{slash}{site}:{point}")
    }
}

impl Choice {
    fn option(&self) -> String {
        match (self.options, self.taken) {
            (Options::Named(names), taken) => names[taken].to_owned(),
            (Options::Others(_), 1) => "other".to_owned(),
            (Options::Others(_), nth) => format!("other-{nth}"),
        }
    }
}

/// Returns the name of a run: its deviations, as retryproof writes them.
pub fn scenario(record: &[Choice]) -> String {
    let mut words = Vec::new();
    for (at, choice) in record.iter().enumerate().filter(|(_, choice)| choice.taken != 0) {
        let nth = record[..=at].iter().filter(|before| before.label == choice.label).count();
        let nth = if nth > 1 { format!("~{nth}") } else { String::new() };
        words.push(format!("{}{nth}={}", choice.label, choice.option()));
    }
    words.join(" ")
}

/// Takes the planned options, and option 0 everywhere else.
#[derive(Clone, Debug, Default)]
pub struct Chooser {
    /// The numbers of choices and the options to take there, in ascending order.
    deviations: Vec<(usize, usize)>,
    pub record: Vec<Choice>,
    /// Takes option 0 everywhere, and records nothing.
    pub calm: bool,
}

impl Chooser {
    pub fn new(deviations: Vec<(usize, usize)>) -> Self {
        Self { deviations, record: Vec::new(), calm: false }
    }

    pub fn calm() -> Self {
        Self { calm: true, ..Self::default() }
    }

    pub fn choose(&mut self, kind: Kind, label: Label, options: Options) -> usize {
        if self.calm {
            return 0;
        }
        let at = self.record.len();
        let taken = self.deviations.iter().find(|(place, _)| *place == at).map_or(0, |(_, option)| *option);
        assert!(taken < options.len(), "an option that was there in the run before");
        self.record.push(Choice { kind, label, options, taken });
        taken
    }

    /// Returns the runs with one more deviation after the last one of this run.
    pub fn children(&self) -> Vec<Vec<(usize, usize)>> {
        let from = self.deviations.last().map_or(0, |(at, _)| at + 1);
        let more = |(at, choice): (usize, &Choice)| {
            (1..choice.options.len())
                .map(move |option| [self.deviations.clone(), vec![(at, option)]].concat())
        };
        self.record.iter().enumerate().skip(from).flat_map(more).collect()
    }
}
