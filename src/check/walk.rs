//! The loop over scenarios.

use std::time::Duration;

use super::{Exploration, Halt, nondeterministic};
use crate::choice::Divergence;
use crate::explore::Exhaustive;
use crate::run::{Course, End, run};
use crate::scenario::Scenario;
use crate::watch::{Seen, Watch};

impl Exploration<'_> {
    pub(super) fn run_all(&mut self, explorer: &mut Exhaustive) -> Result<(), Halt> {
        let root = explorer.next();
        debug_assert!(root.is_some_and(|task| task.judge), "the first run is the reference run");
        let _ = explorer.ran(&self.reference.record);
        let deadline = self.settings.max_time.map(deadline);
        let seen = self.settings.merge.then(Seen::default);
        while let Some(task) = explorer.next() {
            if task.judge {
                let stopped = match (self.runs >= self.settings.max_runs, deadline) {
                    (true, _) => Some(format!("max_runs = {}", self.settings.max_runs)),
                    (false, Some(deadline)) if self.runs % 64 == 0 && is_past(deadline) => {
                        Some(format!("max_time = {:?}", self.settings.max_time.unwrap_or_default()))
                    }
                    _ => None,
                };
                if let Some(limit) = stopped {
                    let at_least = explorer.at_least();
                    let runs = self.runs;
                    return Err(Halt::Incomplete {
                        reason: format!(
                            "stopped by {limit} after {runs} runs of at least {at_least}; raise the limit, lower `deviations`, or check fewer jobs at once"
                        ),
                    });
                }
            }
            let watch = seen.clone().map_or(Watch::Nothing, Watch::merging);
            let ran = run(self.body, Course { watch, ..Course::plain(task.plan) }, &self.ground);
            if let Some(divergence) = &ran.divergence {
                return Err(self.diverged(divergence));
            }
            if !explorer.ran(&ran.record) {
                let scenario = Scenario::of_record(self.test, &ran.record);
                let difference =
                    format!("the scenario `{scenario}` met other choices when it was run once more");
                return Err(Halt::Nondeterministic { reason: nondeterministic(&difference) });
            }
            if ran.outcome.end == End::Merged {
                self.merged += u64::from(task.judge);
            } else if task.judge {
                self.runs += 1;
                self.judge(&ran);
            }
            self.ground.record.replace(ran.record);
        }
        Ok(())
    }

    fn diverged(&self, divergence: &Divergence) -> Halt {
        Halt::Nondeterministic { reason: nondeterministic(&divergence.to_string()) }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "max_time bounds the exploration itself, in real time; no run sees it"
)]
fn deadline(most: Duration) -> std::time::Instant {
    std::time::Instant::now() + most
}

#[expect(
    clippy::disallowed_methods,
    reason = "max_time bounds the exploration itself, in real time; no run sees it"
)]
fn is_past(deadline: std::time::Instant) -> bool {
    std::time::Instant::now() >= deadline
}
