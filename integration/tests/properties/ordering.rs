//! For any sequence of operations, the order rule of each mode holds at each step: of queues, streams and locks.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use retryproof::job::{JobState, JobView};
use retryproof::{Durable, Ordered, Unique, World};
use serde::{Deserialize, Serialize};

use super::jobs::{Do, anything, check_counts};
use crate::support::S;

/// A job of one of two queues, with one of three keys or none.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct High {
    key: Option<u32>,
    nth: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Low {
    key: Option<u32>,
    nth: u32,
}

const TTL: Duration = Duration::from_secs(90);

/// The rule that must hold.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Arrival,
    Strict,
    Weighted,
    OnePartition,
    ByKey,
    InParallel,
    UntilExecuting,
    UntilExecuted,
    UntilExpired,
    WhileExecuting,
    UntilAndWhileExecuting,
}

const MODES: [Mode; 11] = [
    Mode::Arrival,
    Mode::Strict,
    Mode::Weighted,
    Mode::OnePartition,
    Mode::ByKey,
    Mode::InParallel,
    Mode::UntilExecuting,
    Mode::UntilExecuted,
    Mode::UntilExpired,
    Mode::WhileExecuting,
    Mode::UntilAndWhileExecuting,
];

impl Mode {
    fn ordered(self) -> Ordered {
        match self {
            Mode::OnePartition => Ordered::in_one_partition(),
            Mode::ByKey => Ordered::by_key(|job: &High| job.key),
            _ => Ordered::in_parallel(),
        }
    }

    fn unique(self) -> Option<Unique> {
        let key = |job: &High| job.key;
        Some(match self {
            Mode::UntilExecuting => Unique::until_executing(key),
            Mode::UntilExecuted => Unique::until_executed(key),
            Mode::UntilExpired => Unique::until_expired(TTL, key),
            Mode::WhileExecuting => Unique::while_executing(key),
            Mode::UntilAndWhileExecuting => Unique::until_and_while_executing(key),
            _ => return None,
        })
    }

    /// Whether an attempt waits in its slot while another job runs with the same key.
    fn waits(self) -> bool {
        matches!(self, Mode::WhileExecuting | Mode::UntilAndWhileExecuting)
    }

    /// Whether a second job with the same key is dropped when it is enqueued.
    fn drops(self) -> bool {
        self.unique().is_some() && self != Mode::WhileExecuting
    }
}

/// The number of attempts in their handlers, by key.
type Inside = Durable<BTreeMap<Option<u32>, u32>>;

/// Makes a world whose jobs take a second. Every third `High` fails, up to three times.
fn world(mode: Mode) -> (World, Inside) {
    let world = World::fake();
    let inside = world.durable("inside", BTreeMap::new());
    let within = inside.clone();
    world.process("worker", move |p| {
        // A job whose process died keeps its lock. It needs a slot to release it, so those who wait must not take all.
        p.slots(if mode.waits() { 100 } else { 3 });
        match mode {
            Mode::Strict => _ = p.queues(["high", "low"]),
            Mode::Weighted => _ = p.weighted_queues([("high", 2), ("low", 1)]),
            _ => {}
        }
        let (clock, inside) = (p.clock(), within.clone());
        let options = p
            .handle(async move |job: High| {
                let alone = inside.update(|inside| {
                    let here = inside.entry(job.key).or_default();
                    *here += 1;
                    *here == 1
                });
                clock.sleep(S).await;
                inside.update(|inside| *inside.entry(job.key).or_default() -= 1);
                assert!(alone || !mode.waits() || job.key.is_none(), "two at once");
                if job.nth % 3 == 0 { Err("third") } else { Ok(()) }
            })
            .max_retries(2)
            .queue("high")
            .ordered(mode.ordered());
        if let Some(unique) = mode.unique() {
            options.unique(unique);
        }
        let clock = p.clock();
        p.handle(async move |_: Low| clock.sleep(S).await).queue("low");
    });
    (world, inside)
}

/// Checks a world after each of its steps.
struct Observer {
    mode: Mode,
    /// The jobs at the previous check.
    before: Vec<JobView>,
    /// The step at which each job was first seen ready since it was last requeued. Equal for jobs that came at once.
    ready_since: BTreeMap<u32, usize>,
    /// The jobs in the order in which they first became ready.
    joined: Vec<u32>,
    steps: usize,
    /// The time at which a job with this key was last accepted.
    let_in: BTreeMap<u32, Duration>,
}

fn is_over(job: &JobView) -> bool {
    use JobState::{Blocked, Leased, Ready, Retrying, Running, Scheduled};
    ![Ready, Blocked, Scheduled, Retrying, Leased, Running].contains(&job.state)
}

fn key_of(job: &JobView) -> Option<u32> {
    serde_json::from_str::<High>(&job.payload).unwrap().key
}

fn is_high(job: &JobView) -> bool {
    job.kind.ends_with("High")
}

impl Observer {
    fn new(mode: Mode) -> Self {
        let (before, joined, steps) = (Vec::new(), Vec::new(), 0);
        Self { mode, before, ready_since: BTreeMap::new(), joined, steps, let_in: BTreeMap::new() }
    }

    /// `stepwise` says that at most one job was taken since the last check.
    fn look(&mut self, world: &World, stepwise: bool) {
        check_counts(world);
        let jobs = world.all_jobs();
        self.steps += 1;
        let mut came: Vec<_> = jobs
            .iter()
            .filter(|job| [JobState::Ready, JobState::Blocked].contains(&job.state))
            .filter(|job| self.before.get(job.number as usize - 1).is_none_or(|b| b.state != job.state))
            .collect();
        // Delayed jobs become ready in the order of their times.
        let due = |job: &JobView| self.before.get(job.number as usize - 1).and_then(|before| before.due);
        came.sort_by_key(|job| (due(job).is_none(), due(job), job.number));
        for job in came {
            self.ready_since.insert(job.number, self.steps);
            if !self.joined.contains(&job.number) {
                self.joined.push(job.number);
            }
        }
        if stepwise {
            self.check_taken(&jobs);
        }
        self.check_streams(&jobs);
        self.check_locks(&jobs);
        self.before = jobs;
    }

    /// A job that was taken had waited longest in its queue, and no earlier queue had a ready job.
    fn check_taken(&self, jobs: &[JobView]) {
        let taken = |before: &&JobView| jobs[before.number as usize - 1].attempts > before.attempts;
        let Some(taken) = self.before.iter().filter(|job| job.state == JobState::Ready).find(taken) else {
            return;
        };
        for other in
            self.before.iter().filter(|job| job.state == JobState::Ready && job.number != taken.number)
        {
            let waited_longer = self.ready_since[&other.number] < self.ready_since[&taken.number];
            let same_queue = is_high(other) == is_high(taken);
            assert!(!(same_queue && waited_longer), "{taken:?} was taken before {other:?}");
            assert!(
                self.mode != Mode::Strict || same_queue || is_high(taken),
                "{taken:?} was taken before {other:?}"
            );
            // Without priorities, all queues are one.
            let priorities = matches!(self.mode, Mode::Strict | Mode::Weighted);
            assert!(priorities || !waited_longer, "{taken:?} was taken before {other:?}");
        }
    }

    /// In each stream, only the first job runs or may run.
    fn check_streams(&self, jobs: &[JobView]) {
        let mut streams: BTreeMap<Option<u32>, u32> = BTreeMap::new();
        for job in self.joined.iter().map(|number| &jobs[*number as usize - 1]).filter(|job| is_high(job)) {
            let key = key_of(job);
            let in_order = match self.mode {
                Mode::OnePartition => true,
                Mode::ByKey => key.is_some(),
                _ => false,
            };
            assert!(in_order || job.state != JobState::Blocked, "{job:?} is blocked and has no stream");
            if !in_order || is_over(job) {
                continue;
            }
            let stream = if self.mode == Mode::OnePartition { None } else { key };
            let first = *streams.entry(stream).or_insert(job.number);
            if first != job.number {
                assert_eq!(job.state, JobState::Blocked, "job#{} is before {job:?}", first);
            } else {
                assert_ne!(job.state, JobState::Blocked, "{job:?} is the first of its stream");
            }
        }
    }

    /// For each key, only one job waits or runs.
    fn check_locks(&self, jobs: &[JobView]) {
        let mut seen = BTreeSet::new();
        for job in jobs.iter().filter(|job| is_high(job) && !is_over(job)) {
            let counts = match self.mode {
                Mode::UntilExecuting | Mode::UntilAndWhileExecuting => job.attempts == 0,
                Mode::UntilExecuted => true,
                _ => false,
            };
            if let (true, Some(key)) = (counts, key_of(job)) {
                assert!(seen.insert(key), "two with the key {key}: {jobs:?}");
            }
        }
    }

    /// A job is accepted unless its lock is taken. A rejected caller gets the id of the job with the lock.
    fn enqueue(&mut self, world: &World, nth: u32, delay: Duration) {
        let job = High { key: Some(nth % 4).filter(|key| *key != 3), nth };
        let count = world.all_jobs().len();
        let key = job.key.map(|key| key.to_string());
        let taken = world.locks().iter().any(|lock| !lock.to_run && Some(&lock.key) == key.as_ref());
        world.enqueue_in(delay, job.clone());
        let came = world.all_jobs().len() - count;
        assert_eq!(came, usize::from(!(self.mode.drops() && taken)), "no job is lost or invented: {job:?}");
        if let (Some(key), 1, Mode::UntilExpired) = (job.key, came, self.mode) {
            let before = self.let_in.insert(key, world.now() + delay);
            assert!(before.is_none_or(|before| before + TTL <= world.now()), "{key} came in twice");
        }
        self.look(world, true);
    }
}

/// Performs one operation, step by step.
fn act(world: &World, inside: &Inside, observer: &mut Observer, act: &Do, next: &mut u32) {
    let mut fresh = || std::mem::replace(next, *next + 1);
    match *act {
        Do::Enqueue => observer.enqueue(world, fresh(), Duration::ZERO),
        Do::EnqueueIn(delay) => observer.enqueue(world, fresh(), S * u32::from(delay)),
        Do::Mail => _ = world.enqueue(Low { key: None, nth: fresh() }),
        Do::Bulk(jobs) => (0..jobs).for_each(|_| observer.enqueue(world, fresh(), Duration::ZERO)),
        Do::DrainAll => {
            while world.drain_all().limit(1).run().is_ok_and(|drained| drained.performed > 0) {
                observer.look(world, false);
            }
        }
        Do::DrainMails => drop(world.drain::<Low>().run()),
        Do::Perform => drop(world.perform_one::<High>()),
        Do::Clear => _ = world.clear::<High>(),
        Do::ClearMails => _ = world.clear::<Low>(),
        Do::Advance(seconds) => world.advance(S * u32::from(seconds)),
        Do::Crash => {
            world.crash("worker");
            inside.set(BTreeMap::new());
        }
        Do::Work(attempts) => {
            let enough = world.stats().processed + u64::from(attempts);
            settle(world, observer, |world| world.stats().processed >= enough);
        }
    }
    // A job that got stuck in a drain was removed from the queue in its handler.
    if !world.all_jobs().iter().any(|job| job.state == JobState::Running) {
        inside.set(BTreeMap::new());
    }
    observer.look(world, false);
}

fn settle(world: &World, observer: &mut Observer, enough: impl Fn(&World) -> bool) {
    let observer = RefCell::new(observer);
    observer.borrow_mut().look(world, false);
    world
        .settle_until(|world| {
            observer.borrow_mut().look(world, true);
            enough(world)
        })
        .run();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_rule_of_each_mode_holds_at_each_step(acts in prop::collection::vec(anything(), 1..25)) {
        for mode in MODES {
            let (world, inside) = world(mode);
            let (mut observer, mut next) = (Observer::new(mode), 0);
            for one in &acts {
                act(&world, &inside, &mut observer, one, &mut next);
            }
            settle(&world, &mut observer, |_| false);
            let jobs = world.all_jobs();
            prop_assert!(jobs.iter().all(is_over), "{mode:?}: {jobs:?}");
            let panicked = |job: &JobView| job.error.as_deref().is_some_and(|error| error.contains("panicked"));
            prop_assert!(!jobs.iter().any(panicked), "{mode:?}: {jobs:?}");
            if mode != Mode::UntilExpired {
                prop_assert_eq!(world.locks(), [], "{:?}", mode);
            }
            prop_assert_eq!((world.stats().blocked, world.stats().busy), (0, 0));
        }
    }
}
