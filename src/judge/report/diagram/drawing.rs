//! Draws a run from its events and its findings.

use std::collections::BTreeMap;

use super::{
    Diagram, DrawnEffect, EffectKind, Lane, LaneKind, Link, Reply, Span, SpanKind, Step, StepKind, is_queue,
};
use crate::judge::oracle::Finding;
use crate::judge::report::crossing::{self, CrossingStep};
use crate::judge::report::{ShownRun, words};
use crate::search::choice::{Actor, Choice, DeviationKind, Ending, Fault, Name, Point};
use crate::system::clock::Moment;
use crate::system::effect::Effect;
use crate::system::job::short_kind;
use crate::system::timeline::{Event, EventKind};

/// More parts of the world share a lane.
const MOST_LANES: usize = 9;
/// The maximum number of characters of a request or an error.
const MOST_DETAIL: usize = 120;
/// The maximum number of findings at the end.
const MOST_FINDINGS: usize = 4;
/// The maximum number of connections.
const MOST_LINKS: usize = 3;

struct Drawing<'r> {
    run: &'r ShownRun,
    diagram: Diagram,
    /// The process of each attempt.
    processes: BTreeMap<Actor, Name>,
    /// The span of each attempt that runs.
    attempts: BTreeMap<Actor, usize>,
    /// The lanes of attempts, also after their ends.
    lanes: BTreeMap<Actor, usize>,
    /// The step of the call that each actor waits for.
    calls: BTreeMap<Actor, usize>,
    /// The spans of the pauses of actors.
    pauses: BTreeMap<Actor, usize>,
    booted: Vec<Name>,
    /// The steps that are calls or updates.
    made: Vec<(usize, CrossingStep)>,
}

pub(super) fn draw(run: &ShownRun) -> Diagram {
    let mut drawing = Drawing {
        run,
        diagram: Diagram::default(),
        processes: BTreeMap::new(),
        attempts: BTreeMap::new(),
        lanes: BTreeMap::new(),
        calls: BTreeMap::new(),
        pauses: BTreeMap::new(),
        booted: Vec::new(),
        made: Vec::new(),
    };
    drawing.lane(LaneKind::Queue, "queue");
    run.events.iter().for_each(|event| drawing.event(event));
    drawing.link();
    run.findings.iter().take(MOST_FINDINGS).for_each(|finding| drawing.finding(finding));
    let last = drawing.diagram.steps.len().saturating_sub(1);
    for span in &mut drawing.diagram.spans {
        span.to = if span.kind == SpanKind::Open { last } else { span.to };
    }
    drawing.diagram
}

impl Drawing<'_> {
    /// Returns the lane of this name, which is added on its first use.
    fn lane(&mut self, kind: LaneKind, name: &str) -> usize {
        let lanes = &mut self.diagram.lanes;
        if let Some(known) = lanes.iter().position(|lane| lane.kind == kind && lane.name == name) {
            return known;
        }
        if lanes.len() < MOST_LANES {
            lanes.push(Lane { kind, name: name.to_owned() });
        } else {
            let last = &mut lanes[MOST_LANES - 1];
            last.name = "others".to_owned();
        }
        lanes.len() - 1
    }

    fn service(&mut self, name: Name) -> usize {
        let kind = if is_queue(name) { LaneKind::Queue } else { LaneKind::Service };
        self.lane(kind, name.as_str())
    }

    /// Returns the lane of a state, which may be the store, a service.
    fn state(&mut self, name: Name) -> usize {
        let lanes = &self.diagram.lanes;
        let service = |lane: &Lane| lane.kind == LaneKind::Service && lane.name == name.as_str();
        lanes.iter().position(service).unwrap_or_else(|| self.lane(LaneKind::State, name.as_str()))
    }

    fn lane_of(&mut self, actor: Actor) -> usize {
        match (self.lanes.get(&actor), actor) {
            (Some(lane), _) => *lane,
            (None, Actor::Test) => self.lane(LaneKind::Test, "test"),
            (None, Actor::Process(name) | Actor::Task(name)) => self.lane(LaneKind::Worker, name.as_str()),
            (None, Actor::Attempt { .. }) => self.lane(LaneKind::Worker, "worker"),
        }
    }

    fn push(&mut self, event: &Event, kind: StepKind, lane: usize, text: &str) -> &mut Step {
        let step = Step::new(kind, Moment(event.at).to_string(), lane);
        self.diagram.steps.push(Step { text: text.to_owned(), ..step });
        self.diagram.steps.last_mut().expect("one was just added")
    }

    /// Adds a step at the lane of the event's actor.
    fn note(&mut self, event: &Event, kind: StepKind, text: &str) {
        let lane = self.lane_of(event.by);
        self.push(event, kind, lane, text);
    }

    /// Returns the call that an actor waits for, if no other actor has made a step since.
    fn call(&mut self, by: Actor) -> Option<&mut Step> {
        let call = *self.calls.get(&by)?;
        let lane = self.diagram.steps[call].lane;
        let alone = self.diagram.steps[call + 1..].iter().all(|step| step.lane == lane);
        alone.then(|| &mut self.diagram.steps[call])
    }

    fn event(&mut self, event: &Event) {
        let here = self.diagram.steps.len();
        self.made.extend(crossing::step(event).map(|step| (here, step)));
        if let Some(pause) = self.pauses.remove(&event.by) {
            self.diagram.spans[pause].to = here.saturating_sub(1);
        }
        match &event.what {
            EventKind::Booted { process } => self.boot(event, *process),
            EventKind::Enqueued { job, kind, .. } => {
                let text = format!("job#{job} {}", short_kind(kind));
                let queue = self.lane(LaneKind::Queue, "queue");
                let call = self.call(event.by).filter(|call| call.to == Some(queue));
                match call {
                    Some(call) => call.detail = text,
                    None => drop(self.push(event, StepKind::Job, queue, &text)),
                }
            }
            EventKind::Started { kind, process, .. } => self.start(event, kind, *process),
            EventKind::Called { service, operation, request, .. } => {
                let (lane, to) = (self.lane_of(event.by), self.service(*service));
                let step = self.push(event, StepKind::Call, lane, operation.as_str());
                step.to = Some(to);
                step.detail = words::cut(&words::filled(request), MOST_DETAIL).into_owned();
                self.calls.insert(event.by, here);
            }
            EventKind::Effect { name, id, .. } => self.effect(event, name, id),
            EventKind::Replied { reply } => self.reply(event, reply.as_ref().err()),
            EventKind::Cancelled { service, operation, .. } => {
                self.note(event, StepKind::Note, &format!("{service}.{operation} is dropped"));
            }
            #[cfg(feature = "tracing")]
            EventKind::Said { .. } => {}
            EventKind::Remarked { text } => self.note(event, StepKind::Note, text),
            EventKind::Updated { name, .. } => {
                let (lane, to) = (self.lane_of(event.by), self.state(*name));
                let step = self.push(event, StepKind::Call, lane, "update");
                step.to = Some(to);
            }
            EventKind::Deviated { choice, instead, .. } => self.deviation(event, choice, *instead),
            EventKind::Lock { key, event: lock } => {
                self.note(event, StepKind::Note, &words::lock(key, lock));
            }
            EventKind::Saved { .. } => self.note(event, StepKind::Note, "cursor saved"),
            EventKind::DeliveredAgain => {}
            end => self.end(event, end),
        }
    }

    fn boot(&mut self, event: &Event, process: Name) {
        if !self.booted.contains(&process) {
            self.booted.push(process);
            return;
        }
        let lane = self.lane(LaneKind::Worker, process.as_str());
        self.push(event, StepKind::Note, lane, "restarts");
    }

    /// Begins an attempt, on the first lane of its process on which no other attempt runs.
    fn start(&mut self, event: &Event, kind: &str, process: Name) {
        let Actor::Attempt { job, attempt } = event.by else { return };
        let busy: Vec<usize> = self.attempts.values().map(|span| self.diagram.spans[*span].lane).collect();
        let mut slot = 1;
        let lane = loop {
            let name = match slot {
                1 => process.as_str().to_owned(),
                slot => format!("{process} (slot {slot})"),
            };
            let lane = self.lane(LaneKind::Worker, &name);
            if !busy.contains(&lane) || slot > MOST_LANES {
                break lane;
            }
            slot += 1;
        };
        let queue = self.lane(LaneKind::Queue, "queue");
        let from = self.diagram.steps.len();
        let step = self.push(event, StepKind::Start, queue, &format!("attempt {attempt}"));
        (step.to, step.detail) = (Some(lane), format!("job#{job} {}", short_kind(kind)));
        self.diagram.spans.push(Span { lane, from, to: from, kind: SpanKind::Open, job });
        self.attempts.insert(event.by, self.diagram.spans.len() - 1);
        self.lanes.insert(event.by, lane);
        self.processes.insert(event.by, process);
    }

    fn effect(&mut self, event: &Event, name: &str, id: &str) {
        let known = self.run.effects.iter().find(|effect| effect.id == id);
        let kind = known.map_or(EffectKind::Ordinary, |effect| effect_kind(self.run, effect));
        let drawn = DrawnEffect { kind, id: id.to_owned() };
        if let Some(call) = self.call(event.by) {
            call.effects.push(drawn);
            return;
        }
        let by_name = || Name::from(name.rsplit_once('.').map_or(name, |(service, _)| service).to_owned());
        let to = self.service(known.map_or_else(by_name, |effect| effect.service));
        let lane = self.lane_of(event.by);
        let operation = name.rsplit_once('.').map_or(name, |(_, operation)| operation);
        let step = self.push(event, StepKind::Call, lane, operation);
        (step.to, step.effects) = (Some(to), vec![drawn]);
    }

    fn reply(&mut self, event: &Event, error: Option<&String>) {
        let text = error.map(|error| words::cut(error, MOST_DETAIL).into_owned());
        if let Some(call) = self.call(event.by) {
            let ended = if error.is_some() { Reply::Error } else { Reply::Arrived };
            call.reply = Some(call.reply.unwrap_or(ended));
            if let Some(text) = text {
                call.detail = text;
            }
        } else if let Some(call) = self.calls.get(&event.by) {
            let Step { lane, to, .. } = self.diagram.steps[*call];
            let step = self.push(event, StepKind::Reply, to.unwrap_or(lane), "");
            step.to = Some(lane);
            step.reply = Some(if error.is_some() { Reply::Error } else { Reply::Arrived });
            step.detail = text.unwrap_or_default();
        }
        self.calls.remove(&event.by);
    }

    fn deviation(&mut self, event: &Event, choice: &Choice, instead: Option<Actor>) {
        let sentence = words::deviation(choice, instead);
        if let (Some(fault), Some(call)) = (choice.fault(), self.call(event.by)) {
            call.reply = reply_after(fault);
            call.deviation = Some(sentence);
            return;
        }
        let lane = self.lane_of(event.by);
        let is_end = choice.kind == DeviationKind::Crash && choice.ending() != Ending::Stop;
        let is_pause = choice.kind == DeviationKind::Preemption
            || matches!(choice.label.point, Point::Pause | Point::Stall);
        let here = self.diagram.steps.len();
        let kind = match (is_end, instead) {
            (true, _) => StepKind::Crash,
            (false, Some(_)) => StepKind::Switch,
            _ => StepKind::Note,
        };
        let to = instead.filter(|actor| self.lanes.contains_key(actor)).map(|actor| self.lane_of(actor));
        let step = self.push(event, kind, lane, "");
        (step.to, step.deviation) = (to.filter(|to| *to != lane), Some(sentence));
        if is_end {
            self.cut_call(event.by, choice.label.point);
            self.crash(event.by, here);
        } else if let (true, Some(span)) = (is_pause, self.attempts.get(&event.by)) {
            let job = self.diagram.spans[*span].job;
            self.diagram.spans.push(Span { lane, from: here, to: here, kind: SpanKind::Paused, job });
            self.pauses.insert(event.by, self.diagram.spans.len() - 1);
        }
    }

    /// Shows how far a call had come when its caller died.
    fn cut_call(&mut self, by: Actor, point: Point) {
        let reply = match point {
            Point::Before => Reply::Refused,
            Point::Happened => Reply::Lost,
            _ => return,
        };
        if let Some(call) = self.calls.get(&by) {
            self.diagram.steps[*call].reply = Some(reply);
        }
    }

    /// Ends all attempts of the process of an actor.
    fn crash(&mut self, by: Actor, here: usize) {
        let process = match by {
            Actor::Process(name) => Some(name),
            by => self.processes.get(&by).copied(),
        };
        let processes = &self.processes;
        let is_hit = |actor: &Actor| {
            *actor == by || process.is_some_and(|process| processes.get(actor) == Some(&process))
        };
        let hit: Vec<Actor> = self.attempts.keys().filter(|actor| is_hit(actor)).copied().collect();
        for actor in hit {
            self.finish(actor, SpanKind::Crashed, here);
            self.calls.remove(&actor);
        }
    }

    fn finish(&mut self, actor: Actor, kind: SpanKind, here: usize) {
        if let Some(span) = self.attempts.remove(&actor) {
            (self.diagram.spans[span].kind, self.diagram.spans[span].to) = (kind, here);
        }
    }

    fn end(&mut self, event: &Event, what: &EventKind) {
        let (kind, text) = match what {
            EventKind::Succeeded => (StepKind::Done, "done".to_owned()),
            EventKind::Failed { retry_at: Some(at), .. } => {
                (StepKind::Failed, format!("failed, retry at {}", Moment(*at)))
            }
            EventKind::Failed { retry_at: None, .. } => (StepKind::Failed, "failed: dead".to_owned()),
            EventKind::Discarded { .. } => (StepKind::Failed, "failed: discarded".to_owned()),
            EventKind::Snoozed { due } => (StepKind::Note, format!("snoozed until {}", Moment(*due))),
            EventKind::Interrupted => (StepKind::Note, "interrupted".to_owned()),
            EventKind::EndedLate { error: None } => (StepKind::Done, "done, too late".to_owned()),
            EventKind::EndedLate { error: Some(_) } => (StepKind::Failed, "failed, too late".to_owned()),
            EventKind::Exited { .. } => (StepKind::Failed, "the process exits".to_owned()),
            EventKind::Stopping { .. } => return self.note(event, StepKind::Note, "is asked to stop"),
            EventKind::Stopped { .. } => return self.note(event, StepKind::Note, "has stopped"),
            _ => return,
        };
        let here = self.diagram.steps.len();
        self.note(event, kind, &text);
        let ended = match kind {
            StepKind::Failed => SpanKind::Failed,
            _ => SpanKind::Done,
        };
        match what {
            EventKind::Exited { .. } => self.crash(event.by, here),
            _ => self.finish(event.by, ended, here),
        }
    }

    /// Connects the effect that happened again with its first time, and the steps between which another attempt came.
    fn link(&mut self) {
        let run = self.run;
        let mut again: Vec<&Effect> = Vec::new();
        for effect in run.effects.iter().filter(|effect| run.repeated.contains(&effect.id)) {
            if !again.contains(&effect) {
                again.push(effect);
            }
        }
        for effect in again.iter().take(MOST_LINKS) {
            let alike = || run.effects.iter().filter(|other| other == effect);
            let count = |step: &Step| {
                let is_one = |drawn: &DrawnEffect| alike().any(|other| other.id == drawn.id);
                step.effects.iter().filter(|drawn| is_one(drawn)).count()
            };
            let steps = &self.diagram.steps;
            let its: Vec<usize> = (0..steps.len()).filter(|at| count(&steps[*at]) > 0).collect();
            if let [from, .., to] = its[..] {
                let times = its.iter().map(|at| count(&steps[*at])).sum();
                let lane = steps[to].to.unwrap_or_default();
                self.diagram.links.push(Link { lane, from, to, times: Some(times) });
            }
        }
        if !again.is_empty() {
            return;
        }
        if run.findings.is_empty() {
            return;
        }
        for crossing in crossing::crossings(&run.events).iter().take(MOST_LINKS) {
            let at = |step: CrossingStep, after: usize| {
                self.made.iter().find(|(at, made)| *at >= after && *made == step).map(|(at, _)| *at)
            };
            let Some(from) = at(crossing.before, 0) else { continue };
            let Some(between) = at(crossing.between, from) else { continue };
            let Some(to) = at(crossing.after, between) else { continue };
            let step = &mut self.diagram.steps[between];
            step.is_between = true;
            let lane = step.to.unwrap_or_default();
            self.diagram.links.push(Link { lane, from, to, times: None });
        }
    }

    /// Adds what is wrong at the end, unless an effect in the diagram shows it.
    fn finding(&mut self, finding: &Finding) {
        let (kind, lane) = match finding {
            Finding::Repeated { .. }
            | Finding::Unexpected { .. }
            | Finding::Early { .. }
            | Finding::OutOfOrder { .. }
            | Finding::Unhygienic(_) => return,
            Finding::Missing { effect, .. } => (StepKind::Missing, self.service(effect.service)),
            Finding::Reused(reuse) => (StepKind::Missing, self.service(reuse.service)),
            Finding::State { name, .. } => (StepKind::Wrong, self.state(*name)),
            Finding::HalfWay { lacks, .. } => match &**lacks {
                Finding::Missing { effect, .. } => (StepKind::Missing, self.service(effect.service)),
                Finding::State { name, .. } => (StepKind::Wrong, self.state(*name)),
                _ => (StepKind::Wrong, 0),
            },
            Finding::RefusalIgnored { service, .. } => (StepKind::Wrong, self.service(*service)),
            Finding::Leaked(finding) => return self.finding(finding),
            Finding::Panicked(_) => (StepKind::Wrong, self.lane(LaneKind::Test, "test")),
            _ => (StepKind::Wrong, 0),
        };
        let step = Step::new(kind, "end".to_owned(), lane);
        let text = words::cut(&words::in_short(finding), MOST_DETAIL).into_owned();
        self.diagram.steps.push(Step { text, ..step });
    }
}

/// Classifies an effect of a run by the findings.
fn effect_kind(run: &ShownRun, effect: &Effect) -> EffectKind {
    if run.repeated.contains(&effect.id) {
        return EffectKind::Again;
    }
    let mut again = run.effects.iter().filter(|other| run.repeated.contains(&other.id));
    if again.any(|other| other == effect) {
        return EffectKind::First;
    }
    let is_wrong = |finding: &Finding| match finding {
        Finding::Unexpected { effect: wrong, .. }
        | Finding::Early { effect: wrong, .. }
        | Finding::OutOfOrder { effect: wrong, .. } => wrong == effect,
        _ => false,
    };
    match run.findings.iter().any(is_wrong) {
        true => EffectKind::Wrong,
        false => EffectKind::Ordinary,
    }
}

/// How a call with this fault ends. None: as if nothing were unusual.
fn reply_after(fault: Fault) -> Option<Reply> {
    match fault {
        Fault::ReplyLost
        | Fault::TimedOutButDone
        | Fault::ResetButDone
        | Fault::ClosedButDone
        | Fault::HalfReply => Some(Reply::Lost),
        Fault::StaleRead | Fault::Lost => None,
        _ => Some(Reply::Refused),
    }
}
