//! An exploration has a thread of its own, so that somebody can watch it: what does not come back ends as `Stuck`.
//!
//! A thread cannot be ended from outside. That of a slot is left behind ([`Sleepers::give_up`]), and the exploration goes
//! on to its report. But what hangs may be the exploration's own thread: it polls async handlers, boots processes, and runs
//! the test body, which it borrows from the test. So the test cannot go on, either: its report is printed, and the test
//! program ends.
//!
//! [`Sleepers::give_up`]: crate::engine::slots::Sleepers::give_up

use std::io::Write;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use super::Explore;
use super::surroundings::in_colour;
use crate::engine::panics;
use crate::judge::pulse::{self, Hung, Pulses};
use crate::judge::report::{Drops, Report, Showing, Verdict, notes};
use crate::judge::run::{Body, Course, Ground, run};
use crate::search::choice::{Look, looking};
use crate::search::scenario::Scenario;
use crate::system::timeline::Timeline;

/// What libtest ends with when a test fails.
const FAILED: i32 = 101;

/// Ends the exploration when it is dropped.
struct Over(Arc<Pulses>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Explore {
    /// Runs an exploration of a test where nothing of it reaches the terminal, where a runtime can be entered, and where it
    /// is watched. If it does not come back, `tell` makes what is printed of its report.
    ///
    /// # Panics
    /// When the exploration does, as it did.
    pub(super) fn apart<R: Send>(
        &self,
        test: &str,
        body: &(dyn Body + Sync),
        tell: &dyn Fn(Report) -> String,
        explore: impl FnOnce() -> R + Send,
    ) -> R {
        if let Some(watched) = pulse::here() {
            // A run has begun an exploration: whoever watches that one watches this one.
            return std::thread::scope(|scope| {
                let thread = begin(scope, watched, move || panics::quietly(test, explore));
                pulse::suspended(|| thread.join()).unwrap_or_else(|panic| resume_unwind(panic))
            });
        }
        let pulses = Pulses::new(self.watchdog);
        std::thread::scope(|scope| {
            let over = Over(pulses.clone());
            let thread = begin(scope, pulses.clone(), move || {
                let _over = over;
                panics::quietly(test, explore)
            });
            if let Some(hung) = pulses.watch() {
                let report = self.report_of_hung(test, body, hung, &pulses, scope);
                end_with(&tell(report));
            }
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// What is known of an exploration whose thread does not come back: the run, and what has happened in it, which is
    /// looked at once more on another thread.
    fn report_of_hung<'scope, 'env: 'scope>(
        &'env self,
        test: &'env str,
        body: &'env (dyn Body + Sync),
        hung: Hung,
        pulses: &Pulses,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Report {
        let Hung { run: watched, mut glimpse, runs } = hung;
        if watched.is_planned {
            let pulses = pulses.again();
            let over = Over(pulses.clone());
            begin(scope, pulses.clone(), move || {
                let _over = over;
                let course = Course { timeline: Timeline::recording(), ..Course::plain(watched.plan) };
                let ground = Ground { inputs: watched.inputs, ..self.ground() };
                panics::quietly(test, || {
                    looking(Look::Close, || drop(run(body, course, &ground)));
                });
            });
            glimpse = pulses.watch().and_then(|hung| hung.glimpse).or(glimpse);
        }
        let Some(glimpse) = glimpse else {
            return self.blank(test, Verdict::Stuck, Some(notes::HUNG_SOMEWHERE.to_owned()));
        };
        let scenario = Scenario::of_record(test, &glimpse.choices).on(&glimpse.inputs);
        let mut reason = glimpse.stuck.to_string();
        if scenario.wanted().is_empty() {
            reason.push_str(notes::NOTHING_GOES_WRONG);
        }
        let showing = Showing::new(scenario, glimpse.events, Vec::new(), &[], Drops::new());
        Report {
            runs,
            at_least: runs,
            violated: 1,
            notes: vec![notes::ENDED_HERE.to_owned()],
            showing: Some(showing),
            ..self.blank(test, Verdict::Stuck, Some(reason))
        }
    }
}

/// A thread for an exploration. It bears the name of the one that asks for it, as libtest gives it.
fn begin<'scope, 'env: 'scope, R: Send + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    pulses: Arc<Pulses>,
    code: impl FnOnce() -> R + Send + 'scope,
) -> ScopedJoinHandle<'scope, R> {
    let named = |name: &str| Builder::new().name(name.to_owned());
    let builder = std::thread::current().name().map_or_else(Builder::new, named);
    #[cfg(feature = "tracing")]
    let log =
        tracing_core::dispatcher::has_been_set().then(|| tracing_core::dispatcher::get_default(Clone::clone));
    let thread = builder.spawn_scoped(scope, move || {
        // What a test sees of its own thread alone, as far as it can be handed on.
        #[cfg(feature = "tracing")]
        let _log = log.as_ref().map(tracing_core::dispatcher::set_default);
        let _joined = pulse::join(&pulses);
        code()
    });
    thread.unwrap_or_else(|error| {
        panic!("the system starts no thread for an exploration ({error}); run fewer tests at once")
    })
}

/// The text of a report, for a panic.
pub(super) fn text_of(report: &Report) -> String {
    if in_colour() { report.to_ansi() } else { report.to_string() }
}

/// The test cannot go on, nor can its report be handed to it.
fn end_with(text: &str) -> ! {
    let name = std::thread::current().name().unwrap_or("main").to_owned();
    // Not through `eprintln!`: what libtest has kept to itself is lost when the program ends.
    let _ =
        std::io::stderr().write_all(format!("\nthread '{name}' does not come back:\n{text}\n").as_bytes());
    std::process::exit(FAILED)
}
