//! Idempotency keys and the answers that are stored under them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{Refusal, Reuse, ServiceContext};
use crate::search::choice::Name;
use crate::system::effect::RepeatedRequest;
use crate::system::exact_json;

/// The idempotency keys that a service knows, and the answer stored under each.
///
/// A key never expires unless [`forgotten_after`](Keys::forgotten_after) is set. A known key with *different*
/// parameters gets the stored answer: the second request never happens, which is a violation in every run. With
/// [`reject_reuse`](Keys::reject_reuse) the request is rejected with 400 instead.
#[derive(Clone, Debug, Serialize)]
pub struct Keys<A> {
    forgotten_after: Option<Duration>,
    reject_reuse: bool,
    stored: BTreeMap<String, StoredAnswer<A>>,
    /// The number of effects when a key was last looked up.
    #[serde(skip)]
    effects: usize,
}

#[derive(Clone, Debug, Serialize)]
struct StoredAnswer<A> {
    answer: A,
    /// The request that was answered first, if it is known.
    first: FirstRequest,
    forgotten_at: Option<Duration>,
}

/// The request whose answer is stored.
#[derive(Clone, Debug, Serialize)]
enum FirstRequest {
    Unknown,
    /// The body of the effect at this index of the ledger.
    Effect(usize),
    /// The request had no effect. This is its body, as JSON.
    Refused(String),
}

impl<A> Default for Keys<A> {
    fn default() -> Self {
        Self { forgotten_after: None, reject_reuse: false, stored: BTreeMap::new(), effects: 0 }
    }
}

impl<A: Clone> Keys<A> {
    /// Sets how long a key is remembered after its request, in virtual time. Applies to keys that are stored from now
    /// on.
    pub fn forgotten_after(&mut self, ttl: Duration) {
        self.forgotten_after = Some(ttl);
    }

    /// Rejects a known key with different parameters.
    pub fn reject_reuse(&mut self) {
        self.reject_reuse = true;
    }

    /// Removes all keys.
    pub fn clear(&mut self) {
        self.stored.clear();
    }

    /// Returns the answer stored under the key, if the key is known. `body` is the request without the key.
    ///
    /// # Errors
    /// If the parameters differ from those of the first request and [`reject_reuse`](Keys::reject_reuse) is set.
    ///
    /// # Panics
    /// If `body` cannot be serialized as JSON.
    pub fn known(
        &mut self,
        operation: impl Into<Name>,
        key: Option<&str>,
        body: &impl Serialize,
        cx: &mut ServiceContext<'_>,
    ) -> Result<Option<A>, Refusal> {
        let Some(key) = key else { return Ok(None) };
        self.effects = cx.ledger.effects().len();
        if !self.knows(Some(key), cx) {
            self.stored.remove(key);
            return Ok(None);
        }
        let stored = &self.stored[key];
        let first = match &stored.first {
            FirstRequest::Unknown => None,
            FirstRequest::Effect(at) => cx.ledger.effects().get(*at).map(|effect| &effect.body),
            FirstRequest::Refused(body) => Some(body),
        };
        let operation = operation.into();
        if let Some(first) = first {
            let second = written(body);
            if *first == second {
                let (service, by) = (cx.service, cx.by);
                let at = cx.ledger.effects().iter().filter(|e| !e.given && !e.tells).count();
                cx.ledger.repeats.push(RepeatedRequest { by, service, operation, at });
            } else {
                if self.reject_reuse {
                    let reason =
                        format!("the idempotency key {key:?} was used before, with different parameters");
                    return Err(Refusal { status: 400, reason });
                }
                if !cx.given {
                    let (service, by, place) = (cx.service, cx.by, cx.place);
                    let (key, first) = (key.to_owned(), first.clone());
                    cx.ledger.reused.push(Reuse { service, operation, key, first, second, by, place });
                }
            }
        }
        Ok(Some(stored.answer.clone()))
    }

    /// Reports whether an answer is stored under the key.
    pub fn knows(&self, key: Option<&str>, cx: &ServiceContext<'_>) -> bool {
        let stored = key.and_then(|key| self.stored.get(key));
        stored.is_some_and(|stored| stored.forgotten_at.is_none_or(|at| cx.now < at))
    }

    /// Stores the answer to a request. If the request has had an effect since its key was looked up
    /// ([`known`](Self::known)), that effect tells what the request was, and a later request with other parameters is
    /// detected. Otherwise use [`store_refusal`](Self::store_refusal).
    pub fn store(&mut self, key: impl Into<String>, answer: A, cx: &ServiceContext<'_>) {
        let effects = cx.ledger.effects().len();
        let first =
            if effects > self.effects { FirstRequest::Effect(effects - 1) } else { FirstRequest::Unknown };
        self.insert(key.into(), answer, first, cx);
    }

    /// Stores the answer to a request that had no effect: a refusal. `body` is the request without the key.
    ///
    /// # Panics
    /// If `body` cannot be serialized as JSON.
    pub fn store_refusal(
        &mut self,
        key: impl Into<String>,
        body: &impl Serialize,
        answer: A,
        cx: &ServiceContext<'_>,
    ) {
        self.insert(key.into(), answer, FirstRequest::Refused(written(body)), cx);
    }

    /// Stores the answer to a request as a whole, as [`written`] has it: what it did is not looked at.
    pub(super) fn store_request(&mut self, key: String, request: String, answer: A, cx: &ServiceContext<'_>) {
        self.insert(key, answer, FirstRequest::Refused(request), cx);
    }

    fn insert(&mut self, key: String, answer: A, first: FirstRequest, cx: &ServiceContext<'_>) {
        let forgotten_at = self.forgotten_after.map(|ttl| cx.now.saturating_add(ttl));
        self.stored.insert(key, StoredAnswer { answer, first, forgotten_at });
    }
}

pub(super) fn written(body: &impl Serialize) -> String {
    exact_json::text(body).expect("the body of a request can be written as JSON")
}
