//! Effects: changes to the outside world that a customer could notice, and the ledger of them.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hasher;
use std::time::Duration;

use serde::Serialize;
use siphasher::sip::SipHasher13;

use crate::search::choice::{Actor, Name, Place};
pub(crate) use crate::search::digest::{Fingerprint, fingerprint, hex};
use crate::system::clock::Expiries;

/// A change to the outside world that a customer could notice: a charge, an email, a shipped order.
///
/// Two effects are the same if their service, operation, key and body are the same.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Effect {
    /// The service: `payments`.
    pub service: Name,
    /// The operation: `charge`.
    pub operation: Name,
    /// The idempotency key of the request, if it had one.
    pub key: Option<String>,
    /// The request as JSON, without the key.
    #[serde(serialize_with = "as_json")]
    pub body: String,
    /// The id that the service assigned, derived from the content: `ch_63d74d53`.
    pub id: String,
    /// The time since the world began.
    #[serde(skip)]
    pub at: Duration,
    /// Whether the test body made the effect itself, as a given.
    pub given: bool,
    #[serde(skip)]
    pub(crate) by: Actor,
    #[serde(skip)]
    pub(crate) place: Option<Place>,
    /// Whether the effect reports a failure.
    #[serde(skip)]
    pub(crate) tells: bool,
}

fn as_json<S: serde::Serializer>(body: &str, serializer: S) -> Result<S::Ok, S::Error> {
    match serde_json::from_str::<serde_json::Value>(body) {
        Ok(value) => value.serialize(serializer),
        Err(_) => serializer.serialize_str(body),
    }
}

impl Effect {
    /// `payments.charge`
    pub fn name(&self) -> String {
        format!("{}.{}", self.service, self.operation)
    }

    /// The parts that two equal effects share.
    pub(crate) fn identity(&self) -> (Name, Name, Option<&str>, &str) {
        (self.service, self.operation, self.key.as_deref(), &self.body)
    }
}

impl PartialEq for Effect {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} {}", self.service, self.operation, self.body)?;
        self.key.iter().try_for_each(|key| write!(f, " key {key:?}"))
    }
}

/// A request that received the stored answer of a different request because it had the same idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reuse {
    pub(crate) service: Name,
    pub(crate) operation: Name,
    pub(crate) key: String,
    /// The first request under the key, which was carried out.
    pub(crate) first: String,
    /// The later request, which was not carried out.
    pub(crate) second: String,
    pub(crate) by: Actor,
    pub(crate) place: Option<Place>,
}

/// All effects of a run, in the order in which they happened.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    effects: Vec<Effect>,
    occurrences: Occurrences,
    /// Requests without an effect because an earlier request had the same key.
    pub(crate) reused: Vec<Reuse>,
    /// Requests that received the stored answer of the same earlier request.
    pub(crate) repeats: Vec<RepeatedRequest>,
    /// When what services keep expires.
    pub(crate) expiries: Expiries,
}

/// A request that was answered from an earlier effect under the same key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RepeatedRequest {
    pub(crate) by: Actor,
    pub(crate) service: Name,
    pub(crate) operation: Name,
    /// The number of effects that the code under test had made by then.
    pub(crate) at: usize,
}

impl Ledger {
    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn effects(&self) -> &[Effect] {
        &self.effects
    }

    pub(crate) fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Returns a prefix and eight hex digits that identify an effect. They derive from its content and from the
    /// number of earlier effects with the same content, so other effects do not change them.
    pub(crate) fn id(
        &mut self,
        prefix: &str,
        service: Name,
        operation: Name,
        key: Option<&str>,
        body: &str,
    ) -> String {
        let content = fingerprint(&[service.as_str(), operation.as_str(), key.unwrap_or(body)]);
        let occurrence = self.occurrences.next(content) + 1;
        // Hash the occurrence again, so that two digests that differ little do not stay similar.
        let mut hasher = SipHasher13::new();
        hasher.write_u64(content);
        hasher.write_u32(occurrence);
        hex(prefix, hasher.finish() >> 32, 8)
    }
}

/// A number in decimal digits, formatted without allocating a `String`.
pub(crate) struct Digits {
    digits: [u8; 20],
    from: usize,
}

impl Digits {
    pub(crate) fn of(mut number: u64) -> Self {
        let (mut digits, mut from) = ([b'0'; 20], 19);
        while number > 9 {
            digits[from] += (number % 10) as u8;
            number /= 10;
            from -= 1;
        }
        digits[from] += number as u8;
        Self { digits, from }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.digits[self.from..]).expect("digits are text")
    }
}

/// Counts the occurrences of each content. The first few need no allocation, and usually there are no more.
#[derive(Debug, Default, Hash)]
pub(crate) struct Occurrences {
    few: [(u64, u32); 4],
    others: BTreeMap<u64, u32>,
}

impl Occurrences {
    /// The number of occurrences of this content so far.
    pub(crate) fn count(&self, content: u64) -> u32 {
        let few = self.few.iter().find(|(known, count)| *known == content && *count > 0);
        few.map_or_else(|| self.others.get(&content).copied().unwrap_or(0), |(_, count)| *count)
    }

    /// Counts one more occurrence. Returns the number before it.
    pub(crate) fn next(&mut self, content: u64) -> u32 {
        for (known, count) in &mut self.few {
            if *count == 0 {
                *known = content;
            }
            if *known == content {
                *count += 1;
                return *count - 1;
            }
        }
        let count = self.others.entry(content).or_insert(0);
        *count += 1;
        *count - 1
    }
}

/// The effects of a world, for assertions in a test.
///
/// ```
/// # use retryproof::{World, service::payments::Charge};
/// # retryproof::check(async |world: &World| {
/// # world.process("worker", |p| {
/// #     let payments = p.payments();
/// #     p.handle(async move |order: u32| payments.charge(Charge::of_order(order, 500).key("k")).await.map(drop));
/// # });
/// # world.enqueue(6_u32);
/// # world.settle().await;
/// assert_eq!(world.effects().of("payments.charge").count(), 1);
/// # });
/// ```
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Effects(Vec<Effect>);

impl Effects {
    pub(crate) fn new(effects: Vec<Effect>) -> Self {
        Self(effects)
    }

    /// Returns the effects of one kind, named as `service.operation`, or all effects of a `service`.
    #[must_use]
    pub fn of(&self, name: &str) -> Self {
        Self(self.0.iter().filter(|e| e.service.as_str() == name || e.name() == name).cloned().collect())
    }

    /// Returns the effects whose body contains this text.
    #[must_use]
    pub fn with(&self, text: &str) -> Self {
        Self(self.0.iter().filter(|e| e.body.contains(text)).cloned().collect())
    }

    /// Returns the number of effects.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Iterates over the effects in the order in which they happened.
    pub fn iter(&self) -> std::slice::Iter<'_, Effect> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Effects {
    type Item = &'a Effect;
    type IntoIter = std::slice::Iter<'a, Effect>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|effect| writeln!(f, "{effect}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extra_effect_does_not_move_the_ids_of_later_ones() {
        let id =
            |ledger: &mut Ledger, body: &str| ledger.id("", "payments".into(), "charge".into(), None, body);
        let (mut one, mut other) = (Ledger::default(), Ledger::default());
        let first = id(&mut one, "a");
        let second = id(&mut one, "b");
        assert_eq!(id(&mut other, "a"), first);
        assert_ne!(id(&mut other, "a"), first, "the same content again is another effect");
        assert_eq!(id(&mut other, "b"), second);
    }

    #[test]
    fn ids_are_the_same_on_every_machine() {
        let id = Ledger::default().id("", "payments".into(), "charge".into(), Some("order-6"), "{}");
        assert_eq!(id, "7185fb14");
    }

    #[test]
    fn occurrences_are_counted_however_many_contents_there_are() {
        let mut seen = Occurrences::default();
        for round in 0..3 {
            for content in (0..20).rev() {
                assert_eq!((seen.count(content), seen.next(content)), (round, round));
            }
        }
    }

    #[test]
    fn digits_are_those_of_display() {
        for number in [0, 9, 10, 1_099, u64::MAX] {
            assert_eq!(Digits::of(number).text(), number.to_string());
        }
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
    }
}
