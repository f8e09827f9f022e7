//! Inputs: the answers of the environment, as opposed to failures.
//!
//! A declined card is an input. Whether the call that asks for it fails is a choice. Inputs have their own record, so
//! that code that counts deviations cannot count them.
//!
//! An [`Assignment`] is a total function from questions to answers: it names the answers that are not the first of
//! their list, and every other question gets its first answer. So each assignment has exactly one fault-free run, even
//! though runs with deviations may ask questions that the fault-free run does not ask
//! (docs/decisions/027-inputs.md).

use std::fmt::Write;
use std::sync::Arc;

use crate::search::choice::{Actor, DeviationSpec, Name};
use crate::search::digest::{fingerprint, hex};

/// The prefix of an input's word in a scenario.
pub(crate) const PREFIX: &str = "input:";

/// The maximum number of explored answers to the same request in one attempt. Later answers are the first of their
/// list, so that a loop
/// which asks until it is accepted ends.
const MOST_TIMES: u32 = 2;

/// The maximum length of the text of a question or an answer, in characters.
const LONGEST: usize = 48;

/// Answers that are not the first of their list, in the order in which the fault-free run asks for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Assignment(Vec<(Name, Name)>);

impl Assignment {
    /// The answers that a scenario names.
    pub(crate) fn of_words(inputs: &[DeviationSpec]) -> Self {
        let question =
            |input: &DeviationSpec| input.label.strip_prefix(PREFIX).unwrap_or(&input.label).to_owned();
        Self(inputs.iter().map(|input| (question(input).into(), input.option.clone().into())).collect())
    }

    /// Removes the answer to this question.
    pub(crate) fn without(&self, question: Name) -> Self {
        Self(self.0.iter().copied().filter(|(named, _)| *named != question).collect())
    }

    /// The questions and answers that the assignment names.
    pub(crate) fn answers(&self) -> &[(Name, Name)] {
        &self.0
    }

    fn answer(&self, question: Name) -> Option<Name> {
        self.0.iter().find(|(named, _)| *named == question).map(|(_, answer)| *answer)
    }
}

/// A question that a run has asked, and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InputQuestion {
    pub(crate) question: Name,
    pub(crate) answers: Vec<Name>,
    /// The index of the answer that was taken.
    pub(crate) taken: usize,
    /// The actor, the service and the operation, if this is a request that may be refused.
    pub(crate) request: Option<(Actor, Name, Name)>,
    /// The number of choices that the run had reached by then.
    pub(crate) at: usize,
}

impl InputQuestion {
    pub(crate) fn answer(&self) -> Name {
        self.answers[self.taken]
    }

    /// The request that was refused, if one was.
    pub(crate) fn refused(&self) -> Option<(Actor, Name, Name)> {
        self.request.filter(|_| self.taken != 0)
    }
}

/// The inputs that the scenarios of an assignment name: the values that its fault-free run has drawn, the requests
/// that were refused in it, and everything else that the assignment names.
pub(crate) fn words(assignment: &Assignment, asked: &[InputQuestion]) -> Vec<DeviationSpec> {
    let named = |asked: &&InputQuestion| asked.request.is_none() || asked.taken != 0;
    let in_run = asked.iter().filter(named).map(|asked| (asked.question, asked.answer()));
    let is_asked = |question: Name| asked.iter().any(|asked| asked.question == question);
    let others = assignment.answers().iter().copied().filter(|(question, _)| !is_asked(*question));
    in_run.chain(others).map(|(question, answer)| word_of(question, answer)).collect()
}

/// Whether a text is an input as scenarios name it.
pub(crate) fn is_word(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// Those of them that are not the ordinary ones.
pub(crate) fn unusual(assignment: &Assignment, asked: &[InputQuestion]) -> Vec<DeviationSpec> {
    let is_ordinary = |word: &DeviationSpec| {
        let is_it = |asked: &&InputQuestion| word.label == word_of(asked.question, asked.answer()).label;
        asked.iter().find(is_it).is_some_and(|asked| asked.taken == 0)
    };
    words(assignment, asked).into_iter().filter(|word| !is_ordinary(word)).collect()
}

fn word_of(question: Name, answer: Name) -> DeviationSpec {
    DeviationSpec { label: format!("{PREFIX}{question}"), nth: 1, option: answer.to_string() }
}

/// The reason why a run cannot have an input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InputError {
    #[error(
        "`world.choose(\"{question}\", …)` has no value to choose from; give it at least one, the ordinary one first"
    )]
    NoAnswer { question: String },
    #[error(
        "`world.choose(\"\", …)`: an input needs a name, under which scenarios and reports show it, as in `world.choose(\"card\", …)`"
    )]
    NoName,
    #[error(
        "the input `{question}` was asked for with {first} and then with {second}; ask once and keep the value, or give each input a name of its own"
    )]
    OtherAnswers { question: Name, first: String, second: String },
    #[error("the input `{question}` lists {answer} twice; each value is explored by itself, so list it once")]
    Twice { question: String, answer: String },
    #[error("`{PREFIX}{question}={answer}`: that input no longer has this value; it has {offered}")]
    NoSuchAnswer { question: Name, answer: Name, offered: String },
    #[error("`{PREFIX}{question}={answer}` was never asked for")]
    NeverAsked { question: Name, answer: Name },
}

/// A request that may be refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestChoice<'r> {
    /// The part of the request that the answer depends on.
    pub(crate) subject: &'r str,
    /// The whole request, including its key.
    pub(crate) request: &'r str,
    /// Whether the answer reaches the caller.
    pub(crate) is_heard: bool,
}

/// The inputs of one run.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    assignment: Arc<Assignment>,
    asked: Vec<InputQuestion>,
    /// The number of times that each attempt has received an answer to each request, by the digest of the request.
    heard: Vec<(Actor, u64, u32)>,
    error: Option<InputError>,
}

impl Inputs {
    pub(crate) fn new(assignment: Arc<Assignment>) -> Self {
        Self { assignment, ..Self::default() }
    }

    /// Answers a question of the test body.
    pub(crate) fn draw(
        &mut self,
        question: Name,
        answers: Vec<Name>,
        at: usize,
    ) -> Result<usize, InputError> {
        self.ask(InputQuestion { question, answers, taken: 0, request: None, at })
    }

    /// Decides whether and how a request of an attempt is refused. Returns an index into `answers`, the first of
    /// which accepts the request.
    ///
    /// The answer depends only on the subject, not on the caller or on the number of calls. Only an attempt that has
    /// received the answer and then repeats exactly the same request may get another one.
    pub(crate) fn refuse(
        &mut self,
        (by, service, operation): (Actor, Name, Name),
        requested: &RequestChoice<'_>,
        answers: Vec<Name>,
        at: usize,
    ) -> Result<usize, InputError> {
        let mut question = format!("{service}.{operation}/{}", identity(requested.subject));
        if let Actor::Attempt { .. } = by {
            let request = fingerprint(&[&question, requested.request]);
            let place = self.heard.iter().position(|(who, what, _)| (*who, *what) == (by, request));
            let heard = place.map_or(0, |place| self.heard[place].2);
            if requested.is_heard {
                match place {
                    Some(place) => self.heard[place].2 += 1,
                    None => self.heard.push((by, request, 1)),
                }
            }
            if heard >= MOST_TIMES {
                return Ok(0);
            }
            if heard > 0 {
                let _ = write!(question, "/{}", heard + 1);
            }
        }
        let request = Some((by, service, operation));
        self.ask(InputQuestion { question: question.into(), answers, taken: 0, request, at })
    }

    fn ask(&mut self, mut asking: InputQuestion) -> Result<usize, InputError> {
        let question = asking.question;
        if let Some(known) = self.asked.iter().find(|known| known.question == question) {
            if known.answers != asking.answers {
                let (first, second) = (list(&known.answers), list(&asking.answers));
                return Err(InputError::OtherAnswers { question, first, second });
            }
            return Ok(known.taken);
        }
        if let Some(answer) = self.assignment.answer(question) {
            match asking.answers.iter().position(|offered| *offered == answer) {
                Some(taken) => asking.taken = taken,
                None => {
                    let offered = list(&asking.answers);
                    self.error.get_or_insert(InputError::NoSuchAnswer { question, answer, offered });
                }
            }
        }
        let taken = asking.taken;
        self.asked.push(asking);
        Ok(taken)
    }

    /// The inputs of the run so far, as a scenario names them.
    pub(crate) fn words(&self) -> Vec<DeviationSpec> {
        words(&self.assignment, &self.asked)
    }

    /// The questions of the run, in order.
    pub(crate) fn take(&mut self) -> Vec<InputQuestion> {
        std::mem::take(&mut self.asked)
    }

    /// The reason why an answer could not be given, if there is one.
    pub(crate) fn error(&self) -> Option<&InputError> {
        self.error.as_ref()
    }
}

fn list(answers: &[Name]) -> String {
    let answers: Vec<_> = answers.iter().map(|answer| format!("`{answer}`")).collect();
    format!("[{}]", answers.join(", "))
}

/// An answer of an assignment to a question that neither of two runs has asked.
pub(crate) fn never_asked(assignment: &Assignment, runs: [&[InputQuestion]; 2]) -> Option<InputError> {
    let is_asked = |question: Name| runs.iter().any(|run| run.iter().any(|asked| asked.question == question));
    let never = assignment.answers().iter().find(|(question, _)| !is_asked(*question));
    never.map(|&(question, answer)| InputError::NeverAsked { question, answer })
}

/// The names of the answers to a question of the test body, from their JSON.
pub(crate) fn answers(question: &str, values: &[String]) -> Result<Vec<Name>, InputError> {
    if question.is_empty() {
        return Err(InputError::NoName);
    }
    if values.is_empty() {
        return Err(InputError::NoAnswer { question: question.to_owned() });
    }
    let mut names: Vec<Name> = Vec::with_capacity(values.len());
    for (at, value) in values.iter().enumerate() {
        if values[..at].contains(value) {
            return Err(InputError::Twice { question: question.to_owned(), answer: value.clone() });
        }
        let text = serde_json::from_str::<String>(value).unwrap_or_else(|_| value.clone());
        let text = word(&text);
        let mut name = Name::from(text.clone());
        let mut number = 1;
        // A word is short and has no blanks, so the words of several values may be equal. Those are numbered.
        while names.contains(&name) {
            number += 1;
            name = format!("{text}#{number}").into();
        }
        names.push(name);
    }
    Ok(names)
}

/// Makes a word of a scenario that stands for this text alone. A digest distinguishes texts with the same word.
pub(crate) fn identity(text: &str) -> String {
    let word = word(text);
    match word == text {
        true => word,
        false => hex(&format!("{word}#"), fingerprint(&[text]) >> 32, 8),
    }
}

/// Makes a word of a scenario from a text: without blanks and without the characters that separate words.
pub(crate) fn word(text: &str) -> String {
    let parts = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '=' | '~' | '\'');
    let mut word: String = text.chars().map(|c| if parts(c) { '_' } else { c }).take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        word.push('…');
    }
    if word.is_empty() {
        word.push('_');
    }
    word
}

/// Hands out assignments, each once. Those with the fewest answers that are not the first of their list come first.
///
/// As with deviations, the children of an assignment take another answer to a question that its fault-free run asks
/// after the last question that the assignment names.
#[derive(Debug)]
pub(crate) struct Assignments {
    waiting: std::collections::VecDeque<Assignment>,
    handed: Option<Assignment>,
}

impl Default for Assignments {
    fn default() -> Self {
        Self { waiting: [Assignment::default()].into(), handed: None }
    }
}

impl Assignments {
    pub(crate) fn next(&mut self) -> Option<Assignment> {
        self.handed = self.waiting.pop_front();
        self.handed.clone()
    }

    /// Records the questions of the fault-free run of the last assignment.
    pub(crate) fn ran(&mut self, asked: &[InputQuestion]) {
        let Some(parent) = self.handed.take() else { return };
        let last = parent.0.last();
        let from = last.and_then(|(named, _)| asked.iter().position(|asked| asked.question == *named));
        if last.is_some() && from.is_none() {
            // The code is not deterministic. The next repetition of this run finds that out.
            return;
        }
        for asked in &asked[from.map_or(0, |from| from + 1)..] {
            for answer in &asked.answers[1..] {
                let mut answers = parent.0.clone();
                answers.push((asked.question, *answer));
                self.waiting.push_back(Assignment(answers));
            }
        }
    }

    /// The number of known assignments that were not yet handed out.
    pub(crate) fn left(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&'static str]) -> Vec<Name> {
        texts.iter().map(|text| Name::from(*text)).collect()
    }

    /// Runs a made-up test body under each assignment and returns the answers that each run received.
    fn explore(body: impl Fn(&mut dyn FnMut(&'static str, usize) -> usize)) -> Vec<Vec<usize>> {
        let mut assignments = Assignments::default();
        let mut seen = Vec::new();
        while let Some(assignment) = assignments.next() {
            let mut inputs = Inputs::new(Arc::new(assignment));
            body(&mut |question, answers| {
                let answers = names(&["a", "b", "c", "d"][..answers]);
                inputs.draw(question.into(), answers, 0).unwrap()
            });
            let asked = inputs.take();
            assignments.ran(&asked);
            seen.push(asked.iter().map(|asked| asked.taken).collect());
        }
        seen
    }

    #[test]
    fn every_assignment_once_the_ordinary_ones_first() {
        let seen = explore(|ask| {
            ask("card", 2);
            ask("stock", 3);
        });
        assert_eq!(seen, [[0, 0], [1, 0], [0, 1], [0, 2], [1, 1], [1, 2]]);
    }

    #[test]
    fn a_question_that_only_one_answer_brings_up() {
        let seen = explore(|ask| {
            if ask("card", 2) == 1 {
                ask("second card", 2);
            }
        });
        assert_eq!(seen, [vec![0], vec![1, 0], vec![1, 1]]);
    }

    #[test]
    fn the_same_question_has_the_same_answer() {
        let seen = explore(|ask| {
            let first = ask("card", 2);
            assert_eq!(ask("card", 2), first);
        });
        assert_eq!(seen, [[0], [1]]);
    }

    #[test]
    fn each_attempt_is_answered_alike_and_a_loop_comes_to_its_end() {
        let refused = |question: &str| (Name::from(question.to_owned()), Name::from("declined"));
        let assignment = Assignment(vec![refused("payments.charge/6"), refused("payments.charge/6/2")]);
        let mut inputs = Inputs::new(Arc::new(assignment));
        for attempt in 1..=3 {
            let by = (Actor::Attempt { job: 1, attempt }, "payments".into(), "charge".into());
            let mut ask = |request, is_heard| {
                let requested = RequestChoice { subject: "6", request, is_heard };
                inputs.refuse(by, &requested, names(&["accepted", "declined"]), 0).unwrap()
            };
            assert_eq!([(); 4].map(|()| ask("a", true)), [1, 1, 0, 0]);
            // An attempt that has not received the answer asks again, and another request gets the answer of its
            // subject.
            assert_eq!([(); 4].map(|()| ask("b", false)), [1, 1, 1, 1]);
        }
    }

    #[test]
    fn a_question_is_its_whole_text_however_short_its_word() {
        let long = |end: &str| format!("order/{}/{}/{end}", "a".repeat(36), "b".repeat(36));
        let texts = [long("500"), long("600"), "card a".into(), "card_a".into(), "card\ta".into()];
        let words: Vec<_> = texts.iter().map(|text| identity(text)).collect();
        for (at, word) in words.iter().enumerate() {
            assert!(!words[..at].contains(word), "{words:?}");
            assert!(word.chars().count() < 60 && !word.contains(char::is_whitespace), "{word}");
        }
        assert_eq!(words[3], "card_a");
    }

    #[test]
    fn words_have_no_blanks_and_values_keep_apart() {
        let values = ["\"a good one\"", "\"a=good~one\"", "{\"cents\":5}", "\"\""].map(str::to_owned);
        let found = answers("card", &values).unwrap();
        assert_eq!(found, names(&["a_good_one", "a_good_one#2", "{\"cents\":5}", "_"]));
    }
}
