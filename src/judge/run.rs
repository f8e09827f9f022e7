//! Runs one scenario, and returns its outcome.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::thread::Builder;
use std::time::Duration;

use crate::engine::externals::Traffic;
use crate::engine::panics::{self, CaughtPanic};
use crate::engine::runtime::{Context, Pool};
use crate::engine::simulation;
use crate::engine::state::{CalledAs, Mode, RunRecord, Shared, State, Stuck, TaskWaker};
use crate::engine::steps::Equivalence;
use crate::executor::watch::CrashWatch;
use crate::judge::pulse::{self, Beating, WatchedRun};
use crate::search::choice::{Actor, Choice, Chooser, DeviationKind, Divergence, Fault, Name, Plan};
use crate::search::input::{Assignment, InputError, InputQuestion, Inputs};
use crate::system::clock::TaskId;
use crate::system::effect::{Effect, RepeatedRequest, Reuse};
use crate::system::generated::Generated;
use crate::system::hygiene::Hygiene;
use crate::system::job::Job;
use crate::system::queue::LockKey;
use crate::system::script::Script;
use crate::system::seeded::{OutcomePart, SeededTexts};
use crate::system::timeline::{Event, Timeline};
use crate::world::{ComparisonRules, World};

/// A test body, which is started once for each run.
pub(crate) trait Body {
    fn start<'w>(&'w self, world: &'w World) -> Pin<Box<dyn Future<Output = ()> + 'w>>;
}

impl<F: AsyncFn(&World)> Body for F {
    fn start<'w>(&'w self, world: &'w World) -> Pin<Box<dyn Future<Output = ()> + 'w>> {
        Box::pin(async move { self(world).await })
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Completed,
    /// The test body panicked, or asked for something that could not be done.
    Panicked(CaughtPanic),
    Stuck(Stuck),
    /// The run ended because another run has continued from the same state.
    Merged,
    /// The time of the exploration was up during the run.
    OutOfTime,
}

impl End {
    /// Whether code under test hangs. Its thread, if it has one, is left behind.
    pub(crate) fn is_unresponsive(&self) -> bool {
        matches!(self, End::Stuck(Stuck::Unresponsive { .. }))
    }
}

/// The outcome of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    /// The effects in the order in which they happened, without those of the test's setup.
    pub(crate) effects: Vec<Effect>,
    /// The failures that were reported to error trackers.
    pub(crate) told: Vec<Effect>,
    /// Requests that did not happen because another request had used their idempotency key.
    pub(crate) reused: Vec<Reuse>,
    /// Requests that were answered from an effect that had already happened.
    pub(crate) repeats: Vec<RepeatedRequest>,
    /// The durable and observed states as JSON, in the order in which they were named.
    pub(crate) state: Vec<(Name, String)>,
    pub(crate) jobs: Vec<Job>,
    /// Generated values, such as ids, that have no meaning of their own.
    pub(crate) generated: Generated,
    /// The jobs that drew random numbers.
    pub(crate) drawing: BTreeSet<u32>,
    /// Whether a job waited until it was due, or before an effect.
    pub(crate) waits: bool,
    /// The attempts, tasks and processes that had a deviation other than a preemption.
    pub(crate) troubled: BTreeSet<Actor>,
    /// The locks that will never be released, with a description of their holders.
    pub(crate) left_locks: Vec<(LockKey, String)>,
    pub(crate) terms: ComparisonRules,
    /// The positions of the ignored parts of effects that were there.
    pub(crate) left_out: BTreeSet<usize>,
    /// The keys of rows that were there and are not compared, if the test ignores parts of the store.
    pub(crate) gone_rows: Vec<String>,
    /// The inputs, in the order in which the run asked for them.
    pub(crate) asked: Vec<InputQuestion>,
    /// The operations that were made beside others.
    pub(crate) flights: BTreeSet<CalledAs>,
    /// The notes of the run about itself.
    pub(crate) record: RunRecord,
    /// Whether the run had sockets.
    pub(crate) has_sockets: bool,
    /// Whether the run had sockets, or calls to external systems.
    pub(crate) has_externals: bool,
    /// The names of the threads of slots that were left behind.
    pub(crate) left: Vec<String>,
    /// The number of deviations of the run.
    pub(crate) went_wrong: usize,
    /// The number of those that are not preemptions.
    pub(crate) mishaps: usize,
    /// Whether a service had an outage, so that any number of attempts may fail because of it.
    pub(crate) outage: bool,
}

/// A finished run.
#[derive(Debug)]
pub(crate) struct FinishedRun {
    pub(crate) plan: Plan,
    pub(crate) outcome: Outcome,
    pub(crate) record: Vec<Choice>,
    pub(crate) divergence: Option<Divergence>,
    /// Why an input could not be provided, if one could not.
    pub(crate) no_such_input: Option<InputError>,
    /// The equivalences of this run with other runs.
    pub(crate) same: Equivalence,
    pub(crate) events: Vec<Event>,
    pub(crate) watch: CrashWatch,
}

/// The state that all runs of an exploration on one thread share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ground {
    pub(crate) seed: u64,
    pub(crate) max_steps: u64,
    /// Whether timers and retries may come late in any world.
    pub(crate) delays: bool,
    /// Whether to explore orders of independent steps only once.
    pub(crate) reduce: bool,
    pub(crate) pool: Pool,
    /// The inputs.
    pub(crate) inputs: Arc<Assignment>,
    /// The operations that the reference run has made beside others.
    pub(crate) flights: Arc<BTreeSet<CalledAs>>,
    /// Whether jobs that are under way when the body ends go on to their ends. They do if all are over by then when
    /// nothing goes wrong: what the body has waited for may be there before a job that failed was tried again.
    pub(crate) finishes: bool,
    /// The places at which a text depends on the seed.
    pub(crate) seeded: Arc<SeededTexts>,
    /// A buffer for the record of the next run.
    pub(crate) record: RefCell<Vec<Choice>>,
}

impl Ground {
    /// Returns a function that makes the same ground on another thread. Runtimes belong to a thread.
    fn for_another_thread(&self) -> impl FnOnce() -> Self + Send + 'static {
        let &Self { seed, max_steps, delays, reduce, finishes, .. } = self;
        let (inputs, flights, seeded) = (self.inputs.clone(), self.flights.clone(), self.seeded.clone());
        move || Self { seed, max_steps, delays, reduce, finishes, inputs, flights, seeded, ..Self::default() }
    }
}

/// How to run a scenario.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) plan: Plan,
    pub(crate) mode: Mode,
    pub(crate) timeline: Timeline,
    pub(crate) watch: CrashWatch,
    /// The order in which the jobs run one at a time, if they do.
    pub(crate) script: Option<Box<Script>>,
    /// Whether the run stops when the time of the exploration is up. Its caller must expect [`End::OutOfTime`].
    pub(crate) is_timed: bool,
}

impl Course {
    /// Returns the course of an ordinary run: the plan's deviations apply, and only the outcome is needed.
    pub(crate) fn plain(plan: Plan) -> Self {
        let (timeline, watch) = (Timeline::default(), CrashWatch::default());
        Self { plan, mode: Mode::Explore, timeline, watch, script: None, is_timed: false }
    }

    /// Returns the same course for a run that stops when the time of the exploration is up.
    pub(crate) fn timed(plan: Plan) -> Self {
        Self { is_timed: true, ..Self::plain(plan) }
    }
}

/// Runs one scenario.
///
/// If the program simulates the operating system, the run has a thread of its own: hash seeds and generators that belong to
/// a thread are drawn again in each run.
pub(crate) fn run(body: &(dyn Body + Sync), course: Course, ground: &Ground) -> FinishedRun {
    if !simulation::is_on() {
        return run_here(body, course, ground);
    }
    let (quiet, watched) = (panics::lend(), pulse::lend());
    let (record, others) = (ground.record.take(), ground.for_another_thread());
    // The subscriber may be set for the thread of the test alone.
    #[cfg(feature = "tracing")]
    let log =
        tracing_core::dispatcher::has_been_set().then(|| tracing_core::dispatcher::get_default(Clone::clone));
    let begin = move || {
        #[cfg(feature = "tracing")]
        let _log = log.as_ref().map(tracing_core::dispatcher::set_default);
        quiet();
        let _watched = watched();
        let ground = Ground { record: RefCell::new(record), ..others() };
        let _simulated = simulation::begin(ground.seed);
        run_here(body, course, &ground)
    };
    let name = std::thread::current().name().unwrap_or("retryproof").to_owned();
    let ran = std::thread::scope(|scope| {
        let thread = Builder::new().name(name).spawn_scoped(scope, begin);
        let thread = thread.unwrap_or_else(|error| {
            panic!("the system starts no thread for a run ({error}); run fewer tests at once")
        });
        thread.join()
    });
    ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn run_here(body: &dyn Body, course: Course, ground: &Ground) -> FinishedRun {
    let (shared, watch, beating) = begin(course, ground);
    let world = World::new(shared.clone(), ground.pool.clone(), watch);
    panics::during(Some(shared.clone()));
    let end = live_through(body, &world, &shared, ground);
    let (end, observed) = look(&world, end);
    let end = of_culprit(&shared, end);
    let terms = world.take_terms();
    let left_locks = shared.state().left_locks();
    // Calls by the processes' destructors have no effect: the processes are torn down as after a crash.
    shared.state().search.suspend_faults(true);
    let watch = world.executor().shut_down();
    panics::during(None);
    drop(beating);
    let mut state = shared.state();
    let mut run_record = std::mem::take(&mut state.record);
    let (mut effects, jobs) = (state.ledger.take(), state.queue.take_jobs());
    effects.retain(|effect| !effect.given);
    let (told, mut effects) = match run_record.told_of_failures().is_some() {
        true => effects.into_iter().partition(|effect| effect.tells),
        false => (Vec::new(), effects),
    };
    let mut reused = std::mem::take(&mut state.ledger.reused);
    let repeats = std::mem::take(&mut state.ledger.repeats);
    let left_out = terms.leave_out(&mut effects, &mut reused);
    let gone_rows = gone_rows(&terms, &shared);
    if let Some(seen) = simulation::seen() {
        state.generated.add_of_system(&seen.times, seen.has_draws);
    }
    let (drawing, generated) = (state.drawing().collect(), std::mem::take(&mut state.generated));
    let waits = waits(&effects, &jobs);
    note_surroundings(&shared, &state, &mut run_record);
    let (asked, no_such_input) = (state.inputs.take(), state.inputs.error().cloned());
    let (events, steps_taken) = (state.timeline.take(), state.steps_taken.take());
    let flights = state.take_flights();
    let chooser = state.search.take_chooser();
    drop(state);
    let (record, divergence, plan) = chooser.finish();
    let same = steps_taken.map(|steps| Equivalence::of(&steps, &record)).unwrap_or_default();
    let (went_wrong, mishaps, troubled, outage) = troubles(&record);
    let outcome = Outcome {
        went_wrong,
        mishaps,
        outage,
        end,
        effects,
        told,
        reused,
        repeats,
        state: observed,
        jobs,
        generated,
        drawing,
        waits,
        troubled,
        left_locks,
        terms,
        left_out,
        gone_rows,
        asked,
        flights,
        record: run_record,
        has_sockets: shared.externals.have_wires(),
        has_externals: shared.externals.any(),
        left: shared.sleepers.left(),
    };
    let mut ran = FinishedRun { plan, outcome, record, divergence, no_such_input, same, events, watch };
    ran.outcome.mark_seeded(&ground.seeded);
    ran
}

impl Outcome {
    /// The parts that are compared.
    pub(crate) fn parts(&self) -> Vec<OutcomePart> {
        let effects = self.effects.iter().flat_map(|effect| {
            let key = effect.key.as_deref().unwrap_or_default();
            let part = |what: &str, text: &str| OutcomePart::new(format!("{what} {}", effect.name()), text);
            [part("effect", &effect.body), part("key", key)]
        });
        let jobs = self.jobs.iter().map(|job| OutcomePart::new(format!("job {}", job.kind), &job.payload));
        let state = self.state.iter().map(|(name, text)| OutcomePart::new(format!("state {name}"), text));
        effects.chain(jobs).chain(state).collect()
    }

    /// Adds the texts that depend on the seed to what the run has generated.
    pub(crate) fn mark_seeded(&mut self, seeded: &SeededTexts) {
        if !seeded.is_empty() {
            seeded.texts(&self.parts()).iter().for_each(|text| self.generated.text(text));
        }
    }
}

/// Makes the state of a run, and starts to watch the run.
fn begin(course: Course, ground: &Ground) -> (Arc<Shared>, CrashWatch, Beating) {
    let Course { plan, mode, timeline, watch, script, is_timed } = course;
    let (again, is_planned) = (plan.clone(), mode == Mode::Explore);
    let chooser = Chooser::recording_in(plan, ground.record.take());
    let mut state = State::new(chooser, mode, timeline, ground.seed, ground.max_steps);
    state.world.delays = ground.delays;
    state.expect_flights(ground.flights.clone());
    state.inputs = Inputs::new(ground.inputs.clone());
    state.script = script;
    state.steps_taken = (ground.reduce && is_planned).then(Box::default);
    let shared = Shared::new(state);
    let beating = pulse::begin(|| {
        let (shared, inputs) = (shared.clone(), ground.inputs.clone());
        WatchedRun { shared, plan: again, inputs, is_timed, is_planned }
    });
    (shared, watch, beating)
}

/// Counts the deviations of a run, and those that are more than a preemption. Returns with them the actors that met the
/// latter, and whether one of them was an outage.
fn troubles(record: &[Choice]) -> (usize, usize, BTreeSet<Actor>, bool) {
    let mut deviations = record.iter().filter(|choice| choice.taken != 0);
    let troubles = deviations.clone().filter(|choice| choice.kind != DeviationKind::Preemption);
    let (went_wrong, mishaps) = (deviations.clone().count(), troubles.clone().count());
    let troubled = troubles.map(|choice| choice.label.actor).collect();
    (went_wrong, mishaps, troubled, deviations.any(|choice| choice.fault().is_some_and(Fault::is_outage)))
}

/// Notes what is known of a run only at its end.
fn note_surroundings(shared: &Shared, state: &State, record: &mut RunRecord) {
    if shared.services.has_expiring_rows() {
        record.note_expiring();
    }
    // A database that the code under test reaches through `p.external` is explored.
    if let Some(seen) = simulation::seen().filter(|_| !shared.externals.have_calls()) {
        let unexplored = seen.unexplored().into_iter();
        unexplored.for_each(|address| record.note_hygiene(Hygiene::Unexplored { address }));
    }
    for (process, slots, connections) in state.connections.too_few() {
        record.note_hygiene(Hygiene::PoolTooSmall { process, slots, connections });
    }
}

/// Returns the keys of rows that were there and are not compared, if the test ignores parts of the store.
fn gone_rows(terms: &ComparisonRules, shared: &Shared) -> Vec<String> {
    if terms.ignored.is_empty() {
        return Vec::new();
    }
    let is_ignored = |store: &Name| terms.ignored.iter().any(|(name, _)| name == store);
    let gone = shared.services.not_compared().filter(|(store, _)| is_ignored(store));
    gone.map(|(_, rows)| rows).unwrap_or_default()
}

/// Adds the culprit of a panic to the end of a run. A run whose time is up ends as that.
fn of_culprit(shared: &Shared, end: End) -> End {
    let (is_out_of_time, culprit) = {
        let state = shared.state();
        (state.search.is_out_of_time(), state.culprit)
    };
    match (end, culprit) {
        _ if is_out_of_time => End::OutOfTime,
        (End::Panicked(panicked), of) => End::Panicked(CaughtPanic { of, ..panicked }),
        (end, _) => end,
    }
}

/// Reads the observed states at the end of a run.
fn look(world: &World, end: End) -> (End, Vec<(Name, String)>) {
    match catch_unwind(AssertUnwindSafe(|| world.look())) {
        Err(payload) => (panicked(&*payload), Vec::new()),
        Ok(Ok(observed)) => (end, observed),
        Ok(Err((name, error))) => {
            let message = format!("the state `{name}` cannot be written as JSON: {error}");
            (End::Panicked(CaughtPanic { message, place: None, of: None }), Vec::new())
        }
    }
}

/// Whether a job waited until it was due, or before one of its effects.
fn waits(effects: &[Effect], jobs: &[Job]) -> bool {
    let waited = |effect: &Effect| match effect.by {
        Actor::Attempt { job, .. } => effect.at > jobs[job as usize - 1].history.began_at,
        Actor::Test | Actor::Process(_) | Actor::Task(_) => false,
    };
    jobs.iter().any(|job| job.history.due > job.history.born_at) || effects.iter().any(waited)
}

/// Polls the test body to its end.
fn live_through(body: &dyn Body, world: &World, shared: &Shared, ground: &Ground) -> End {
    let id = TaskId { slot: u32::MAX, turn: 0 };
    let wake = TaskWaker::new(id, shared.woken.clone());
    let waker = Waker::from(wake.clone());
    let (mut context, mut finishes) = (Context::new(ground.pool.clone()), ground.finishes);
    let mut future = match catch_unwind(AssertUnwindSafe(|| body.start(world))) {
        Ok(future) => future,
        Err(payload) => return panicked(&*payload),
    };
    let end = loop {
        let now = shared.state().clock.now();
        wake.begin();
        let polled = catch_unwind(AssertUnwindSafe(|| {
            context.within_test(now, || future.as_mut().poll(&mut TaskContext::from_waker(&waker)))
        }));
        let woken = wake.end();
        match polled {
            Ok(Poll::Ready(())) if !finishes || !is_anything_under_way(shared) => break End::Completed,
            Ok(Poll::Ready(())) => {
                finishes = false;
                let finish =
                    || Box::pin(async { _ = world.settle_until(|_| !is_anything_under_way(shared)).await });
                let rest = catch_unwind(AssertUnwindSafe(|| context.within_test(now, || future = finish())));
                if let Err(payload) = rest {
                    break panicked(&*payload);
                }
                continue;
            }
            Err(payload) => break panicked(&*payload),
            Ok(Poll::Pending) => {}
        }
        if world.executor().is_merged() {
            break End::Merged;
        }
        if let Some(payload) = world.executor().broken_boot.take() {
            break panicked(&*payload);
        }
        {
            let mut state = shared.state();
            if !state.step() || woken {
                match state.search.stuck().cloned() {
                    Some(stuck) => break End::Stuck(stuck),
                    None => continue,
                }
            }
        }
        if settle(&mut context, shared, now) {
            while shared.woken.pop().is_some_and(|task| task != id) {}
            continue;
        }
        let limit = shared.state().clock.next();
        let (reached, called) = context.drive(now, limit, &shared.woken, shared.externals.have_wires());
        shared.advance(reached);
        while shared.woken.pop().is_some_and(|task| task != id) {}
        if !called && limit.is_none() {
            let waiting = vec!["the test body waits for something that never happens".to_owned()];
            break End::Stuck(Stuck::Deadlock { waiting });
        }
    };
    let _ =
        catch_unwind(AssertUnwindSafe(|| context.within_test(shared.state().clock.now(), || drop(future))));
    context.end();
    end
}

/// Whether a job waits or runs.
fn is_anything_under_way(shared: &Shared) -> bool {
    let state = shared.state();
    !state.queue.is_idle() || state.usage.busy > 0
}

/// Waits until everything in transit on a socket has arrived. Returns true if the body can continue because of it.
fn settle(context: &mut Context, shared: &Shared, now: Duration) -> bool {
    if !shared.externals.have_wires() {
        return false;
    }
    shared.woken.clear_progress();
    loop {
        context.rest(now);
        if shared.woken.is_called_for() {
            return true;
        }
        if shared.externals.settle() == Traffic::Still || shared.state().search.is_stuck() {
            return false;
        }
    }
}

fn panicked(payload: &(dyn std::any::Any + Send)) -> End {
    let message = panics::text(payload);
    let place = panics::last().filter(|last| last.message == message).and_then(|last| last.place);
    End::Panicked(CaughtPanic { message, place, of: None })
}
