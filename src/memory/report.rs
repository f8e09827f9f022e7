//! The result of a model: first the data, then the text.

use std::fmt;

use serde::{Serialize, Serializer};

use super::execution::{ExecutionEnd, Record, Shared};
use super::step::ThreadStep;
use super::{Model, ModelError, ModelStep, Search};
use crate::judge::report::{Mark, Verdict, excerpt};

/// The result of a model. `Display` is the report for people, `Serialize` the one for programs. Both are the same in
/// every run of the same code.
#[derive(Clone, Debug, Serialize)]
pub struct ModelReport {
    name: String,
    verdict: Verdict,
    /// The failure in one sentence, or the reason for the verdict.
    summary: Option<String>,
    #[serde(serialize_with = "as_text")]
    error: Option<ModelError>,
    executions: u64,
    exhausted: bool,
    max_preemptions: Option<u8>,
    steps: Vec<ModelStep>,
    /// The wait of each thread, if no thread can run.
    waiting: Vec<String>,
    /// The shared values, and where they were made.
    shared: Vec<String>,
    #[serde(skip)]
    marks: Vec<Mark>,
}

fn as_text<S: Serializer>(error: &Option<ModelError>, serializer: S) -> Result<S::Ok, S::Error> {
    error.as_ref().map(ToString::to_string).serialize(serializer)
}

impl ModelReport {
    /// [`Verdict::RetryProof`] if the closure succeeded in every order; [`Verdict::Violated`] if it panicked in one,
    /// or left something behind; [`Verdict::Stuck`] if no thread could run, or one ran forever;
    /// [`Verdict::NothingTested`] if there was never a second thread; [`Verdict::Incomplete`] at a limit, and if the
    /// model is misused ([`ModelReport::error`]).
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The failure in one sentence. Without a failure, the reason why the verdict is not [`Verdict::RetryProof`].
    pub fn summary(&self) -> Option<&str> {
        self.summary.as_deref()
    }

    /// The misuse of the model, if there is one.
    pub fn error(&self) -> Option<&ModelError> {
        self.error.as_ref()
    }

    /// The number of executions up to the first failure, or in all.
    pub fn executions(&self) -> u64 {
        self.executions
    }

    /// Reports whether every order was run.
    pub fn exhausted(&self) -> bool {
        self.exhausted
    }

    /// The steps of the threads in the execution that failed, in order. Of the executions with the same failure, this
    /// is one with the fewest preemptions, unless they are many.
    pub fn steps(&self) -> &[ModelStep] {
        &self.steps
    }

    /// The report with colors, for a terminal.
    pub fn to_ansi(&self) -> String {
        self.text(true)
    }

    pub(super) fn misused(name: String, error: ModelError) -> Self {
        Self {
            name,
            verdict: Verdict::Incomplete,
            summary: Some(error.to_string()),
            error: Some(error),
            executions: 0,
            exhausted: false,
            max_preemptions: None,
            steps: Vec::new(),
            waiting: Vec::new(),
            shared: Vec::new(),
            marks: Vec::new(),
        }
    }

    pub(super) fn new(name: String, model: &Model, search: Search) -> Self {
        let record = search.last.map(|last| std::mem::take(&mut *last.record())).unwrap_or_default();
        let mut report = Self {
            executions: search.executions,
            exhausted: !search.is_cut && search.broken.is_none() && model.max_preemptions.is_none(),
            max_preemptions: model.max_preemptions,
            error: None,
            ..Self::misused(name, ModelError::Nested)
        };
        let failed = match search.broken {
            Some(broken) => report.judge(broken, model, &record),
            None => {
                (report.verdict, report.summary) = match (search.is_cut, search.has_threads) {
                    (true, _) => (Verdict::Incomplete, Some(limit(model, search.executions))),
                    (false, false) => (Verdict::NothingTested, Some(NO_THREADS.to_owned())),
                    (false, true) => (Verdict::RetryProof, None),
                };
                false
            }
        };
        if failed {
            report.show(&record);
        }
        report
    }

    /// Reports whether the failure is in the code under test.
    fn judge(&mut self, broken: ExecutionEnd, model: &Model, record: &Record) -> bool {
        let (verdict, summary) = match broken {
            ExecutionEnd::Panicked { thread, what } => {
                let place = what.place.map(|place| format!(" at {place}")).unwrap_or_default();
                (Verdict::Violated, format!("thread {thread} panicked{place}: {}", what.message))
            }
            ExecutionEnd::Loom { message, .. } if message.starts_with("deadlock") => {
                self.waiting = waiting(record);
                (Verdict::Stuck, "deadlock: no thread can go on".to_owned())
            }
            ExecutionEnd::Loom { thread, message } if message.starts_with("Model exceeded") => {
                let most = model.max_branches;
                (
                    Verdict::Stuck,
                    format!(
                        "thread {thread} runs forever: more than {most} places where threads take turns. A loop that waits for another thread must call `thread::yield_now`; or raise `max_branches`"
                    ),
                )
            }
            ExecutionEnd::Loom { message, .. } if message.starts_with("Arc leaked") => {
                (Verdict::Violated, "an `Arc` is never dropped: usually a cycle, or `mem::forget`".to_owned())
            }
            ExecutionEnd::Loom { thread, message } if message.contains("ausality violation") => {
                (Verdict::Violated, format!("thread {thread}: {message}"))
            }
            ExecutionEnd::Loom { thread, message } if message.contains("PoisonError") => {
                self.misuse(ModelError::Poisoned { thread });
                return false;
            }
            ExecutionEnd::Loom { message, .. } => {
                let difference = message.lines().next().unwrap_or_default().to_owned();
                self.misuse(ModelError::Nondeterministic { difference });
                return false;
            }
            ExecutionEnd::Misused(error) => {
                self.misuse(error);
                return false;
            }
        };
        (self.verdict, self.summary) = (verdict, Some(summary));
        true
    }

    fn misuse(&mut self, error: ModelError) {
        if matches!(error, ModelError::Nondeterministic { .. }) {
            self.verdict = Verdict::Nondeterministic;
        }
        (self.summary, self.error) = (Some(error.to_string()), Some(error));
    }

    fn show(&mut self, record: &Record) {
        self.steps = steps(record);
        let used = |index: usize| record.steps.iter().any(|step| step.shared == Some(index));
        let shared = record.shared.iter().enumerate().filter(|(index, _)| used(*index));
        self.shared =
            shared.map(|(_, shared)| format!("{} is made at {}", named(shared), shared.made)).collect();
        if !self.waiting.is_empty() {
            self.marks = crossed(record);
            return;
        }
        // The last shared value is usually the cause. Mark its last use in each thread.
        let Some(last) = record.steps.iter().rev().find_map(|step| step.shared) else { return };
        let about = record.steps.iter().filter(|step| step.shared == Some(last));
        let Some(end) = about.clone().next_back().map(|step| step.at) else { return };
        self.marks = about
            .map(|step| Mark {
                place: step.at,
                text: format!("thread {}: {}", step.thread, operation(step, &record.shared)),
                primary: step.at == end,
            })
            .collect();
    }

    fn text(&self, colour: bool) -> String {
        let mut text = self.headline();
        let line = |text: &mut String, line: &str| {
            text.push_str(line.trim_end());
            text.push('\n');
        };
        let heading = |text: &mut String, heading: &str| match colour {
            true => text.push_str(&format!("\n\x1b[1m{heading}\x1b[0m\n")),
            false => text.push_str(&format!("\n{heading}\n")),
        };
        match &self.summary {
            Some(summary) if !self.marks.is_empty() => {
                let first = summary.lines().next().unwrap_or_default();
                line(&mut text, &format!("\n{}", excerpt(Some((first, None)), &self.marks, colour)));
                summary.lines().skip(1).for_each(|rest| line(&mut text, &format!("  {rest}")));
            }
            Some(summary) => {
                line(&mut text, "");
                summary.lines().for_each(|summary| line(&mut text, &format!("  {summary}")));
            }
            None => {}
        }
        if !self.steps.is_empty() {
            heading(&mut text, "what the threads did, in order");
            let width = self.steps.iter().map(|step| step.place.chars().count()).max().unwrap_or_default();
            let mut thread = None;
            for step in &self.steps {
                if thread.replace(step.thread) != Some(step.thread) {
                    line(&mut text, &format!("  thread {}", step.thread));
                }
                line(&mut text, &format!("    {:width$}  {}", step.place, step.operation));
            }
        }
        for (title, lines) in [("who waits for what", &self.waiting), ("what they share", &self.shared)] {
            if !lines.is_empty() {
                heading(&mut text, title);
                lines.iter().for_each(|shared| line(&mut text, &format!("  {shared}")));
            }
        }
        heading(&mut text, "explored");
        line(&mut text, &format!("  {}", self.explored()));
        text
    }

    fn headline(&self) -> String {
        let name = &self.name;
        match self.verdict {
            Verdict::RetryProof => format!("{name} holds in every order\n"),
            Verdict::Violated => format!("{name} does NOT hold in every order\n"),
            Verdict::NothingTested => format!("{name}: nothing was tested\n"),
            Verdict::Nondeterministic => format!("{name} is not deterministic\n"),
            Verdict::Stuck => format!("{name} gets stuck\n"),
            _ => format!("{name}: the model is incomplete\n"),
        }
    }

    fn explored(&self) -> String {
        let executions = match self.executions {
            1 => "1 execution".to_owned(),
            many => format!("{many} executions"),
        };
        let within = self.max_preemptions.map(|most| {
            format!(
                " of up to {most} interruptions; loom may skip an order that is not equivalent to another"
            )
        });
        let within = within.unwrap_or_default();
        match (self.verdict, self.exhausted) {
            (_, true) => format!("{executions}, every order"),
            (Verdict::Violated | Verdict::Stuck, _) => format!("{executions}{within}; the last one failed"),
            _ => format!("{executions}{within}"),
        }
    }
}

impl fmt::Display for ModelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(false))
    }
}

pub(super) fn steps(record: &Record) -> Vec<ModelStep> {
    let told = record.steps.iter().map(|step| ModelStep {
        thread: step.thread,
        place: step.at.to_string(),
        operation: operation(step, &record.shared),
    });
    told.collect()
}

const NO_THREADS: &str =
    "there never was a second thread: start threads with `retryproof::thread::spawn` in the model's closure";

fn limit(model: &Model, executions: u64) -> String {
    let limit = match executions >= model.max_executions {
        true => format!("max_executions = {}", model.max_executions),
        false => format!("max_time = {:?}", model.max_time.unwrap_or_default()),
    };
    format!(
        "stopped by {limit}, after {executions}; raise the limit, lower `max_preemptions`, or let the threads do less"
    )
}

/// `Mutex#1`
fn named(shared: &Shared) -> String {
    format!("{}#{}", shared.kind, shared.number)
}

/// `Mutex#1.lock()`
fn operation(step: &ThreadStep, shared: &[Shared]) -> String {
    let Some(shared) = step.shared.and_then(|index| shared.get(index)) else { return step.said.to_string() };
    format!("{}.{}", named(shared), step.said)
}

/// The wait of each thread, and the place where the awaited lock was taken.
fn crossed(record: &Record) -> Vec<Mark> {
    let waits = record.doing.iter().flatten();
    let marks = waits.flat_map(|step| {
        let waits = format!("thread {} waits: {}", step.thread, operation(step, &record.shared));
        let shared = step.shared.map(|index| record.shared[index]);
        let held =
            shared.and_then(|shared| Some((shared, shared.held?))).map(|(shared, (thread, since))| Mark {
                place: since,
                text: format!("thread {thread} has held {} since here", named(&shared)),
                primary: false,
            });
        held.into_iter().chain([Mark { place: step.at, text: waits, primary: true }])
    });
    marks.collect()
}

/// The current operation of each thread.
fn waiting(record: &Record) -> Vec<String> {
    let waits = record.doing.iter().flatten().map(|step| {
        let holder = step.shared.and_then(|index| record.shared[index].held);
        let held = match holder {
            Some((thread, _)) if thread == step.thread => ", which it holds itself".to_owned(),
            Some((thread, since)) => format!(", which thread {thread} has held since {since}"),
            None => String::new(),
        };
        let at = if step.shared.is_some() { " in" } else { ": it" };
        format!("thread {} waits at {}{at} {}{held}", step.thread, step.at, operation(step, &record.shared))
    });
    waits.collect()
}
