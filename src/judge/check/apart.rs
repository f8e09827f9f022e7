//! Runs each exploration on its own thread, so that the caller's thread can watch it: code that hangs is `Stuck`.
//!
//! Nothing can end a thread from outside. A hanging thread of a slot is left behind ([`Sleepers::give_up`]), and the
//! exploration continues to its report. But the exploration's own thread may hang, too: it polls async handlers, boots
//! processes, and runs the test body, which it borrows from the test. Then the test cannot continue either, because safe
//! code cannot take the borrow back: the report is printed, and the test program exits.
//!
//! [`Sleepers::give_up`]: crate::engine::slots::Sleepers::give_up

use std::io::Write;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use super::Explore;
use super::surroundings::in_colour;
use crate::engine::panics;
use crate::engine::state::Glimpse;
use crate::judge::pulse::{self, Hung, Pulses};
use crate::judge::report::{DroppedCalls, Report, ShownRun, Verdict, notes};
use crate::judge::run::{Body, Course, Ground, run};
use crate::search::choice::{PlaceLookup, looking};
use crate::search::scenario::Scenario;
use crate::system::timeline::Timeline;

/// The exit code of a test program with a failed test.
const FAILED: i32 = 101;

/// Ends the watch when it is dropped.
struct Over(Arc<Pulses>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Explore {
    /// Runs an exploration on its own thread, which is watched, which can enter a runtime, and whose panics do not reach
    /// the terminal. If it hangs, `tell` makes the text to print from its report.
    ///
    /// # Panics
    /// If the exploration panics, with the same payload.
    pub(super) fn apart<R: Send>(
        &self,
        test: &str,
        body: &(dyn Body + Sync),
        tell: &dyn Fn(Report) -> String,
        explore: impl FnOnce() -> R + Send,
    ) -> R {
        if let Some(watched) = pulse::here() {
            // A run has started an exploration: the same watchdog watches both.
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

    /// Returns the report on an exploration whose thread hangs. The hanging run is run again on another thread, to show
    /// what happened in it.
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
                    looking(PlaceLookup::Close, || drop(run(body, course, &ground)));
                });
            });
            let again = pulses.watch().and_then(|hung| hung.glimpse);
            glimpse = match (glimpse, again) {
                (Some(first), Some(again)) => Some(Glimpse { events: again.events, ..first }),
                (first, again) => first.or(again),
            };
        }
        let Some(glimpse) = glimpse else {
            return self.blank(test, Verdict::Stuck, Some(notes::HANGS_SOMEWHERE.to_owned()));
        };
        let scenario = Scenario::of_record(test, &glimpse.choices).on(&glimpse.inputs);
        let mut reason = glimpse.stuck.to_string();
        if scenario.wanted().is_empty() {
            reason.push_str(notes::FAULT_FREE);
        }
        let showing = ShownRun::new(scenario, glimpse.events, Vec::new(), &[], DroppedCalls::new());
        Report {
            runs,
            at_least: runs,
            violated: 1,
            notes: vec![notes::EXITS.to_owned()],
            showing: Some(showing),
            ..self.blank(test, Verdict::Stuck, Some(reason))
        }
    }
}

/// Starts a thread for an exploration. It has the name of the current thread, which libtest sets to that of the test.
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
        // The subscriber may be set for the thread of the test alone.
        #[cfg(feature = "tracing")]
        let _log = log.as_ref().map(tracing_core::dispatcher::set_default);
        let _joined = pulse::join(&pulses);
        code()
    });
    thread.unwrap_or_else(|error| {
        panic!("the system starts no thread for an exploration ({error}); run fewer tests at once")
    })
}

/// Returns the text of a report for a panic.
pub(super) fn text_of(report: &Report) -> String {
    if in_colour() { report.to_ansi() } else { report.to_string() }
}

/// Prints the report of a test that cannot continue, and exits.
fn end_with(text: &str) -> ! {
    let name = std::thread::current().name().unwrap_or("main").to_owned();
    // Not through `eprintln!`: libtest would capture the text and lose it when the program exits.
    let _ = std::io::stderr().write_all(format!("\nthread '{name}' hangs:\n{text}\n").as_bytes());
    std::process::exit(FAILED)
}
