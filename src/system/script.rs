//! Identifies jobs across runs, regardless of their numbers, and describes an order in which jobs run one at a time.

use std::collections::BTreeMap;

use crate::system::generated::{Forms, Generated};
use crate::system::job::{Job, JobState};

/// Identifies a job in any run: its parent, its kind and payload, and its position among equal ones.
///
/// Numbers differ from run to run. Payloads may contain generated values, which are left out here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Role {
    kind: &'static str,
    payload: Box<str>,
    /// The number of the parent's role, or 0 if the parent is not a job.
    parent: u32,
    /// The number of earlier jobs that are equal in all of this.
    nth: u32,
}

/// The numbers of roles, from 1. They are the same for all runs that share this value.
#[derive(Debug, Default)]
pub(crate) struct Roles(BTreeMap<Role, u32>);

impl Roles {
    /// The role of each job of a run, and its number.
    pub(crate) fn of(&mut self, jobs: &[Job], generated: &Generated) -> Vec<(Role, u32)> {
        let (mut casting, forms) = (Casting::default(), Forms::of(generated));
        let mut cast: Vec<(Role, u32)> = Vec::with_capacity(jobs.len());
        for job in jobs {
            let parent = job.parent.checked_sub(1).map_or(0, |at| cast[at as usize].1);
            let role = casting.role(job, parent, generated, &forms);
            let next = self.0.len() as u32 + 1;
            let number = *self.0.entry(role.clone()).or_insert(next);
            cast.push((role, number));
        }
        cast
    }
}

/// Counts equal jobs.
#[derive(Debug, Default)]
struct Casting(BTreeMap<(&'static str, Box<str>, u32), u32>);

impl Casting {
    fn role(&mut self, job: &Job, parent: u32, generated: &Generated, forms: &Forms) -> Role {
        let payload: Box<str> = forms.blank(&generated.compared(job.kind, job.came_as())).into();
        let nth = self.0.entry((job.kind, payload.clone(), parent)).or_insert(0);
        *nth += 1;
        Role { kind: job.kind, payload, parent, nth: *nth - 1 }
    }
}

/// The way in which a job gives up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GiveUp {
    /// Whether the job does its work before it gives up, or nothing.
    pub(crate) has_run: bool,
    pub(crate) state: JobState,
    pub(crate) error: Box<str>,
    pub(crate) failures: u32,
}

/// The part of one job in a script.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) role: Role,
    pub(crate) number: u32,
    pub(crate) gives_up: Option<GiveUp>,
    /// With which of its bodies it runs, if it is a request.
    pub(crate) body: usize,
}

/// The next turn of a script.
#[derive(Debug)]
pub(crate) struct ScriptTurn {
    /// Which of the waiting jobs, by its place among them.
    pub(crate) next: usize,
    /// How it gives up, if it does that instead of running.
    pub(crate) gives_up: Option<GiveUp>,
    pub(crate) body: usize,
}

/// An order in which jobs run, one at a time. A job without a part runs when no other job waits.
#[derive(Debug)]
pub(crate) struct Script {
    /// For each role: its number, and its position.
    places: BTreeMap<Role, (u32, usize)>,
    /// By place: how it gives up, if it does, and its body.
    ways: Vec<(Option<GiveUp>, usize)>,
    casting: Casting,
    /// For each job so far: the number of its role, and its position.
    cast: Vec<Option<(u32, usize)>>,
    /// The running job, if it gives up after its work.
    running: Option<(u32, GiveUp)>,
}

impl Script {
    pub(crate) fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        let (mut places, mut ways) = (BTreeMap::new(), Vec::new());
        for (place, part) in parts.into_iter().enumerate() {
            places.insert(part.role, (part.number, place));
            ways.push((part.gives_up, part.body));
        }
        Self { places, ways, casting: Casting::default(), cast: Vec::new(), running: None }
    }

    /// Returns the waiting job that runs next, and how. `generated` has the values that the run has generated so far.
    pub(crate) fn pick(
        &mut self,
        jobs: &[Job],
        generated: impl FnOnce() -> Generated,
        waiting: &[u32],
    ) -> ScriptTurn {
        if self.cast.len() < jobs.len() {
            self.cast_new(jobs, &generated());
        }
        let place = |job: u32| self.cast[job as usize - 1].map_or(usize::MAX, |(_, place)| place);
        let next = (0..waiting.len()).min_by_key(|&at| place(waiting[at])).unwrap_or_default();
        let (gives_up, body) = self.ways.get(place(waiting[next])).cloned().unwrap_or_default();
        self.running = gives_up.clone().filter(|gives_up| gives_up.has_run).map(|how| (waiting[next], how));
        ScriptTurn { next, gives_up: gives_up.filter(|gives_up| !gives_up.has_run), body }
    }

    /// The way in which a job that has succeeded gives up, if it must do so after its work.
    pub(crate) fn ends(&mut self, job: u32) -> Option<GiveUp> {
        self.running.take_if(|(running, _)| *running == job).map(|(_, how)| how)
    }

    fn cast_new(&mut self, jobs: &[Job], generated: &Generated) {
        let forms = Forms::of(generated);
        for job in &jobs[self.cast.len()..] {
            let parent = match job.parent.checked_sub(1) {
                None => Some(0),
                Some(at) => self.cast[at as usize].map(|(number, _)| number),
            };
            let place = parent.and_then(|parent| {
                let role = self.casting.role(job, parent, generated, &forms);
                self.places.get(&role).copied()
            });
            self.cast.push(place);
        }
    }
}
