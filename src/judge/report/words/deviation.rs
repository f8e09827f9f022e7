//! The words for deviations.

use super::who;
use crate::search::choice::{Actor, Choice, DeviationKind, Ending, Fault, Options, Point, Site, WaitKind};

/// Says what went wrong at a choice. `instead` is the task that runs, if the choice was between tasks.
pub(crate) fn deviation(choice: &Choice, instead: Option<Actor>) -> String {
    let option = choice.options.name(choice.taken as usize);
    match (choice.kind, choice.label.site) {
        (DeviationKind::Crash, Site::Attempt) if choice.label.point == Point::End => {
            "the process crashes after the last line of the job, before the queue records its end".to_owned()
        }
        (DeviationKind::Crash, _) if choice.options == Options::Poison && choice.taken == 2 => {
            "the process crashes here, before the first line of the job, and does so in every attempt of it"
                .to_owned()
        }
        (DeviationKind::Crash, site) if choice.ending() == Ending::Stop => {
            format!("the process is asked to stop here, {}", crash(site, choice.label.point))
        }
        (DeviationKind::Crash, site) if choice.ending() == Ending::Interrupt => {
            format!("the process stops, and the job is interrupted here, {}", crash(site, choice.label.point))
        }
        (DeviationKind::Crash, site) => {
            format!("the process crashes here, {}", crash(site, choice.label.point))
        }
        (_, _) if choice.label.point == Point::Stall => {
            let until = match option.as_str() {
                "past-next-deadline" => "until just past the next deadline",
                "past-second-deadline" => "until just past the second deadline",
                _ => "for a long time",
            };
            format!("the task stalls here {until}")
        }
        (DeviationKind::Delay, Site::Call { service, operation }) if choice.label.point == Point::Reply => {
            format!("the reply to {service}.{operation} comes an hour late")
        }
        (DeviationKind::Delay, site) => format!("{} comes three days late", late(site, choice.label.point)),
        (DeviationKind::Delivery, _) if choice.label.point == Point::Pause => {
            "the worker stalls past its lease: the job is redelivered while this attempt is still running"
                .to_owned()
        }
        (DeviationKind::Preemption, _) if choice.label.point == Point::Next => {
            format!("{} runs here", instead.map_or(option, who))
        }
        (DeviationKind::Preemption, Site::Call { service, operation })
            if choice.label.point == Point::Overlap =>
        {
            format!("{service}.{operation} takes effect after the calls that are made beside it")
        }
        (DeviationKind::Preemption, Site::Call { service, operation })
            if choice.label.point == Point::Webhook =>
        {
            let when = match choice.taken {
                1 => "calls back before its reply",
                2 => "calls back an hour late",
                _ => "never calls back",
            };
            format!("{service}.{operation} {when}")
        }
        (DeviationKind::Preemption, _) if choice.label.point == Point::Take => {
            format!("{} takes the job", instead.map_or(option, who))
        }
        (_, Site::Call { service, operation }) => {
            format!("{service}.{operation} {}", choice.fault().map_or("fails", fault))
        }
        (DeviationKind::Delivery, Site::Attempt) => {
            "the job ends well, but its acknowledgement is lost: the job is redelivered".to_owned()
        }
        (DeviationKind::Preemption, Site::Queue) => format!("the worker takes waiting job {option} next"),
        _ => format!("{} takes {option}", choice.label),
    }
}

fn crash(site: Site, point: Point) -> String {
    match (site, point) {
        (Site::Call { service, operation }, Point::Before) => format!("before {service}.{operation}"),
        (Site::Call { .. }, Point::Locked) => "between taking the lock and enqueuing the job".to_owned(),
        (Site::Call { service, operation }, Point::Happened) => {
            format!("after {service}.{operation} happened, before its reply arrives")
        }
        (Site::Call { service, operation }, _) => format!("right after the reply to {service}.{operation}"),
        (Site::Attempt, _) => "before the first line of the job".to_owned(),
        (Site::Wait(WaitKind::Row), _) => "while the job waits for a locked row".to_owned(),
        (Site::Wait(WaitKind::External), _) => "while this call waits for a lock or a connection".to_owned(),
        (Site::Wait(WaitKind::Connection), _) => {
            "while the job waits for a connection to the store".to_owned()
        }
        (Site::Wait(WaitKind::Notification), _) => "while it listens".to_owned(),
        (Site::Wait(what), _) => format!("during a {what}"),
        (Site::Line(_), _) => "before this line".to_owned(),
        (Site::Queue, _) => "at the queue".to_owned(),
    }
}

fn late(site: Site, point: Point) -> &'static str {
    match (site, point) {
        (Site::Call { .. }, _) => "the scheduled job",
        (Site::Wait(_), _) => "the end of this wait",
        (_, Point::Lease) => "the redelivery after the crash",
        _ => "the retry",
    }
}

fn fault(fault: Fault) -> &'static str {
    match fault {
        Fault::Unavailable => "answers 503; nothing has happened",
        Fault::ReplyLost => "happens, but its reply is lost",
        Fault::Unreachable => "cannot be reached; nothing has happened",
        Fault::Throttled => "answers 429; nothing has happened",
        Fault::TimedOut => "does not answer in time; nothing has happened",
        Fault::TimedOutButDone => "happens, but does not answer in time",
        Fault::StaleRead => "answers with data that is an hour old",
        Fault::Outage => "answers 503 from here on, for a while; nothing has happened",
        Fault::OutageForEver => "answers 503 from here on, and never recovers; nothing has happened",
        Fault::Reset => "does not happen: the connection is reset",
        Fault::ResetButDone => "happens, but the connection is reset before its reply",
        Fault::ClosedButDone => "happens, but the connection is closed before its reply",
        Fault::HalfReply => "happens, but the connection is closed in the middle of its reply",
        Fault::Refused => "fails; the job is not in the queue",
        Fault::StillUnavailable => "answers 503 again, as it will to the next calls of this attempt",
        Fault::StillUnreachable => "is not reached again, nor will it be by the next calls of this attempt",
        Fault::StillRefused => "fails again, as the next ones of this attempt will",
        Fault::Conflict => "is refused in favor of another caller; the transaction is rolled back",
        Fault::ShutDown => "is answered that the system shuts down; nothing has happened",
        Fault::Lost => "is answered, but the queue loses the job",
    }
}
