//! Calls that keep failing. A call that an attempt repeats because it has just failed may fail again, and so may the next
//! ones of that attempt. This is one deviation, however many of these calls are made.

use crate::search::choice::{Actor, Fault, Site};

/// How many calls fail of one deviation: more than most code tries in a row, and few enough for code that tries until it has
/// an answer to get one.
const CALLS: u32 = 8;

/// An actor and the call that it makes.
type By = (Actor, Site);

/// The call that has failed last, and whether it goes on failing.
#[derive(Debug, Default)]
pub(super) struct Failing {
    last: Option<(By, Fault)>,
    /// How many calls are still to fail.
    left: u32,
}

impl Failing {
    /// A call fails, by a choice.
    pub(super) fn begins(&mut self, by: By, fault: Fault) {
        let once = fault.once();
        self.left = if once == fault { 0 } else { CALLS - 1 };
        self.last = Some((by, once));
    }

    /// Returns the fault of a call that keeps failing, without a choice.
    pub(super) fn goes_on_at(&mut self, by: By) -> Option<Fault> {
        let (_, fault) = self.last.filter(|(last, _)| *last == by && self.left > 0)?;
        self.left -= 1;
        Some(fault)
    }

    /// Returns the lasting fault that a call may have, if it is the call that failed last.
    pub(super) fn lasting(&self, by: By) -> Option<Fault> {
        let (_, fault) = self.last.filter(|(last, _)| *last == by)?;
        fault.lasting()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(attempt: u32, operation: &'static str) -> By {
        let site = Site::Call { service: "queue".into(), operation: operation.into() };
        (Actor::Attempt { job: 1, attempt }, site)
    }

    #[test]
    fn only_the_same_call_of_the_same_attempt_goes_on_failing_and_not_for_ever() {
        let mut failing = Failing::default();
        failing.begins(by(1, "enqueue"), Fault::Refused);
        assert_eq!(failing.goes_on_at(by(1, "enqueue")), None, "once is once");
        assert_eq!(failing.lasting(by(2, "enqueue")), None);
        assert_eq!(failing.lasting(by(1, "put")), None);
        assert_eq!(failing.lasting(by(1, "enqueue")), Some(Fault::StillRefused));
        failing.begins(by(1, "enqueue"), Fault::StillRefused);
        assert_eq!(failing.goes_on_at(by(1, "put")), None);
        let again = std::iter::from_fn(|| failing.goes_on_at(by(1, "enqueue")));
        assert_eq!(again.collect::<Vec<_>>(), [Fault::Refused; 7]);
    }

    #[test]
    fn a_lost_reply_does_not_last() {
        let mut failing = Failing::default();
        failing.begins(by(1, "enqueue"), Fault::ReplyLost);
        assert_eq!(failing.lasting(by(1, "enqueue")), None);
    }
}
