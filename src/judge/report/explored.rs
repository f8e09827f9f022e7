//! The report's section on what was explored: everything up to the bound, and samples past it.

use std::fmt;

use serde::Serialize;

use super::Report;
use crate::engine::state::RunRecord;
use crate::search::choice::{Choice, DeviationKind, Fault, Options, Point, Site, WaitKind};
use crate::system::service::STORE;

/// Runs that were sampled past the bound.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Samples {
    how: SearchMethod,
    seed: u64,
    pub(crate) runs: u64,
    pub(crate) violated: u64,
    /// The time ran out before all samples ran.
    #[serde(skip)]
    pub(crate) is_cut: bool,
}

/// How the samples were drawn.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum SearchMethod {
    Random { fewest: usize, most: usize },
    Pct { depth: usize },
}

impl Samples {
    pub(crate) fn random(seed: u64, fewest: usize, most: usize) -> Self {
        Self { how: SearchMethod::Random { fewest, most }, seed, runs: 0, violated: 0, is_cut: false }
    }

    pub(crate) fn pct(seed: u64, depth: usize) -> Self {
        Self { how: SearchMethod::Pct { depth }, seed, runs: 0, violated: 0, is_cut: false }
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { how, seed, runs, .. } = self;
        let s = if *runs == 1 { "" } else { "s" };
        match how {
            SearchMethod::Random { fewest, most } => {
                write!(
                    f,
                    "{runs} random scenario{s} of {fewest} to {most} deviations, drawn with seed {seed}"
                )
            }
            SearchMethod::Pct { depth } => {
                write!(f, "{runs} schedule{s} by priority (PCT of depth {depth}), drawn with seed {seed}")
            }
        }
    }
}

/// Why an exploration that found a violation stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stopped {
    /// After all runs with up to this number of deviations.
    After(usize),
    AtFirst,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stopped::After(1) => f.write_str("stopped after the runs with one deviation"),
            Stopped::After(level) => write!(f, "stopped after the runs with {level} deviations"),
            Stopped::AtFirst => f.write_str("stopped at the first run that failed"),
        }?;
        f.write_str("; `keep_going()` explores the rest, too")
    }
}

/// Lists the kinds of deviations that were not explored although they apply to this world. `reference` are the choices
/// of the fault-free run, `noted` are its notes, and `most` is the bound for a kind of deviation.
pub(crate) fn unexplored(
    reference: &[Choice],
    noted: &RunRecord,
    total: usize,
    most: impl Fn(DeviationKind) -> usize,
) -> Vec<String> {
    let faults = |choice: &Choice| match choice.options {
        Options::Faults(faults) => (1..=faults.len()).filter_map(|at| faults.at_option(at)).collect(),
        _ => Vec::new(),
    };
    let any = |fault: Fault| reference.iter().any(|choice| faults(choice).contains(&fault));
    // Only the harness's own services: it cannot take down a real system.
    let service = |choice: &&Choice| match choice.label.site {
        Site::Call { service, .. } => {
            choice.label.point == Point::Call && !matches!(service.as_str(), "queue")
        }
        _ => false,
    };
    let calls: Vec<&Choice> = reference.iter().filter(service).collect();
    let is_read = |call: &&&Choice| !faults(call).contains(&Fault::ReplyLost);
    let is_search = |call: &&&Choice| {
        matches!(call.label.site, Site::Call { service, .. } if service.as_str() != STORE) && is_read(call)
    };
    let mut unexplored = Vec::new();
    let kinds = [
        (DeviationKind::Crash, "crashes", "crashes"),
        (DeviationKind::Fault, "failed calls", "faults"),
        (DeviationKind::Delivery, "second deliveries", "deliveries"),
        (DeviationKind::Preemption, "other orders of tasks", "preemptions"),
    ];
    let has =
        |kind: DeviationKind| reference.iter().any(|choice| choice.kind == kind && choice.options.len() > 1);
    for (kind, what, setting) in kinds {
        if total > 0 && most(kind) == 0 && has(kind) {
            unexplored.push(format!("{what}: `{setting}` is 0"));
        }
    }
    if noted.is_uncopied() {
        let why = "no slot is free for it, and a copy of the process would share its thread-locals";
        unexplored.push(format!("a second delivery while the first attempt runs: {why}"));
    }
    if !calls.is_empty() && !any(Fault::Outage) {
        unexplored.push("outages (`explore_outages` of the service)".to_owned());
    }
    if any(Fault::Outage) && !any(Fault::OutageForEver) {
        unexplored.push("outages that never end (`explore_outages_for_ever` of the service)".to_owned());
    }
    if any(Fault::Refused) && !any(Fault::Lost) {
        unexplored.push("jobs that the queue loses (`world.explore_lost_jobs()`)".to_owned());
    }
    if calls.iter().any(|call| is_search(&call)) && !any(Fault::StaleRead) {
        unexplored.push("stale reads (`search_lag` of the service)".to_owned());
    }
    if reference.iter().any(|choice| choice.options == Options::Webhook) {
        unexplored.push("webhooks that never come (`world.explore_lost_jobs()`)".to_owned());
    }
    let starts = || reference.iter().filter(|choice| choice.label.point == Point::Start);
    if starts().next().is_some() && !starts().any(|choice| choice.options == Options::Poison) {
        unexplored.push("jobs that crash every worker (`world.explore_poison_jobs()`)".to_owned());
    }
    if has(DeviationKind::Crash) && !reference.iter().any(|choice| choice.options == Options::Ending) {
        unexplored.push("deploys (`world.explore_deploys()`)".to_owned());
    }
    if lacks_late_timers(reference, noted) {
        unexplored.push("late timers and retries (`delays`)".to_owned());
    }
    unexplored
}

/// Whether timers are never late although it may matter.
fn lacks_late_timers(reference: &[Choice], noted: &RunRecord) -> bool {
    let has_late_timers = reference.iter().any(|choice| choice.options == Options::Lateness);
    // A late task matters if it reads the clock after a sleep, or if something has expired by then.
    let sleeps = |choice: &Choice| matches!(choice.label.site, Site::Wait(WaitKind::Sleep));
    !has_late_timers && (noted.has_expiring() || reference.iter().any(sleeps))
}

/// Says in one line for each part what was explored.
pub(crate) fn explored(report: &Report) -> String {
    let runs = if report.runs == 1 { "1 run".to_owned() } else { format!("{} runs", report.runs) };
    let deviations = match report.stopped {
        Some(Stopped::After(level)) => level,
        _ => report.deviations,
    };
    let bound = match deviations {
        0 => "without deviations".to_owned(),
        1 => "all scenarios of up to 1 deviation".to_owned(),
        bound => format!("all scenarios of up to {bound} deviations"),
    };
    let merged = match report.merged {
        0 => String::new(),
        count => format!("; {count} more were merged with runs that reached the same state"),
    };
    let reduced = match report.reduced {
        0 => String::new(),
        count => format!(
            "; {count} more were skipped, because each differs from one of these only in the order of independent steps"
        ),
    };
    let share = report.share.map(|share| format!("shard {share} of ")).unwrap_or_default();
    let violated = failed(report.violated, report.runs);
    #[cfg(feature = "proptest")]
    if report.case.is_some() {
        return format!(
            "{runs} of this case{violated}; its other scenarios and the other cases were not run"
        );
    }
    if let Some(tried) = report.kept {
        let s = if tried == 1 { "" } else { "s" };
        return format!(
            "{runs}: the reference run and {tried} scenario{s} kept from earlier runs{violated}; the other scenarios run when these pass (RETRYPROOF_KEEP=off runs all)"
        );
    }
    let explored = if report.exhausted || matches!(report.stopped, Some(Stopped::After(_))) {
        format!("{runs}, {share}{bound}{violated}{merged}{reduced}")
    } else if report.replayed {
        format!("{runs}: the reference run and the replayed scenario")
    } else {
        let share = report.share.map(|share| format!(" in shard {share}")).unwrap_or_default();
        format!("{runs} of at least {}{share}{violated}", report.at_least)
    };
    let stopped = report.stopped.map(|stopped| format!("\n{stopped}")).unwrap_or_default();
    report.samples.iter().fold(explored + &stopped, |explored, samples| {
        format!("{explored}\nin addition, {samples}{}", failed(samples.violated, samples.runs))
    })
}

fn failed(violated: u64, runs: u64) -> String {
    match (violated, runs) {
        (0, _) => String::new(),
        (1, 1) => "; it failed".to_owned(),
        (violated, runs) => format!("; {violated} of {runs} runs failed"),
    }
}
