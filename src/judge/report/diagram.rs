//! A run as a diagram: a lane for each part of the world, and the steps between the lanes in virtual time.

mod drawing;

use super::ShownRun;
use crate::search::choice::Name;

/// A run as a diagram.
#[derive(Clone, Debug, Default)]
pub(crate) struct Diagram {
    /// The queue, then processes and tasks, then services, then state.
    pub(crate) lanes: Vec<Lane>,
    pub(crate) steps: Vec<Step>,
    /// The parts of lanes in which an attempt runs, or is paused. They refer to steps by their positions.
    pub(crate) spans: Vec<Span>,
    pub(crate) links: Vec<Link>,
}

/// Connects two steps: an effect that happened again with its first time, or two steps of one attempt with those that
/// another one made in between.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// The lane beside which it is drawn.
    pub(crate) lane: usize,
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// The number of times that the effect happened.
    pub(crate) times: Option<usize>,
}

/// A part of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) kind: LaneKind,
    pub(crate) name: String,
}

/// The order of kinds is that of the lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LaneKind {
    Test,
    Queue,
    /// A process, one of its slots, or a task.
    Worker,
    Service,
    State,
}

/// A step of a run.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The moment, such as `t+19s`.
    pub(crate) at: String,
    pub(crate) kind: StepKind,
    /// The lane on which the step is, or from which its arrow starts.
    pub(crate) lane: usize,
    /// The lane at which its arrow ends.
    pub(crate) to: Option<usize>,
    /// A few words: the operation of a call.
    pub(crate) text: String,
    /// The request of a call, or an error.
    pub(crate) detail: String,
    /// The deviation that was injected here.
    pub(crate) deviation: Option<String>,
    /// How a call ended, if nothing else happened before.
    pub(crate) reply: Option<Reply>,
    /// The effects that happened, on the lane `to`.
    pub(crate) effects: Vec<DrawnEffect>,
    /// Whether the step came between two steps of another attempt, because of a deviation.
    pub(crate) is_between: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepKind {
    /// A job is in the queue.
    Job,
    /// An attempt begins.
    Start,
    Call,
    /// A reply that comes after other steps.
    Reply,
    /// A process dies.
    Crash,
    /// Another task runs instead.
    Switch,
    /// An attempt ends well.
    Done,
    /// An attempt fails.
    Failed,
    Note,
    /// An effect that never happened, or happened too rarely.
    Missing,
    /// A part of the outcome that is not as expected.
    Wrong,
    /// This many steps are left out.
    Gap,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Arrived,
    /// An error came back.
    Error,
    /// The call happened, and its reply never arrived.
    Lost,
    /// The call never happened.
    Refused,
}

/// An effect in a diagram.
#[derive(Clone, Debug)]
pub(crate) struct DrawnEffect {
    pub(crate) kind: EffectKind,
    pub(crate) id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EffectKind {
    Ordinary,
    /// It happens again later, which it should not.
    First,
    /// It has happened before, and should not happen again.
    Again,
    /// It should not have happened like this.
    Wrong,
}

/// A part of a lane.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) lane: usize,
    /// The position of the first step.
    pub(crate) from: usize,
    /// The position of the last step.
    pub(crate) to: usize,
    pub(crate) kind: SpanKind,
    pub(crate) job: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanKind {
    Done,
    Failed,
    Crashed,
    /// The attempt has not ended.
    Open,
    /// The attempt waits while another one runs.
    Paused,
}

/// The number of effects that should have happened, and that did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) what: String,
    pub(crate) expected: usize,
    pub(crate) actual: usize,
}

impl Diagram {
    /// Draws a run with at most this number of steps. Steps on which the outcome depends are left out last.
    pub(crate) fn of(run: &ShownRun, most: usize) -> Self {
        let mut diagram = drawing::draw(run);
        diagram.sort_lanes();
        diagram.shorten(most);
        diagram
    }

    /// Puts the lanes in the order of their kinds.
    fn sort_lanes(&mut self) {
        let mut order: Vec<usize> = (0..self.lanes.len()).collect();
        order.sort_by_key(|&at| self.lanes[at].kind);
        let place = |lane: usize| order.iter().position(|&at| at == lane).unwrap_or(lane);
        for step in &mut self.steps {
            step.lane = place(step.lane);
            step.to = step.to.map(place);
        }
        for span in &mut self.spans {
            span.lane = place(span.lane);
        }
        for link in &mut self.links {
            link.lane = place(link.lane);
        }
        self.lanes = order.iter().map(|&at| self.lanes[at].clone()).collect();
    }

    /// Leaves steps out in the middle.
    fn shorten(&mut self, most: usize) {
        let count = self.steps.len();
        if count <= most {
            return;
        }
        let decides: Vec<bool> = self.steps.iter().map(Step::decides).collect();
        let (head, tail) = (most / 2, count - most / 4);
        let is_near = |at: usize| decides[at.saturating_sub(1)..(at + 2).min(count)].contains(&true);
        let mut kept: Vec<bool> = (0..count).map(|at| at < head || at >= tail || is_near(at)).collect();
        let mut left = kept.iter().filter(|kept| **kept).count();
        // A run may decide everywhere.
        for at in (head..tail).rev() {
            if left > most * 2 && kept[at] {
                kept[at] = false;
                left -= 1;
            }
        }
        let mut steps: Vec<Step> = Vec::new();
        let mut places = Vec::with_capacity(count);
        let mut hidden = 0;
        for (at, step) in std::mem::take(&mut self.steps).into_iter().enumerate() {
            if kept[at] {
                hidden = 0;
                places.push(steps.len());
                steps.push(step);
                continue;
            }
            hidden += 1;
            if hidden == 1 {
                steps.push(Step::new(StepKind::Gap, String::new(), 0));
            }
            places.push(steps.len() - 1);
            let gap = steps.last_mut().expect("one was just added");
            gap.text = format!("… {hidden} more step{}", if hidden == 1 { "" } else { "s" });
        }
        self.steps = steps;
        for span in &mut self.spans {
            (span.from, span.to) = (places[span.from], places[span.to]);
        }
        for link in &mut self.links {
            (link.from, link.to) = (places[link.from], places[link.to]);
        }
        // A part of a lane that is left out as a whole.
        self.spans.retain(|span| span.from < span.to || self.steps[span.from].kind != StepKind::Gap);
    }
}

impl Step {
    fn new(kind: StepKind, at: String, lane: usize) -> Self {
        let (text, detail, effects) = (String::new(), String::new(), Vec::new());
        let (to, deviation, reply, is_between) = (None, None, None, false);
        Self { at, kind, lane, to, text, detail, deviation, reply, effects, is_between }
    }

    /// Whether the outcome depends on the step.
    fn decides(&self) -> bool {
        let is_usual = |effect: &DrawnEffect| effect.kind == EffectKind::Ordinary;
        let is_end = matches!(self.kind, StepKind::Missing | StepKind::Wrong | StepKind::Crash);
        self.deviation.is_some() || self.is_between || is_end || !self.effects.iter().all(is_usual)
    }
}

impl ShownRun {
    /// Returns how often the effect of the first finding should have happened, and did.
    pub(crate) fn count(&self) -> Option<Count> {
        use crate::judge::oracle::Finding;
        match self.findings.first()? {
            Finding::Repeated { effect, expected, actual }
            | Finding::Missing { effect, expected, actual } => {
                Some(Count { what: effect.name(), expected: *expected, actual: *actual })
            }
            _ => None,
        }
    }
}

/// The name of the queue in calls.
fn is_queue(service: Name) -> bool {
    service.as_str() == "queue"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_the_steps_on_which_its_outcome_depends() {
        let step = |at: usize| {
            let kind = if at == 250 { StepKind::Crash } else { StepKind::Note };
            Step { text: at.to_string(), ..Step::new(kind, String::new(), 0) }
        };
        let span = |from, to| Span { lane: 0, from, to, kind: SpanKind::Done, job: 1 };
        let mut diagram = Diagram {
            lanes: Vec::new(),
            steps: (0..500).map(step).collect(),
            spans: vec![span(0, 499), span(100, 110), span(250, 300)],
            links: vec![Link { lane: 0, from: 250, to: 499, times: None }],
        };
        diagram.shorten(8);
        let texts: Vec<_> = diagram.steps.iter().map(|step| &*step.text).collect();
        assert_eq!(
            texts,
            ["0", "1", "2", "3", "… 245 more steps", "249", "250", "251", "… 246 more steps", "498", "499"]
        );
        let spans: Vec<_> = diagram.spans.iter().map(|span| (span.from, span.to)).collect();
        assert_eq!(spans, [(0, 10), (6, 8)], "a span inside a gap is left out");
        assert_eq!((diagram.links[0].from, diagram.links[0].to), (6, 10));
    }
}
