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
}

impl Fault {
    /// All there are, in the order of options.
    pub(crate) const ALL: [Self; 14] = [
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
            | Fault::Reset => false,
        }
    }

    /// Whether it lasts: any number of later calls fail of it, too.
    pub(crate) const fn is_outage(self) -> bool {
        matches!(self, Fault::Outage | Fault::OutageForEver)
    }
}

/// Some of all faults, as the options of a choice: the first of them is option 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct FaultSet(u16);

impl FaultSet {
    pub(crate) const NONE: Self = Self(0);

    /// The same, and `fault`.
    #[must_use]
    pub(crate) const fn with(self, fault: Fault) -> Self {
        Self(self.0 | 1 << fault as u16)
    }

    pub(crate) const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The faults, in the order of options.
    pub(crate) fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.into_iter().filter(move |fault| self.0 & 1 << *fault as u16 != 0)
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
