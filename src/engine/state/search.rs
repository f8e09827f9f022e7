//! The position of a run in the search: its plan and its limits.

use super::Stuck;
use crate::search::choice::{Choice, Chooser, Deviation};

/// The faults and choices that a run may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything in the plan.
    Explore,
    /// Nothing, but jobs are taken one at a time in the order of the plan.
    SerialBaseline,
    /// Like `SerialBaseline`, and each job finds its process as it was after its boot.
    IsolatedBaseline,
    /// Nothing: the world of an ordinary test.
    Plain,
}

/// The part of a run's state that belongs to the search.
#[derive(Debug)]
pub(crate) struct RunSearch {
    pub(super) chooser: Chooser,
    mode: Mode,
    faults_suspended: bool,
    pub(super) steps: u64,
    pub(super) max_steps: u64,
    /// The number of steps when an attempt last ended.
    pub(super) last_end: u64,
    stuck: Option<Stuck>,
    is_out_of_time: bool,
}

impl RunSearch {
    pub(super) fn new(chooser: Chooser, mode: Mode, max_steps: u64) -> Self {
        // Every choice is a step, so no choice is past the bound of a deviation.
        let max_steps = max_steps.min(Deviation::MAX_CHOICES as u64 - 1);
        let (faults_suspended, is_out_of_time) = (false, false);
        Self {
            chooser,
            mode,
            faults_suspended,
            steps: 0,
            max_steps,
            last_end: 0,
            stuck: None,
            is_out_of_time,
        }
    }

    /// All choices of the run so far, in order.
    pub(crate) fn choices(&self) -> &[Choice] {
        self.chooser.record()
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Reports whether something may go wrong now.
    pub(crate) fn may_deviate(&self) -> bool {
        self.mode == Mode::Explore && !self.faults_suspended
    }

    pub(crate) fn are_faults_suspended(&self) -> bool {
        self.faults_suspended
    }

    /// Suspends or resumes faults. Returns the former value, to be restored.
    pub(crate) fn suspend_faults(&mut self, suspended: bool) -> bool {
        std::mem::replace(&mut self.faults_suspended, suspended)
    }

    /// The reason why the run cannot continue, if there is one.
    pub(crate) fn stuck(&self) -> Option<&Stuck> {
        self.stuck.as_ref()
    }

    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.is_some()
    }

    /// Marks the run as stuck. The first reason stays.
    pub(crate) fn get_stuck(&mut self, why: Stuck) {
        self.stuck.get_or_insert(why);
    }

    /// Stops the run, because the time of the exploration is up.
    pub(crate) fn run_out_of_time(&mut self) {
        self.is_out_of_time = true;
        self.get_stuck(Stuck::Deadlock { waiting: Vec::new() });
    }

    pub(crate) fn is_out_of_time(&self) -> bool {
        self.is_out_of_time
    }

    /// Lets an ordinary test continue after it was stuck.
    pub(crate) fn unstick(&mut self) {
        self.stuck = None;
    }

    /// Returns the choices of a finished run.
    pub(crate) fn take_chooser(&mut self) -> Chooser {
        std::mem::replace(&mut self.chooser, Chooser::idle())
    }
}
