//! The report at the end of an exploration: its violations, each run once more to be shown, the map of the jobs, and what
//! is to be noted.

use super::tally::{Group, Instance, Swap};
use super::{Exploration, nondeterministic};
use crate::executor::watch::Watch;
use crate::judge::oracle::Finding;
use crate::judge::report::{self, LineCrash, LineMap, Report, Showing, Verdict, Violation, recovery, words};
use crate::judge::run::{Course, End, Ran, run};
use crate::search::choice::{Deviation, Name, Plan, Site};
use crate::system::job::short_kind;
use crate::system::timeline::Timeline;

/// Lines passed in the reference run that the map of a job shows.
const MOST_MAPPED: usize = 5_000;

impl Exploration<'_> {
    /// Runs a scenario again and takes down what happens.
    pub(super) fn show(&mut self, plan: Plan) -> (Ran, Showing) {
        let mut ran = run(
            self.basis.body,
            Course { timeline: Timeline::recording(), ..Course::plain(plan) },
            &self.ground,
        );
        // What a run has left undone that went no further is no finding beside that.
        let findings = match ran.outcome.end {
            End::Stuck(_) => Vec::new(),
            _ => self.findings(&ran.outcome),
        };
        let scenario = self.scenario(&ran.record);
        let showing = Showing::new(scenario, std::mem::take(&mut ran.events), findings, &ran.outcome.effects);
        (ran, showing)
    }

    /// Runs the scenario of a group again: what the group is about stands first. Or why the code is not deterministic.
    fn show_group(&mut self, group: Group) -> Result<Showing, String> {
        self.enter(group.case);
        let (_, mut showing) = self.show(group.plan);
        let Some(at) = showing.findings.iter().position(|finding| finding.subject() == group.subject) else {
            let (scenario, what) = (&showing.scenario, words::summary(&group.finding));
            return Err(nondeterministic(&format!(
                "`{scenario}`: the first time {what}, the second time not"
            )));
        };
        showing.findings.swap(0, at);
        Ok(showing)
    }

    /// The report. The smallest scenario is run once more to be shown; so are the others, for their places.
    pub(super) fn finish(
        &mut self,
        verdict: Verdict,
        reason: Option<String>,
        exhausted: bool,
        at_least: u64,
    ) -> Report {
        let mut violations = Vec::new();
        let (mut first, mut others) = (None, Vec::new());
        for group in self.tally.take_groups() {
            let runs = group.runs;
            let showing = match self.show_group(group) {
                Ok(showing) => showing,
                Err(reason) => {
                    return self.basis.settings.blank(
                        self.basis.test,
                        Verdict::Nondeterministic,
                        Some(reason),
                    );
                }
            };
            violations.push(violation(&showing.findings[0], &showing, runs));
            match first {
                None => first = Some(showing),
                Some(_) if self.basis.settings.ratchet => others.push(showing),
                Some(_) => {}
            }
        }
        if let (None, Some(Instance { case, plan, .. })) =
            (&first, self.tally.stuck.take().or_else(|| self.tally.poisoned.take()))
        {
            self.enter(case);
            first = Some(self.show(plan).1);
        }
        self.enter(0);
        if let Some(Instance { reason, .. }) = self.tally.poisoned.take() {
            self.notes.push(words::poisoned(&reason));
        }
        let lines = self.map_lines();
        self.note_inputs();
        self.note_failures();
        self.note_guarantees();
        self.note_limits();
        if exhausted && self.tally.runs == self.cases.len() as u64 && self.basis.share.is_all() {
            self.notes.push(words::NOTHING_WENT_WRONG.to_owned());
        }
        let samples = std::mem::take(&mut self.samples);
        if verdict == Verdict::RetryProof && !samples.is_empty() {
            self.notes.push(words::only_sampled(&samples));
        }
        let report = Report {
            violations,
            samples,
            share: Some(self.basis.share).filter(|share| !share.is_all()),
            runs: self.tally.runs,
            merged: self.tally.merged,
            reduced: self.tally.reduced,
            lines,
            exhausted,
            at_least,
            violated: self.tally.violated,
            notes: std::mem::take(&mut self.notes),
            warnings: self.warnings(),
            showing: first,
            others,
            ..self.basis.settings.blank(self.basis.test, verdict, reason)
        };
        Report { coverage: self.coverage(&report), ..report }
    }

    /// What was too much to be looked at.
    fn note_limits(&mut self) {
        if !self.tally.swaps.is_empty() {
            let swaps = std::mem::take(&mut self.tally.swaps);
            let runs = swaps.iter().map(|swap| swap.runs).sum();
            let Swap { before, after, difference, .. } = &swaps[0];
            self.notes.push(words::swapped(runs, before, after, difference, swaps.len() - 1));
        }
        if let (Some(tried), false) = (self.tally.undecided, self.tally.groups.is_empty()) {
            self.notes.push(words::undecided(self.tally.undecided_runs, tried));
        }
        if self.tally.crowded || self.basis.reference.outcome.record.is_crowded() {
            self.notes.push(words::crowded(Deviation::MAX_OPTIONS));
        }
    }

    /// What the test allows is part of what it proves.
    pub(super) fn note_guarantees(&mut self) {
        // A name that names nothing is a slip of the pen, and silently allows or ignores nothing.
        let outcome = &self.basis.reference.outcome;
        let happens =
            |name: &str| outcome.effects.iter().any(|e| e.service.as_str() == name || e.name() == name);
        for (effect, guarantee) in &outcome.terms.allowed {
            let note = match happens(effect) {
                true => words::allowed(effect, *guarantee),
                false => Some(format!(
                    "`allow(\"{effect}\", …)` names no effect that happens when nothing goes wrong"
                )),
            };
            self.notes.extend(note.filter(|note| !self.notes.contains(note)));
        }
        let is_state = |name: Name| outcome.state.iter().any(|(known, _)| *known == name);
        for (name, _) in outcome.terms.ignored.iter().filter(|(name, _)| !is_state(*name)) {
            self.notes.push(format!("`ignore(\"{name}\", …)` names no durable or observed state"));
        }
    }

    /// Crashes once at each line that the reference run has passed.
    pub(super) fn map_lines(&mut self) -> LineMap {
        let mut map = LineMap::default();
        if self.basis.reference.outcome.end != End::Completed {
            return map;
        }
        let labels = self.basis.reference.record.iter().enumerate().map(|(at, choice)| (at, choice.label));
        let points: Vec<_> = labels
            .filter_map(|(at, label)| match label.site {
                Site::Line(line) => Some((at, label, line)),
                _ => None,
            })
            .collect();
        if points.len() > MOST_MAPPED {
            let passed = points.len();
            self.notes.push(format!(
                "the jobs pass {passed} lines; the map shows crashes at the first {MOST_MAPPED} only"
            ));
        }
        for (at, label, line) in points.into_iter().take(MOST_MAPPED) {
            let plan = Plan::Numbered(vec![Deviation::new(at, 1)], Some(label));
            let ran =
                run(self.basis.body, Course { watch: Watch::wrecks(), ..Course::plain(plan) }, &self.ground);
            let Watch::Wrecks { before: Some(before), wreck: Some(wreck) } = &ran.watch else { continue };
            let after_recovery = match &ran.outcome.end {
                End::Stuck(stuck) => vec![stuck.to_string()],
                _ => recovery(&self.findings(&ran.outcome)),
            };
            let after_crash = report::wreck(&wreck.effects, before, &wreck.states);
            let scenario = self.scenario(&ran.record);
            map.add(line, LineCrash { scenario, after_crash, after_recovery });
        }
        map
    }

    /// A job that fails though nothing goes wrong is worth a word, even where others do not.
    pub(super) fn note_failures(&mut self) {
        for job in self.basis.reference.outcome.jobs.iter().filter(|job| job.failures() > 0) {
            let (number, kind, failures) = (job.number, short_kind(job.kind), job.failures());
            let error = job.error().unwrap_or_default();
            self.notes.push(format!(
                "job#{number} {kind} fails {} even when nothing goes wrong: {error}",
                words::times(failures as usize)
            ));
        }
    }
}

pub(super) fn violation(finding: &Finding, showing: &Showing, runs: u64) -> Violation {
    let (expected, actual) = words::expected_and_actual(finding);
    Violation {
        code: showing.code_of(finding),
        oracle: finding.oracle(),
        summary: words::summary(finding),
        effect: words::effect_of(finding),
        expected,
        actual,
        scenario: showing.scenario.clone(),
        cause: showing.causes(),
        place: showing.place(),
        runs,
        subject: finding.subject(),
        kinds: showing.kinds(),
        bore_no_key: matches!(finding, Finding::Repeated { effect, .. } if effect.key.is_none()),
    }
}
