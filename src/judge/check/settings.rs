//! What can be set of an exploration.

use std::time::Duration;

use crate::search::explore::Bounds;

/// The settings of an exploration.
///
/// ```
/// use retryproof::{Explore, Verdict, World, service::payments::Charge};
///
/// let report = Explore::new().deviations(1).run(async |world: &World| {
///     world.process("worker", |p| {
///         let payments = p.payments();
///         p.handle(async move |order: u32| payments.charge(Charge::of_order(order, 500)).await.map(drop));
///     });
///     world.enqueue(6_u32);
///     world.settle().await;
/// });
/// assert_eq!(report.verdict(), Verdict::Violated);
/// assert_eq!(report.violations()[0].summary, "payments.charge happened twice, expected once");
/// ```
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until `run` or `check` is called"]
pub struct Explore {
    pub(super) name: Option<String>,
    pub(super) bounds: Bounds,
    pub(super) max_runs: u64,
    pub(super) max_assignments: usize,
    pub(super) max_time: Option<Duration>,
    pub(super) watchdog: Duration,
    pub(super) max_steps: u64,
    pub(super) seed: u64,
    pub(super) delays: bool,
    pub(super) replay: Option<String>,
    pub(super) replay_command: String,
    pub(super) allow_incomplete: bool,
    pub(super) merge: bool,
    pub(super) reduce: bool,
    pub(super) threads: usize,
    pub(super) random: u64,
    pub(super) pct: Option<(usize, u64)>,
    pub(super) shard: Option<(u64, u64)>,
    pub(super) keep_regressions: bool,
    pub(super) ratchet: bool,
    pub(super) stop: Stop,
}

/// When an exploration that has found something ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stop {
    /// After all runs with as many deviations as the first one that failed.
    #[default]
    AfterLevel,
    AtFirst,
    Never,
}

impl Default for Explore {
    fn default() -> Self {
        Self {
            name: None,
            bounds: Bounds::total(2),
            max_runs: 1_000_000,
            max_assignments: 64,
            max_time: None,
            watchdog: Duration::from_secs(10),
            max_steps: 20_000,
            seed: 0,
            delays: false,
            replay: None,
            replay_command: "cargo test".to_owned(),
            allow_incomplete: false,
            merge: false,
            reduce: false,
            threads: 1,
            random: 0,
            pct: None,
            shard: None,
            keep_regressions: false,
            ratchet: false,
            stop: Stop::default(),
        }
    }
}

impl Explore {
    /// The defaults: up to two deviations, of any kind.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of the test, for the report and the replay. Otherwise that of the thread, as libtest gives it; a second
    /// exploration on that thread is then `name#2`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(fit_for_a_line(&name.into()));
        self
    }

    /// How many deviations a run may have. 2 unless told.
    pub fn deviations(mut self, most: usize) -> Self {
        self.bounds.total = most;
        self
    }

    /// How many of them may be crashes. As many as deviations unless told; so for the other kinds.
    pub fn crashes(mut self, most: usize) -> Self {
        self.bounds.crashes = most;
        self
    }

    /// How many of them may be faults of services.
    pub fn faults(mut self, most: usize) -> Self {
        self.bounds.faults = most;
        self
    }

    /// How many of them may be irregular deliveries.
    pub fn deliveries(mut self, most: usize) -> Self {
        self.bounds.deliveries = most;
        self
    }

    /// How many of them may be switches to another task.
    pub fn switches(mut self, most: usize) -> Self {
        self.bounds.switches = most;
        self
    }

    /// How many of them may be delays: a retry, a redelivery, a sleep or a scheduled job that comes three days late.
    ///
    /// Unless told there are delays in worlds where something expires and it can matter
    /// ([`idempotency_keys`](crate::Client::idempotency_keys), [`search_lag`](crate::Client::search_lag)), and in no
    /// others; told so, in all. Say so where jobs look at the clock.
    pub fn delays(mut self, most: usize) -> Self {
        self.bounds.delays = most;
        self.delays = most > 0;
        self
    }

    /// Stops after so many runs; the verdict is then [`Verdict::Incomplete`](crate::Verdict::Incomplete). A million unless told.
    pub fn max_runs(mut self, most: u64) -> Self {
        self.max_runs = most;
        self
    }

    /// Explores at most so many assignments of inputs ([`World::choose`](crate::World::choose),
    /// [`Client::explore_refusals`](crate::Client::explore_refusals)), those with the fewest unusual inputs first. If
    /// there are more, the verdict is [`Verdict::Incomplete`](crate::Verdict::Incomplete). Defaults to 64.
    pub fn max_assignments(mut self, most: usize) -> Self {
        self.max_assignments = most;
        self
    }

    /// Stops after so much real time; the verdict is then [`Verdict::Incomplete`](crate::Verdict::Incomplete). No limit unless told.
    pub fn max_time(mut self, most: Duration) -> Self {
        self.max_time = Some(most);
        self
    }

    /// How long, in real time, a run may go without a step before it ends as [`Verdict::Stuck`](crate::Verdict::Stuck): code
    /// under test blocks its thread, or never comes to an await or a call. Defaults to ten seconds; `Duration::MAX` waits
    /// without end.
    ///
    /// A run that makes steps never sees it, however long it takes. The thread of a blocking handler is left behind, and the
    /// report names it. Where an async handler, a boot closure, a destructor or the test body itself does not come back, the
    /// exploration cannot go on: its report is printed, and the test program ends with the exit code of a failed test.
    ///
    /// ```
    /// use std::time::Duration;
    /// use retryproof::{Explore, Verdict, World};
    ///
    /// let report = Explore::new().watchdog(Duration::from_millis(200)).run(async |world: &World| {
    ///     world.process("worker", |p| {
    ///         let payments = p.payments();
    ///         p.handle_blocking(move |order: u32| {
    ///             payments.charges_blocking(order).unwrap();
    ///             while order > 0 {} // nothing ends it
    ///         });
    ///     });
    ///     world.enqueue(6_u32);
    ///     world.settle().await;
    /// });
    /// assert_eq!(report.verdict(), Verdict::Stuck);
    /// assert!(report.reason().unwrap().starts_with("job#1.1 u32 did not come back for 200ms of real time"));
    /// ```
    pub fn watchdog(mut self, most: Duration) -> Self {
        self.watchdog = most;
        self
    }

    /// How many steps (polls, calls, choices) a run may take before it is called stuck. 20,000 unless told.
    pub fn max_steps(mut self, most: u64) -> Self {
        self.max_steps = most;
        self
    }

    /// The seed of the random numbers that code under test draws, of the jitter of backoffs, and of samples
    /// ([`Explore::random`], [`Explore::pct`]). 0 unless told.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// After all scenarios of up to so many [`deviations`](Explore::deviations), runs so many random ones with one to
    /// three deviations more. None unless told. Bounds for one kind hold for them, too.
    ///
    /// They are determined by the [`seed`](Explore::seed), and drawn only where the exhaustive part has found nothing.
    /// What they find is made smaller, by dropping deviations, until none can be dropped; it is then a scenario like any
    /// other. They prove nothing: a verdict of [`RetryProof`](crate::Verdict::RetryProof) rests on the exhaustive part,
    /// and a note says how many samples there were. They count neither among [`Report::runs`](crate::Report::runs) nor
    /// towards [`max_runs`](Explore::max_runs); where that has stopped the exhaustive part they are run all the same.
    ///
    /// ```
    /// use retryproof::{Explore, World, service::payments::Charge};
    ///
    /// // Wrong where the worker dies three times: the exhaustive part, up to one deviation, cannot see that.
    /// let report = Explore::new().deviations(1).random(500).seed(7).run(async |world: &World| {
    ///     world.process("worker", |p| {
    ///         let (payments, incarnation) = (p.payments(), p.incarnation());
    ///         p.handle(async move |order: u32| {
    ///             let key = format!("order-{order}-{}", incarnation / 4);
    ///             payments.charge(Charge::of_order(order, 500).key(key)).await.map(drop)
    ///         });
    ///     });
    ///     world.enqueue(6_u32);
    ///     world.settle().await;
    /// });
    /// assert_eq!(report.violations()[0].scenario.deviations().len(), 3);
    /// ```
    pub fn random(mut self, runs: u64) -> Self {
        self.random = runs;
        self
    }

    /// After the exhaustive part, runs so many schedules by random priorities (PCT): where more than one task could go
    /// on, the one with the highest priority does, and at `depth − 1` random moments it loses it. None unless told.
    ///
    /// With `n` tasks and `k` such moments in a run, a bug that needs `depth` steps to come in a certain order is met by
    /// each of the runs with a probability of at least 1/(n·k^(depth−1)), whatever the job (Burckhardt, Kothari,
    /// Musuvathi, Nagarakatte: *A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs*, 2010). 2 and 3
    /// find most. Nothing else goes wrong in these runs. What is said at [`Explore::random`] of seed, findings and
    /// verdict holds for them, too.
    pub fn pct(mut self, depth: usize, runs: u64) -> Self {
        self.pct = Some((depth.max(1), runs));
        self
    }

    pub(super) fn samples(&self) -> bool {
        self.random > 0 || self.pct.is_some_and(|(_, runs)| runs > 0)
    }

    /// Runs one scenario only, as a report names it, and shows its timeline; where the report was that of another test,
    /// with a note. So does the environment variable
    /// `RETRYPROOF_REPLAY`, for the test that it names.
    pub fn replay(mut self, scenario: impl Into<String>) -> Self {
        self.replay = Some(scenario.into());
        self
    }

    /// The command that runs this exploration, for the line that the report prints to be pasted. `cargo test` unless
    /// told; an example or a binary says `cargo run --example …`.
    pub fn replay_command(mut self, command: impl Into<String>) -> Self {
        self.replay_command = command.into();
        self
    }

    /// Explores only the shard `number`, counted from 1, `of` so many: each machine has one, and together they run every
    /// scenario once, apart from the reference run, which each of them needs to compare with.
    ///
    /// What is dealt out are the runs with one deviation, each with all the runs that have it and later ones; samples by
    /// their number. A shard that shows nothing wrong passes, and its report says which shard it was: the body is
    /// retry-proof when all of them do. One that does not exist makes the report
    /// [`Incomplete`](crate::Verdict::Incomplete).
    ///
    /// Without this setting the environment is asked: `RETRYPROOF_SHARD=k/n` splits every exploration of the test run.
    /// `RETRYPROOF_SHARD=bazel` takes `k` and `n` from Bazel's `TEST_SHARD_INDEX` and `TEST_TOTAL_SHARDS`, and tells
    /// Bazel, by the file that `TEST_SHARD_STATUS_FILE` names, that this is a test which can be split. Bazel's variables
    /// alone do nothing, and nor does nextest's `--partition`, which sets none: both split by test, and what is split by
    /// test and again inside of it is partly run by nobody.
    pub fn shard(mut self, number: u64, of: u64) -> Self {
        self.shard = Some((number, of));
        self
    }

    /// Has [`Explore::check`] keep failing scenarios in `retryproof-regressions/`, beside the package's `Cargo.toml`, to be
    /// committed: they are tried first by every run of this test from then on, whatever the bounds, and stay there when
    /// they pass. Off unless told. In CI nothing is added to them.
    ///
    /// What failed *last time* is kept without being asked for, under `target/retryproof/`, and tried first by the next
    /// run as far as it is inside the bounds. It is dropped when it passes. `RETRYPROOF_KEEP=folder` has another folder
    /// for that, `RETRYPROOF_KEEP=off` none.
    pub fn keep_regressions(mut self) -> Self {
        self.keep_regressions = true;
        self
    }

    /// Has [`Explore::check`] compare what is wrong with what was wrong when it was last recorded, for jobs that are not
    /// clean yet: only what is *new* fails the test.
    ///
    /// `RETRYPROOF_BASELINE=record cargo test` writes each such test's violations and what its exploration covers into
    /// `tests/retryproof-baseline.json`, beside the package's `Cargo.toml`, to be committed. From then on the test fails
    /// when a violation appears that is not there, or when the exploration covers less: a lower bound, a call that is no
    /// longer made, a line that is no longer reached. When a violation is gone it passes and says so. A test that was never
    /// recorded passes if it is retry-proof. With `CI` set nothing is ever recorded.
    ///
    /// A violation is known by what is wrong, and by what leads there: the call of the job, by its operation and its place
    /// among the calls of that operation, and the sort of deviation; so lines and files may move. A known fault hides
    /// nothing else: no fault at another call, no deadlock, no effect, no other assertion.
    ///
    /// Less is covered, too, when the test no longer asks for [`World::deploys`](crate::World::deploys), outages, delays or
    /// [`World::deny_warnings`](crate::World::deny_warnings), or newly lets something pass
    /// ([`World::allow`](crate::World::allow), [`World::ignore`](crate::World::ignore)). A shard is held to the same, but for
    /// what only runs with a deviation meet.
    pub fn ratchet(mut self) -> Self {
        self.ratchet = true;
        self
    }

    /// Runs every scenario inside the bounds even if one of them fails.
    ///
    /// By default an exploration that finds something finishes the runs with as many deviations as the one that failed, and
    /// then stops: what takes more deviations is mostly the same bug again. The report says where it stopped.
    /// [`Explore::ratchet`] always keeps going.
    ///
    /// ```
    /// use retryproof::{Explore, World, service::email::Email};
    ///
    /// async fn welcome(world: &World) {
    ///     world.process("worker", |p| {
    ///         let email = p.email();
    ///         p.handle(async move |to: String| email.send(Email::new(to, "welcome")).await);
    ///     });
    ///     world.enqueue("ada@example.com".to_owned());
    ///     world.settle().await;
    /// }
    /// let (first, level, all) = (Explore::new().stop_at_first(), Explore::new(), Explore::new().keep_going());
    /// let reports = [first, level, all].map(|explore| explore.run(welcome));
    /// assert!(reports[0].runs() < reports[1].runs() && reports[1].runs() < reports[2].runs());
    /// assert!(reports[1].to_string().contains("stopped after the runs with one deviation; `keep_going()` explores all"));
    /// ```
    pub fn keep_going(mut self) -> Self {
        self.stop = Stop::Never;
        self
    }

    /// Stops at the first run that fails.
    pub fn stop_at_first(mut self) -> Self {
        self.stop = Stop::AtFirst;
        self
    }

    /// When an exploration that has found something ends.
    pub(super) fn stop(&self) -> Stop {
        match self.ratchet {
            // What is known already would keep what is new from being found.
            true => Stop::Never,
            false => self.stop,
        }
    }

    /// Has [`Explore::check`] pass an exploration that stopped at [`Explore::max_runs`] or [`Explore::max_time`]
    /// without having found anything.
    pub fn allow_incomplete(mut self) -> Self {
        self.allow_incomplete = true;
        self
    }

    /// Ends a run where another one has gone on from the same state, with as much yet to come. Off unless told.
    ///
    /// After a crash of the only living process what is left is the durable state: services, queue, effects, time, and
    /// what `world.durable(…)` and `world.observe(…)` name. Two runs that have left the same go on alike, and one of
    /// them is enough. So switch it on where *all* durable state is observed: state in a static, a file or a database
    /// that no `observe` names is not seen, and runs that differ in it alone would be taken for the same.
    pub fn merge(mut self, merge: bool) -> Self {
        self.merge = merge;
        self
    }

    /// Explores orders of steps that have nothing to do with each other once. Off unless told.
    ///
    /// Where a task was overtaken, and its next step touches nothing that the others' steps in between have touched (no row of
    /// the store, no durable value, no service, unless both only read), the step might as well have come before them: that is
    /// another run within the same bound, and whatever would deviate after the step is left to it. No outcome is lost, in
    /// whatever bound; the report says how many runs were not needed.
    ///
    /// Only what goes through the handles of a process is seen; so a step to a line of a blocking handler has to do with all
    /// others, since its thread may share memory with theirs. Where tasks share memory of their own, or channels,
    /// or tokio's timers, leave it off. It does nothing in a run with [`World::invariant`](crate::World::invariant), [`World::settle_until`](crate::World::settle_until),
    /// [`World::deploys`](crate::World::deploys), unique or ordered jobs, sockets, or calls to what is outside, and cannot be used together with [`Explore::merge`].
    ///
    /// ```
    /// use retryproof::{Explore, World};
    ///
    /// let explore = |reduce| {
    ///     Explore::new().crashes(0).faults(0).deliveries(0).reduce(reduce).run(async |world: &World| {
    ///         world.process("worker", |p| {
    ///             let store = p.store();
    ///             p.handle(async move |order: u32| {
    ///                 store.put(format!("paid:{order}"), &true).await?;
    ///                 store.put(format!("shipped:{order}"), &true).await
    ///             });
    ///         });
    ///         world.enqueue_bulk([6_u32, 7, 8]);
    ///         world.settle().await;
    ///     })
    /// };
    /// let (all, reduced) = (explore(false), explore(true));
    /// assert!(all.is_retryproof() && reduced.is_retryproof());
    /// assert!(reduced.runs() < all.runs() && reduced.reduced() > 0);
    /// ```
    pub fn reduce(mut self, reduce: bool) -> Self {
        self.reduce = reduce;
        self
    }

    /// Explores on so many threads. One unless told: tests run side by side already.
    ///
    /// The report is the same, byte for byte, whatever their number (not so where [`Explore::max_time`] stops it). The
    /// test body is run on all of them at once, each run in a world of its own: what it reaches beyond its world
    /// (statics, files, a database) must bear that. With [`Explore::merge`] there is one thread, since which of two runs
    /// is merged with the other depends on which was first. With none nothing could run: the report is then
    /// [`Incomplete`](crate::Verdict::Incomplete).
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }
}

/// A setting with which nothing could be explored.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingError {
    #[error("`Explore::threads`: 0 threads run nothing; leave the setting out, or give it at least 1")]
    NoThreads,
    #[error(
        "`Explore::watchdog`: every run takes longer than no time; leave the setting out, or give it at least a millisecond"
    )]
    NoPatience,
    #[error(
        "`Explore::merge` and `Explore::reduce` at once: each counts on runs that the other may leave out; choose one, `merge` where crashes make up most runs, `reduce` where switches do"
    )]
    MergedAndReduced,
    #[error(
        "`Explore::ratchet` and `Explore::stop_at_first` at once: the ratchet compares all that is wrong with what is recorded, so it has to find all of it; leave `stop_at_first` out"
    )]
    RatchetStops,
}

impl Explore {
    /// Whether the settings, each by itself, can be carried out.
    pub(super) fn are_possible(&self) -> Result<(), SettingError> {
        match self.threads {
            0 => Err(SettingError::NoThreads),
            _ if self.watchdog < Duration::from_millis(1) => Err(SettingError::NoPatience),
            _ if self.merge && self.reduce => Err(SettingError::MergedAndReduced),
            _ if self.ratchet && self.stop == Stop::AtFirst => Err(SettingError::RatchetStops),
            _ => Ok(()),
        }
    }
}

/// A name that can be pasted into a shell between quotes, as one word.
fn fit_for_a_line(name: &str) -> String {
    let fits =
        |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '\'' | '"' | '=' | '`' | '$' | '\\');
    name.chars().map(|c| if fits(c) { c } else { '-' }).collect()
}
