//! What holds for any data and any scenario, over proptest's `TestRunner`.

use std::cell::RefCell;
use std::env;
use std::fmt::Debug;
use std::fs;
use std::panic::Location;
use std::path::PathBuf;

use ::proptest::strategy::Strategy;
use ::proptest::test_runner::{
    Config, RngAlgorithm, TestCaseError, TestCaseResult, TestError, TestRng, TestRunner,
};

use super::course::{Deviations, Scenarios, Schedules};
use super::seeds::{self, Seed};
use crate::judge::check::{Drawn, Found, Size, own_file, package, say};
use crate::judge::report::{Case, Report};
use crate::judge::run::Body;
use crate::search::choice::Dice;
use crate::system::effect::fingerprint;
use crate::{Explore, World};

/// The test and the seed of a case that is to be run alone.
const SEED: &str = "RETRYPROOF_SEED";
/// Runs that are spent on one smaller piece of data, and on all of them.
const MOST_HUNTED: u64 = 1_000;
const MOST_HUNTED_IN_ALL: u64 = 20_000;

/// Why a property does not hold, or was not tested.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PropertyError {
    /// The strategy gave no value.
    #[error("{test}: the strategy yields nothing: {reason}")]
    NothingDrawn {
        /// The name of the test.
        test: String,
        /// What the strategy says.
        reason: String,
    },
    /// Hardly a case had anything in it that could go wrong.
    #[error(
        "{test}: of {} cases {tested} were tested; the others had nothing in them that could go wrong: {reason}",
        tested + rejected
    )]
    NothingTested {
        /// The name of the test.
        test: String,
        /// Cases that were run.
        tested: u32,
        /// Cases in which there was nothing.
        rejected: u32,
        /// What was missing in the last of them.
        reason: String,
    },
    /// `RETRYPROOF_SEED` does not say which case is meant.
    #[error(
        "{SEED}: `{text}` is no seed, which has 16 hexadecimal digits; paste the whole line that the report prints"
    )]
    NoSeed {
        /// What it says.
        text: String,
    },
    /// There is a case in which it does not hold: the smallest that was found. Its report.
    #[error("{report}")]
    Falsified {
        /// The smallest case, in the smallest scenario.
        report: Box<Report>,
        /// How many cases held before.
        held: u32,
    },
}

/// Runs the body for data of the strategy and scenarios of up to two deviations, and panics with the report of the smallest
/// case that is not retry-proof. [`Property`] has the settings.
///
/// # Panics
/// When there is such a case, and when nothing was tested.
#[track_caller]
pub fn prop_retryproof<S>(strategy: S, body: impl AsyncFn(&World, &S::Value) + Sync)
where
    S: Strategy,
    S::Value: Sync,
{
    Property::new().check(strategy, body);
}

/// The settings of a property.
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until `run` or `check` is called"]
pub struct Property {
    explore: Explore,
    config: Config,
    scenarios: Scenarios,
    schedules: Schedules,
    seed: u64,
    keep: Option<PathBuf>,
}

impl Default for Property {
    fn default() -> Self {
        Self::new()
    }
}

impl Property {
    /// As many cases as proptest's configuration says (256, or `PROPTEST_CASES`), in scenarios of up to two deviations and
    /// up to one departure from the usual order of tasks.
    pub fn new() -> Self {
        let (scenarios, schedules) = (Scenarios::of(0..=2), Schedules::of(0..=1));
        let config = Config { failure_persistence: None, ..Config::default() };
        Self { explore: Explore::new(), config, scenarios, schedules, seed: 0, keep: None }
    }

    /// The settings of each run: bounds for one kind of deviation, the step limit, the name. How many deviations there are
    /// in all is drawn.
    pub fn explore(mut self, explore: Explore) -> Self {
        self.explore = explore;
        self
    }

    /// How many cases have to hold.
    pub fn cases(mut self, cases: u32) -> Self {
        self.config.cases = cases;
        self
    }

    /// What may go wrong but for the order of tasks.
    pub fn scenarios(mut self, scenarios: Scenarios) -> Self {
        self.scenarios = scenarios;
        self
    }

    /// How the order of tasks may depart from the usual one.
    pub fn schedules(mut self, schedules: Schedules) -> Self {
        self.schedules = schedules;
        self
    }

    /// Other cases than those of seed 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The file for the seeds of cases that failed, below the package's folder, to be committed. They stay there when they
    /// hold. Otherwise [`Property::check`] keeps them where
    /// [`Explore::check`] keeps its scenarios, until they hold.
    pub fn keep(mut self, file: impl Into<PathBuf>) -> Self {
        self.keep = Some(file.into());
        self
    }

    /// Runs all cases, and panics with the report of the smallest that is not retry-proof.
    ///
    /// # Panics
    /// When there is one, and when nothing was tested.
    #[track_caller]
    pub fn check<S>(self, strategy: S, body: impl AsyncFn(&World, &S::Value) + Sync)
    where
        S: Strategy,
        S::Value: Sync,
    {
        let test = self.explore.test_name(Location::caller());
        let file = self.file().or_else(|| own_file(&test, "seeds"));
        if let Err(error) = self.run_all(&test, file, strategy, body) {
            panic!("{error}");
        }
    }

    /// The file that is stated.
    fn file(&self) -> Option<PathBuf> {
        self.keep.as_ref().map(|file| package().unwrap_or_default().join(file))
    }

    /// Runs all cases: how many held. Seeds are kept only where a file is stated ([`Property::keep`]).
    ///
    /// # Errors
    /// The smallest case that is not retry-proof; or nothing was tested.
    #[track_caller]
    pub fn run<S>(
        &self,
        strategy: S,
        body: impl AsyncFn(&World, &S::Value) + Sync,
    ) -> Result<u32, PropertyError>
    where
        S: Strategy,
        S::Value: Sync,
    {
        let test = self.explore.test_name(Location::caller());
        self.run_all(&test, self.file(), strategy, body)
    }

    fn run_all<S>(
        &self,
        test: &str,
        file: Option<PathBuf>,
        strategy: S,
        body: impl AsyncFn(&World, &S::Value) + Sync,
    ) -> Result<u32, PropertyError>
    where
        S: Strategy,
        S::Value: Sync,
    {
        let alone = wanted(test)?;
        let (kept, errors) = file.as_ref().map(|file| seeds::read(file)).unwrap_or_default();
        errors.iter().for_each(|error| say(&error.to_string()));
        let kept = if alone.is_some() { Vec::new() } else { kept };
        let strategy = (strategy, &self.scenarios, &self.schedules);
        let body = move |value: &S::Value, with: &mut dyn FnMut(&(dyn Body + Sync))| {
            with(&async |world: &World| body(world, value).await);
        };
        let mut cases = Cases { property: self, test, held: 0, rejected: 0, reason: String::new() };
        for seed in alone.iter().chain(&kept).copied() {
            cases.one(seed, &strategy, &body, file.as_ref())?;
        }
        if let (Some(file), None, None) = (&file, &self.keep, &alone) {
            // What was kept until it holds holds.
            let _ = if kept.is_empty() { Ok(()) } else { fs::remove_file(file) };
        }
        (cases.held, cases.rejected) = if alone.is_some() { (cases.held, 0) } else { (0, 0) };
        let mut number = 0;
        while alone.is_none() && cases.held < self.config.cases {
            let seed = Seed(fingerprint(&[test, &self.seed.to_string(), &number.to_string()]));
            cases.one(seed, &strategy, &body, file.as_ref())?;
            number += 1;
            if cases.rejected > self.config.max_global_rejects {
                let Cases { held: tested, rejected, reason, .. } = cases;
                let test = test.to_owned();
                return Err(PropertyError::NothingTested { test, tested, rejected, reason });
            }
        }
        Ok(cases.held)
    }
}

/// The case that is to be run alone, if one of this test is.
fn wanted(test: &str) -> Result<Option<Seed>, PropertyError> {
    let Ok(text) = env::var(SEED) else { return Ok(None) };
    let mut words = text.split_whitespace();
    match (words.next(), words.next()) {
        (None, _) => Ok(None),
        (Some(name), Some(seed)) if name == test => {
            Seed::parse(seed).map(Some).ok_or(PropertyError::NoSeed { text })
        }
        (Some(_), Some(_)) => Ok(None),
        (Some(_), None) => Err(PropertyError::NoSeed { text }),
    }
}

/// Hands the body of a case to somebody who runs it.
type With<'b, V> = &'b dyn Fn(&V, &mut dyn FnMut(&(dyn Body + Sync)));

struct Cases<'p> {
    property: &'p Property,
    test: &'p str,
    held: u32,
    rejected: u32,
    /// Why the last case that was rejected was.
    reason: String,
}

/// What is known while a case is made smaller.
#[derive(Default)]
struct Shrinking {
    /// The size of the smallest scenario that has failed. None inside: none was needed.
    size: Option<Option<Size>>,
    /// The last data that failed.
    failing: String,
    hunted: u64,
    /// The report of a case that does not come back. None that is smaller is tried: each would leave a thread behind.
    hung: Option<Box<Report>>,
}

impl Cases<'_> {
    /// Draws the case of a seed and runs it.
    fn one<S, V: Debug>(
        &mut self,
        seed: Seed,
        strategy: &S,
        body: With<'_, V>,
        file: Option<&PathBuf>,
    ) -> Result<(), PropertyError>
    where
        S: Strategy<Value = (V, Deviations, Deviations)>,
    {
        let mut runner = runner(&self.property.config, seed);
        let tree = strategy.new_tree(&mut runner).map_err(|reason| PropertyError::NothingDrawn {
            test: self.test.to_owned(),
            reason: reason.message().to_owned(),
        })?;
        let shrinking = RefCell::new(Shrinking::default());
        let result = runner.run_one(tree, |(value, scenario, schedule)| {
            let drawn = Drawn { schedule: schedule.drawn.schedule, others: scenario.drawn.others };
            self.try_one(&value, &drawn, body, &mut shrinking.borrow_mut())
        });
        match result {
            Ok(true) => self.held += 1,
            Ok(false) => {
                self.rejected += 1;
                self.reason = shrinking.into_inner().failing;
            }
            Err(TestError::Abort(reason)) => {
                let (test, reason) = (self.test.to_owned(), reason.message().to_owned());
                return Err(PropertyError::NothingDrawn { test, reason });
            }
            Err(TestError::Fail(_, (value, scenario, schedule))) => {
                let drawn = Drawn { schedule: schedule.drawn.schedule, others: scenario.drawn.others };
                let case = format!("{value:?}");
                let kept = file.and_then(|file| match seeds::add(file, seed, &case) {
                    Ok(()) => Some(file.display().to_string()),
                    Err(error) => {
                        say(&error.to_string());
                        None
                    }
                });
                let Shrinking { size, hung, .. } = shrinking.into_inner();
                let mut report = hung.map(|report| *report);
                if report.is_none() {
                    body(&value, &mut |body| {
                        let (explore, most) = (&self.property.explore, MOST_HUNTED_IN_ALL);
                        report = Some(explore.explain(body, self.test, size.flatten(), (&drawn, most)));
                    });
                }
                let mut report = report.expect("the body was handed over");
                let case = format!("{value:#?}");
                report.case = Some(Case { case, seed: seed.to_string(), held: self.held, kept });
                return Err(PropertyError::Falsified { report: Box::new(report), held: self.held });
            }
        }
        Ok(())
    }

    /// Whether a case fails: in the scenario that was drawn, or, while it is made smaller and the data are others than
    /// those that failed last, in any with as few deviations.
    fn try_one<V: Debug>(
        &self,
        value: &V,
        drawn: &Drawn,
        body: With<'_, V>,
        shrinking: &mut Shrinking,
    ) -> TestCaseResult {
        if shrinking.hung.is_some() {
            return Ok(());
        }
        let explore = &self.property.explore;
        let mut found = Found::Fine;
        body(value, &mut |body| found = explore.try_drawn(body, self.test, drawn));
        match found {
            Found::NothingTested(reason) => {
                // Small data may have nothing in them; that is no reason to stop where they are made smaller.
                if shrinking.size.is_none() {
                    shrinking.failing = reason.clone();
                    return Err(TestCaseError::reject(reason));
                }
                return Ok(());
            }
            Found::Fails(size) => {
                let least = match shrinking.size {
                    Some(Some(known)) => size.map(|now| known.least(now)),
                    _ => size,
                };
                shrinking.size = Some(least);
                shrinking.failing = format!("{value:?}");
                return Err(TestCaseError::fail("not retry-proof"));
            }
            Found::Hung(report) => {
                shrinking.hung = Some(report);
                return Err(TestCaseError::fail("it does not come back"));
            }
            Found::Fine => {}
        }
        let Some(Some(size)) = shrinking.size else { return Ok(()) };
        let text = format!("{value:?}");
        if text == shrinking.failing || shrinking.hunted >= MOST_HUNTED_IN_ALL {
            return Ok(());
        }
        let mut found = false;
        body(value, &mut |body| {
            let (has, runs) = explore.hunt(body, self.test, size, MOST_HUNTED);
            found = has;
            shrinking.hunted += runs;
        });
        match found {
            false => Ok(()),
            true => {
                shrinking.failing = text;
                Err(TestCaseError::fail("not retry-proof in another scenario"))
            }
        }
    }
}

/// A runner whose numbers are those of a seed.
fn runner(config: &Config, Seed(seed): Seed) -> TestRunner {
    let mut dice = Dice::new(seed, 0);
    let mut bytes = [0; 32];
    bytes.chunks_mut(8).for_each(|piece| piece.copy_from_slice(&dice.roll().to_le_bytes()));
    let config = Config { rng_algorithm: RngAlgorithm::ChaCha, ..config.clone() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}
