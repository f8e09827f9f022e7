//! The ways in which a call can fail.

/// The ways in which a call to any system can fail.
///
/// The order is that of the options of a choice. Kept scenarios count options, so add a new fault only after those
/// that they count past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fault {
    /// The service answers 503, and nothing happens.
    Unavailable,
    /// The external system cannot be reached, and nothing happens.
    Unreachable,
    /// The queue rejects the job, and nothing happens.
    Refused,
    /// The call happens, and the caller sees an error.
    ReplyLost,
    /// The service answers 429, and nothing happens.
    Throttled,
    /// The client times out, and nothing happens.
    TimedOut,
    /// The client times out, but the call happens.
    TimedOutButDone,
    /// A look-up does not yet show the newest records. The caller sees nothing unusual.
    StaleRead,
    /// The service answers 503 from here on for a stretch of time, and nothing happens.
    Outage,
    /// The service answers 503 from here on until the run ends, and nothing happens.
    OutageForEver,
    /// The connection breaks before the request is read, and nothing happens.
    Reset,
    /// The call happens, and then the connection breaks.
    ResetButDone,
    /// The call happens, and then the connection is closed without an answer.
    ClosedButDone,
    /// The call happens, and the connection is closed in the middle of the answer.
    HalfReply,
    /// A call that was answered 503 before, in the same attempt, is again, and so are the next ones.
    StillUnavailable,
    /// An external system that was not reached before, in the same attempt, is not again, nor by the next calls.
    StillUnreachable,
    /// The queue, which did not take a job of the same attempt before, does not again, nor at the next calls.
    StillRefused,
    /// The queue accepts the job, and loses it. The caller sees nothing unusual.
    Lost,
    /// The external system refuses the call in favor of another caller, and undoes the caller's transaction.
    Conflict,
    /// The external system says that it shuts down, and closes the connection. Nothing happens.
    ShutDown,
}

impl Fault {
    /// All faults, in the order of options.
    pub(crate) const ALL: [Self; 20] = [
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
        Fault::Lost,
        Fault::Conflict,
        Fault::ShutDown,
    ];

    /// The fault's name in scenarios.
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
            Fault::Lost => "accepted-but-lost",
            Fault::Conflict => "conflict",
            Fault::ShutDown => "shut-down",
        }
    }

    /// Reports whether the call happens despite the fault.
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
            | Fault::StillRefused
            | Fault::Lost
            | Fault::Conflict
            | Fault::ShutDown => false,
        }
    }

    /// Returns the fault that a repeated call may have after this one: the call keeps failing.
    pub(crate) const fn lasting(self) -> Option<Self> {
        match self {
            Fault::Unavailable => Some(Fault::StillUnavailable),
            Fault::Unreachable => Some(Fault::StillUnreachable),
            Fault::Refused => Some(Fault::StillRefused),
            _ => None,
        }
    }

    /// Returns the fault of a single call among those that keep failing.
    pub(crate) const fn once(self) -> Self {
        match self {
            Fault::StillUnavailable => Fault::Unavailable,
            Fault::StillUnreachable => Fault::Unreachable,
            Fault::StillRefused => Fault::Refused,
            other => other,
        }
    }

    /// Reports whether the fault lasts, so that any number of later calls fail because of it, too.
    pub(crate) const fn is_outage(self) -> bool {
        matches!(self, Fault::Outage | Fault::OutageForEver)
    }
}

/// A set of faults, as the options of a choice. The first one is option 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct FaultSet(u32);

impl FaultSet {
    pub(crate) const NONE: Self = Self(0);

    /// Adds `fault` to the set.
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

    /// The fault behind an option. Option 0 has no fault.
    pub(crate) fn at_option(self, option: usize) -> Option<Fault> {
        option.checked_sub(1).and_then(|nth| self.iter().nth(nth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kept scenarios contain these names.
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
                "accepted-but-lost  -",
                "conflict           -",
                "shut-down          -",
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
