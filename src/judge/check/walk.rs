//! The loop over scenarios, on one thread or on several.

use std::time::{Duration, Instant};

use super::progress::{Progress, ProgressState};
use super::reference::failed_then;
use super::settings::Stop;
use super::tally::Tally;
use super::threads::{self, Source};
use super::{Exploration, Halt, nondeterministic};
use crate::engine::state::Stuck;
use crate::executor::watch::{CrashWatch, VisitedStates};
use crate::judge::report::{notes, words};
use crate::judge::run::{Course, End, run};
use crate::search::explore::{Exhaustive, PieceCursor};

/// How often to check the time, in runs.
const CLOCK_EVERY: u64 = 64;

/// The limits of an exploration.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    max_runs: u64,
    max_time: Option<(Duration, Instant)>,
}

impl Limits {
    pub(super) fn new(max_runs: u64, max_time: Option<Duration>) -> Self {
        let max_time = max_time.map(|most| (most, now() + most));
        Self { max_runs, max_time }
    }

    /// Returns the limit that is reached after this number of runs.
    fn reached(&self, runs: u64) -> Option<String> {
        if runs >= self.max_runs {
            return Some(format!("max_runs = {}", self.max_runs));
        }
        let time_is_up = || runs % CLOCK_EVERY == 0 && self.is_time_up();
        time_is_up().then(|| self.time())
    }

    /// The limit of time, for a reason.
    fn time(&self) -> String {
        let most = self.max_time.map_or(Duration::MAX, |(most, _)| most);
        format!("max_time = {most:?}")
    }

    /// The end of the time.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.max_time.map(|(_, deadline)| deadline)
    }

    pub(super) fn is_time_up(&self) -> bool {
        self.max_time.is_some_and(|(_, deadline)| now() >= deadline)
    }
}

/// How long a test takes, for words beside its report.
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self(now())
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Exploration<'_> {
    /// Runs all scenarios in all cases. The fault-free run of each case has run already.
    pub(super) fn run_cases(&mut self, limits: &Limits) -> Result<(), Halt> {
        let mut known = 0;
        for case in 0..self.cases.len() {
            self.enter(case);
            let settings = self.basis.settings;
            let explorer = Exhaustive::new(settings.bounds.clone());
            let mut explorer = explorer.sharing(self.basis.share).reducing(settings.reduce);
            let others = (self.cases.len() - case - 1 + self.cases_left_out) as u64;
            self.tally.beyond = known + others;
            self.before = self.tally.violated;
            let ran = self.run_all(&mut explorer, limits);
            self.cap = [self.cap, explorer.held_at()].into_iter().flatten().min();
            self.tally.reduced += explorer.reduced();
            known += explorer.at_least();
            self.tally.beyond = known + others;
            ran?;
        }
        self.enter(0);
        match self.cases_left_out {
            0 => Ok(()),
            _ => Err(Halt::Incomplete { reason: words::assignments_cut(self.cases.len()) }),
        }
    }

    fn run_all(&mut self, explorer: &mut Exhaustive, limits: &Limits) -> Result<(), Halt> {
        let root = explorer.next();
        debug_assert!(root.is_some_and(|task| task.judge), "the first run is the reference run");
        let _ = explorer.ran(&self.basis.reference.record);
        let settings = self.basis.settings;
        // The order of runs determines which of them is merged.
        if settings.threads > 1 && !settings.merge {
            self.run_side_by_side(explorer, limits)?;
        }
        let seen = settings.merge.then(VisitedStates::default);
        self.walk(explorer, limits, seen.as_ref())
    }

    /// Whether the current level is the last one, because one of its runs failed, or a run with as many deviations in
    /// another case.
    fn ends_with(&self, explorer: &Exhaustive) -> bool {
        ends_with(&self.tally, self.before, self.cap, explorer)
    }

    /// Runs what the explorer asks for, up to the limits.
    fn walk(
        &mut self,
        explorer: &mut Exhaustive,
        limits: &Limits,
        seen: Option<&VisitedStates>,
    ) -> Result<(), Halt> {
        while let Some(task) = explorer.next() {
            if let Some(limit) = limits.reached(self.tally.runs).filter(|_| task.judge) {
                return Err(self.halt_at(&limit, explorer));
            }
            let watch = seen.cloned().map_or(CrashWatch::Nothing, CrashWatch::merging);
            let ran = run(self.basis.body, Course { watch, ..Course::timed(task.plan) }, &self.ground);
            if ran.outcome.end == End::OutOfTime {
                return Err(self.halt_at(&limits.time(), explorer));
            }
            // The limit says nothing about the jobs.
            if let End::Stuck(stuck @ Stuck::TooLarge { .. }) = &ran.outcome.end {
                return Err(Halt::Incomplete { reason: stuck.to_string() });
            }
            if let Some(divergence) = &ran.divergence {
                let difference = format!("{divergence}{}", failed_then(&ran.outcome));
                return Err(Halt::Nondeterministic { reason: nondeterministic(&difference, &ran.outcome) });
            }
            let same_from = ran.same.from.unwrap_or(ran.record.len());
            if task.judge {
                explorer.skip_from(&ran.record, same_from);
                explorer.equivalents(&ran.same.equivalents);
            }
            if !explorer.ran(&ran.record[..same_from]) {
                let scenario = self.scenario(&ran.record);
                let failed = failed_then(&ran.outcome);
                let difference =
                    format!("the scenario `{scenario}` had different choices when it was run again{failed}");
                return Err(Halt::Nondeterministic { reason: nondeterministic(&difference, &ran.outcome) });
            }
            if ran.outcome.end == End::Merged {
                self.tally.merged += u64::from(task.judge);
            } else if task.judge {
                self.judge(&ran);
                match self.basis.settings.stop() {
                    Stop::AfterLevel if self.ends_with(explorer) => explorer.hold(),
                    Stop::AtFirst if self.tally.has_found() => return Err(Halt::Found),
                    Stop::AfterLevel | Stop::AtFirst | Stop::Never => {}
                }
            }
            match &ran.outcome.end {
                End::Stuck(Stuck::Locked { .. }) => {
                    let reason = "stopped by a deadlock, because its threads cannot be ended".to_owned();
                    return Err(Halt::Incomplete { reason });
                }
                End::Stuck(Stuck::Unresponsive { .. }) => {
                    return Err(Halt::Incomplete { reason: notes::STOPPED_BY_HANG.to_owned() });
                }
                _ => {}
            }
            self.ground.record.replace(ran.record);
            // A part of the exploration does not know the progress of the whole.
            if !self.tally.is_part() {
                self.basis.progress.tell(|| standing(explorer, &self.tally));
            }
        }
        Ok(())
    }

    fn halt_at(&self, limit: &str, explorer: &Exhaustive) -> Halt {
        let (runs, at_least) = (self.tally.runs, self.tally.beyond + explorer.at_least());
        Halt::Incomplete {
            reason: format!(
                "stopped by {limit} after {runs} runs of at least {at_least}; raise the limit, lower `deviations`, or check fewer jobs at once"
            ),
        }
    }

    /// Runs all levels on several threads. Ends earlier if the order of the runs determines what comes next: at a
    /// limit, and when a run did not take its course. The rest is then for one thread.
    fn run_side_by_side(&mut self, explorer: &mut Exhaustive, limits: &Limits) -> Result<(), Halt> {
        let (basis, cases, ahead) = (self.basis, self.cases, explorer.ahead());
        let threads = basis.settings.threads;
        let (tally, max_runs) = (&mut self.tally, limits.max_runs);
        let progress = &basis.progress;
        let stop = basis.settings.stop();
        let (before, cap) = (self.before, self.cap);
        let mut level =
            Level { explorer, ahead, threads, tally, max_runs, stop, before, cap, progress, fickle: None };
        let limits_of_piece = Limits { max_runs: u64::MAX, ..limits.clone() };
        threads::side_by_side(
            threads,
            &mut level,
            || basis.part(cases),
            |exploration, (mut piece, size)| {
                let halt = exploration.walk(&mut piece, &limits_of_piece, None).err();
                let tally = std::mem::replace(&mut exploration.tally, Tally::of_part());
                PieceResult { piece, size, tally, halt }
            },
        );
        let Some((size, halt)) = level.fickle else { return Ok(()) };
        // Run the piece again on one thread: the report must be that of one thread, if the code does the same again.
        if let Some(mut piece) = explorer.piece(&mut explorer.ahead(), size) {
            self.walk(&mut piece, limits, None)?;
        }
        Err(halt)
    }
}

fn ends_with(tally: &Tally, before: u64, cap: Option<usize>, explorer: &Exhaustive) -> bool {
    tally.violated > before || cap.is_some_and(|cap| explorer.deviations() >= cap)
}

fn standing(explorer: &Exhaustive, tally: &Tally) -> ProgressState {
    let (known, expected) = (tally.beyond + explorer.at_least(), tally.beyond + explorer.expected());
    ProgressState { runs: tally.runs, known, expected, violated: tally.violated }
}

/// The explorer that several threads share.
struct Level<'e> {
    explorer: &'e mut Exhaustive,
    ahead: PieceCursor,
    threads: usize,
    tally: &'e mut Tally,
    max_runs: u64,
    stop: Stop,
    /// The number of runs that failed before this case, and the level at which one did.
    before: u64,
    cap: Option<usize>,
    progress: &'e Progress,
    /// A run that did not take its course, with the size of its piece and the reason.
    fickle: Option<(usize, Halt)>,
}

/// A piece of a level that has run.
struct PieceResult {
    piece: Exhaustive,
    size: usize,
    tally: Tally,
    halt: Option<Halt>,
}

impl Source for Level<'_> {
    type Piece = (Exhaustive, usize);
    type Result = PieceResult;

    fn take(&mut self, is_back: bool) -> Option<Self::Piece> {
        // Pieces are small enough that all threads finish at about the same time and that little is wasted at a limit,
        // and large enough that synchronization does not matter. The first level is split into single runs, the others
        // into families.
        let size = |left: usize| (left / (4 * self.threads)).clamp(1, 8);
        let size_here = size(self.explorer.left(&self.ahead));
        if let Some(piece) = self.explorer.piece(&mut self.ahead, size_here) {
            return Some((piece, size_here));
        }
        if !is_back {
            return None;
        }
        if self.stop == Stop::AfterLevel && ends_with(self.tally, self.before, self.cap, self.explorer) {
            self.explorer.hold();
        }
        if !self.explorer.next_level() {
            return None;
        }
        self.ahead = self.explorer.ahead();
        let size = size(self.explorer.left(&self.ahead));
        Some((self.explorer.piece(&mut self.ahead, size)?, size))
    }

    fn use_up(&mut self, done: PieceResult) -> bool {
        let runs = self.tally.runs + done.tally.runs;
        match done.halt {
            Some(halt @ Halt::Nondeterministic { .. }) if runs < self.max_runs => {
                self.fickle = Some((done.size, halt));
                false
            }
            None if runs <= self.max_runs => {
                self.explorer.put_back(done.piece);
                self.tally.append(done.tally);
                self.progress.tell(|| standing(self.explorer, self.tally));
                true
            }
            // One thread continues at a limit.
            _ => false,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "max_time bounds the exploration itself, in real time, and a slow test says so; no run sees it"
)]
fn now() -> Instant {
    Instant::now()
}
