//! The texts of notes, and the reasons for verdicts.

use std::time::Duration;

use super::Samples;
use crate::system::job::{Job, short_kind};

/// Reports that a crash at a line unwound while a lock was held.
pub(crate) fn poisoned(error: &str) -> String {
    format!(
        "the crash poisoned a lock: {error}\nA crash at a line unwinds the stack, so a std Mutex that is held, or a LazyLock that is being filled, stays poisoned. A real crash leaves no poisoned lock behind, so the rest of this run could not be tested. Build what belongs to the process in the boot closure; keep what outlives the process in `world.durable(…)`, which is never poisoned; or lock with `unwrap_or_else(PoisonError::into_inner)`"
    )
}

/// Reports runs whose outcome matches none of the job orders that were tried. 0 runs stand for the fault-free run.
pub(crate) fn undecided(runs: u64, tried: u64) -> String {
    let runs = match runs {
        0 => "the fault-free run".to_owned(),
        1 => "one run".to_owned(),
        runs => format!("{runs} runs"),
    };
    format!(
        "{runs} could not be judged: the overlapping jobs have more orders than the {tried} that were tried, and the outcome matches none of those; check fewer jobs at once"
    )
}

/// Reports a difference that the check accepts because overlapping jobs may come in any order.
pub(crate) fn swapped(runs: u64, before: &str, after: &str, difference: &str) -> String {
    let runs = if runs == 1 { "one run".to_owned() } else { format!("{runs} runs") };
    format!(
        "in {runs}, {before} came before {after}, and the outcome differed: {difference}; if that is wrong, order the jobs or assert on the outcome"
    )
}

/// Reports the number of differences between orders that are not listed.
pub(crate) fn more_swapped(others: usize) -> String {
    format!("other orders of overlapping jobs had {others} more outcomes, which are not listed")
}

/// Names two jobs by their kinds, and by their payloads as well if the kinds are the same.
pub(crate) fn names(one: &Job, other: &Job) -> (String, String) {
    let named = |job: &Job| match one.kind == other.kind {
        true => format!("`{} {}`", short_kind(job.kind), job.payload),
        false => format!("`{}`", short_kind(job.kind)),
    };
    (named(one), named(other))
}

/// Added to the reason if the fault-free run is stuck.
pub(crate) const FAULT_FREE: &str = "\nThis is the fault-free run.";

/// The thread of an exploration hangs, and its state cannot be read.
pub(crate) const HANGS_SOMEWHERE: &str = "a run hangs, and its state cannot be read: code that the test gave to the world (a service, the serialization of a state) does not return";

/// The thread of an exploration hangs.
pub(crate) const EXITS: &str = "nothing can end a thread from outside, and this thread borrows from the test, so the test program exits here, with all other tests in it; `Explore::watchdog` sets the timeout";

/// Threads of slots hang.
pub(crate) fn left_behind(names: &[String]) -> String {
    let (are, run) = if names.len() == 1 { ("is", "runs") } else { ("are", "run") };
    let names = names.join("`, `");
    format!(
        "nothing can end a thread from outside: `{names}` {are} left behind, and {run} until the test program exits"
    )
}

/// The time was up during the fault-free run.
pub(crate) fn out_of_time_at_once(most: Duration) -> String {
    format!(
        "stopped by max_time = {most:?} in the fault-free run; raise the limit, or check fewer jobs at once"
    )
}

/// Advice for runs that differ although they are the same scenario.
pub(crate) const DRAWN_VALUES: &str = ". There are four ways to fix this: let random numbers and times come from the scenario (`use retryproof_determinism as _;`, on Linux); take them from `p.rng()` and `p.clock()`; ignore the value with `world.ignore(name, path)`; or derive the value from the job, and use ordered collections (a BTreeMap instead of a HashMap). A static, a thread-local, a LazyLock or a Once outlives the run: build its content in the boot closure instead";

/// The same, if the world has sockets.
pub(crate) const RACING_REQUESTS: &str = ", and this world has sockets. A request that nobody waits for arrives at any moment: await its reply before the job ends, and do not send it from a thread or a task that the job leaves behind. If all requests are awaited, let random numbers and times come from the scenario (`use retryproof_determinism as _;`, on Linux), take them from `p.rng()` and `p.clock()`, or ignore the value with `world.ignore(name, path)`";

/// The same, if times and random numbers come from the scenario.
pub(crate) const RACING_THREADS: &str = ". Times, random numbers and hash seeds already come from the scenario, so this is a race between threads that the job starts, or a value that outlives the run: a static, a LazyLock, a Once. Wait for each thread before the next one starts, and build such a value in the boot closure";

/// The same, if the world has sockets as well.
pub(crate) const RACING_SOCKETS: &str = ". Times, random numbers and hash seeds already come from the scenario, and this world has sockets, so a request that nobody waits for arrives at any moment, threads that the job starts race, or a value outlives the run: a static, a LazyLock, a Once. Await each reply before the job ends, wait for each thread before the next one starts, and build such a value in the boot closure";

/// Scenarios after one that hangs are not run.
pub(crate) const STOPPED_BY_HANG: &str = "stopped by a run that hangs, because its threads cannot be ended";

/// The reference run itself is wrong.
pub(crate) const REFERENCE_VIOLATES: &str =
    "This is the fault-free run: fix the test, or the job, before looking at its retries.";

/// The outcome of the reference run matches no order of its jobs.
pub(crate) const REFERENCE_TORN: &str = "This is the fault-free run. Its jobs overlapped, and the outcome matches no one-at-a-time order of them.";

/// The test asks for samples, but the exhaustive part already found a violation.
pub(crate) const NOT_SAMPLED: &str =
    "nothing was sampled past the bound, because there are violations inside it";

/// Reports that a test replays the scenario of another test.
pub(crate) fn of_another_test(name: &str) -> String {
    format!("the scenario was recorded by `{name}`, and this test replays it as far as its choices match")
}

/// Reports that more tasks could run at once than a choice has options.
pub(crate) fn crowded(most: usize) -> String {
    format!(
        "more than {most} tasks could run at once, but a choice has only {most} options, so the other tasks never ran first; check fewer tasks at once"
    )
}

/// No random run can differ from the fault-free run.
pub(crate) const NOTHING_AT_RANDOM: &str =
    "no random scenario was drawn: the bounds of the kinds of deviations allow none in this run";

/// No schedule can differ from that of the fault-free run.
pub(crate) const NOTHING_BY_PRIORITY: &str = "no schedule was drawn by priority: never in this run could more than one task run; add a second job and a free slot for it";

/// Reports that the time ran out before all samples ran.
pub(crate) fn samples_cut(time: Duration, runs: u64, of: u64) -> String {
    format!("stopped by max_time = {time:?} after {runs} of {of} samples; raise the limit, or ask for fewer")
}

/// Says what samples prove if they find nothing.
pub(crate) fn only_sampled(samples: &[Samples]) -> String {
    let all: Vec<_> = samples.iter().map(ToString::to_string).collect();
    format!("nothing is proven past the bound: {} found nothing wrong", all.join(", and "))
}

/// Reports how far a sampled run was shrunk.
pub(crate) fn shrunk(seed: u64, before: usize, after: usize, cut: Option<usize>) -> String {
    let left = match cut {
        None => format!("shrunk from {before}, and none of these can be removed"),
        Some(tries) => {
            format!("shrunk from {before}; shrinking stopped after {tries} tries")
        }
    };
    let s = if after == 1 { "" } else { "s" };
    format!("found past the bound with seed {seed}, in {after} deviation{s}: {left}")
}

/// The bounds allow no deviation.
pub(crate) const NOTHING_WENT_WRONG: &str = "no failure was injected: the bounds are `deviations(0)`, or 0 for each kind of deviation that this world has";

/// The build cannot unwind the stack.
pub(crate) const ABORT: &str = "this build aborts on panic (`panic = \"abort\"`), but a crash at a line or in a blocking handler must unwind the stack; run it with `cargo test`, which always unwinds, or remove that line from the profile";
