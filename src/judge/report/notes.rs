//! The texts of notes, and of the reasons for a verdict.

use std::time::Duration;

use super::Samples;
use crate::system::job::{Job, short_kind};

/// A crash at a line unwound while a lock was held.
pub(crate) fn poisoned(error: &str) -> String {
    format!(
        "a lock was poisoned by the crash: {error}\nA crash at a line unwinds, and a std Mutex or a LazyLock that is held or being filled meanwhile stays poisoned; a power cut leaves no such thing behind. So what comes after could not be tested. Build what dies with the process in the boot closure; hold what outlives it in `world.durable(…)`, which is never poisoned; or take the lock with `unwrap_or_else(PoisonError::into_inner)`"
    )
}

/// Runs that no order of their jobs fits, of those that were tried. No run: it is the one in which nothing goes wrong.
pub(crate) fn undecided(runs: u64, tried: u64) -> String {
    let runs = match runs {
        0 => "the run in which nothing goes wrong".to_owned(),
        1 => "one run".to_owned(),
        runs => format!("{runs} runs"),
    };
    format!(
        "{runs} could not be decided: the jobs that overlapped have more orders than were tried. {tried} orders were tried, and the run ends like none of them; check fewer jobs at once"
    )
}

/// What a check may let pass because jobs that overlap may come in any order.
pub(crate) fn swapped(runs: u64, before: &str, after: &str, difference: &str) -> String {
    let runs = if runs == 1 { "one run".to_owned() } else { format!("{runs} runs") };
    format!(
        "in {runs} {before} came before {after}, and the outcome was a different one: {difference}; if that is wrong, order the jobs or assert"
    )
}

/// More differences between orders than are told.
pub(crate) fn more_swapped(others: usize) -> String {
    format!("jobs that overlapped came in other orders with {others} more outcomes; they are not listed")
}

/// Two jobs by their kinds, or by their payloads, too, if the kinds are the same.
pub(crate) fn names(one: &Job, other: &Job) -> (String, String) {
    let named = |job: &Job| match one.kind == other.kind {
        true => format!("`{} {}`", short_kind(job.kind), job.payload),
        false => format!("`{}`", short_kind(job.kind)),
    };
    (named(one), named(other))
}

/// Added to what a run says that can go no further.
pub(crate) const NOTHING_GOES_WRONG: &str = "\nThis is the run in which nothing goes wrong.";

/// The thread of an exploration does not come back, and its state cannot be looked at.
pub(crate) const HUNG_SOMEWHERE: &str = "a run did not come back, and where it is cannot be seen: something that the test gave to the world (a service, a state that is serialized) does not return";

/// The thread of an exploration does not come back.
pub(crate) const ENDED_HERE: &str = "nothing can end a thread from outside, and this one borrows from the test: so the test program ends here, with all of its tests. `Explore::watchdog` says how long is waited for a run without progress";

/// Threads of slots that did not come back.
pub(crate) fn left_behind(names: &[String]) -> String {
    let (are, go) = if names.len() == 1 { ("is", "goes") } else { ("are", "go") };
    let names = names.join("`, `");
    format!(
        "nothing can end a thread from outside: `{names}` {are} left behind, and {go} on until the test program ends"
    )
}

/// The time was up before anything was explored.
pub(crate) fn out_of_time_at_once(most: Duration) -> String {
    format!(
        "stopped by max_time = {most:?} in the run in which nothing goes wrong; raise the limit, or check fewer jobs at once"
    )
}

/// A run did not come back, and was no violation of its own.
pub(crate) const STOPPED_BY_HANG: &str =
    "stopped by a run that did not come back, whose threads cannot be ended";

/// The reference run itself is wrong.
pub(crate) const REFERENCE_VIOLATES: &str =
    "This is the run in which nothing goes wrong: mend the test, or the job, before its retries.";

/// The reference run ended as no order of its jobs does.
pub(crate) const REFERENCE_TORN: &str = "This is the run in which nothing goes wrong. Jobs ran at the same time in it, and it ended as no one-at-a-time order of them does.";

/// Samples were asked for, but the exhaustive part was enough.
pub(crate) const NOT_SAMPLED: &str =
    "nothing was sampled past the bound: what was found inside it is enough to begin with";

/// A scenario that is replayed by a test whose name it does not bear.
pub(crate) fn of_another_test(name: &str) -> String {
    format!("the scenario is that of `{name}`; where it fits this test, it does by its choices alone")
}

/// More tasks could go on at once than are chosen among.
pub(crate) fn crowded(most: usize) -> String {
    format!(
        "more than {most} tasks could go on at once, and a choice has {most} options: those past them were never taken first. Check fewer at once"
    )
}

/// No random run can differ from the ordinary one.
pub(crate) const NOTHING_AT_RANDOM: &str =
    "no random scenario was drawn: within the bounds for single kinds nothing can go wrong in this run";

/// No schedule can differ from the ordinary one.
pub(crate) const NOTHING_BY_PRIORITY: &str = "no schedule was drawn by priority: nowhere in this run could more than one task go on. A second job and a free slot for it make two";

/// Samples were cut short.
pub(crate) fn samples_cut(time: Duration, runs: u64, of: u64) -> String {
    format!("stopped by max_time = {time:?} after {runs} of {of} samples; raise the limit, or ask for fewer")
}

/// What samples are worth where they show nothing.
pub(crate) fn only_sampled(samples: &[Samples]) -> String {
    let all: Vec<_> = samples.iter().map(ToString::to_string).collect();
    format!("past the bound nothing is proven: {} show nothing wrong", all.join(", and "))
}

/// A sampled run was made smaller.
pub(crate) fn shrunk(seed: u64, before: usize, after: usize, cut: Option<usize>) -> String {
    let left = match cut {
        None => format!("the run that was drawn had {before}, of which none of these can be left out"),
        Some(tries) => {
            format!("the run that was drawn had {before}; after {tries} tries no more were left out")
        }
    };
    let s = if after == 1 { "" } else { "s" };
    format!("found past the bound with seed {seed}, in {after} deviation{s}: {left}")
}

/// The bounds leave no room for anything to go wrong.
pub(crate) const NOTHING_WENT_WRONG: &str = "nothing was made to go wrong: the bounds are `deviations(0)`, or 0 for each kind of deviation that this world has";

/// The build cannot unwind.
pub(crate) const ABORT: &str = "this build aborts on panic (`panic = \"abort\"`), and a crash at a line or in a blocking handler unwinds; run it with `cargo test`, which always unwinds, or without that line in the profile";
