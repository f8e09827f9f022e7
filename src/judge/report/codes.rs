//! Which sort of violation it is: a short code, what it is called, and what usually mends it.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Verdict;
use crate::judge::oracle::Finding;
use crate::search::choice::{Choice, Fault, Kind, Point};
use crate::system::hygiene::Hygiene;

/// Declares the codes once: each with its number, its name in words, and what usually mends it.
macro_rules! codes {
    ($($code:ident $number:literal $title:literal: $mended_by:literal;)*) => {
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

            /// What usually mends it.
            pub const fn mended_by(self) -> &'static str {
                match self {
                    $(Self::$code => $mended_by,)*
                }
            }
        }
    };
}

codes! {
    RepeatedAfterCrash "0001" "effect repeated after a crash":
        "an idempotency key that is the same in every attempt, or a look-up before the call";
    RepeatedAfterError "0002" "effect repeated after an error":
        "an idempotency key that is the same in every attempt, or a look-up before the call";
    RepeatedByDelivery "0003" "effect repeated by a second delivery":
        "an idempotency key made of the job's own data, or a look-up before the call";
    RepeatedAtOnce "0004" "effect repeated by two deliveries at once":
        "an idempotency key made of the job's own data; to look before the call is not enough, since both look before either acts";
    RepeatedByAnotherJob "0005" "effect repeated by jobs that cross":
        "a claim that only one of them can make: an idempotency key that they share, a row under a unique key, a compare-and-set";
    RepeatedLate "0006" "effect repeated by a late retry":
        "a look-up before the call, or keys and locks that live longer than the job is retried";
    RepeatedStale "0007" "effect repeated after a stale look-up":
        "an idempotency key; a look-up is worth what its search shows, and an index or a replica lags behind";

    MissingAfterCrash "0011" "effect missing after a crash":
        "noting that something is done when it is, not before; a claim with an owner and a time to live; an outbox for what must follow a commit";
    MissingAfterError "0012" "effect missing after an error":
        "handing the error on, so that the job is tried again, and noting that something is done only when it is";
    MissingAfterDelivery "0013" "effect missing after a second delivery":
        "counting once for each job: a row under its id, in the same transaction";
    MissingWhenJobsCross "0014" "effect missing when jobs cross":
        "enqueuing after the commit, out of an outbox; a job that finds too little fails, and is tried again";
    MissingLate "0015" "effect missing after a late timer":
        "doing what is to be done however late it is, or saying in the test that it may be missing";

    AnotherContent "0021" "effect with another content or key":
        "making keys and contents of the job's own data, not of the time, the attempt or a random number";
    Unexpected "0022" "effect that no fault-free run has":
        "making keys and contents of the job's own data, and undoing by a job of its own what has to be undone";
    KeyReused "0023" "key of another request":
        "a key for each thing that is to happen once: of the order's id, not a constant";
    AnotherJobsContent "0024" "effect with another job's content":
        "passing what a job needs as an argument: a static and a thread-local are there for all jobs";

    Early "0025" "effect before its time":
        "waiting until a time that is stored with the job, not for a time from now on";
    RefusalIgnored "0026" "refusal ignored":
        "looking at the answer: what comes after a refused request depends on it";

    StateAfterCrash "0031" "state left otherwise after a crash":
        "one transaction for what belongs together, with a guard in it that says it is done (an inbox)";
    StateAfterError "0032" "state left otherwise after an error":
        "setting values instead of adding to them, or a guard in the same transaction";
    StateAfterDelivery "0033" "state left otherwise after a second delivery":
        "a guard in the same transaction, serializable or under a unique key: two deliveries may be under way at once";
    StateWhenJobsCross "0034" "lost update":
        "an atomic update (`incr`), a compare-and-set, a row lock, or a serializable transaction that is tried again";
    StateLate "0035" "state left otherwise after a late timer":
        "deciding by what is stored, not by how late it is";

    LeftBehind "0036" "what another job left behind":
        "clearing thread-locals after each job (`middleware::ClearThreadLocals`), and keeping with the job what belongs to it";

    NeverEnqueued "0041" "job never enqueued":
        "an outbox: a row in the same transaction, and a job that enqueues what it finds there";
    EndedOtherwise "0042" "job that ended otherwise":
        "letting the job end as it does when nothing goes wrong, whoever has done its work";
    DiedByItself "0043" "job that dies of what it left behind":
        "taking one's own traces for one's own: a lock with an owner and a time to live, a duplicate key caught";
    Lost "0044" "job gone with its worker":
        "at-least-once delivery: a queue that keeps a job until it is acknowledged";
    NotRun "0045" "job that cannot be run":
        "a handler for its kind, and a payload that decodes";
    GaveUpHalfWay "0046" "gave up half-way":
        "one transaction for what belongs together, more retries, or a job that undoes what was done; or say `world.may_stop_half_way::<Job>()`";

    Untold "0051" "dead job that nobody was told of":
        "telling in the last attempt, until it is heard (`middleware::TellOfFailures`)";
    ToldTooOften "0052" "failure told too often":
        "silence about what passes by itself (`middleware::Transient`), and one word when the job is dead";
    DeathUntold "0053" "death handler that was not heard out":
        "a death handler that does not fail; what must be told is told by the job, in its last attempt";

    LockLeft "0061" "lock left behind for ever":
        "a time to live";

    Panicked "0071" "check of the test's own":
        "doing what the assertion asks for: the timeline shows what kept the jobs from it";

    OutsideCall "0081" "call to the outside in a transaction":
        "calling after the commit";
    EnqueueInTransaction "0082" "enqueue in a transaction":
        "an outbox: a row in the same transaction, and a job that enqueues what it finds there";
    PoolTooSmall "0083" "pool smaller than its slots":
        "as many connections as slots need at once, or fewer slots";

    Stuck "0091" "stuck":
        "a lock that expires, a pool that is large enough, a wait that somebody ends";
    Nondeterministic "0092" "not deterministic":
        "taking time and random numbers from `p.clock()` and `p.rng()`, or ignoring what differs (`world.ignore`)";
    NothingTested "0093" "nothing tested":
        "a job that runs, and an effect or a state to be compared";
    Incomplete "0094" "incomplete":
        "fewer jobs, a lower bound, or a higher limit";
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
            (Kind::Delivery, Point::Pause) => After::AtOnce,
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
            Finding::Panicked(_) => Code::Panicked,
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

    /// Whether no job can do better where the service takes no key.
    fn is_not_to_be_had_without_key(self) -> bool {
        self == Code::RepeatedAtOnce
    }

    /// The last line of a report: what usually mends it, and where to read on. `keyless`: the effect, if it bore no key.
    pub(super) fn advice(self, keyless: Option<&str>) -> String {
        let given_up = match keyless.filter(|_| self.is_not_to_be_had_without_key()) {
            Some(effect) => format!(
                ". Where the service takes no key, exactly once is not to be had: say world.allow(\"{effect}\", Guarantee::AtLeastOnce)"
            ),
            None => String::new(),
        };
        let (mended_by, anchor) = (self.mended_by(), self.as_str().to_lowercase());
        format!("{self} is usually mended by {mended_by}{given_up}; read on in docs/violations.md#{anchor}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_numbered_in_their_order_and_each_once() {
        let numbers: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        assert!(numbers.iter().all(|number| number.len() == 6 && number.starts_with("RP")), "{numbers:?}");
    }

    #[test]
    fn only_two_deliveries_at_once_of_an_effect_without_a_key_are_beyond_mending() {
        let gives_up = |code: Code, keyless| code.advice(keyless).contains("Guarantee::AtLeastOnce");
        let effect = Some("email.send");
        let beyond: Vec<_> = Code::ALL.iter().copied().filter(|code| gives_up(*code, effect)).collect();
        assert_eq!(beyond, [Code::RepeatedAtOnce]);
        assert!(!gives_up(Code::RepeatedAtOnce, None));
    }
}
