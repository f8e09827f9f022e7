//! Compares both verdicts on a program.

use std::fmt;

use retryproof::{Explore, Report};

use crate::generate::shrink;
use crate::harness::explore;
use crate::judge::{Verdict, judge};
use crate::program::Program;

/// A program on which the two verdicts differ.
#[derive(Debug)]
pub struct Difference {
    pub program: Program,
    pub deviations: usize,
    pub ours: Verdict,
    pub theirs: Report,
}

fn settings(deviations: usize) -> Explore {
    Explore::new().name("program").deviations(deviations)
}

/// Judges a program twice. Returns whether it is red.
///
/// # Errors
/// Returns the difference if the verdicts differ.
pub fn compare(program: &Program, deviations: usize) -> Result<bool, Box<Difference>> {
    let (ours, theirs) = (judge(program, deviations), explore(program, &settings(deviations)));
    let agree = match &ours {
        Verdict::Green { runs } => theirs.is_retryproof() && theirs.runs() == *runs,
        Verdict::Red { .. } => theirs.verdict() == retryproof::Verdict::Violated,
        Verdict::Nothing => theirs.verdict() == retryproof::Verdict::NothingTested,
    };
    match agree {
        true => Ok(ours.is_red()),
        false => Err(Box::new(Difference { program: program.clone(), deviations, ours, theirs })),
    }
}

impl Difference {
    /// Returns the kind of the difference.
    pub fn sort(&self) -> &'static str {
        match (&self.ours, self.theirs.verdict()) {
            (Verdict::Red { .. }, retryproof::Verdict::RetryProof) => "false green",
            (Verdict::Green { .. }, retryproof::Verdict::Violated) => "false alarm",
            (Verdict::Green { .. }, retryproof::Verdict::RetryProof) => "other runs",
            _ => "no verdict",
        }
    }

    /// Returns the smallest program that differs in the same way.
    pub fn shrunk(self) -> Self {
        let (sort, deviations) = (self.sort(), self.deviations);
        let same = |program: &Program| compare(program, deviations).is_err_and(|other| other.sort() == sort);
        let smallest = shrink(&self.program, same);
        compare(&smallest, deviations).map_or_else(|smallest| *smallest, |_| self)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} at {} deviations\n{}", self.sort(), self.deviations, self.program)?;
        match &self.ours {
            Verdict::Green { runs } => writeln!(f, "  judge: green, {runs} runs")?,
            Verdict::Nothing => writeln!(f, "  judge: no job ends well")?,
            Verdict::Red { scenario, reason } => writeln!(f, "  judge: red in `{scenario}`: {reason}")?,
        }
        write!(f, "  retryproof: {:?}, {} runs", self.theirs.verdict(), self.theirs.runs())?;
        if let Some(reason) = self.theirs.reason() {
            write!(f, ": {reason}")?;
        }
        for violation in self.theirs.violations().iter().take(3) {
            let (summary, scenario) = (&violation.summary, &violation.scenario);
            write!(f, "\n    {summary} [{} | {}] in `{scenario}`", violation.expected, violation.actual)?;
        }
        writeln!(f)
    }
}
