//! Makes a failing run smaller: drops deviations as long as it fails in the same way.

use crate::choice::Wanted;

/// The deviations without those that the failure does not need. `fails` runs a scenario, and returns the deviations
/// that it took if it fails in the same way; one that cannot be run as it stands does not.
///
/// First large pieces are dropped, then smaller ones, in the end single ones: none of what is left can be dropped alone
/// (Zeller, Hildebrandt: *Simplifying and Isolating Failure-Inducing Input*, 2002). What comes later goes first: much of
/// it is only there because of what came before.
pub(crate) fn shrink(
    mut deviations: Vec<Wanted>,
    mut fails: impl FnMut(&[Wanted]) -> Option<Vec<Wanted>>,
) -> Vec<Wanted> {
    let mut piece = (deviations.len() / 2).max(1);
    loop {
        let mut dropped = false;
        let mut end = deviations.len();
        while end > 0 {
            let start = end.saturating_sub(piece);
            // The run without any deviation is the reference run, and that is fine.
            if end - start < deviations.len() {
                let rest = [&deviations[..start], &deviations[end..]].concat();
                if let Some(left) = fails(&rest) {
                    debug_assert!(left.len() < deviations.len(), "a run takes what it was told and no more");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::{Actor, Chooser, Kind, Label, Options, Plan, Site};
    use crate::scenario::Scenario;

    const POINTS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

    fn choose(chooser: &mut Chooser, point: &'static str) -> bool {
        let label = Label { actor: Actor::Test, site: Site::Attempt, point };
        chooser.choose(Kind::Crash, label, Options::Named(&["live", "crash"])) == 1
    }

    /// Shrinks the run in which everything goes wrong, and counts how many runs that takes.
    fn shrunk(program: impl Fn(&mut Chooser) -> bool) -> (String, usize) {
        let run = |plan| {
            let mut chooser = Chooser::new(plan);
            let failed = program(&mut chooser);
            let (record, divergence, _) = chooser.finish();
            (failed && divergence.is_none()).then(|| Scenario::of_record("t", &record))
        };
        let scenario: Scenario =
            format!("t {}", POINTS.map(|p| format!("test:{p}=crash")).join(" ")).parse().unwrap();
        let all = run(Plan::Wanted(scenario.wanted().to_vec())).expect("the run to be shrunk fails");
        let mut runs = 0;
        let left = shrink(all.wanted().to_vec(), |wanted| {
            runs += 1;
            run(Plan::Wanted(wanted.to_vec())).map(|scenario| scenario.wanted().to_vec())
        });
        (left.iter().map(|w| w.label.trim_start_matches("test:")).collect(), runs)
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
        // `g` is met after a crash at `b` alone: without `b` there is no `g`, and such a run fails in no way at all.
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
    fn large_pieces_go_first() {
        let (left, runs) = shrunk(|chooser| POINTS.map(|point| choose(chooser, point))[0]);
        assert_eq!(left, "a");
        assert!(runs <= 4, "{runs} runs");
    }

    #[test]
    fn no_single_deviation_of_what_is_left_can_be_dropped() {
        // Two of three neighbours: more than one way to be small, and each of them is small enough.
        let fails = |met: &[bool; 8]| met.windows(3).any(|three| three.iter().filter(|m| **m).count() >= 2);
        let (left, _) = shrunk(|chooser| fails(&POINTS.map(|point| choose(chooser, point))));
        assert_eq!(left.len(), 2, "{left}");
    }
}
