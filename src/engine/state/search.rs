//! Where a run is in the search: what it was told to do, and how far it may go.

use super::Stuck;
use crate::search::choice::{Choice, Chooser, Deviation};

/// What may go wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything that the plan says.
    Explore,
    /// Nothing, but jobs are taken one at a time in the order that the plan says.
    SerialBaseline,
    /// The same, and each job finds its process as it was after its boot.
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
    /// How many steps there were when an attempt last ended.
    pub(super) last_end: u64,
    stuck: Option<Stuck>,
    is_out_of_time: bool,
}

impl RunSearch {
    pub(super) fn new(chooser: Chooser, mode: Mode, max_steps: u64) -> Self {
        // Every choice is a step, so that no choice is past what a deviation can name.
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

    /// Every choice of the run so far, in order.
    pub(crate) fn choices(&self) -> &[Choice] {
        self.chooser.record()
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether something may go wrong now.
    pub(crate) fn may_deviate(&self) -> bool {
        self.mode == Mode::Explore && !self.faults_suspended
    }

    pub(crate) fn are_faults_suspended(&self) -> bool {
        self.faults_suspended
    }

    /// From here on nothing goes wrong, or whatever may. Returns what held before, to be put back.
    pub(crate) fn suspend_faults(&mut self, suspended: bool) -> bool {
        std::mem::replace(&mut self.faults_suspended, suspended)
    }

    /// Why the run can go no further, if it cannot.
    pub(crate) fn stuck(&self) -> Option<&Stuck> {
        self.stuck.as_ref()
    }

    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.is_some()
    }

    /// The run can go no further. The first reason stays.
    pub(crate) fn get_stuck(&mut self, why: Stuck) {
        self.stuck.get_or_insert(why);
    }

    /// The time of the exploration is up: the run ends here, and says nothing.
    pub(crate) fn run_out_of_time(&mut self) {
        self.is_out_of_time = true;
        self.get_stuck(Stuck::Deadlock { waiting: Vec::new() });
    }

    pub(crate) fn is_out_of_time(&self) -> bool {
        self.is_out_of_time
    }

    /// An ordinary test goes on after what was stuck.
    pub(crate) fn unstick(&mut self) {
        self.stuck = None;
    }

    /// The run is over: its choices go to whoever judges them.
    pub(crate) fn take_chooser(&mut self) -> Chooser {
        std::mem::replace(&mut self.chooser, Chooser::idle())
    }
}
