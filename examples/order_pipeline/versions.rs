//! The three versions of the job, each checked with every order.

use std::collections::BTreeMap;

use retryproof::report::Oracle;
use retryproof::{Explore, Report, Scenario, Verdict};
use serde::Serialize;

use crate::order::{Order, Orders};
use crate::{chain, naive, retry_proof};

/// The command that a report shows for a replay.
const COMMAND: &str = "cargo run --example order_pipeline";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Naive,
    Chain,
    RetryProof,
}

impl Version {
    pub(crate) const ALL: [Self; 3] = [Self::Naive, Self::Chain, Self::RetryProof];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::Chain => "chain",
            Self::RetryProof => "retryproof",
        }
    }

    pub(crate) fn explained(self) -> &'static str {
        match self {
            Self::Naive => "one job: charge, email, fulfill, then save everything",
            Self::Chain => "three jobs: each calls, saves, enqueues the next",
            Self::RetryProof => {
                "the chain with keys, look-ups, guarded saves, repeatable enqueues; email at least once"
            }
        }
    }

    pub(crate) fn should_be(self) -> Verdict {
        match self {
            Self::Naive | Self::Chain => Verdict::Violated,
            Self::RetryProof => Verdict::RetryProof,
        }
    }

    /// The name of a check, for its report and its replay: `naive/order-1006`, `chain/orders-1012+1013`.
    pub(crate) fn name_of(self, orders: &Orders) -> String {
        let ids: Vec<_> = orders.keys().map(u32::to_string).collect();
        let plural = if ids.len() == 1 { "" } else { "s" };
        format!("{}/order{plural}-{}", self.name(), ids.join("+"))
    }

    /// Completes these orders in every scenario with up to two failures.
    pub(crate) fn check(self, orders: &Orders) -> Report {
        // Everything that survives a crash here is in the services, the queue and `world.durable`, so runs that have
        // left the same state there may be merged.
        let explore = Explore::new().name(self.name_of(orders)).replay_command(COMMAND).merge(true);
        match self {
            Self::Naive => explore.run(async |world| naive::complete(world, orders.clone()).await),
            Self::Chain => explore.run(async |world| chain::complete(world, orders.clone()).await),
            Self::RetryProof => explore.run(async |world| retry_proof::complete(world, orders.clone()).await),
        }
    }
}

/// The orders in separate checks. A customer's orders are checked together, because their data must not be mixed up.
pub(crate) fn checks(orders: Vec<Order>) -> Vec<Orders> {
    let mut checks: Vec<Orders> = Vec::new();
    let mut of_customer: BTreeMap<String, usize> = BTreeMap::new();
    for order in orders {
        let at = *of_customer.entry(order.customer.id.clone()).or_insert(checks.len());
        if at == checks.len() {
            checks.push(Orders::new());
        }
        checks[at].insert(order.id, order);
    }
    checks
}

/// The summary of the checks of a version.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) name: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) runs: u64,
    /// The number of runs that ended early because another one continued from the same state.
    pub(crate) merged: u64,
    pub(crate) exhausted: bool,
    /// The bound: the maximum number of failures in a run.
    pub(crate) deviations: usize,
    pub(crate) orders: usize,
    /// The distinct violations, the one with the smallest scenario first.
    pub(crate) violations: Vec<Violation>,
    /// The report that shows the verdict best: the one with the smallest failing scenario.
    #[serde(skip)]
    pub(crate) report: Report,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Violation {
    oracle: Oracle,
    effect: Option<String>,
    summary: String,
    expected: String,
    actual: String,
    scenario: Scenario,
}

impl From<&retryproof::Violation> for Violation {
    fn from(violation: &retryproof::Violation) -> Self {
        let retryproof::Violation { oracle, effect, summary, expected, actual, scenario, .. } =
            violation.clone();
        Self { oracle, effect, summary, expected, actual, scenario }
    }
}

/// Summarizes the checks of one version. `None` if there are no checks.
pub(crate) fn sum_up(version: Version, orders: usize, reports: Vec<Report>) -> Option<Summary> {
    let mut violations: Vec<Violation> = Vec::new();
    let mut all: Vec<_> = reports.iter().flat_map(Report::violations).collect();
    // The sort is stable: scenarios of the same size stay in the order of the fixture.
    all.sort_by_key(|violation| violation.scenario.deviations().len());
    for violation in all {
        let what = |v: &Violation| (v.oracle, v.effect.clone(), v.summary.clone());
        let violation = violation.into();
        if violations.iter().all(|known| what(known) != what(&violation)) {
            violations.push(violation);
        }
    }
    Some(Summary {
        name: version.name(),
        runs: reports.iter().map(Report::runs).sum(),
        merged: reports.iter().map(Report::merged).sum(),
        exhausted: reports.iter().all(Report::exhausted),
        deviations: reports.iter().map(Report::deviations).max()?,
        orders,
        violations,
        verdict: reports.iter().map(Report::verdict).min_by_key(|verdict| goodness(*verdict))?,
        report: reports.into_iter().min_by_key(|report| (goodness(report.verdict()), size(report)))?,
    })
}

/// The order of verdicts. The worst of several verdicts is the verdict of all.
fn goodness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Violated => 0,
        Verdict::RetryProof => 2,
        _ => 1,
    }
}

/// The number of failures that the report needs.
fn size(report: &Report) -> usize {
    report.violations().first().map_or(0, |violation| violation.scenario.deviations().len())
}
