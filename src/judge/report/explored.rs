//! What was explored: all of it up to a bound, and what was drawn past it.

use std::fmt;

use serde::Serialize;

use super::Report;

/// Runs that were drawn past the bound.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Samples {
    how: How,
    seed: u64,
    pub(crate) runs: u64,
    pub(crate) violated: u64,
    /// The time was up before all were run.
    #[serde(skip)]
    pub(crate) is_cut: bool,
}

/// How they were drawn.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum How {
    Random { fewest: usize, most: usize },
    Pct { depth: usize },
}

impl Samples {
    pub(crate) fn random(seed: u64, fewest: usize, most: usize) -> Self {
        Self { how: How::Random { fewest, most }, seed, runs: 0, violated: 0, is_cut: false }
    }

    pub(crate) fn pct(seed: u64, depth: usize) -> Self {
        Self { how: How::Pct { depth }, seed, runs: 0, violated: 0, is_cut: false }
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { how, seed, runs, .. } = self;
        let s = if *runs == 1 { "" } else { "s" };
        match how {
            How::Random { fewest, most } => {
                write!(
                    f,
                    "{runs} random scenario{s} of {fewest} to {most} deviations, drawn with seed {seed}"
                )
            }
            How::Pct { depth } => {
                write!(f, "{runs} schedule{s} by priority (PCT of depth {depth}), drawn with seed {seed}")
            }
        }
    }
}

pub(super) fn explored(report: &Report) -> String {
    let runs = if report.runs == 1 { "1 run".to_owned() } else { format!("{} runs", report.runs) };
    let bound = match report.deviations {
        0 => "the one in which nothing goes wrong".to_owned(),
        1 => "all scenarios of up to 1 deviation".to_owned(),
        bound => format!("all scenarios of up to {bound} deviations"),
    };
    let merged = match report.merged {
        0 => String::new(),
        count => format!("; {count} more were merged with runs that had left the same state"),
    };
    let reduced = match report.reduced {
        0 => String::new(),
        count => format!(
            "; {count} more were left out, each equal to one of them but for the order of steps that have nothing to do with each other"
        ),
    };
    let share = report.share.map(|share| format!("shard {share} of ")).unwrap_or_default();
    let violated = violate(report.violated);
    #[cfg(feature = "proptest")]
    if report.case.is_some() {
        return format!(
            "{runs} of this case{violated}; the other scenarios of it, and the other cases, were not run"
        );
    }
    if let Some(tried) = report.kept {
        let s = if tried == 1 { "" } else { "s" };
        return format!(
            "{runs}: the reference run, and {tried} scenario{s} kept from former runs{violated}; the others are run when these pass (RETRYPROOF_KEEP=off runs all)"
        );
    }
    let explored = if report.exhausted {
        format!("{runs}, {share}{bound}{violated}{merged}{reduced}")
    } else if report.replayed {
        format!("{runs}: the reference run and the scenario that was asked for")
    } else {
        let share = report.share.map(|share| format!(" in shard {share}")).unwrap_or_default();
        format!("{runs} of at least {}{share}{violated}", report.at_least)
    };
    report.samples.iter().fold(explored, |explored, samples| {
        format!("{explored}\n  besides, {samples}{}", violate(samples.violated))
    })
}

fn violate(runs: u64) -> String {
    match runs {
        0 => String::new(),
        runs => format!("; {runs} of them violate"),
    }
}
