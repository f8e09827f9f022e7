//! The name of a run: the test, and the deviations of the run from the ordinary course.
//!
//! ```
//! use retryproof::Scenario;
//!
//! let text = "shop::order job#1.1/payments.charge:call=reply-lost job#1.2:end=crash";
//! let scenario: Scenario = text.parse()?;
//! assert_eq!(scenario.test(), "shop::order");
//! assert_eq!(scenario.deviations().len(), 2);
//! assert_eq!(scenario.to_string(), text);
//! # Ok::<(), retryproof::report::ScenarioError>(())
//! ```

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::search::choice::{Choice, DeviationSpec};
use crate::search::input;

/// The name of a run. The report prints it, and `RETRYPROOF_REPLAY` replays the run.
///
/// Its text is the test's name, then `input:name=value` for each input, then `choice=option` for each deviation,
/// separated by blanks. The scenario without deviations is the reference run of its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    test: String,
    inputs: Vec<DeviationSpec>,
    deviations: Vec<DeviationSpec>,
}

/// The reason why a text is not a scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The text is empty.
    #[error("a replay needs a scenario: paste the line that the report prints, `test choice=option …`")]
    Empty,
    /// A word is not `choice=option`.
    #[error(
        "`{word}` (word {number} of the scenario) is not `choice=option`, as in `job#1.1:end=crash`; paste the whole line that the report prints"
    )]
    NotADeviation {
        /// The word.
        word: String,
        /// Its position. The test's name is the first word.
        number: usize,
    },
    /// The number after `~` is not a number from 1.
    #[error(
        "`{word}` (word {number} of the scenario): what follows `~` counts meetings with that choice, from 1"
    )]
    BadOccurrence {
        /// The word.
        word: String,
        /// Its position. The test's name is the first word.
        number: usize,
    },
}

impl Scenario {
    /// Returns the scenario with these inputs.
    pub(crate) fn on(self, inputs: &[DeviationSpec]) -> Self {
        Self { inputs: inputs.to_vec(), ..self }
    }

    /// Returns the scenario of a run that recorded these choices.
    pub(crate) fn of_record(test: &str, record: &[Choice]) -> Self {
        let deviations = record
            .iter()
            .enumerate()
            .filter(|(_, choice)| choice.taken != 0)
            .map(|(at, choice)| DeviationSpec {
                label: choice.label.to_string(),
                nth: 1 + record[..at].iter().filter(|earlier| earlier.label == choice.label).count() as u32,
                option: choice.options.name(choice.taken as usize),
            })
            .collect();
        Self { test: test.to_owned(), inputs: Vec::new(), deviations }
    }

    /// The name of the test.
    pub fn test(&self) -> &str {
        &self.test
    }

    /// The deviations, each as `choice=option`. The reference run has none.
    pub fn deviations(&self) -> Vec<String> {
        self.deviations.iter().map(DeviationSpec::to_string).collect()
    }

    /// The inputs, each as `input:name=value`: the values that the test has drawn
    /// ([`World::choose`](crate::World::choose)) and the requests that were refused.
    pub fn inputs(&self) -> Vec<String> {
        self.inputs.iter().map(DeviationSpec::to_string).collect()
    }

    pub(crate) fn wanted_inputs(&self) -> &[DeviationSpec] {
        &self.inputs
    }

    pub(crate) fn wanted(&self) -> &[DeviationSpec] {
        &self.deviations
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.test)?;
        self.inputs.iter().chain(&self.deviations).try_for_each(|word| write!(f, " {word}"))
    }
}

impl Serialize for Scenario {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Scenario {
    type Err = ScenarioError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split_whitespace();
        let test = words.next().ok_or(ScenarioError::Empty)?;
        // A deviation in the place of the test's name: the line was not copied from its beginning.
        if test.contains('=') {
            return Err(ScenarioError::NotADeviation { word: test.to_owned(), number: 1 });
        }
        let wanted: Vec<_> =
            words.enumerate().map(|(at, word)| deviation(word, at + 2)).collect::<Result<_, _>>()?;
        let (inputs, deviations) = wanted.into_iter().partition(|word| word.label.starts_with(input::PREFIX));
        Ok(Self { test: test.to_owned(), inputs, deviations })
    }
}

fn deviation(word: &str, number: usize) -> Result<DeviationSpec, ScenarioError> {
    let not = || ScenarioError::NotADeviation { word: word.to_owned(), number };
    let (choice, option) = word.rsplit_once('=').ok_or_else(not)?;
    if choice.is_empty() || option.is_empty() || !choice.contains(':') {
        return Err(not());
    }
    let (label, nth) = match choice.rsplit_once('~') {
        None => (choice, 1),
        Some((label, nth)) => {
            let bad = || ScenarioError::BadOccurrence { word: word.to_owned(), number };
            (label, nth.parse().ok().filter(|&nth| nth > 0).ok_or_else(bad)?)
        }
    };
    Ok(DeviationSpec { label: label.to_owned(), nth, option: option.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_the_same_there_and_back() {
        for text in [
            "t",
            "a::b job#1.1:end=crash",
            "a::b job#1.1/sleep:before~3=crash job#2.1/payments.charge:call=throttled",
            "a::b input:card=declined input:payments.charge/6/2=declined job#1.1:end=crash",
        ] {
            assert_eq!(text.parse::<Scenario>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn garbage_is_told_what_it_should_be() {
        let error = |text: &str| text.parse::<Scenario>().unwrap_err().to_string();
        assert_eq!(
            error("  "),
            "a replay needs a scenario: paste the line that the report prints, `test choice=option …`"
        );
        assert_eq!(
            error("test crash"),
            "`crash` (word 2 of the scenario) is not `choice=option`, as in `job#1.1:end=crash`; \
             paste the whole line that the report prints"
        );
        assert_eq!(
            error("t job#1.1:end~0=crash"),
            "`job#1.1:end~0=crash` (word 2 of the scenario): what follows `~` counts meetings with that choice, from 1"
        );
        assert!(error("job#1.1:end=crash").contains("word 1"));
        assert!(error("t =crash").contains("word 2"));
        assert!(error("t job#1.1:end=").contains("word 2"));
    }
}
