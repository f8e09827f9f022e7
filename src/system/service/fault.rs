//! The faults that a call may have, and how the caller sees each of them.

use std::time::Duration;

use super::settings::{CLIENT_TIMEOUT, Settings};
use super::{Operation, ServiceError};
use crate::search::choice::{Fault, FaultSet, Name};

/// The time in the `Retry-After` of a throttled call.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// The way in which a call reaches the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Channel {
    /// A function call to a model of the service.
    #[default]
    InProcess,
    /// The same over a connection that can break.
    #[cfg_attr(
        not(any(feature = "wire", test)),
        expect(dead_code, reason = "connections come with a protocol, which is a feature")
    )]
    Socket,
    /// A call to an external system, by the user's own client.
    External,
    /// An enqueue: the queue accepts or rejects a job.
    Queue,
}

/// The operation of an enqueue.
const ENQUEUE: Operation = Operation::of_calls(true);

/// The faults of an enqueue.
pub(crate) const ENQUEUE_FAULTS: FaultSet = faults(&ENQUEUE, &Settings::NONE, Channel::Queue);

/// The faults of a call to an external system, if the test defines how they look.
pub(crate) const fn external_faults(writes: bool) -> FaultSet {
    faults(&Operation::of_calls(writes), &Settings::NONE, Channel::External)
}

/// Reports whether a call may have a fault. This is the whole table: a new fault is one row.
const fn applies(fault: Fault, operation: &Operation, settings: &Settings, channel: Channel) -> bool {
    let Operation { writes, throttles, lasts, .. } = *operation;
    let served = matches!(channel, Channel::InProcess | Channel::Socket);
    // An operation that does not last by itself has not happened, no matter how its connection breaks.
    let whole = served && lasts;
    let line = matches!(channel, Channel::Socket) && lasts && throttles;
    match fault {
        Fault::Unavailable => served,
        Fault::Unreachable => matches!(channel, Channel::External),
        Fault::Refused => matches!(channel, Channel::Queue),
        Fault::ReplyLost => lasts && writes,
        Fault::Throttled => whole && throttles,
        Fault::TimedOut => whole || matches!(channel, Channel::Queue),
        Fault::TimedOutButDone => (whole || matches!(channel, Channel::Queue)) && writes,
        Fault::StaleRead => whole && !writes && settings.stale_reads,
        Fault::Outage => served && settings.outages.is_some(),
        Fault::OutageForEver => served && settings.outages_for_ever,
        Fault::Reset | Fault::HalfReply => line,
        Fault::ResetButDone | Fault::ClosedButDone => line && writes,
        // Where a call is made again that has just failed: see `State::draw_fault`.
        Fault::StillUnavailable | Fault::StillUnreachable | Fault::StillRefused => false,
        // Only where the test asks for it.
        Fault::Lost => false,
        // Where a protocol says that the real system may do so.
        Fault::Conflict | Fault::ShutDown => false,
    }
}

/// The faults that a call may have.
pub(crate) const fn faults(operation: &Operation, settings: &Settings, channel: Channel) -> FaultSet {
    let (mut set, mut at) = (FaultSet::NONE, 0);
    while at < Fault::ALL.len() {
        if applies(Fault::ALL[at], operation, settings, channel) {
            set = set.with(Fault::ALL[at]);
        }
        at += 1;
    }
    set
}

/// How a connection ends without a complete answer.
#[cfg(feature = "wire")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BrokenConnection {
    /// No answer ever arrives.
    Silent,
    /// The connection is reset.
    Reset,
    /// The connection is closed.
    Closed,
    /// The connection is closed in the middle of the answer.
    Half,
}

impl Fault {
    /// For how long the caller hears nothing before it takes the call for failed.
    pub(crate) const fn silence(self) -> Duration {
        match self {
            Fault::TimedOut | Fault::TimedOutButDone => CLIENT_TIMEOUT,
            _ => Duration::ZERO,
        }
    }

    /// The fate of the connection of the call.
    #[cfg(feature = "wire")]
    pub(crate) const fn breaks(self) -> Option<BrokenConnection> {
        match self {
            Fault::TimedOut | Fault::TimedOutButDone => Some(BrokenConnection::Silent),
            Fault::Reset | Fault::ResetButDone => Some(BrokenConnection::Reset),
            Fault::ClosedButDone => Some(BrokenConnection::Closed),
            Fault::HalfReply => Some(BrokenConnection::Half),
            Fault::Unavailable
            | Fault::Unreachable
            | Fault::Refused
            | Fault::ReplyLost
            | Fault::Throttled
            | Fault::StaleRead
            | Fault::Outage
            | Fault::OutageForEver
            | Fault::StillUnavailable
            | Fault::StillUnreachable
            | Fault::StillRefused
            | Fault::Lost
            | Fault::Conflict
            | Fault::ShutDown => None,
        }
    }

    /// The error that the caller of a service sees, or `None` if the answer arrives.
    pub(super) fn seen_as(self, service: Name, operation: Name) -> Option<ServiceError> {
        match self {
            Fault::Unavailable
            | Fault::Unreachable
            | Fault::Refused
            | Fault::ReplyLost
            | Fault::Outage
            | Fault::OutageForEver
            | Fault::StillUnavailable
            | Fault::StillUnreachable
            | Fault::StillRefused
            | Fault::Reset
            | Fault::ResetButDone
            | Fault::ClosedButDone
            | Fault::Conflict
            | Fault::ShutDown => Some(ServiceError::Unavailable { service, operation }),
            Fault::Throttled => {
                Some(ServiceError::Throttled { service, operation, retry_after: RETRY_AFTER })
            }
            Fault::TimedOut | Fault::TimedOutButDone => {
                Some(ServiceError::TimedOut { service, operation, after: CLIENT_TIMEOUT })
            }
            Fault::StaleRead | Fault::HalfReply | Fault::Lost => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::choice::Options;

    /// The options of a choice in order, as scenarios name them.
    fn options(operation: Operation, stale_reads: bool, outages: bool, channel: Channel) -> String {
        let outages_for_ever = outages;
        let outages = outages.then_some(Duration::from_secs(60));
        let settings = Settings { stale_reads, outages, outages_for_ever, ..Settings::default() };
        let options = Options::Faults(faults(&operation, &settings, channel));
        (0..options.len()).map(|option| options.name(option)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_combination_has_the_faults_it_always_had_in_the_same_order() {
        let operations = [
            ("write", Operation::write("o".into())),
            ("read", Operation::read("o".into())),
            ("plain write", Operation::write("o".into()).never_throttled()),
            ("plain read", Operation::read("o".into()).never_throttled()),
            ("provisional", Operation::provisional("o".into())),
        ];
        let mut table = Vec::new();
        for (what, operation) in operations {
            for channel in [Channel::InProcess, Channel::Socket] {
                for (stale, outages) in [(false, false), (true, false), (false, true), (true, true)] {
                    let stated = [("stale", stale), ("outages", outages)];
                    let stated = stated.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name);
                    let row = [what].into_iter().chain(stated).collect::<Vec<_>>().join(", ");
                    let options = options(operation, stale, outages, channel);
                    table.push(format!("{channel:?}, {row}: {options}"));
                }
            }
        }
        for writes in [true, false] {
            let options = Options::Faults(external_faults(writes));
            let names: Vec<_> = (0..options.len()).map(|option| options.name(option)).collect();
            table.push(format!("External, {}: {}", if writes { "write" } else { "read" }, names.join(" ")));
        }
        let options = Options::Faults(ENQUEUE_FAULTS);
        let names: Vec<_> = (0..options.len()).map(|option| options.name(option)).collect();
        table.push(format!("Queue: {}", names.join(" ")));
        assert_eq!(table.join("\n"), include_str!("faults.txt").trim_end());
    }

    #[test]
    fn what_a_caller_sees_agrees_with_what_happened() {
        for fault in Fault::ALL {
            let seen = fault.seen_as("s".into(), "o".into());
            // A caller that sees no error has an answer, so its call happened.
            assert!(seen.is_some() || fault.happens() || fault == Fault::Lost, "{fault:?}");
            let timed_out = matches!(seen, Some(ServiceError::TimedOut { .. }));
            assert_eq!(timed_out, fault.name().starts_with("timed-out"), "{fault:?}");
        }
    }
}
