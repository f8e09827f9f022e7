//! The codes of violations, with their titles and help.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use super::Verdict;
use crate::engine::panics::CaughtPanic;
use crate::engine::state::Culprit;
use crate::judge::oracle::Finding;
use crate::search::choice::{Actor, Choice, DeviationKind, Fault, Point};
use crate::system::effect::Effect;
use crate::system::hygiene::Hygiene;
use crate::system::timeline::{Event, EventKind};

/// Declares the codes: each with its number, its title and its help.
macro_rules! codes {
    ($($code:ident $number:literal $title:literal: $help:literal;)*) => {
        /// A searchable code that says what is wrong, and after which failure.
        ///
        #[doc = "The page [`violations`](crate::violations) explains each code with a smallest example. In text and in JSON,"]
        /// a code is `RP` and four digits.
        ///
        /// ```
        /// use retryproof::{Code, Explore, World, service::email::Email};
        ///
        /// let report = Explore::new().deviations(1).run(async |world: &World| {
        ///     world.process("worker", |p| {
        ///         let email = p.email();
        ///         p.handle(async move |to: String| email.send(Email::new(to, "welcome")).await);
        ///     });
        ///     world.enqueue("ada@example.com".to_owned());
        ///     world.settle().await;
        /// });
        /// assert_eq!(report.code(), Some(Code::RepeatedAfterError));
        /// assert_eq!(Code::RepeatedAfterError.to_string(), "RP0002");
        /// assert_eq!(Code::RepeatedAfterError.title(), "effect repeated after an error");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code {
            $(
                #[doc = concat!("`RP", $number, "`: ", $title, ".")]
                $code,
            )*
        }

        impl Code {
            /// All codes, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// `RP0002`
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => concat!("RP", $number),)*
                }
            }

            /// The problem, in a few words.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$code => $title,)*
                }
            }

            /// The usual advice. A report adapts this to what happened in the run.
            pub const fn help(self) -> &'static str {
                match self {
                    $(Self::$code => $help,)*
                }
            }
        }
    };
}

codes! {
    RepeatedAfterCrash "0001" "effect repeated after a crash":
        "use an idempotency key that is the same on every attempt, or check for the effect first";
    RepeatedAfterError "0002" "effect repeated after an error":
        "use an idempotency key that is the same on every attempt, or check for the effect first";
    RepeatedByDelivery "0003" "effect repeated by a second delivery":
        "derive an idempotency key from the job's data, or check for the effect first";
    RepeatedAtOnce "0004" "effect repeated by two concurrent deliveries":
        "derive an idempotency key from the job's data; checking before the call is not enough, because both attempts check before either acts";
    RepeatedByAnotherJob "0005" "effect repeated by overlapping jobs":
        "let only one of the jobs claim the work: with a shared idempotency key, a row under a unique key, or a compare-and-set";
    RepeatedLate "0006" "effect repeated by a late retry":
        "check for the effect first, or use keys and locks that live longer than the job is retried";
    RepeatedStale "0007" "effect repeated after a stale read":
        "use an idempotency key: an index or a replica lags behind, so a lookup may miss the last call";

    MissingAfterCrash "0011" "effect missing after a crash":
        "record that work is done after doing it, not before; give a claim an owner and a time to live; use an outbox for work that must follow a commit";
    MissingAfterError "0012" "effect missing after an error":
        "return the error so that the job is retried, and record that work is done only after doing it";
    MissingAfterDelivery "0013" "effect missing after a second delivery":
        "count once per job: insert a row under the job's id in the same transaction";
    MissingWhenJobsCross "0014" "effect missing when jobs overlap":
        "enqueue after the commit, from an outbox; return an error from a job that finds too little, so that it is retried";
    MissingLate "0015" "effect missing after a late timer":
        "do the work even when it is late, or declare in the test that it may be missing";

    AnotherContent "0021" "effect with different content or key":
        "derive keys and content from the job's data, not from the time, the attempt or a random number";
    Unexpected "0022" "unexpected effect":
        "derive keys and content from the job's data, and undo work in a separate job";
    KeyReused "0023" "idempotency key reused for another request":
        "use one key for each thing that should happen once: the order's id, not a constant";
    AnotherJobsContent "0024" "effect with another job's content":
        "pass the data to the job as an argument: all jobs share a static or a thread-local";

    Early "0025" "effect too early":
        "store the time until which the job waits, instead of waiting for a duration";
    RefusalIgnored "0026" "refusal ignored":
        "handle the refusal: what the job does next must depend on the answer";

    OutOfOrder "0027" "effect out of order":
        "await the answer to the first call, and check it, before making the second one";

    StateAfterCrash "0031" "state differs after a crash":
        "write what belongs together in one transaction, including a row that marks the work as done (an inbox)";
    StateAfterError "0032" "state differs after an error":
        "record in the same transaction which job has made the change, and skip it if that is recorded; or write a value that does not depend on the old one";
    StateAfterDelivery "0033" "state differs after a second delivery":
        "check a guard in the same transaction, serializable or under a unique key: two deliveries may run at once";
    StateWhenJobsCross "0034" "lost update":
        "use an atomic update (`incr`), a compare-and-set, a row lock, or a serializable transaction that is retried";
    StateLate "0035" "state differs after a late timer":
        "decide by the stored state, not by the time at which the job runs";

    LeftBehind "0036" "state leaked from another job":
        "clear thread-locals after each job (`middleware::ClearThreadLocals`), and keep a job's data with the job";

    NeverEnqueued "0041" "job never enqueued":
        "use an outbox: insert a row in the same transaction, and enqueue from a job that reads the outbox";
    EndedOtherwise "0042" "job ended differently than in the fault-free run":
        "make the job end the same way, no matter which attempt did the work";
    DiedByItself "0043" "job failed because of its own earlier attempt":
        "recognize what an earlier attempt left behind: give a lock an owner and a time to live, and treat a duplicate key as done";
    Lost "0044" "job lost when its worker crashed":
        "use at-least-once delivery: a queue that keeps a job until it is acknowledged";
    NotRun "0045" "job could not be run":
        "register a handler for this kind of job, make sure that its payload decodes, and that its process boots in every state";
    GaveUpHalfWay "0046" "job gave up halfway":
        "put work that belongs together into one transaction, allow more retries, or undo the work in another job; or accept it with `world.jobs::<Job>().may_stop_half_way()`";

    Unreported "0051" "dead job was not reported":
        "report the failure on the last attempt, and retry until the report succeeds (`middleware::ReportFailures`)";
    OverReported "0052" "failure reported too often":
        "do not report a failure that a retry resolves (`middleware::Transient`), and report a dead job once";
    DeathUnreported "0053" "death handler did not complete":
        "make the death handler infallible, and report what matters from the job's last attempt";

    LockLeft "0061" "lock never released":
        "give the lock a time to live";

    Panicked "0071" "assertion in the test failed":
        "read the timeline: it shows what happened before the assertion failed";

    ExternalCall "0081" "external call inside a transaction":
        "make the call after the commit";
    EnqueueInTransaction "0082" "enqueue inside a transaction":
        "use an outbox: insert a row in the same transaction, and enqueue from a job that reads the outbox";
    PoolTooSmall "0083" "connection pool smaller than the number of slots":
        "give the pool as many connections as the slots need at once, or configure fewer slots";
    Unexplored "0084" "connection to something unexplored":
        "put the server behind the harness (`world.upstream`, `p.external`, `retryproof-postgres`), or give the code the address of a fake";

    Stuck "0091" "stuck":
        "use a lock that expires, a pool that is large enough, and waits that are sure to end";
    Nondeterministic "0092" "not deterministic":
        "take time and random numbers from `p.clock()` and `p.rng()`, or ignore the values that differ (`world.ignore`)";
    NothingTested "0093" "nothing tested":
        "run a job that has an effect, or register state to compare";
    Incomplete "0094" "incomplete":
        "check fewer jobs, lower the bound, or raise the limit";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The failure that a violation follows. If a scenario has several failures, this is the one without which the others
/// do no harm, which is usually the last one in this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trigger {
    Nothing,
    Error,
    Crash,
    Stale,
    Delivery,
    AtOnce,
    AnotherJob,
    Late,
}

impl Trigger {
    fn choice(choice: &Choice) -> Self {
        match (choice.kind, choice.label.point) {
            (DeviationKind::Crash, _) => Trigger::Crash,
            (DeviationKind::Delivery, Point::Pause) | (_, Point::Stall) => Trigger::AtOnce,
            (DeviationKind::Delivery, Point::Ack) => Trigger::Delivery,
            (DeviationKind::Fault, _) if choice.fault() == Some(Fault::StaleRead) => Trigger::Stale,
            // An enqueue that failed, or whose reply was lost.
            (DeviationKind::Fault | DeviationKind::Delivery, _) => Trigger::Error,
            (DeviationKind::Preemption, _) => Trigger::AnotherJob,
            (DeviationKind::Delay, _) => Trigger::Late,
        }
    }

    pub(super) fn all<'c>(deviated: impl Iterator<Item = &'c Choice>) -> Self {
        deviated.map(Self::choice).max().unwrap_or(Trigger::Nothing)
    }
}

impl Traits {
    /// `effects` are all effects of the run. `ordinary` are the calls that the fault-free run drops.
    pub(super) fn of(
        finding: &Finding,
        events: &[Event],
        effects: &[Effect],
        ordinary: &DroppedCalls,
    ) -> Self {
        let (is_keyless, is_keyed) = match finding {
            Finding::Repeated { effect, expected, .. } => {
                let is_alike = |other: &&Effect| other.name() == effect.name() && other.key == effect.key;
                // A key that each attempt draws anew is a different key each time.
                let is_keyed = effect.key.is_some() && effects.iter().filter(is_alike).count() > *expected;
                (effect.key.is_none(), is_keyed)
            }
            _ => (false, false),
        };
        let failed = |event: &Event| match &event.what {
            EventKind::Deviated { choice, .. } if choice.kind == DeviationKind::Fault => Some(event.by),
            _ => None,
        };
        let has_failed = |by: Actor| {
            let is_retry = |what: &EventKind| matches!(what, EventKind::Failed { retry_at: Some(_), .. });
            events.iter().any(|event| event.by == by && is_retry(&event.what))
        };
        let is_retried = events.iter().filter_map(failed).any(has_failed);
        let is_more =
            |(kind, calls): (&&'static str, &usize)| *calls > ordinary.get(kind).copied().unwrap_or(0);
        let is_cancelled = dropped(events).iter().any(is_more);
        Self { is_keyless, is_keyed, is_retried, is_cancelled }
    }
}

/// The largest number of calls that one attempt drops before their answers come, by the kind of its job.
pub(crate) type DroppedCalls = BTreeMap<&'static str, usize>;

/// Returns the calls that the attempts of a run dropped.
pub(crate) fn dropped(events: &[Event]) -> DroppedCalls {
    let mut waiting: BTreeMap<Actor, (&'static str, usize)> = BTreeMap::new();
    let mut dropped = DroppedCalls::new();
    for event in events {
        match &event.what {
            EventKind::Started { kind, .. } => drop(waiting.insert(event.by, (kind, 0))),
            // A call without a request goes to a real system, and the timeline does not record its answer.
            EventKind::Called { request, .. } if !request.is_empty() => {
                if let Some((_, calls)) = waiting.get_mut(&event.by) {
                    *calls += 1;
                }
            }
            EventKind::Replied { .. } => {
                if let Some((_, calls)) = waiting.get_mut(&event.by) {
                    *calls = calls.saturating_sub(1);
                }
            }
            EventKind::Succeeded | EventKind::Failed { .. } | EventKind::Discarded { .. } => {
                if let Some((kind, calls)) = waiting.remove(&event.by).filter(|(_, calls)| *calls > 0) {
                    let most = dropped.entry(kind).or_default();
                    *most = calls.max(*most);
                }
            }
            _ => {}
        }
    }
    dropped
}

/// The help for two concurrent deliveries if the service takes no keys: no job can prevent the repetition.
pub(super) fn without_keys(effect: &str) -> String {
    format!("if the service takes no key, allow it: world.allow(\"{effect}\", Guarantee::AtLeastOnce)")
}

impl Code {
    pub(super) fn of(finding: &Finding, after: Trigger) -> Self {
        match finding {
            Finding::Repeated { .. } => match after {
                Trigger::Crash => Code::RepeatedAfterCrash,
                Trigger::Error => Code::RepeatedAfterError,
                Trigger::Stale => Code::RepeatedStale,
                Trigger::Delivery => Code::RepeatedByDelivery,
                Trigger::AtOnce => Code::RepeatedAtOnce,
                Trigger::AnotherJob | Trigger::Nothing => Code::RepeatedByAnotherJob,
                Trigger::Late => Code::RepeatedLate,
            },
            Finding::Missing { .. } => match after {
                Trigger::Crash => Code::MissingAfterCrash,
                Trigger::Error | Trigger::Stale => Code::MissingAfterError,
                Trigger::Delivery | Trigger::AtOnce => Code::MissingAfterDelivery,
                Trigger::AnotherJob | Trigger::Nothing => Code::MissingWhenJobsCross,
                Trigger::Late => Code::MissingLate,
            },
            Finding::Unexpected { instead: Some(_), .. } => match after {
                Trigger::AnotherJob | Trigger::Nothing => Code::AnotherJobsContent,
                _ => Code::AnotherContent,
            },
            Finding::Unexpected { instead: None, .. } => Code::Unexpected,
            Finding::Reused(_) => Code::KeyReused,
            Finding::State { .. } => match after {
                Trigger::Crash => Code::StateAfterCrash,
                Trigger::Error | Trigger::Stale => Code::StateAfterError,
                Trigger::Delivery | Trigger::AtOnce => Code::StateAfterDelivery,
                Trigger::AnotherJob | Trigger::Nothing => Code::StateWhenJobsCross,
                Trigger::Late => Code::StateLate,
            },
            Finding::Leaked(_) => Code::LeftBehind,
            Finding::Job { actual: None, .. } => Code::NeverEnqueued,
            Finding::Job { actual: Some(_), .. } => Code::EndedOtherwise,
            Finding::Died { .. } => Code::DiedByItself,
            Finding::HalfWay { .. } => Code::GaveUpHalfWay,
            Finding::Early { .. } => Code::Early,
            Finding::Lost { .. } => Code::Lost,
            Finding::NotRun { .. } => Code::NotRun,
            Finding::Unreported { .. } => Code::Unreported,
            Finding::Told { .. } => Code::OverReported,
            Finding::DeathUnreported { .. } => Code::DeathUnreported,
            Finding::LockLeft { .. } => Code::LockLeft,
            Finding::RefusalIgnored { .. } => Code::RefusalIgnored,
            Finding::OutOfOrder { .. } => Code::OutOfOrder,
            Finding::Panicked(CaughtPanic { of: Some(Culprit::Boot(_)), .. }) => Code::NotRun,
            Finding::Panicked(_) => Code::Panicked,
            Finding::Stuck(_) => Code::Stuck,
            Finding::Unhygienic(Hygiene::ExternalCall { .. }) => Code::ExternalCall,
            Finding::Unhygienic(Hygiene::EnqueueInTransaction { .. }) => Code::EnqueueInTransaction,
            Finding::Unhygienic(Hygiene::PoolTooSmall { .. }) => Code::PoolTooSmall,
            Finding::Unhygienic(Hygiene::Unexplored { .. }) => Code::Unexplored,
        }
    }

    /// Returns the code of a verdict that is not `RetryProof` or `Violated`.
    pub(super) fn of_verdict(verdict: Verdict) -> Option<Self> {
        match verdict {
            Verdict::RetryProof | Verdict::Violated => None,
            Verdict::Stuck => Some(Code::Stuck),
            Verdict::Nondeterministic => Some(Code::Nondeterministic),
            Verdict::NothingTested => Some(Code::NothingTested),
            Verdict::Incomplete => Some(Code::Incomplete),
        }
    }

    /// Returns the address of the section that explains the code.
    pub(crate) fn link(self) -> String {
        let anchor = self.as_str().to_lowercase();
        format!("https://docs.rs/retryproof/latest/retryproof/violations/index.html#{anchor}")
    }
}

/// Facts about a run that the help depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traits {
    /// The repeated effect had no key.
    is_keyless: bool,
    /// The repeated effect had the same key each time.
    is_keyed: bool,
    /// The attempt into which the fault was injected failed, and the job was retried.
    is_retried: bool,
    /// An attempt dropped a call before its answer came.
    is_cancelled: bool,
}

impl Code {
    /// Returns the help for a run with these traits. `effect` is the operation that the finding is about, as
    /// `service.operation`.
    pub(super) fn help_after(self, traits: Traits, effect: Option<&str>) -> String {
        let effect = effect.unwrap_or("the service");
        match self {
            Code::RepeatedLate => self.help().to_owned(),
            code if code.is_repeated() && traits.is_keyed => format!(
                "use a service that honors keys (`Keys`), or check for the effect first: both calls have the same key, and {effect} does not honor it"
            ),
            _ if traits.is_cancelled => "wait for the answer, or treat the call as one whose reply was lost: a call was dropped before its answer came (`select!`, a timeout or `drop`), and it may still happen".to_owned(),
            Code::RepeatedAtOnce if traits.is_keyless => format!("{}\n{}", self.help(), without_keys(effect)),
            Code::MissingAfterError if traits.is_retried => "record that work is done only after doing it: the retry found the failed attempt's record, and did nothing".to_owned(),
            _ => self.help().to_owned(),
        }
    }

    fn is_repeated(self) -> bool {
        matches!(
            self,
            Code::RepeatedAfterCrash
                | Code::RepeatedAfterError
                | Code::RepeatedByDelivery
                | Code::RepeatedAtOnce
                | Code::RepeatedByAnotherJob
                | Code::RepeatedStale
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::search::choice::{Name, Place};

    #[test]
    fn codes_are_numbered_in_their_order_and_each_once() {
        let numbers: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        assert!(numbers.iter().all(|number| number.len() == 6 && number.starts_with("RP")), "{numbers:?}");
    }

    const WORKER: Actor = Actor::Attempt { job: 1, attempt: 1 };

    fn told(what: EventKind) -> Event {
        Event { at: Duration::ZERO, by: WORKER, what }
    }

    fn called() -> Event {
        let place = Place { file: "src/jobs.rs", line: 1, column: 1 };
        told(EventKind::Called {
            service: Name::from("store"),
            operation: Name::from("get"),
            request: "{}".into(),
            place,
        })
    }

    fn attempt(calls: usize, replies: usize) -> Vec<Event> {
        let started =
            EventKind::Started { kind: "Order", payload: String::new(), process: Name::from("worker") };
        let replied = || told(EventKind::Replied { reply: Ok(String::new()) });
        let events = std::iter::once(told(started)).chain((0..calls).map(|_| called()));
        events.chain((0..replies).map(|_| replied())).chain([told(EventKind::Succeeded)]).collect()
    }

    #[test]
    fn a_call_that_is_dropped_when_nothing_goes_wrong_is_no_advice() {
        let (all, dropping) = (attempt(2, 2), attempt(2, 1));
        assert_eq!(dropped(&all), DroppedCalls::new());
        let ordinary = dropped(&dropping);
        assert_eq!(ordinary, DroppedCalls::from([("Order", 1)]));
        let finding = Finding::Lost { kind: "Order", payload: String::new() };
        let is_cancelled = |events: &[Event], ordinary: &DroppedCalls| {
            Traits::of(&finding, events, &[], ordinary).is_cancelled
        };
        assert!(is_cancelled(&dropping, &DroppedCalls::new()), "it is new");
        assert!(!is_cancelled(&dropping, &ordinary), "it is always dropped");
        assert!(is_cancelled(&attempt(3, 1), &ordinary), "one more is");
        assert!(!is_cancelled(&all, &DroppedCalls::new()));
    }

    fn help(code: Code, traits: Traits) -> String {
        code.help_after(traits, Some("email.send"))
    }

    #[test]
    fn only_two_deliveries_at_once_of_an_effect_without_a_key_are_beyond_mending() {
        let keyless = Traits { is_keyless: true, ..Traits::default() };
        let gives_up = |code: &Code| help(*code, keyless).contains("Guarantee::AtLeastOnce");
        let beyond: Vec<_> = Code::ALL.iter().copied().filter(gives_up).collect();
        assert_eq!(beyond, [Code::RepeatedAtOnce]);
        assert!(!help(Code::RepeatedAtOnce, Traits::default()).contains("Guarantee::AtLeastOnce"));
    }

    // A part: the help of a code is held as a whole by the snapshot of its report.
    #[test]
    fn help_follows_the_course_of_events() {
        let keyed = Traits { is_keyed: true, ..Traits::default() };
        assert!(help(Code::RepeatedAfterError, keyed).contains("email.send does not honor it"));
        assert!(help(Code::RepeatedLate, keyed).contains("live longer"), "that key was forgotten");
        let retried = Traits { is_retried: true, ..Traits::default() };
        assert!(!help(Code::MissingAfterError, retried).contains("return the error"), "it was returned");
        assert!(help(Code::MissingAfterError, Traits::default()).contains("return the error"));
        let cancelled = Traits { is_cancelled: true, ..Traits::default() };
        assert!(!help(Code::StateWhenJobsCross, cancelled).contains("atomic"));
        assert!(help(Code::StateWhenJobsCross, Traits::default()).contains("atomic"));
    }
}
