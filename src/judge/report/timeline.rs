//! The timeline of a run: its events, grouped by attempt.

use std::fmt::{self, Write};

use serde::Serialize;

use super::words;
use crate::search::choice::{Actor, Name};
use crate::system::clock::Moment;
use crate::system::job::short_kind;
use crate::system::timeline::{Event, EventKind};

/// The events of the run that a report shows. The timeline is the same in every run, so it can be a snapshot.
///
/// `Display` prints all lines, including those that the report cuts. `Serialize` writes the events.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Timeline {
    events: Vec<TimelineEvent>,
    #[serde(skip)]
    lines: Vec<String>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TimelineEvent {
    /// The virtual time since the world began: `t+19s`.
    pub at: String,
    /// The actor: `test`, a process such as `worker`, or an attempt such as `job#1.2`.
    pub by: String,
    /// The text of the event, as in the report.
    pub what: String,
    /// Whether the event is an injected deviation.
    pub deviation: bool,
}

impl Timeline {
    pub(super) fn new(events: &[Event], repeated: &[String]) -> Self {
        let mut booted: Vec<Name> = Vec::new();
        let told = events.iter().filter_map(|event| {
            let (what, _) = entry(event, repeated, &mut booted)?;
            Some(TimelineEvent {
                at: Moment(event.at).to_string(),
                by: event.by.to_string(),
                what: what.trim().to_owned(),
                deviation: matches!(event.what, EventKind::Deviated { .. }),
            })
        });
        let lines = lines(events, repeated).into_iter().map(|line| line.text.trim_end().to_owned());
        Self { events: told.collect(), lines: lines.collect() }
    }

    /// The events, in the order in which they happened.
    pub fn events(&self) -> &[TimelineEvent] {
        &self.events
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// A line of a timeline.
#[derive(Clone, Debug)]
pub(super) struct TimelineLine {
    pub(super) text: String,
    /// A deviation was injected here.
    pub(super) deviation: bool,
    /// The attempt fails here.
    is_failure: bool,
    /// The line ends in a request, a reply or a payload, whose beginning is enough.
    pub(super) may_be_cut: bool,
    /// A loop calls something, or has its reply.
    is_of_loop: bool,
}

impl TimelineLine {
    /// A line that stands for others.
    fn folding(text: String) -> Self {
        Self { text, deviation: false, is_failure: false, may_be_cut: false, is_of_loop: false }
    }

    /// Whether the outcome depends on the line. Such a line is always shown.
    pub(super) fn decides(&self) -> bool {
        self.deviation
    }
}

/// Returns the lines of a timeline. Consecutive attempts that fail the same way are shown once.
pub(super) fn folded(events: &[Event], repeated: &[String]) -> Vec<TimelineLine> {
    let mut folded: Vec<TimelineLine> = Vec::new();
    let mut alike: Option<(u32, Vec<String>)> = None;
    let mut left_out: Option<(u32, u32, u32)> = None;
    let end_fold = |left_out: &mut Option<(u32, u32, u32)>, folded: &mut Vec<TimelineLine>| {
        if let Some((job, from, to)) = left_out.take() {
            let which = match from == to {
                true => format!("attempt {from} of job#{job} fails"),
                false => format!("attempts {from} to {to} of job#{job} fail"),
            };
            let text = format!("{:<9} … {which} the same way", "");
            folded.push(TimelineLine::folding(text));
        }
    };
    let all = lines(events, repeated);
    let numbered = attempts(events, repeated);
    for (attempt, range) in numbered {
        let these = &all[range.clone()];
        let plain = |line: &TimelineLine| without_time(&line.text);
        let texts: Vec<String> = these.iter().skip(1).map(plain).collect();
        let fails =
            these.last().is_some_and(|line| line.is_failure) && !these.iter().any(TimelineLine::decides);
        match (attempt, &alike) {
            (Some((job, attempt)), Some((known, before))) if fails && *known == job && *before == texts => {
                let from = left_out.map_or(attempt, |(_, from, _)| from);
                left_out = Some((job, from, attempt));
                continue;
            }
            _ => {}
        }
        end_fold(&mut left_out, &mut folded);
        alike = attempt.filter(|_| fails).map(|(job, _)| (job, texts));
        folded.extend(these.iter().cloned());
    }
    end_fold(&mut left_out, &mut folded);
    without_idle_polls(&folded)
}

/// Shows what a loop does again and again only once, if its calls and their replies are the same each time.
fn without_idle_polls(lines: &[TimelineLine]) -> Vec<TimelineLine> {
    /// The number of lines that a loop repeats, at the most.
    const LONGEST: usize = 12;
    /// Fewer repetitions are shown.
    const FEWEST: usize = 3;
    let plain: Vec<String> = lines.iter().map(|line| without_time(&line.text)).collect();
    let repetitions = |at: usize, length: usize| {
        let is_of_loop = lines[at..].iter().take(length).all(|line| line.is_of_loop);
        let first = plain[at..].iter().take(length);
        let blocks = plain[at..].chunks_exact(length);
        let alike = blocks.take_while(|block| block.iter().eq(first.clone())).count();
        if is_of_loop { alike } else { 0 }
    };
    let (mut folded, mut at) = (Vec::with_capacity(lines.len()), 0);
    while at < lines.len() {
        let mut lengths = (1..=LONGEST).map(|length| (length, repetitions(at, length)));
        let Some((length, times)) = lengths.rfind(|(_, times)| *times >= FEWEST) else {
            folded.push(lines[at].clone());
            at += 1;
            continue;
        };
        let (first, rest) = lines[at..at + length * times].split_at(length);
        folded.extend(first.iter().cloned());
        let until =
            rest.iter().rev().find_map(|line| moment(&line.text)).map(|moment| format!(", until {moment}"));
        let more = times - 1;
        let text = format!("{:<9} … the same {more} more times{}", "", until.unwrap_or_default());
        folded.push(TimelineLine::folding(text));
        at += length * times;
    }
    folded
}

/// The moment at which a line begins, such as `t+2h 31m 45s`.
fn moment(line: &str) -> Option<&str> {
    let text = without_time(line);
    let moment = line.strip_suffix(&text)?.trim();
    (!moment.is_empty()).then_some(moment)
}

/// A range of lines, and its attempt if the range begins at the attempt's start.
type Part = (Option<(u32, u32)>, std::ops::Range<usize>);

/// Splits a timeline into the uninterrupted lines of each attempt, and the rest.
fn attempts(events: &[Event], repeated: &[String]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let (mut at, mut current) = (0, None);
    let mut speaker = None;
    let mut booted = Vec::new();
    for event in events {
        if entry(event, repeated, &mut booted).is_none() {
            continue;
        }
        let count = 1 + usize::from(heading(event, speaker).is_some());
        if matches!(event.by, Actor::Attempt { .. } | Actor::Task(_)) {
            speaker = Some(event.by);
        }
        let is_start = matches!(event.what, EventKind::Started { .. });
        let is_others = current.is_some_and(|by| by != event.by);
        if is_start || is_others || parts.is_empty() {
            current = is_start.then_some(event.by);
            parts.push((current.map(numbers), at..at));
        }
        at += count;
        parts.last_mut().expect("one was just added, or there was one").1.end = at;
    }
    parts
}

/// Removes moments such as `t+2h 31m 45s` from a line.
fn without_time(line: &str) -> String {
    let mut is_moment = false;
    let is_rest_of_moment =
        |word: &str| word.ends_with(['d', 'h', 'm', 's']) && word.starts_with(|c: char| c.is_ascii_digit());
    let words = line.split(' ').filter(|word| {
        is_moment = word.starts_with("t+") || is_moment && is_rest_of_moment(word);
        !is_moment
    });
    words.collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// Returns the lines of a timeline. `repeated` are the ids of effects that should not have happened.
pub(super) fn lines(events: &[Event], repeated: &[String]) -> Vec<TimelineLine> {
    let mut lines = Vec::new();
    let (mut last, mut speaker) = (None, None);
    let mut booted: Vec<Name> = Vec::new();
    for event in events {
        let Some((text, deviation)) = entry(event, repeated, &mut booted) else { continue };
        let moment = Moment(event.at).to_string();
        let mut shown = if last.as_ref() == Some(&moment) { String::new() } else { moment.clone() };
        last = Some(moment);
        // If several attempts or tasks run, a heading names the one that continues.
        if let Some(heading) = heading(event, speaker) {
            let shown = std::mem::take(&mut shown);
            let text = format!("{shown:<9} {heading}");
            let is_of_loop = matches!(event.by, Actor::Task(_));
            lines.push(TimelineLine { may_be_cut: true, is_of_loop, ..TimelineLine::folding(text) });
        }
        if matches!(event.by, Actor::Attempt { .. } | Actor::Task(_)) {
            speaker = Some(event.by);
        }
        let indent = match (&event.what, event.by) {
            (
                EventKind::Started { .. }
                | EventKind::Booted { .. }
                | EventKind::Stopping { .. }
                | EventKind::Stopped { .. },
                _,
            )
            | (_, Actor::Test) => "",
            _ => "  ",
        };
        let mut line = String::new();
        let _ = write!(line, "{shown:<9} {indent}{text}");
        let is_failure = matches!(event.what, EventKind::Failed { .. });
        let may_be_cut = matches!(
            event.what,
            EventKind::Called { .. }
                | EventKind::Replied { reply: Ok(_) }
                | EventKind::Enqueued { .. }
                | EventKind::Started { .. }
        );
        let is_of_loop = matches!(event.by, Actor::Task(_))
            && matches!(event.what, EventKind::Called { .. } | EventKind::Replied { reply: Ok(_) });
        lines.push(TimelineLine { text: line, deviation, is_failure, may_be_cut, is_of_loop });
    }
    lines
}

/// Returns a heading if the event's actor differs from the previous actor.
fn heading(event: &Event, speaker: Option<Actor>) -> Option<String> {
    if speaker == Some(event.by) || matches!(event.what, EventKind::Started { .. }) {
        return None;
    }
    match event.by {
        Actor::Attempt { job, attempt } => {
            speaker.map(|_| format!("job#{job} · attempt {attempt} continues"))
        }
        Actor::Task(name) => Some(format!("{name} continues")),
        Actor::Test | Actor::Process(_) => None,
    }
}

/// Returns the text of an event, and whether to highlight it. `booted` are the processes that were booted before.
fn entry(event: &Event, repeated: &[String], booted: &mut Vec<Name>) -> Option<(String, bool)> {
    let entry = match &event.what {
        EventKind::Booted { process } if booted.contains(process) => (format!("{process} restarts"), false),
        EventKind::Booted { process } => {
            booted.push(*process);
            let original = process.as_str().rsplit_once('#').map(|(name, _)| Name::from(name.to_owned()));
            let original = original.filter(|original| booted.contains(original))?;
            (format!("{process} starts, a fresh copy of {original}"), false)
        }
        EventKind::Enqueued { job, kind, payload, due } => {
            let due = due.map(|due| format!(", due {}", Moment(due))).unwrap_or_default();
            (format!("enqueued job#{job} {} {payload}{due}", short_kind(kind)), false)
        }
        EventKind::Started { kind, payload, process } => {
            let (job, attempt) = numbers(event.by);
            (format!("job#{job} {} {payload} · attempt {attempt} on {process}", short_kind(kind)), false)
        }
        EventKind::Called { service, operation, request, .. } => {
            (format!("{service}.{operation} {}", words::filled(request)).trim_end().to_owned(), false)
        }
        EventKind::Effect { name, id, key } => {
            let again = if repeated.contains(id) { "  ← again" } else { "" };
            let key = key.as_ref().map(|key| format!(" key {key:?}")).unwrap_or_default();
            (format!("  ● {name} {id}{key}{again}"), !again.is_empty())
        }
        EventKind::Replied { reply: Ok(reply) } => (format!("  → {}", shortened(reply)), false),
        EventKind::Replied { reply: Err(error) } => (format!("  → error: {error}"), false),
        EventKind::Cancelled { service, operation, happened, place } => {
            let (what, file, line) = (cancelled(*happened), place.file, place.line);
            (format!("{service}.{operation} ({file}:{line}) {what}"), false)
        }
        #[cfg(feature = "tracing")]
        EventKind::Said { text } => (format!("» {text}"), false),
        EventKind::Remarked { text } => (text.clone(), false),
        EventKind::Updated { name, place } => {
            (format!("updates `{name}` ({}:{})", place.file, place.line), false)
        }
        EventKind::Deviated { choice, instead, .. } => {
            (format!("✗ {}", words::deviation(choice, *instead)), true)
        }
        EventKind::Exited { error } => (format!("the process exits: {error}"), false),
        EventKind::Succeeded => ("done".to_owned(), false),
        EventKind::Failed { error, retry_at: Some(at) } => {
            (format!("failed: {error}; retry at {}", Moment(*at)), false)
        }
        EventKind::Failed { error, retry_at: None } => {
            (format!("failed: {error}; no retries left, so the job is dead"), false)
        }
        EventKind::Discarded { error } => (format!("failed: {error}; discarded"), false),
        EventKind::Snoozed { due } => (format!("snoozed until {}", Moment(*due)), false),
        EventKind::Stopping { process, until } => {
            (format!("{process} is asked to stop by {}", Moment(*until)), false)
        }
        EventKind::Stopped { process } => (format!("{process} has stopped"), false),
        EventKind::Interrupted => {
            ("interrupted; the job returns to the front of its queue".to_owned(), false)
        }
        EventKind::Saved { cursor } => (format!("  saved the cursor {}", shortened(cursor)), false),
        EventKind::DeliveredAgain => return None,
        EventKind::Lock { key, event } => (words::lock(key, event), false),
        EventKind::EndedLate { error: None } => {
            ("done, but the queue has redelivered the job".to_owned(), false)
        }
        EventKind::EndedLate { error: Some(error) } => {
            (format!("failed: {error}; the queue has redelivered the job"), false)
        }
    };
    Some(entry)
}

/// Says how far a call had come that its caller dropped.
fn cancelled(happened: Option<bool>) -> &'static str {
    match happened {
        Some(true) => "had happened, and is dropped before its reply",
        Some(false) => "is dropped, and has not happened",
        None => "is dropped while it is under way",
    }
}

fn numbers(by: Actor) -> (u32, u32) {
    match by {
        Actor::Attempt { job, attempt } => (job, attempt),
        Actor::Test | Actor::Process(_) | Actor::Task(_) => (0, 0),
    }
}

/// Cuts a long reply: the request is more informative.
fn shortened(text: &str) -> String {
    const MOST: usize = 100;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
