//! Draws a diagram as a grid: two columns for each lane, and one row or two for each step.

use super::markup::Markup;
use crate::judge::report::diagram::{
    Diagram, DrawnEffect, EffectKind, LaneKind, Link, Reply, SpanKind, Step, StepKind,
};

/// The first row of the steps. The names of the lanes are above.
const FIRST_ROW: usize = 2;

/// Returns the place of an element in a grid. The lines are counted from 1.
fn area(rows: (usize, usize), columns: (usize, usize)) -> String {
    format!("grid-area:{}/{}/{}/{}", rows.0, columns.0, rows.1, columns.1)
}

/// The line of the grid in the middle of a lane.
fn middle(lane: usize) -> usize {
    3 + 2 * lane
}

struct Grid<'d> {
    diagram: &'d Diagram,
    /// The row of each step, and the one after the last.
    rows: Vec<usize>,
}

/// Draws a diagram. `label` describes it for those who cannot see it.
pub(super) fn draw(diagram: &Diagram, label: &str, html: &mut Markup) {
    if diagram.steps.is_empty() {
        return;
    }
    let mut rows = vec![FIRST_ROW];
    for step in &diagram.steps {
        let last = rows[rows.len() - 1];
        rows.push(last + 1 + usize::from(step.deviation.is_some()));
    }
    let grid = Grid { diagram, rows };
    html.element(
        "div",
        &[("class", "d"), ("role", "group"), ("tabindex", "0"), ("aria-label", label)],
        |html| {
            let columns = format!("--n:{}", 2 * diagram.lanes.len());
            html.element("div", &[("class", "g"), ("style", &columns)], |html| grid.draw(html));
        },
    );
}

impl Grid<'_> {
    fn draw(&self, html: &mut Markup) {
        let end = self.rows[self.diagram.steps.len()];
        for (at, step) in self.diagram.steps.iter().enumerate() {
            if step.deviation.is_some() {
                put(
                    html,
                    "v",
                    &area((self.rows[at], self.rows[at + 1]), (1, 2 * self.diagram.lanes.len() + 2)),
                );
            }
        }
        for (at, lane) in self.diagram.lanes.iter().enumerate() {
            let (class, icon) = match lane.kind {
                LaneKind::Test => ("h ht", TEST),
                LaneKind::Queue => ("h hq", QUEUE),
                LaneKind::Worker => ("h hw", WORKER),
                LaneKind::Service => ("h hs", SERVICE),
                LaneKind::State => ("h hd", STATE),
            };
            let place = area((1, 2), (middle(at) - 1, middle(at) + 1));
            html.element("div", &[("class", class), ("style", &place)], |html| {
                html.constant(icon);
                html.leaf("span", "", &lane.name);
            });
            put(html, "l", &area((FIRST_ROW, end), (middle(at), middle(at) + 1)));
        }
        for span in &self.diagram.spans {
            let class = match (span.kind, span.job % 2) {
                (SpanKind::Crashed, _) => "b bx",
                (SpanKind::Paused, _) => "b bp",
                (SpanKind::Failed, _) => "b bf",
                (_, 1) => "b",
                _ => "b b2",
            };
            let rows = (self.rows[span.from], self.rows[span.to] + 1);
            put(html, class, &area(rows, (middle(span.lane) - 1, middle(span.lane) + 1)));
        }
        self.diagram.links.iter().for_each(|link| self.link(link, html));
        let mut moment = "";
        for (at, step) in self.diagram.steps.iter().enumerate() {
            if step.at != moment && !step.at.is_empty() {
                moment = &step.at;
                let place = area((self.rows[at], self.rows[at] + 1), (1, 2));
                html.element("div", &[("class", "t"), ("style", &place)], |html| html.text(moment));
                if at > 0 {
                    let whole = (1, 2 * self.diagram.lanes.len() + 2);
                    put(html, "tl", &area((self.rows[at], self.rows[at] + 1), whole));
                }
            }
            self.step(step, self.rows[at], html);
        }
    }

    fn link(&self, link: &Link, html: &mut Markup) {
        let rows = (self.rows[link.from], self.rows[link.to] + 1);
        let place = area(rows, (middle(link.lane), middle(link.lane) + 1));
        html.element("div", &[("class", "k"), ("style", &place)], |html| match link.times {
            Some(times) => html.leaf("b", "", &format!("×{times}")),
            None => html.constant("<b title=\"another attempt came in between\">⇄</b>"),
        });
    }

    fn step(&self, step: &Step, row: usize, html: &mut Markup) {
        let rows = (row, row + 1);
        let own = area(rows, (middle(step.lane) - 1, middle(step.lane) + 1));
        match (step.kind, step.to.filter(|to| *to != step.lane)) {
            (StepKind::Start | StepKind::Call | StepKind::Reply | StepKind::Switch, Some(to)) => {
                self.arrow(step, to, row, html);
            }
            (StepKind::Crash, _) => icon(html, "x", &own, CRASH),
            (StepKind::Switch, None) => icon(html, "x", &own, SWITCH),
            (StepKind::Missing, _) => {
                icon(html, "m", &own, MISSING);
                self.beside(step, "n bad", row, html);
            }
            (StepKind::Wrong, _) => {
                icon(html, "m w", &own, WRONG);
                self.beside(step, "n bad", row, html);
            }
            (StepKind::Done, _) => self.beside(step, "n ok", row, html),
            (StepKind::Failed, _) => self.beside(step, "n fail", row, html),
            (StepKind::Gap, _) => {
                let whole = area(rows, (2, 2 * self.diagram.lanes.len() + 2));
                html.element("div", &[("class", "gap"), ("style", &whole)], |html| html.text(&step.text));
            }
            (StepKind::Note | StepKind::Call, _) if step.deviation.is_some() => {
                icon(html, "x", &own, DEVIATION);
            }
            _ => self.beside(step, "n", row, html),
        }
        if let Some(deviation) = &step.deviation {
            let below = area((row + 1, row + 2), (2, 2 * self.diagram.lanes.len() + 2));
            html.element("div", &[("class", "vt"), ("style", &below)], |html| {
                html.leaf("span", "", deviation)
            });
        }
    }

    fn arrow(&self, step: &Step, to: usize, row: usize, html: &mut Markup) {
        let (left, right) = (step.lane.min(to), step.lane.max(to));
        let place = area((row, row + 1), (middle(left), middle(right)));
        let mut class = "a ".to_owned();
        class.push_str(if step.lane < to { "ar" } else { "al" });
        class.push_str(match (step.kind, step.reply) {
            (StepKind::Start, _) => " st",
            (StepKind::Switch, _) => " sw",
            (StepKind::Reply, Some(Reply::Error)) => " re err",
            (StepKind::Reply, _) => " re",
            (_, Some(Reply::Lost)) => " lost",
            (_, Some(Reply::Refused)) => " refused",
            (_, Some(Reply::Error)) => " err",
            (_, Some(Reply::Arrived)) => " both",
            (_, None) => "",
        });
        if step.is_between {
            class.push_str(" btw");
        }
        html.element("div", &[("class", &class), ("style", &place), ("title", &step.detail)], |html| {
            html.leaf("b", "", &step.text);
            if !step.detail.is_empty() {
                html.leaf("small", "", &step.detail);
            }
            html.constant("<i></i>");
            if matches!(step.reply, Some(Reply::Lost | Reply::Refused)) {
                html.constant(CUT);
            }
        });
        for effect in &step.effects {
            self.effect(effect, step.reply == Some(Reply::Lost), (to, row), html);
        }
    }

    fn effect(&self, effect: &DrawnEffect, is_lost: bool, (lane, row): (usize, usize), html: &mut Markup) {
        let (class, label) = match effect.kind {
            EffectKind::Ordinary => ("e", "effect"),
            EffectKind::First => ("e e1", "effect, which happens again later"),
            EffectKind::Again => ("e e2", "the same effect again"),
            EffectKind::Wrong => ("e e2", "an effect that should not have happened like this"),
        };
        let class = format!("{class}{}", if is_lost { " up" } else { "" });
        let place = area((row, row + 1), (middle(lane) - 1, middle(lane) + 1));
        let label = format!("{label}: {}", effect.id);
        let attributes = [
            ("class", class.as_str()),
            ("style", &*place),
            ("role", "img"),
            ("aria-label", &*label),
            ("title", &*label),
        ];
        html.element("div", &attributes, |_| {});
    }

    /// Writes a text beside its lane, on the side with more room.
    fn beside(&self, step: &Step, class: &str, row: usize, html: &mut Markup) {
        let lanes = self.diagram.lanes.len();
        let is_left = step.lane * 2 >= lanes;
        let columns = match is_left {
            true => (2, middle(step.lane)),
            false => (middle(step.lane), 2 * lanes + 2),
        };
        let class = format!("{class}{}", if is_left { " left" } else { "" });
        let place = area((row, row + 1), columns);
        html.element("div", &[("class", &class), ("style", &place)], |html| {
            html.leaf("span", "", &step.text)
        });
    }
}

fn put(html: &mut Markup, class: &str, place: &str) {
    html.element("div", &[("class", class), ("style", place)], |_| {});
}

fn icon(html: &mut Markup, class: &str, place: &str, icon: &'static str) {
    html.element("div", &[("class", class), ("style", place)], |html| html.constant(icon));
}

const TEST: &str =
    "<svg viewBox=\"0 0 16 16\" aria-hidden=\"true\"><path d=\"M6 2h4M7 2v4l-4 8h10L9 6V2\"/></svg>";
const QUEUE: &str =
    "<svg viewBox=\"0 0 16 16\" aria-hidden=\"true\"><path d=\"M2 4h12M2 8h12M2 12h12\"/></svg>";
const WORKER: &str = "<svg viewBox=\"0 0 16 16\" aria-hidden=\"true\"><circle cx=\"8\" cy=\"8\" r=\"3\"/><path d=\"M8 1v3M8 12v3M1 8h3M12 8h3M3 3l2 2M11 11l2 2M13 3l-2 2M5 11l-2 2\"/></svg>";
const SERVICE: &str = "<svg viewBox=\"0 0 16 16\" aria-hidden=\"true\"><path d=\"M4 12h8a3 3 0 0 0 0-6 4 4 0 0 0-8 0 3 3 0 0 0 0 6z\"/></svg>";
const STATE: &str = "<svg viewBox=\"0 0 16 16\" aria-hidden=\"true\"><path d=\"M3 4a5 2 0 0 1 10 0v8a5 2 0 0 1-10 0zM3 4a5 2 0 0 0 10 0\"/></svg>";
const CRASH: &str = "<svg viewBox=\"0 0 24 24\" role=\"img\" aria-label=\"crash\"><path class=\"f\" d=\"M12 0l3 7 7-3-3 7 5 3-6 3 2 7-7-4-5 4 1-7-7-2 6-4-4-6 7 2z\"/></svg>";
const SWITCH: &str = "<svg viewBox=\"0 0 24 24\" role=\"img\" aria-label=\"paused\"><circle class=\"f\" cx=\"12\" cy=\"12\" r=\"11\"/><path class=\"c\" d=\"M9 7v10M15 7v10\"/></svg>";
const DEVIATION: &str = "<svg viewBox=\"0 0 24 24\" role=\"img\" aria-label=\"deviation\"><path class=\"f\" d=\"M12 1l11 21H1z\"/><path class=\"c\" d=\"M12 9v6M12 18v1\"/></svg>";
const MISSING: &str = "<svg viewBox=\"0 0 24 24\" role=\"img\" aria-label=\"missing\"><circle class=\"o\" cx=\"12\" cy=\"12\" r=\"10\"/><path d=\"M8 8l8 8M16 8l-8 8\"/></svg>";
const WRONG: &str = "<svg viewBox=\"0 0 24 24\" role=\"img\" aria-label=\"wrong\"><rect class=\"f\" x=\"1\" y=\"1\" width=\"22\" height=\"22\" rx=\"4\"/><path class=\"c\" d=\"M6 9.500h12M6 14.500h12M16 5l-8 14\"/></svg>";
const CUT: &str = "<svg class=\"cut\" viewBox=\"0 0 24 24\" role=\"img\" aria-label=\"lost\"><circle class=\"f\" cx=\"12\" cy=\"12\" r=\"11\"/><path class=\"c\" d=\"M7 7l10 10M17 7L7 17\"/></svg>";
