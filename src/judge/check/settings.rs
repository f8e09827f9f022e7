//! The settings of an exploration.

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

/// When an exploration that has found a violation stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stop {
    /// After all runs with as many deviations as the first run that failed.
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
    /// Returns the default settings: up to two deviations of any kind.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name of the test, for the report and the replay. Defaults to the name of the thread, as libtest sets
    /// it. A second exploration on the same thread is then called `name#2`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(fit_for_a_line(&name.into()));
        self
    }

    /// Sets the maximum number of deviations per run. Defaults to 2.
    pub fn deviations(mut self, most: usize) -> Self {
        self.bounds.total = most;
        self
    }

    /// Sets the maximum number of crashes per run. Defaults to the number of deviations, like those for the other
    /// kinds.
    pub fn crashes(mut self, most: usize) -> Self {
        self.bounds.crashes = most;
        self
    }

    /// Sets the maximum number of service faults per run.
    pub fn faults(mut self, most: usize) -> Self {
        self.bounds.faults = most;
        self
    }

    /// Sets the maximum number of irregular deliveries per run.
    pub fn deliveries(mut self, most: usize) -> Self {
        self.bounds.deliveries = most;
        self
    }

    /// Sets the maximum number of preemptions per run: points at which another task runs.
    pub fn preemptions(mut self, most: usize) -> Self {
        self.bounds.preemptions = most;
        self
    }

    /// Sets the maximum number of delays per run: a retry, a redelivery, a sleep or a scheduled job that comes three
    /// days late.
    ///
    /// By default, only worlds in which something expires have delays
    /// ([`key_ttl`](crate::Client::key_ttl), [`search_lag`](crate::Client::search_lag)). After a
    /// call of this method, all worlds have them. Call it if jobs look at the clock.
    pub fn delays(mut self, most: usize) -> Self {
        self.bounds.delays = most;
        self.delays = most > 0;
        self
    }

    /// Stops after this number of runs, with the verdict [`Verdict::Incomplete`](crate::Verdict::Incomplete). Defaults
    /// to a million.
    pub fn max_runs(mut self, most: u64) -> Self {
        self.max_runs = most;
        self
    }

    /// Explores at most this number of assignments of inputs ([`World::choose`](crate::World::choose),
    /// [`Client::explore_refusals`](crate::Client::explore_refusals)), those with the fewest unusual inputs first. If
    /// there are more, the verdict is [`Verdict::Incomplete`](crate::Verdict::Incomplete). Defaults to 64.
    pub fn max_assignments(mut self, most: usize) -> Self {
        self.max_assignments = most;
        self
    }

    /// Stops after this amount of real time, with the verdict [`Verdict::Incomplete`](crate::Verdict::Incomplete). By
    /// default there is no limit.
    pub fn max_time(mut self, most: Duration) -> Self {
        self.max_time = Some(most);
        self
    }

    /// Sets the real time after which a run without a step is [`Verdict::Stuck`](crate::Verdict::Stuck), because code under
    /// test blocks its thread, or loops without a call or an await. Defaults to ten seconds. `Duration::MAX` turns the
    /// watchdog off.
    ///
    /// A run that makes steps never sees the watchdog, however long it takes. If a blocking handler hangs, its thread is left
    /// behind, and the report names it. If an async handler, a boot closure, a destructor or the test body hangs, the
    /// exploration cannot continue: the report is printed, and the test program exits with the exit code of a failed test.
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
    ///             while order > 0 {} // loops forever
    ///         });
    ///     });
    ///     world.enqueue(6_u32);
    ///     world.settle().await;
    /// });
    /// assert_eq!(report.verdict(), Verdict::Stuck);
    /// assert!(report.reason().unwrap().starts_with("job#1.1 u32 hangs: it made no step for 200ms"));
    /// ```
    pub fn watchdog(mut self, most: Duration) -> Self {
        self.watchdog = most;
        self
    }

    /// Sets the maximum number of steps (polls, calls, choices) of a run. A run with more steps is stuck. Defaults to
    /// 20,000.
    pub fn max_steps(mut self, most: u64) -> Self {
        self.max_steps = most;
        self
    }

    /// Sets the seed of the random numbers that the code under test draws, of the jitter of backoffs, and of samples
    /// ([`Explore::random`], [`Explore::pct`]). Defaults to 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// After all scenarios of up to [`deviations`](Explore::deviations) deviations, runs this number of random
    /// scenarios with one to three deviations more. Defaults to 0. The bounds for single kinds apply to them as well.
    ///
    /// The [`seed`](Explore::seed) determines the random scenarios. They only run if the exhaustive part found
    /// nothing. If one of them fails, retryproof shrinks it by removing deviations until none can be removed, and
    /// reports it like any other scenario. Random scenarios prove nothing: the verdict
    /// [`RetryProof`](crate::Verdict::RetryProof) rests on the exhaustive part, and a note says how many samples there
    /// were. They count neither in [`Report::runs`](crate::Report::runs) nor towards [`max_runs`](Explore::max_runs),
    /// and they also run if that limit stopped the exhaustive part.
    ///
    /// ```
    /// use retryproof::{Explore, World, service::payments::Charge};
    ///
    /// // Fails if the worker crashes three times, which the exhaustive part, up to one deviation, cannot find.
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

    /// After the exhaustive part, runs this number of schedules with random priorities (PCT): if several tasks can
    /// run, the one with the highest priority runs, and at `depth − 1` random points the running task loses its
    /// priority. Defaults to 0.
    ///
    /// With `n` tasks and `k` such points in a run, each schedule finds a bug that needs `depth` steps in a certain
    /// order with a probability of at least 1/(n·k^(depth−1)), whatever the job does (Burckhardt, Kothari, Musuvathi,
    /// Nagarakatte: *A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs*, 2010). Depths of 2 and 3
    /// find most bugs. These runs have no other deviations. What [`Explore::random`] says about the seed, the findings
    /// and the verdict applies here as well.
    pub fn pct(mut self, depth: usize, runs: u64) -> Self {
        self.pct = Some((depth.max(1), runs));
        self
    }

    pub(super) fn samples(&self) -> bool {
        self.random > 0 || self.pct.is_some_and(|(_, runs)| runs > 0)
    }

    /// Runs a single scenario, in the form in which a report prints it, and shows its timeline. If the report is that
    /// of another test, a note says so. The environment variable `RETRYPROOF_REPLAY` does the same, for the test that
    /// it names.
    pub fn replay(mut self, scenario: impl Into<String>) -> Self {
        self.replay = Some(scenario.into());
        self
    }

    /// Sets the command that runs this exploration, for the replay line of the report. Defaults to `cargo test`. An
    /// example or a binary sets `cargo run --example …`.
    pub fn replay_command(mut self, command: impl Into<String>) -> Self {
        self.replay_command = command.into();
        self
    }

    /// Explores only shard `number` of `of`, counted from 1. Each machine explores one shard. Together, the shards run
    /// every scenario once, except for the reference run, which each shard needs for comparison.
    ///
    /// Each shard gets some of the runs with one deviation, with all the runs that add later deviations to these.
    /// Samples are divided by their number. A shard that finds nothing passes, and its report names the shard. The
    /// test body is retry-proof if all shards pass. A shard that does not exist makes the report
    /// [`Incomplete`](crate::Verdict::Incomplete).
    ///
    /// Without this setting, the environment variable `RETRYPROOF_SHARD=k/n` splits every exploration of the test run.
    /// `RETRYPROOF_SHARD=bazel` takes `k` and `n` from Bazel's `TEST_SHARD_INDEX` and `TEST_TOTAL_SHARDS`, and creates
    /// the file that `TEST_SHARD_STATUS_FILE` names, which tells Bazel that the test supports sharding. Bazel's
    /// variables alone do nothing, and neither does nextest's `--partition`, which sets none. Both split by test: if a
    /// test run were split by test and by scenario, some scenarios would run in no shard.
    pub fn shard(mut self, number: u64, of: u64) -> Self {
        self.shard = Some((number, of));
        self
    }

    /// Makes [`Explore::check`] store failing scenarios in `retryproof-regressions/`, next to the package's
    /// `Cargo.toml`. Commit these files. Every later run of this test tries the stored scenarios first, regardless of
    /// the bounds, and they stay when they pass. Off by default. In CI, nothing is added to the files.
    ///
    /// Scenarios that failed in the *last* run are always stored, under `target/retryproof/`. The next run tries those
    /// first that are inside its bounds, and removes them when they pass. `RETRYPROOF_KEEP=folder` stores them in
    /// another folder, and `RETRYPROOF_KEEP=off` turns this off.
    pub fn keep_regressions(mut self) -> Self {
        self.keep_regressions = true;
        self
    }

    /// Makes [`Explore::check`] compare the violations with those that were last recorded, for jobs that still have
    /// bugs: only *new* violations fail the test.
    ///
    /// `RETRYPROOF_BASELINE=record cargo test` writes the violations of each such test, and what its exploration
    /// covers, into `tests/retryproof-baseline.json`, next to the package's `Cargo.toml`. Commit this file. From then
    /// on, the test fails if a violation appears that is not in the file, or if the exploration covers less: a lower
    /// bound, a call that is no longer made, a line that is no longer reached. If a violation is gone, the test passes
    /// and says so. A test that was never recorded passes if it is retry-proof. If `CI` is set, nothing is recorded.
    ///
    /// A violation is identified by what is wrong and by what leads there: the job's call, by its operation and its
    /// ordinal among the calls of that operation, and the kind of deviation. So lines and files may move. A known
    /// violation hides nothing else: no fault at another call, no deadlock, no other effect, and no other assertion.
    ///
    /// An exploration also covers less if the test no longer turns on
    /// [`World::explore_deploys`](crate::World::explore_deploys), outages, delays or
    /// [`World::deny_warnings`](crate::World::deny_warnings), or if it allows more
    /// ([`World::allow`](crate::World::allow), [`World::ignore`](crate::World::ignore)). The same applies to a shard,
    /// except for points that only runs with a deviation reach.
    pub fn ratchet(mut self) -> Self {
        self.ratchet = true;
        self
    }

    /// Runs every scenario inside the bounds even if one of them fails.
    ///
    /// By default, an exploration that finds a violation finishes the runs with the same number of deviations, and
    /// then stops, because a violation that takes more deviations is usually the same bug. The report says where the
    /// exploration stopped. [`Explore::ratchet`] always keeps going.
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
    /// assert!(reports[1].to_string().contains("stopped after the runs with one deviation; `keep_going()` explores the rest, too"));
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

    /// Returns when an exploration that has found a violation stops.
    pub(super) fn stop(&self) -> Stop {
        match self.ratchet {
            // Otherwise a known violation could keep new ones from being found.
            true => Stop::Never,
            false => self.stop,
        }
    }

    /// Makes [`Explore::check`] accept an exploration that stopped at [`Explore::max_runs`] or [`Explore::max_time`]
    /// without a violation.
    pub fn allow_incomplete(mut self) -> Self {
        self.allow_incomplete = true;
        self
    }

    /// Ends a run if another run has continued from the same state with the same remaining bound. Off by default.
    ///
    /// After a crash of the only running process, what remains is the durable state: services, queue, effects, time,
    /// and the states of `world.durable(…)` and `world.observe(…)`. Two runs with the same durable state continue in
    /// the same way, so one of them is enough. Turn this on only if *all* durable state is observed: retryproof does
    /// not see state in a static, a file or a database that no `observe` names, and would take runs that differ only
    /// in that state for the same.
    pub fn merge(mut self, merge: bool) -> Self {
        self.merge = merge;
        self
    }

    /// Explores different orders of independent steps only once. Off by default.
    ///
    /// Suppose that a task was preempted, and that its next step touches nothing that the other tasks' steps in
    /// between touched: no row of the store, no durable value and no service, unless both only read. Then the step
    /// might as well have come before theirs. That is another run within the same bound, so deviations after the step
    /// are left to that run. No outcome is lost, whatever the bound. The report says how many runs were skipped.
    ///
    /// retryproof only sees what goes through the handles of a process. So a step to a line of a blocking handler
    /// depends on all others, because its thread may share memory with theirs. Leave this off if tasks share their own
    /// memory, channels, or tokio's timers. It does nothing in a run with
    /// [`World::invariant`](crate::World::invariant), [`World::settle_until`](crate::World::settle_until),
    /// [`World::explore_deploys`](crate::World::explore_deploys), unique or ordered jobs, sockets, or external calls.
    /// It cannot be combined with [`Explore::merge`].
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

    /// Explores on this number of threads. Defaults to 1, because tests run in parallel already.
    ///
    /// The report does not depend on the number of threads (unless [`Explore::max_time`] stops the exploration). The
    /// test body runs on all threads at once, each run in its own world. Everything that the body reaches outside of
    /// its world (statics, files, a database) must support that. With [`Explore::merge`] there is one thread, because
    /// the order of the runs determines which of them is merged. With 0 threads nothing can run, so the report is
    /// [`Incomplete`](crate::Verdict::Incomplete).
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }
}

/// A combination of settings with which nothing can be explored.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingError {
    #[error("`Explore::threads`: 0 threads run nothing; leave the setting out, or give it at least 1")]
    NoThreads,
    #[error(
        "`Explore::watchdog`: no run ends within zero time; leave the setting out, or give it at least a millisecond"
    )]
    NoPatience,
    #[error(
        "`Explore::merge` and `Explore::reduce` cannot be combined, because each counts on runs that the other may skip; use `merge` if crashes make up most runs, and `reduce` if preemptions do"
    )]
    MergedAndReduced,
    #[error(
        "`Explore::ratchet` and `Explore::stop_at_first` cannot be combined, because the ratchet must find all violations to compare them with the recorded ones; remove `stop_at_first`"
    )]
    RatchetStops,
}

impl Explore {
    /// Checks whether the settings can be carried out.
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

/// Makes a name that can be pasted into a shell between quotes, as one word.
fn fit_for_a_line(name: &str) -> String {
    let fits =
        |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '\'' | '"' | '=' | '`' | '$' | '\\');
    name.chars().map(|c| if fits(c) { c } else { '-' }).collect()
}
