//! The ways in which a call can fail.

/// How a call can fail, whatever is behind it.
///
/// The order is that of the options of a choice, which are counted: a new fault goes where no kept scenario counts past
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fault {
    /// The service answers 503; nothing happened.
    Unavailable,
    /// An external system is not reached; nothing happened.
    Unreachable,
    /// The queue does not take the job; nothing happened.
    Refused,
    /// It happened, and the caller sees an error.
    ReplyLost,
    /// The service answers 429; nothing happened.
    Throttled,
    /// The client's own timeout; nothing happened.
    TimedOut,
    /// The client's own timeout; it happened all the same.
    TimedOutButDone,
    /// A look-up that does not yet show the newest records. The caller sees nothing unusual.
    StaleRead,
    /// The service answers 503 from here on for a stretch of time; nothing happens.
    Outage,
    /// The service answers 503 from here on until the run ends; nothing happens.
    OutageForEver,
    /// The connection breaks before the request is read; nothing happens.
    Reset,
    /// It happens, and then the connection breaks.
    ResetButDone,
    /// It happens, and then the connection is closed without an answer.
    ClosedButDone,
    /// It happens, and the connection is closed in the middle of the answer.
    HalfReply,
    /// A call that was answered 503 before, in the same attempt, is again, and so are the next ones.
    StillUnavailable,
    /// An external system that was not reached before, in the same attempt, is not again, nor by the next calls.
    StillUnreachable,
    /// The queue, which did not take a job of the same attempt before, does not again, nor at the next calls.
    StillRefused,
}

impl Fault {
    /// All there are, in the order of options.
    pub(crate) const ALL: [Self; 17] = [
        Fault::Unavailable,
        Fault::Unreachable,
        Fault::Refused,
        Fault::ReplyLost,
        Fault::Throttled,
        Fault::TimedOut,
        Fault::TimedOutButDone,
        Fault::StaleRead,
        Fault::Outage,
        Fault::OutageForEver,
        Fault::Reset,
        Fault::ResetButDone,
        Fault::ClosedButDone,
        Fault::HalfReply,
        Fault::StillUnavailable,
        Fault::StillUnreachable,
        Fault::StillRefused,
    ];

    /// The text that stands for it in scenarios.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Fault::Unavailable => "unavailable",
            Fault::Unreachable => "unreachable",
            Fault::Refused => "refused",
            Fault::ReplyLost => "reply-lost",
            Fault::Throttled => "throttled",
            Fault::TimedOut => "timed-out",
            Fault::TimedOutButDone => "timed-out-but-done",
            Fault::StaleRead => "stale",
            Fault::Outage => "outage",
            Fault::OutageForEver => "outage-for-ever",
            Fault::Reset => "reset",
            Fault::ResetButDone => "reset-but-done",
            Fault::ClosedButDone => "closed-but-done",
            Fault::HalfReply => "half-a-reply",
            Fault::StillUnavailable => "still-unavailable",
            Fault::StillUnreachable => "still-unreachable",
            Fault::StillRefused => "still-refused",
        }
    }

    /// Whether the call happens all the same.
    pub(crate) const fn happens(self) -> bool {
        match self {
            Fault::ReplyLost
            | Fault::TimedOutButDone
            | Fault::StaleRead
            | Fault::ResetButDone
            | Fault::ClosedButDone
            | Fault::HalfReply => true,
            Fault::Unavailable
            | Fault::Unreachable
            | Fault::Refused
            | Fault::Throttled
            | Fault::TimedOut
            | Fault::Outage
            | Fault::OutageForEver
            | Fault::Reset
            | Fault::StillUnavailable
            | Fault::StillUnreachable
            | Fault::StillRefused => false,
        }
    }

    /// What a call that fails like this at first may go on to do when it is made again.
    pub(crate) const fn lasting(self) -> Option<Self> {
        match self {
            Fault::Unavailable => Some(Fault::StillUnavailable),
            Fault::Unreachable => Some(Fault::StillUnreachable),
            Fault::Refused => Some(Fault::StillRefused),
            _ => None,
        }
    }

    /// What each of the calls meets that go on failing.
    pub(crate) const fn once(self) -> Self {
        match self {
            Fault::StillUnavailable => Fault::Unavailable,
            Fault::StillUnreachable => Fault::Unreachable,
            Fault::StillRefused => Fault::Refused,
            other => other,
        }
    }

    /// Whether it lasts: any number of later calls fail of it, too.
    pub(crate) const fn is_outage(self) -> bool {
        matches!(self, Fault::Outage | Fault::OutageForEver)
    }
}

/// Some of all faults, as the options of a choice: the first of them is option 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct FaultSet(u32);

impl FaultSet {
    pub(crate) const NONE: Self = Self(0);

    /// The same, and `fault`.
    #[must_use]
    pub(crate) const fn with(self, fault: Fault) -> Self {
        Self(self.0 | 1 << fault as u32)
    }

    pub(crate) const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The faults, in the order of options.
    pub(crate) fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.into_iter().filter(move |fault| self.0 & 1 << *fault as u32 != 0)
    }

    /// The fault behind an option; none behind option 0.
    pub(crate) fn at_option(self, option: usize) -> Option<Fault> {
        option.checked_sub(1).and_then(|nth| self.iter().nth(nth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kept scenarios name these texts.
    #[test]
    fn every_fault_has_its_place_its_name_and_its_outcome() {
        let table: Vec<_> = Fault::ALL
            .iter()
            .map(|fault| format!("{:<18} {}", fault.name(), if fault.happens() { "happens" } else { "-" }))
            .collect();
        assert_eq!(
            table,
            [
                "unavailable        -",
                "unreachable        -",
                "refused            -",
                "reply-lost         happens",
                "throttled          -",
                "timed-out          -",
                "timed-out-but-done happens",
                "stale              happens",
                "outage             -",
                "outage-for-ever    -",
                "reset              -",
                "reset-but-done     happens",
                "closed-but-done    happens",
                "half-a-reply       happens",
                "still-unavailable  -",
                "still-unreachable  -",
                "still-refused      -",
            ]
        );
        assert!(Fault::ALL.iter().enumerate().all(|(at, fault)| *fault as usize == at));
    }

    #[test]
    fn a_set_counts_its_options_from_one_in_the_order_of_faults() {
        let set = FaultSet::NONE.with(Fault::HalfReply).with(Fault::Unavailable).with(Fault::Throttled);
        let options: Vec<_> = (0..5).map(|option| set.at_option(option)).collect();
        let faults = [Fault::Unavailable, Fault::Throttled, Fault::HalfReply].map(Some);
        assert_eq!(options, [None, faults[0], faults[1], faults[2], None]);
        assert_eq!((set.len(), FaultSet::NONE.len()), (3, 0));
    }
}
