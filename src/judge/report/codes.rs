//! Which sort of violation it is: a short code, what it is called, and what to do about it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use super::Verdict;
use crate::judge::oracle::Finding;
use crate::search::choice::{Actor, Choice, Fault, Kind, Point};
use crate::system::effect::Effect;
use crate::system::hygiene::Hygiene;
use crate::system::timeline::{Event, What};

/// Declares the codes once: each with its number, its name in words, and what to do about it.
macro_rules! codes {
    ($($code:ident $number:literal $title:literal: $help:literal;)*) => {
        /// Which sort of thing is wrong, and after what: short enough to be searched for.
        ///
        #[doc = "The page [`violations`](crate::violations) explains each, with a smallest example. In text and in JSON"]
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
            /// All there are, by their numbers.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// `RP0002`
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => concat!("RP", $number),)*
                }
            }

            /// What it is, in a few words.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$code => $title,)*
                }
            }

            /// What to do about it, in most cases.
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
        "use an idempotency key that is the same on every attempt, or look up before the call";
    RepeatedAfterError "0002" "effect repeated after an error":
        "use an idempotency key that is the same on every attempt, or look up before the call";
    RepeatedByDelivery "0003" "effect repeated by a second delivery":
        "make an idempotency key of the job's own data, or look up before the call";
    RepeatedAtOnce "0004" "effect repeated by two deliveries at once":
        "make an idempotency key of the job's own data; looking before the call is not enough, since both attempts look before either acts";
    RepeatedByAnotherJob "0005" "effect repeated by jobs that cross":
        "let only one of the jobs claim the work: by an idempotency key that they share, a row under a unique key, or a compare-and-set";
    RepeatedLate "0006" "effect repeated by a late retry":
        "look up before the call, or use keys and locks that live longer than the job is retried";
    RepeatedStale "0007" "effect repeated after a stale look-up":
        "use an idempotency key; an index or a replica lags behind, so a look-up may not show the last call";

    MissingAfterCrash "0011" "effect missing after a crash":
        "note that something is done after it is done, not before; give a claim an owner and a time to live; use an outbox for what must follow a commit";
    MissingAfterError "0012" "effect missing after an error":
        "return the error, so that the job is retried, and note that something is done only after it is done";
    MissingAfterDelivery "0013" "effect missing after a second delivery":
        "count once for each job: write a row under its id in the same transaction";
    MissingWhenJobsCross "0014" "effect missing when jobs cross":
        "enqueue after the commit, from an outbox; let a job that finds too little fail, so that it is retried";
    MissingLate "0015" "effect missing after a late timer":
        "do the work however late it is, or state in the test that it may be missing";

    AnotherContent "0021" "effect with another content or key":
        "make keys and contents of the job's own data, not of the time, the attempt or a random number";
    Unexpected "0022" "effect that no fault-free run has":
        "make keys and contents of the job's own data, and undo what must be undone in a job of its own";
    KeyReused "0023" "key of another request":
        "use one key for each thing that is to happen once: the order's id, not a constant";
    AnotherJobsContent "0024" "effect with another job's content":
        "pass what a job needs as an argument; all jobs share a static or a thread-local";

    Early "0025" "effect before its time":
        "wait until a time that is stored with the job, not for a time from now on";
    RefusalIgnored "0026" "refusal ignored":
        "look at the answer: what comes after a refused request depends on it";

    OutOfOrder "0027" "effect out of order":
        "wait for the answer to the first call, and look at it, before the second one is made";

    StateAfterCrash "0031" "state differs after a crash":
        "write what belongs together in one transaction, with a guard in it that says it is done (an inbox)";
    StateAfterError "0032" "state differs after an error":
        "set values instead of adding to them, or put a guard into the same transaction";
    StateAfterDelivery "0033" "state differs after a second delivery":
        "put a guard into the same transaction, serializable or under a unique key: two deliveries may run at once";
    StateWhenJobsCross "0034" "lost update":
        "use an atomic update (`incr`), a compare-and-set, a row lock, or a serializable transaction that is retried";
    StateLate "0035" "state differs after a late timer":
        "decide by what is stored, not by how late it is";

    LeftBehind "0036" "what another job left behind":
        "clear thread-locals after each job (`middleware::ClearThreadLocals`), and keep with the job what belongs to it";

    NeverEnqueued "0041" "job never enqueued":
        "use an outbox: a row in the same transaction, and a job that enqueues what it finds there";
    EndedOtherwise "0042" "job that differs from the fault-free run":
        "let the job end as it does when nothing goes wrong, whichever attempt has done the work";
    DiedByItself "0043" "job that dies of what it left behind":
        "recognize the job's own traces: give a lock an owner and a time to live, and treat a duplicate key as done";
    Lost "0044" "job lost when its worker crashed":
        "use at-least-once delivery: a queue that keeps a job until it is acknowledged";
    NotRun "0045" "job that cannot be run":
        "register a handler for its kind, and make its payload decode";
    GaveUpHalfWay "0046" "gave up half-way":
        "use one transaction for what belongs together, more retries, or a job that undoes what was done; or state `world.jobs::<Job>().may_stop_half_way()`";

    Untold "0051" "dead job that nobody was told of":
        "report the failure in the last attempt, until it is heard (`middleware::TellOfFailures`)";
    ToldTooOften "0052" "failure told too often":
        "stay silent about what passes by itself (`middleware::Transient`), and report once when the job is dead";
    DeathUntold "0053" "death handler did not complete":
        "write a death handler that does not fail; let the job report what must be reported, in its last attempt";

    LockLeft "0061" "lock left behind for ever":
        "give the lock a time to live";

    Panicked "0071" "assertion in the test failed":
        "read the timeline: it shows what kept the jobs from what the assertion asks for";

    OutsideCall "0081" "call to the outside in a transaction":
        "call after the commit";
    EnqueueInTransaction "0082" "enqueue in a transaction":
        "use an outbox: a row in the same transaction, and a job that enqueues what it finds there";
    PoolTooSmall "0083" "pool smaller than its slots":
        "give the process as many connections as its slots need at once, or fewer slots";

    Stuck "0091" "stuck":
        "use a lock that expires, a pool that is large enough, and waits that something ends";
    Nondeterministic "0092" "not deterministic":
        "take time and random numbers from `p.clock()` and `p.rng()`, or ignore what differs (`world.ignore`)";
    NothingTested "0093" "nothing tested":
        "run a job that has an effect, or a state to compare";
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

/// After what it happened: where several things went wrong, the one without which the others had done no harm, which is
/// mostly the last of this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum After {
    Nothing,
    Error,
    Crash,
    Stale,
    Delivery,
    AtOnce,
    AnotherJob,
    Late,
}

impl After {
    fn choice(choice: &Choice) -> Self {
        match (choice.kind, choice.label.point) {
            (Kind::Crash, _) => After::Crash,
            (Kind::Delivery, Point::Pause) | (Kind::Delay, Point::Stall) => After::AtOnce,
            (Kind::Delivery, Point::Ack) => After::Delivery,
            (Kind::Fault, _) if choice.fault() == Some(Fault::StaleRead) => After::Stale,
            // An enqueue that was refused, or whose reply was lost.
            (Kind::Fault | Kind::Delivery, _) => After::Error,
            (Kind::Schedule, _) => After::AnotherJob,
            (Kind::Delay, _) => After::Late,
        }
    }

    pub(super) fn all<'c>(deviated: impl Iterator<Item = &'c Choice>) -> Self {
        deviated.map(Self::choice).max().unwrap_or(After::Nothing)
    }
}

impl Traits {
    /// `effects`: all of the run. `ordinary`: what is dropped when nothing goes wrong.
    pub(super) fn of(finding: &Finding, events: &[Event], effects: &[Effect], ordinary: &Drops) -> Self {
        let (is_keyless, is_keyed) = match finding {
            Finding::Repeated { effect, expected, .. } => {
                let is_alike = |other: &&Effect| other.name() == effect.name() && other.key == effect.key;
                // A key that was drawn anew is another one each time.
                let is_keyed = effect.key.is_some() && effects.iter().filter(is_alike).count() > *expected;
                (effect.key.is_none(), is_keyed)
            }
            _ => (false, false),
        };
        let failed = |event: &Event| match &event.what {
            What::Deviated { choice, .. } if choice.kind == Kind::Fault => Some(event.by),
            _ => None,
        };
        let has_failed = |by: Actor| {
            let is_retry = |what: &What| matches!(what, What::Failed { retry_at: Some(_), .. });
            events.iter().any(|event| event.by == by && is_retry(&event.what))
        };
        let is_retried = events.iter().filter_map(failed).any(has_failed);
        let is_more =
            |(kind, calls): (&&'static str, &usize)| *calls > ordinary.get(kind).copied().unwrap_or(0);
        let is_cancelled = dropped(events).iter().any(is_more);
        Self { is_keyless, is_keyed, is_retried, is_cancelled }
    }
}

/// How many calls an attempt drops at the most before their answers come, by the kind of its job.
pub(crate) type Drops = BTreeMap<&'static str, usize>;

/// What the attempts of a run have dropped.
pub(crate) fn dropped(events: &[Event]) -> Drops {
    let mut waiting: BTreeMap<Actor, (&'static str, usize)> = BTreeMap::new();
    let mut dropped = Drops::new();
    for event in events {
        match &event.what {
            What::Started { kind, .. } => drop(waiting.insert(event.by, (kind, 0))),
            // A call that names no request goes outside, and its answer is not taken down.
            What::Called { request, .. } if !request.is_empty() => {
                if let Some((_, calls)) = waiting.get_mut(&event.by) {
                    *calls += 1;
                }
            }
            What::Replied { .. } => {
                if let Some((_, calls)) = waiting.get_mut(&event.by) {
                    *calls = calls.saturating_sub(1);
                }
            }
            What::Succeeded | What::Failed { .. } | What::Discarded { .. } => {
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

/// What is left to do about two deliveries at once if the service knows no keys: no job can do better.
pub(super) fn without_keys(effect: &str) -> String {
    format!("if the service takes no key, world.allow(\"{effect}\", Guarantee::AtLeastOnce) accepts it")
}

impl Code {
    pub(super) fn of(finding: &Finding, after: After) -> Self {
        match finding {
            Finding::Repeated { .. } => match after {
                After::Crash => Code::RepeatedAfterCrash,
                After::Error => Code::RepeatedAfterError,
                After::Stale => Code::RepeatedStale,
                After::Delivery => Code::RepeatedByDelivery,
                After::AtOnce => Code::RepeatedAtOnce,
                After::AnotherJob | After::Nothing => Code::RepeatedByAnotherJob,
                After::Late => Code::RepeatedLate,
            },
            Finding::Missing { .. } => match after {
                After::Crash => Code::MissingAfterCrash,
                After::Error | After::Stale => Code::MissingAfterError,
                After::Delivery | After::AtOnce => Code::MissingAfterDelivery,
                After::AnotherJob | After::Nothing => Code::MissingWhenJobsCross,
                After::Late => Code::MissingLate,
            },
            Finding::Unexpected { instead: Some(_), .. } => match after {
                After::AnotherJob | After::Nothing => Code::AnotherJobsContent,
                _ => Code::AnotherContent,
            },
            Finding::Unexpected { instead: None, .. } => Code::Unexpected,
            Finding::Reused(_) => Code::KeyReused,
            Finding::State { .. } => match after {
                After::Crash => Code::StateAfterCrash,
                After::Error | After::Stale => Code::StateAfterError,
                After::Delivery | After::AtOnce => Code::StateAfterDelivery,
                After::AnotherJob | After::Nothing => Code::StateWhenJobsCross,
                After::Late => Code::StateLate,
            },
            Finding::Leaked(_) => Code::LeftBehind,
            Finding::Job { actual: None, .. } => Code::NeverEnqueued,
            Finding::Job { actual: Some(_), .. } => Code::EndedOtherwise,
            Finding::Died { .. } => Code::DiedByItself,
            Finding::HalfWay { .. } => Code::GaveUpHalfWay,
            Finding::Early { .. } => Code::Early,
            Finding::Lost { .. } => Code::Lost,
            Finding::NotRun { .. } => Code::NotRun,
            Finding::Untold { .. } => Code::Untold,
            Finding::Told { .. } => Code::ToldTooOften,
            Finding::DeathUntold { .. } => Code::DeathUntold,
            Finding::LockLeft { .. } => Code::LockLeft,
            Finding::RefusalIgnored { .. } => Code::RefusalIgnored,
            Finding::OutOfOrder { .. } => Code::OutOfOrder,
            Finding::Panicked(_) => Code::Panicked,
            Finding::Stuck(_) => Code::Stuck,
            Finding::Unhygienic(Hygiene::OutsideCall { .. }) => Code::OutsideCall,
            Finding::Unhygienic(Hygiene::EnqueueInTransaction { .. }) => Code::EnqueueInTransaction,
            Finding::Unhygienic(Hygiene::PoolTooSmall { .. }) => Code::PoolTooSmall,
        }
    }

    /// Of a verdict that is no violation's.
    pub(super) fn of_verdict(verdict: Verdict) -> Option<Self> {
        match verdict {
            Verdict::RetryProof | Verdict::Violated => None,
            Verdict::Stuck => Some(Code::Stuck),
            Verdict::Nondeterministic => Some(Code::Nondeterministic),
            Verdict::NothingTested => Some(Code::NothingTested),
            Verdict::Incomplete => Some(Code::Incomplete),
        }
    }

    /// The page on which it is explained. It is there once `cargo doc` has run.
    pub(super) fn link(self) -> String {
        let anchor = self.as_str().to_lowercase();
        format!("target/doc/retryproof/violations/index.html#{anchor} (cargo doc -p retryproof)")
    }
}

/// What is known of the course of a run beside the finding, as far as the advice depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traits {
    /// The repeated effect bore no key.
    is_keyless: bool,
    /// Each time it bore the same key.
    is_keyed: bool,
    /// The attempt in which something went wrong has failed, and the job was tried again.
    is_retried: bool,
    /// A call was dropped before its answer came.
    is_cancelled: bool,
}

impl Code {
    /// What to do about it, after this course of events. `effect`: what it is about, as `service.operation`.
    pub(super) fn help_after(self, traits: Traits, effect: Option<&str>) -> String {
        let effect = effect.unwrap_or("the service");
        match self {
            Code::RepeatedLate => self.help().to_owned(),
            code if code.is_repeated() && traits.is_keyed => format!(
                "both calls bear the same key, and {effect} does not honor it; use a service that does (`Keys`), or look up before the call"
            ),
            _ if traits.is_cancelled => "a call was dropped before its answer came (`select!`, a timeout, or `drop`), and it may happen all the same; wait for the answer, or treat a dropped call as one whose reply is lost".to_owned(),
            Code::RepeatedAtOnce if traits.is_keyless => format!("{}\n{}", self.help(), without_keys(effect)),
            Code::MissingAfterError if traits.is_retried => "note that something is done only after it is done: the retry found what the failed attempt had noted, and did nothing".to_owned(),
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

    fn told(what: What) -> Event {
        Event { at: Duration::ZERO, by: WORKER, what }
    }

    fn called() -> Event {
        let place = Place { file: "src/jobs.rs", line: 1, column: 1 };
        told(What::Called {
            service: Name::from("store"),
            operation: Name::from("get"),
            request: "{}".into(),
            place,
        })
    }

    fn attempt(calls: usize, replies: usize) -> Vec<Event> {
        let started = What::Started { kind: "Order", payload: String::new(), process: Name::from("worker") };
        let replied = || told(What::Replied { reply: Ok(String::new()) });
        let events = std::iter::once(told(started)).chain((0..calls).map(|_| called()));
        events.chain((0..replies).map(|_| replied())).chain([told(What::Succeeded)]).collect()
    }

    #[test]
    fn a_call_that_is_dropped_when_nothing_goes_wrong_is_no_advice() {
        let (all, dropping) = (attempt(2, 2), attempt(2, 1));
        assert_eq!(dropped(&all), Drops::new());
        let ordinary = dropped(&dropping);
        assert_eq!(ordinary, Drops::from([("Order", 1)]));
        let finding = Finding::Lost { kind: "Order", payload: String::new() };
        let is_cancelled =
            |events: &[Event], ordinary: &Drops| Traits::of(&finding, events, &[], ordinary).is_cancelled;
        assert!(is_cancelled(&dropping, &Drops::new()), "it is new");
        assert!(!is_cancelled(&dropping, &ordinary), "it is always dropped");
        assert!(is_cancelled(&attempt(3, 1), &ordinary), "one more is");
        assert!(!is_cancelled(&all, &Drops::new()));
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
