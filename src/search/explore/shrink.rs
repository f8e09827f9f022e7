//! Makes a failing run smaller: drops deviations as long as the run fails in the same way.

use crate::search::choice::DeviationSpec;

/// Returns the deviations that the failure needs. `fails` runs a scenario. If the scenario fails in the same way, it
/// returns the deviations that the run took.
///
/// Large pieces are dropped first, then smaller ones, and finally single deviations, so no remaining deviation can be
/// dropped alone (Zeller, Hildebrandt: *Simplifying and Isolating Failure-Inducing Input*, 2002). Later deviations go
/// first, because many of them exist only because of earlier ones.
pub(crate) fn shrink(
    mut deviations: Vec<DeviationSpec>,
    mut fails: impl FnMut(&[DeviationSpec]) -> Option<Vec<DeviationSpec>>,
) -> Vec<DeviationSpec> {
    let mut piece = (deviations.len() / 2).max(1);
    loop {
        let mut dropped = false;
        let mut end = deviations.len();
        while end > 0 {
            let start = end.saturating_sub(piece);
            // The run without any deviation is the reference run, which does not fail.
            if end - start < deviations.len() {
                let rest = [&deviations[..start], &deviations[end..]].concat();
                let mut left = fails(&rest);
                if left.is_none() && piece == 1 {
                    let earlier = one_attempt_earlier(&rest, start, &deviations[start].label);
                    left = earlier.and_then(|earlier| fails(&earlier));
                }
                if let Some(left) = left {
                    debug_assert!(
                        left.len() < deviations.len(),
                        "a run takes the deviations that it was given and no more"
                    );
                    (deviations, dropped) = (left, true);
                }
            }
            end = start.min(deviations.len());
        }
        match (piece, dropped) {
            (1, false) => return deviations,
            _ => piece = (piece / 2).max(1),
        }
    }
}

/// Moves the deviations from `start` on to an earlier attempt (number minus one) if they belong to the job of the
/// deviation that was dropped at `start`. Without that deviation the job may need one attempt fewer.
fn one_attempt_earlier(rest: &[DeviationSpec], start: usize, dropped: &str) -> Option<Vec<DeviationSpec>> {
    let (job, attempt, _) = attempt_of(dropped)?;
    let mut is_other = false;
    let (before, after) = rest.split_at(start);
    let after = after.iter().map(|wanted| {
        let later = attempt_of(&wanted.label).filter(|(of, number, _)| *of == job && *number > attempt);
        is_other |= later.is_some();
        let label = later.map(|(job, number, point)| format!("{job}.{}{point}", number - 1));
        DeviationSpec { label: label.unwrap_or_else(|| wanted.label.clone()), ..wanted.clone() }
    });
    let all = before.iter().cloned().chain(after).collect();
    is_other.then_some(all)
}

/// Splits `job#3.2:end` into `job#3`, 2 and `:end`.
fn attempt_of(label: &str) -> Option<(&str, u32, &str)> {
    let (job, rest) = label.strip_prefix("job#").and_then(|_| label.split_once('.'))?;
    let digits = rest.find(|c: char| !c.is_ascii_digit())?;
    let (number, point) = rest.split_at(digits);
    Some((job, number.parse().ok()?, point))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::choice::{Actor, Chooser, DeviationKind, Label, Options, Plan, Point, Site};
    use crate::search::scenario::Scenario;

    const POINTS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

    fn choose(chooser: &mut Chooser, point: &'static str) -> bool {
        let site = Site::Call { service: "t".into(), operation: point.into() };
        let label = Label { actor: Actor::Test, site, point: Point::Before };
        chooser.choose(DeviationKind::Crash, label, Options::Crash) == 1
    }

    /// Shrinks the run in which everything goes wrong, and counts the runs that this takes.
    fn shrunk(program: impl Fn(&mut Chooser) -> bool) -> (String, usize) {
        let run = |plan| {
            let mut chooser = Chooser::new(plan);
            let failed = program(&mut chooser);
            let (record, divergence, _) = chooser.finish();
            (failed && divergence.is_none()).then(|| Scenario::of_record("t", &record))
        };
        let scenario: Scenario =
            format!("t {}", POINTS.map(|p| format!("test/t.{p}:before=crash")).join(" ")).parse().unwrap();
        let all = run(Plan::Wanted(scenario.wanted().to_vec())).expect("the run to be shrunk fails");
        let mut runs = 0;
        let left = shrink(all.wanted().to_vec(), |wanted| {
            runs += 1;
            run(Plan::Wanted(wanted.to_vec())).map(|scenario| scenario.wanted().to_vec())
        });
        let point = |label: &str| label.trim_start_matches("test/t.").trim_end_matches(":before").to_owned();
        (left.iter().map(|wanted| point(&wanted.label)).collect(), runs)
    }

    #[test]
    fn what_the_failure_does_not_need_is_dropped() {
        let met = |chooser: &mut Chooser| POINTS.map(|point| choose(chooser, point));
        assert_eq!(shrunk(|chooser| met(chooser)[6]).0, "g");
        assert_eq!(
            shrunk(|chooser| {
                let met = met(chooser);
                met[1] && met[4]
            })
            .0,
            "be"
        );
        assert_eq!(shrunk(|chooser| met(chooser).iter().filter(|met| **met).count() >= 3).0, "abc");
        assert_eq!(shrunk(|chooser| met(chooser).iter().all(|met| *met)).0, "abcdefgh");
    }

    #[test]
    fn a_deviation_that_only_another_one_makes_possible_keeps_it() {
        // A run reaches `g` only after a crash at `b`. Without `b` there is no `g`, and such a run does not fail.
        let (left, _) = shrunk(|chooser| {
            let after_b = POINTS[..2].iter().map(|point| choose(chooser, point)).last().unwrap();
            for point in &POINTS[2..6] {
                choose(chooser, point);
            }
            let failed = after_b && choose(chooser, "g");
            choose(chooser, "h");
            failed
        });
        assert_eq!(left, "bg");
    }

    #[test]
    fn an_attempt_less_is_no_reason_to_keep_what_made_it_necessary() {
        let wanted = |text: &str| {
            let scenario: Scenario = format!("t {text}").parse().unwrap();
            scenario.wanted().to_vec()
        };
        // The failure needs two crashes of job 2, in any attempts. Each attempt after the first needs a crash before
        // it.
        let fails = |deviations: &[DeviationSpec]| {
            let attempts: Vec<_> = deviations.iter().filter_map(|d| attempt_of(&d.label)).collect();
            let of_two = attempts.iter().filter(|(job, ..)| *job == "job#2").map(|(_, number, _)| *number);
            let crashes =
                deviations.iter().filter(|d| d.label.starts_with("job#2") && d.option == "crash").count();
            (of_two.eq(1..=attempts.len() as u32 - 1) && crashes >= 2).then(|| deviations.to_vec())
        };
        let drawn =
            "job#1.1:end=crash job#2.1:end=crash job#2.2/a.b:call=unavailable job#2.3/a.b:before=crash";
        assert!(fails(&wanted(drawn)).is_some());
        let left = shrink(wanted(drawn), fails);
        assert_eq!(left, wanted("job#1.1:end=crash job#2.1:end=crash job#2.2/a.b:before=crash"));
    }

    #[test]
    fn large_pieces_go_first() {
        let (left, runs) = shrunk(|chooser| POINTS.map(|point| choose(chooser, point))[0]);
        assert_eq!(left, "a");
        assert!(runs <= 4, "{runs} runs");
    }

    #[test]
    fn no_single_deviation_of_what_is_left_can_be_dropped() {
        // Two of three adjacent ones: there is more than one smallest result, and each of them is small enough.
        let fails = |met: &[bool; 8]| met.windows(3).any(|three| three.iter().filter(|m| **m).count() >= 2);
        let (left, _) = shrunk(|chooser| fails(&POINTS.map(|point| choose(chooser, point))));
        assert_eq!(left.len(), 2, "{left}");
    }
}
