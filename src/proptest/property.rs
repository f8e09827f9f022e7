//! Properties for any data and any scenario, based on proptest's `TestRunner`.

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

use super::course::{Deviations, Preemptions, Scenarios};
use super::seeds::{self, Seed};
use crate::judge::check::{DrawnDeviations, DrawnOutcome, Size, own_file, package, say, update, withdraw};
use crate::judge::report::{Case, Report};
use crate::judge::run::Body;
use crate::search::choice::Dice;
use crate::system::effect::fingerprint;
use crate::{Explore, World};

/// The variable with the test and the seed of a case to run alone.
const SEED: &str = "RETRYPROOF_SEED";
/// The maximum number of runs for one smaller piece of data, and for all of them.
const MOST_HUNTED: u64 = 1_000;
const MOST_HUNTED_IN_ALL: u64 = 20_000;

/// The reason why a property does not hold, or was not tested.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PropertyError {
    /// The strategy produced no value.
    #[error("{test}: the strategy yields nothing: {reason}")]
    NothingDrawn {
        /// The name of the test.
        test: String,
        /// The message of the strategy.
        reason: String,
    },
    /// In too many cases nothing could go wrong.
    #[error(
        "{test}: of {} cases {tested} were tested; the others had nothing in them that could go wrong: {reason}",
        tested + rejected
    )]
    NothingTested {
        /// The name of the test.
        test: String,
        /// The number of cases that were run.
        tested: u32,
        /// The number of cases in which nothing could go wrong.
        rejected: u32,
        /// The reason in the last of them.
        reason: String,
    },
    /// `RETRYPROOF_SEED` does not name a case.
    #[error(
        "{SEED}: `{text}` is not a seed, which has 16 hexadecimal digits; paste the whole line that the report prints"
    )]
    NoSeed {
        /// The text of the variable.
        text: String,
    },
    /// The property does not hold. This is the report of the smallest failing case.
    #[error("{report}")]
    Falsified {
        /// The smallest case, in the smallest scenario.
        report: Box<Report>,
        /// The number of cases that held before.
        held: u32,
    },
}

/// Runs the body for data of the strategy and scenarios of up to two deviations, and panics with the report of the
/// smallest case that is not retry-proof. [`Property`] has the settings.
///
/// # Panics
/// If there is such a case, or if nothing was tested.
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
    preemptions: Preemptions,
    seed: u64,
    keep: Option<PathBuf>,
}

impl Default for Property {
    fn default() -> Self {
        Self::new()
    }
}

impl Property {
    /// Makes a property with the number of cases of proptest's configuration (256, or `PROPTEST_CASES`), in scenarios
    /// of up to two deviations and up to one preemption.
    pub fn new() -> Self {
        let (scenarios, preemptions) = (Scenarios::of(0..=2), Preemptions::of(0..=1));
        let config = Config { failure_persistence: None, ..Config::default() };
        Self { explore: Explore::new(), config, scenarios, preemptions, seed: 0, keep: None }
    }

    /// Sets the settings of each run: bounds for one kind of deviation, the step limit, the name. The total number of
    /// deviations is drawn.
    pub fn explore(mut self, explore: Explore) -> Self {
        self.explore = explore;
        self
    }

    /// Sets the number of cases that must hold.
    pub fn cases(mut self, cases: u32) -> Self {
        self.config.cases = cases;
        self
    }

    /// Sets the strategy for all deviations except preemptions.
    pub fn scenarios(mut self, scenarios: Scenarios) -> Self {
        self.scenarios = scenarios;
        self
    }

    /// Sets the strategy for preemptions.
    pub fn preemptions(mut self, preemptions: Preemptions) -> Self {
        self.preemptions = preemptions;
        self
    }

    /// Sets a seed, to draw other cases. Defaults to 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the file for the seeds of failing cases, relative to the package's folder. Commit it. The seeds stay
    /// there when they hold. Without this setting [`Property::check`] keeps seeds next to the scenarios of
    /// [`Explore::check`], until they hold.
    pub fn keep(mut self, file: impl Into<PathBuf>) -> Self {
        self.keep = Some(file.into());
        self
    }

    /// Runs all cases, and panics with the report of the smallest that is not retry-proof.
    ///
    /// # Panics
    /// If there is such a case, or if nothing was tested.
    #[track_caller]
    pub fn check<S>(self, strategy: S, body: impl AsyncFn(&World, &S::Value) + Sync)
    where
        S: Strategy,
        S::Value: Sync,
    {
        let test = self.explore.test_name(Location::caller());
        let file = self.file().or_else(|| own_file(&test, "seeds"));
        match self.run_all(&test, file, strategy, body) {
            // One case that holds says nothing about the others.
            Ok(_) if matches!(wanted(&test), Ok(Some(_))) => {}
            Ok(_) => withdraw(&test),
            Err(error) => {
                let page = match &error {
                    PropertyError::Falsified { report, .. } => update(report, false, &[]),
                    _ => None,
                };
                let page = page.map(|page| format!("\nas pictures: {}", page.display()));
                panic!("{error}{}", page.unwrap_or_default());
            }
        }
    }

    /// The file of [`Property::keep`].
    fn file(&self) -> Option<PathBuf> {
        self.keep.as_ref().map(|file| package().unwrap_or_default().join(file))
    }

    /// Runs all cases, and returns the number of those that held. Seeds are kept only if a file is set
    /// ([`Property::keep`]).
    ///
    /// # Errors
    /// If a case is not retry-proof (the smallest is returned), or if nothing was tested.
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
        let strategy = (strategy, &self.scenarios, &self.preemptions);
        let body = move |value: &S::Value, with: &mut dyn FnMut(&(dyn Body + Sync))| {
            with(&async |world: &World| body(world, value).await);
        };
        let mut cases = Cases { property: self, test, held: 0, rejected: 0, reason: String::new() };
        for seed in alone.iter().chain(&kept).copied() {
            cases.one(seed, &strategy, &body, file.as_ref())?;
        }
        if let (Some(file), None, None) = (&file, &self.keep, &alone) {
            // All seeds that were kept until they hold now hold.
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

/// The case of this test to run alone, if there is one.
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

/// Passes the body of a case to a function that runs it.
type With<'b, V> = &'b dyn Fn(&V, &mut dyn FnMut(&(dyn Body + Sync)));

struct Cases<'p> {
    property: &'p Property,
    test: &'p str,
    held: u32,
    rejected: u32,
    /// The reason why the last rejected case was rejected.
    reason: String,
}

/// The state of shrinking.
#[derive(Default)]
struct Shrinking {
    /// The size of the smallest scenario that has failed. The inner `None` means that no scenario was needed.
    size: Option<Option<Size>>,
    /// The last data that failed.
    failing: String,
    hunted: u64,
    /// The report on a case that hangs. It is not shrunk, because each further case would leave a thread behind.
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
            let drawn = DrawnDeviations { schedule: schedule.drawn.schedule, others: scenario.drawn.others };
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
                let drawn =
                    DrawnDeviations { schedule: schedule.drawn.schedule, others: scenario.drawn.others };
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

    /// Reports whether a case fails in the drawn scenario. While the case is shrunk, and the data differ from the
    /// last failing ones, any scenario with the same number of deviations counts.
    fn try_one<V: Debug>(
        &self,
        value: &V,
        drawn: &DrawnDeviations,
        body: With<'_, V>,
        shrinking: &mut Shrinking,
    ) -> TestCaseResult {
        if shrinking.hung.is_some() {
            return Ok(());
        }
        let explore = &self.property.explore;
        let mut found = DrawnOutcome::Fine;
        body(value, &mut |body| found = explore.try_drawn(body, self.test, drawn));
        match found {
            DrawnOutcome::NothingTested(reason) => {
                // Small data may have nothing that can go wrong. That must not end the shrinking.
                if shrinking.size.is_none() {
                    shrinking.failing = reason.clone();
                    return Err(TestCaseError::reject(reason));
                }
                return Ok(());
            }
            DrawnOutcome::Fails(size) => {
                let least = match shrinking.size {
                    Some(Some(known)) => size.map(|now| known.least(now)),
                    _ => size,
                };
                shrinking.size = Some(least);
                shrinking.failing = format!("{value:?}");
                return Err(TestCaseError::fail("not retry-proof"));
            }
            DrawnOutcome::Hung(report) => {
                shrinking.hung = Some(report);
                return Err(TestCaseError::fail("it hangs"));
            }
            DrawnOutcome::Fine => {}
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

/// A runner whose random numbers come from a seed.
fn runner(config: &Config, Seed(seed): Seed) -> TestRunner {
    let mut dice = Dice::new(seed, 0);
    let mut bytes = [0; 32];
    bytes.chunks_mut(8).for_each(|piece| piece.copy_from_slice(&dice.roll().to_le_bytes()));
    let config = Config { rng_algorithm: RngAlgorithm::ChaCha, ..config.clone() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}
