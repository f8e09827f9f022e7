//! The timeline of a run, event by event, under the attempt that made them.

use std::fmt::Write;

use super::words;
use crate::choice::Actor;
use crate::clock::Moment;
use crate::job::short_kind;
use crate::timeline::{Event, What};

/// A line of the timeline.
pub(super) struct Line {
    pub(super) text: String,
    /// Something went wrong here.
    pub(super) deviation: bool,
}

/// The lines of a timeline. `repeated` are the ids of effects that should not have happened.
pub(super) fn lines(events: &[Event], repeated: &[String]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut last = None;
    let mut booted: Vec<crate::choice::Name> = Vec::new();
    for event in events {
        let (text, deviation) = match &event.what {
            What::Booted { process } if booted.contains(process) => (format!("{process} restarts"), false),
            What::Booted { process } => {
                booted.push(*process);
                continue;
            }
            What::Enqueued { job, kind, payload, due } => {
                let due = due.map(|due| format!(", due {}", Moment(due))).unwrap_or_default();
                (format!("enqueued job#{job} {} {payload}{due}", short_kind(kind)), false)
            }
            What::Started { kind, payload, process } => {
                let (job, attempt) = numbers(event.by);
                (format!("job#{job} {} {payload} · attempt {attempt} on {process}", short_kind(kind)), false)
            }
            What::Called { service, operation, request } => {
                (format!("{service}.{operation} {request}"), false)
            }
            What::Effect { name, id } => {
                let again = if repeated.contains(id) { "  ← again" } else { "" };
                (format!("  ● {name} {id}{again}"), !again.is_empty())
            }
            What::Replied { reply: Ok(reply) } => (format!("  → {}", shortened(reply)), false),
            What::Replied { reply: Err(error) } => (format!("  → error: {error}"), false),
            What::Updated { name, place } => {
                (format!("updates `{name}` ({}:{})", place.file, place.line), false)
            }
            What::Deviated { choice, .. } => (format!("✗ {}", words::deviation(choice)), true),
            What::Succeeded => ("done".to_owned(), false),
            What::Failed { error, retry_at: Some(at) } => {
                (format!("failed: {error}; tried again at {}", Moment(*at)), false)
            }
            What::Failed { error, retry_at: None } => (format!("failed: {error}; dead"), false),
            What::Discarded { error } => (format!("failed: {error}; discarded"), false),
            What::Snoozed { due } => (format!("put back until {}", Moment(*due)), false),
            What::DeliveredAgain => continue,
        };
        let moment = Moment(event.at).to_string();
        let shown = if last.as_ref() == Some(&moment) { String::new() } else { moment.clone() };
        last = Some(moment);
        let indent = match (&event.what, event.by) {
            (What::Started { .. } | What::Booted { .. }, _) | (_, Actor::Test) => "",
            _ => "  ",
        };
        let mut line = String::new();
        let _ = write!(line, "{shown:<9} {indent}{text}");
        lines.push(Line { text: line, deviation });
    }
    lines
}

fn numbers(by: Actor) -> (u32, u32) {
    match by {
        Actor::Attempt { job, attempt } => (job, attempt),
        Actor::Test | Actor::Process(_) => (0, 0),
    }
}

/// Long answers are cut: what was asked for tells more.
fn shortened(text: &str) -> String {
    const MOST: usize = 100;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
