//! Idempotency keys and the answers that are stored under them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{Cx, Refusal, Reuse};
use crate::search::choice::Name;

/// The idempotency keys that a service knows, and the answer stored under each.
///
/// A key is known for ever, unless it is [forgotten](Keys::forgotten_after). A known key with *different* parameters
/// is answered with the stored answer: the second request never happens, and that is a violation in any run. With
/// [`refuse_reused`](Keys::refuse_reused) it is refused with 400 instead.
#[derive(Clone, Debug, Serialize)]
pub struct Keys<A> {
    forgotten_after: Option<Duration>,
    refuse_reused: bool,
    stored: BTreeMap<String, Stored<A>>,
}

#[derive(Clone, Debug, Serialize)]
struct Stored<A> {
    answer: A,
    /// Where in the ledger the effect stands that was made under the key: it knows what was asked for.
    effect: Option<usize>,
    forgotten_at: Option<Duration>,
}

impl<A> Default for Keys<A> {
    fn default() -> Self {
        Self { forgotten_after: None, refuse_reused: false, stored: BTreeMap::new() }
    }
}

impl<A: Clone> Keys<A> {
    /// Forgets each key so long after its request. Concerns the keys that are stored from now on.
    pub fn forgotten_after(&mut self, ttl: Duration) {
        self.forgotten_after = Some(ttl);
    }

    /// Refuses a known key with different parameters.
    pub fn refuse_reused(&mut self) {
        self.refuse_reused = true;
    }

    /// Forgets each key.
    pub fn clear(&mut self) {
        self.stored.clear();
    }

    /// The answer stored under the key, if the key is known. `body` is what is asked for, without the key.
    ///
    /// # Errors
    /// When the parameters are other ones than the first time, and that is to be refused.
    ///
    /// # Panics
    /// When `body` cannot be written as JSON.
    pub fn known(
        &mut self,
        operation: impl Into<Name>,
        key: Option<&str>,
        body: &impl Serialize,
        cx: &mut Cx<'_>,
    ) -> Result<Option<A>, Refusal> {
        let Some((key, stored)) = key.and_then(|key| self.stored.get(key).map(|stored| (key, stored))) else {
            return Ok(None);
        };
        if stored.forgotten_at.is_some_and(|at| at <= cx.now) {
            self.stored.remove(key);
            return Ok(None);
        }
        let first = stored.effect.and_then(|at| cx.ledger.effects().get(at)).map(|effect| &effect.body);
        if let Some(first) = first {
            let second = serde_json::to_string(body).expect("the body of a request can be written as JSON");
            if *first != second {
                if self.refuse_reused {
                    let reason =
                        format!("the idempotency key {key:?} was used before, with different parameters");
                    return Err(Refusal { status: 400, reason });
                }
                if !cx.given {
                    let (service, operation, by, place) = (cx.service, operation.into(), cx.by, cx.place);
                    let (key, first) = (key.to_owned(), first.clone());
                    cx.ledger.reused.push(Reuse { service, operation, key, first, second, by, place });
                }
            }
        }
        Ok(Some(stored.answer.clone()))
    }

    /// Stores the answer to a request whose effect was the last one that was recorded: what was asked for is known
    /// from there.
    pub fn store(&mut self, key: impl Into<String>, answer: A, cx: &Cx<'_>) {
        let effect = cx.ledger.effects().len().checked_sub(1);
        let forgotten_at = self.forgotten_after.map(|ttl| cx.now.saturating_add(ttl));
        self.stored.insert(key.into(), Stored { answer, effect, forgotten_at });
    }
}
