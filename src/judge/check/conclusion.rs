//! Makes the report at the end of an exploration: its violations, each of which is run again to be shown, the map of
//! the jobs, and the notes.

use super::causes::{self, ShownCause};
use super::tally::{Group, Instance, Swap};
use super::{Exploration, nondeterministic};
use crate::executor::watch::CrashWatch;
use crate::judge::html::MOST_DRAWN;
use crate::judge::oracle::Finding;
use crate::judge::report::{
    self, Courses, LineCrash, LineMap, Mishap, Path, Report, ShownRun, Verdict, Violation, dropped, notes,
    recovery, unexplored, without_places, words,
};
use crate::judge::run::{Course, End, FinishedRun, run};
use crate::search::choice::{Deviation, PlaceLookup, Plan, Site, looking};
use crate::system::job::short_kind;
use crate::system::timeline::Timeline;

/// The maximum number of listed differences between orders of the jobs.
const MOST_SWAPS: usize = 5;

/// The maximum number of lines passed in the reference run that the map of a job shows.
const MOST_MAPPED: usize = 5_000;

impl Exploration<'_> {
    /// Runs a scenario again and records its timeline.
    pub(super) fn show(&mut self, plan: Plan) -> (FinishedRun, ShownRun) {
        let course = Course { timeline: Timeline::recording(), ..Course::plain(plan) };
        self.compared_with = None;
        let mut ran = looking(PlaceLookup::Close, || run(self.basis.body, course, &self.ground));
        // A run that got stuck has left work undone, which is no additional finding.
        let findings = match ran.outcome.end {
            End::Stuck(_) => Vec::new(),
            _ => self.findings(&ran.outcome),
        };
        let scenario = self.scenario(&ran.record);
        let (events, drops) = (std::mem::take(&mut ran.events), self.ordinary_drops.clone());
        let order = self.compared_with.take().unwrap_or_default();
        let order = order.into_iter().map(|at| ran.outcome.jobs[at].number).collect();
        let showing = ShownRun::new(scenario, events, findings, &ran.outcome.effects, drops).beside(order);
        (ran, showing)
    }

    /// Runs the scenario of a group again, and puts the group's finding first. Fails if the code is not deterministic.
    fn show_group(&mut self, group: Group) -> Result<Vec<ShownCause>, String> {
        self.enter(group.case);
        let (ran, mut showing) = self.show(group.plan.clone());
        if let (Finding::Stuck(_), End::Stuck(stuck)) = (&group.finding, &ran.outcome.end) {
            showing.findings = vec![Finding::Stuck(stuck.clone())];
        }
        // This run looks up places more closely than the other runs.
        let subject = without_places(&group.subject);
        let is_it = |finding: &Finding| without_places(&finding.subject()) == subject;
        let position = showing.findings.iter().position(is_it);
        let Some(at) = position else {
            let (scenario, what) = (&showing.scenario, words::summary(&group.finding));
            let difference = format!("`{scenario}`: the first time {what}, the second time not");
            return Err(nondeterministic(&difference, &ran.outcome));
        };
        showing.findings[..=at].rotate_right(1);
        // The effect may have several places, each of which is shown once.
        let mut lines = vec![showing.done_at(&showing.findings[0])];
        let mut others = Vec::new();
        for (at, finding) in showing.findings.iter().enumerate().skip(1).filter(|(_, other)| is_it(other)) {
            let line = showing.done_at(finding);
            if !lines.contains(&line) {
                lines.push(line);
                others.push(at);
            }
        }
        let led_by = |at: usize| {
            let mut showing = showing.clone();
            showing.findings[..=at].rotate_right(1);
            ShownCause { group: group.clone(), showing }
        };
        let others: Vec<_> = others.into_iter().map(led_by).collect();
        let mut all = vec![ShownCause { group, showing }];
        all.extend(others);
        Ok(all)
    }

    /// Returns all violations, with one entry per cause.
    fn entries(&mut self, courses: &mut Courses) -> Result<Vec<Vec<ShownCause>>, String> {
        let groups = self.tally.take_groups();
        groups.iter().for_each(|group| courses.leave(&group.mishaps));
        let mut shown = Vec::new();
        for group in groups {
            shown.extend(self.show_group(group)?);
        }
        Ok(causes::entries(shown, courses))
    }

    /// Returns the calls of the jobs in the fault-free runs.
    pub(super) fn courses(&mut self) -> Courses {
        let mut courses = Courses::default();
        for case in 0..self.cases.len() {
            self.enter(case);
            let course = Course { timeline: Timeline::recording(), ..Course::plain(Plan::ordinary()) };
            let ran = looking(PlaceLookup::Survey, || run(self.basis.body, course, &self.ground));
            for (kind, calls) in dropped(&ran.events) {
                let most = self.ordinary_drops.entry(kind).or_default();
                *most = calls.max(*most);
            }
            courses.absorb(Courses::new(&ran.record, &ran.outcome.jobs, &ran.events));
        }
        self.enter(0);
        courses
    }

    /// Makes the report. The smallest scenario of each cause is run again to be shown, and so are the other scenarios,
    /// for their places.
    pub(super) fn finish(
        &mut self,
        verdict: Verdict,
        reason: Option<String>,
        exhausted: bool,
        at_least: u64,
    ) -> Report {
        let mut courses = match self.tally.has_found() && !self.basis.has_hung() {
            true => self.courses(),
            false => Courses::default(),
        };
        let entries = match self.entries(&mut courses) {
            Ok(entries) => entries,
            Err(reason) => {
                let settings = self.basis.settings;
                return settings.blank(self.basis.test, Verdict::Nondeterministic, Some(reason));
            }
        };
        let mut violations: Vec<Violation> =
            entries.iter().map(|entry| violation_of_entry(entry, &courses)).collect();
        let mut showings: Vec<Vec<ShownRun>> =
            entries.into_iter().map(|entry| entry.into_iter().map(|shown| shown.showing).collect()).collect();
        if verdict == Verdict::Stuck {
            // The verdict says it already.
            violations.clear();
            showings.iter_mut().flatten().for_each(|showing| showing.findings.clear());
        }
        let mut first = showings.first().and_then(|showings| showings.first()).cloned();
        if !self.basis.settings.ratchet {
            showings.truncate(MOST_DRAWN);
            showings.iter_mut().for_each(|showings| showings.truncate(1));
        }
        self.take_poisoned(&mut first);
        self.enter(0);
        let lines = self.map_lines();
        self.note_inputs();
        self.note_failures();
        self.note_guarantees();
        self.note_limits();
        if exhausted && self.tally.runs == self.cases.len() as u64 && self.basis.share.is_all() {
            self.notes.push(notes::NOTHING_WENT_WRONG.to_owned());
        }
        let samples = std::mem::take(&mut self.samples);
        if verdict == Verdict::RetryProof && !samples.is_empty() {
            self.notes.push(notes::only_sampled(&samples));
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
            stopped: self.stopped,
            unexplored: self.unexplored(),
            notes: std::mem::take(&mut self.notes),
            warnings: self.warnings(),
            showing: first,
            showings,
            ..self.basis.settings.blank(self.basis.test, verdict, reason)
        };
        Report { coverage: self.coverage(&report), ..report }
    }

    /// Takes the run in which a lock was poisoned. The report shows this run if it shows no other, and has a note
    /// otherwise.
    fn take_poisoned(&mut self, first: &mut Option<ShownRun>) {
        self.is_poisoned = self.tally.poisoned.is_some();
        match self.tally.poisoned.take() {
            Some(Instance { case, plan, .. }) if first.is_none() => {
                self.enter(case);
                *first = Some(self.show(plan).1);
            }
            Some(Instance { reason, .. }) => self.notes.push(notes::poisoned(&reason)),
            None => {}
        }
    }

    /// Lists the kinds of deviations that were not explored although they apply to this world.
    fn unexplored(&self) -> Vec<String> {
        let settings = self.basis.settings;
        let reference = &self.basis.reference;
        let noted = &reference.outcome.record;
        unexplored(&reference.record, noted, settings.bounds.total, |kind| settings.bounds.of(kind))
    }

    /// Adds notes about limits that were reached.
    fn note_limits(&mut self) {
        let swaps = std::mem::take(&mut self.tally.swaps);
        for Swap { before, after, difference, runs } in swaps.iter().take(MOST_SWAPS) {
            self.notes.push(notes::swapped(*runs, before, after, difference));
        }
        if swaps.len() > MOST_SWAPS {
            self.notes.push(notes::more_swapped(swaps.len() - MOST_SWAPS));
        }
        if let (Some(tried), false) = (self.tally.undecided, self.tally.groups.is_empty()) {
            self.notes.push(notes::undecided(self.tally.undecided_runs, tried));
        }
        if !self.tally.left.is_empty() {
            let names: Vec<_> = std::mem::take(&mut self.tally.left).into_iter().collect();
            self.notes.push(notes::left_behind(&names));
        }
        if self.tally.crowded || self.basis.reference.outcome.record.is_crowded() {
            self.notes.push(notes::crowded(Deviation::MAX_OPTIONS));
        }
    }

    /// Adds notes about what the test allows, because this is part of what it proves.
    pub(super) fn note_guarantees(&mut self) {
        // A name that matches nothing is probably a typo, and would silently allow or ignore nothing.
        let outcome = &self.basis.reference.outcome;
        let happens =
            |name: &str| outcome.effects.iter().any(|e| e.service.as_str() == name || e.name() == name);
        for (effect, guarantee) in &outcome.terms.allowed {
            let note = match happens(effect) {
                true => words::allowed(effect, *guarantee),
                false => Some(format!(
                    "`allow(\"{effect}\", …)` names no effect that happens in the fault-free run"
                )),
            };
            self.notes.extend(note.filter(|note| !self.notes.contains(note)));
        }
    }

    /// Crashes once at each line that the reference run passes.
    pub(super) fn map_lines(&mut self) -> LineMap {
        let mut map = LineMap::default();
        if self.basis.reference.outcome.end != End::Completed || self.basis.has_hung() {
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
                "the jobs pass {passed} lines; the map only shows crashes at the first {MOST_MAPPED}"
            ));
        }
        for (at, label, line) in points.into_iter().take(MOST_MAPPED) {
            let plan = Plan::Numbered(vec![Deviation::new(at, 1)], Some(label));
            let ran = run(
                self.basis.body,
                Course { watch: CrashWatch::wrecks(), ..Course::plain(plan) },
                &self.ground,
            );
            let CrashWatch::Wrecks { before: Some(before), wreck: Some(wreck) } = &ran.watch else {
                continue;
            };
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

    /// Adds a note about a job that fails in the fault-free run.
    pub(super) fn note_failures(&mut self) {
        for job in self.basis.reference.outcome.jobs.iter().filter(|job| job.failures() > 0) {
            let (number, kind, failures) = (job.number, short_kind(job.kind), job.failures());
            let error = job.error().unwrap_or_default();
            self.notes.push(format!(
                "job#{number} {kind} fails {} even in the fault-free run: {error}",
                words::times(failures as usize)
            ));
        }
    }
}

/// Makes a violation from a finding of one run.
pub(super) fn violation(finding: &Finding, showing: &ShownRun, runs: u64) -> Violation {
    let (expected, actual) = words::expected_and_actual(finding);
    let place = match finding {
        Finding::Unhygienic(_) => showing.done_at(finding),
        _ => showing.place(),
    };
    Violation {
        code: showing.code_of(finding),
        oracle: finding.oracle(),
        summary: words::summary(finding),
        effect: words::effect_of(finding),
        expected,
        actual,
        scenario: showing.scenario.clone(),
        cause: showing.causes(),
        place: place.clone(),
        runs,
        paths: vec![Path {
            code: showing.code_of(finding),
            scenario: showing.scenario.clone(),
            cause: showing.causes(),
            place,
            runs,
            identity: Vec::new(),
            brief: Vec::new(),
            other: None,
        }],
        subject: finding.subject(),
        is_left: matches!(
            finding,
            Finding::Missing { .. } | Finding::State { .. } | Finding::Job { .. } | Finding::HalfWay { .. }
        ),
        part: finding.part(),
        likewise: Vec::new(),
        asserted_at: match finding {
            // An invariant is identified by its name, and so is a process.
            Finding::Panicked(panicked) if panicked.of.is_none() => panicked.place.clone(),
            _ => None,
        },
        help: showing.help(finding),
    }
}

/// Makes a violation from the groups of one cause. The first group provides the texts.
fn violation_of_entry(entry: &[ShownCause], courses: &Courses) -> Violation {
    let told = |ShownCause { group, showing }: &ShownCause| {
        let mut violation = violation(&showing.findings[0], showing, group.runs);
        for path in &mut violation.paths {
            let done = match &group.finding {
                Finding::Repeated { effect, .. } => Some(effect),
                _ => None,
            };
            path.identity = group.mishaps.iter().map(|mishap| courses.identity(mishap, done)).collect();
            path.identity.extend(group.inputs.iter().cloned());
            path.identity.sort();
            path.identity.dedup();
            path.brief = group.mishaps.iter().map(Mishap::in_brief).collect();
        }
        violation
    };
    let mut all = entry.iter().map(told);
    let first = all.next().expect("an entry has a first group");
    all.fold(first, |mut first, other| {
        first.absorb(other);
        first
    })
}
