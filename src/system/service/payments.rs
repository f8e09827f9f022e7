//! Charges a customer's card. A charge with the idempotency key of an earlier successful charge does nothing.

use serde::{Deserialize, Serialize};

use super::{CreatedAt, Keys, Metadata, Operation, Refusal, Refusals, Service, ServiceContext};

/// A total of this many cents is always declined.
pub const DECLINED_AMOUNT: u64 = 9_999;

/// A card that is always declined, as a [payment method](Charge::payment_method).
pub const DECLINED_CARD: &str = "pm_card_declined";

/// The request to charge a card.
///
/// ```
/// use retryproof::service::payments::Charge;
///
/// let charge = Charge::of_order(6, 2_598).customer("cu_2").payment_method("pm_2").key("charge-order-6");
/// assert_eq!(charge.metadata.order_id, "6");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The customer.
    pub customer_id: String,
    /// The payment method.
    pub payment_method_id: String,
    /// The amount, in cents.
    pub amount_cents: u64,
    /// The order and the idempotency key.
    pub metadata: Metadata,
}

impl Charge {
    /// A charge of `amount_cents` for an order.
    pub fn of_order(order_id: impl ToString, amount_cents: u64) -> Self {
        let metadata = Metadata { order_id: order_id.to_string(), idempotency_key: None };
        Self { amount_cents, metadata, ..Self::default() }
    }

    /// Sets the customer.
    #[must_use]
    pub fn customer(mut self, customer_id: impl Into<String>) -> Self {
        self.customer_id = customer_id.into();
        self
    }

    /// Sets the payment method. [`DECLINED_CARD`] is always declined.
    #[must_use]
    pub fn payment_method(mut self, payment_method_id: impl Into<String>) -> Self {
        self.payment_method_id = payment_method_id.into();
        self
    }

    /// Sets the idempotency key. A second charge with this key does nothing.
    #[must_use]
    pub fn key(mut self, idempotency_key: impl Into<String>) -> Self {
        self.metadata.idempotency_key = Some(idempotency_key.into());
        self
    }
}

impl Charge {
    /// The reason why the charge is always declined, if it is.
    fn refused_always(&self) -> Option<&'static str> {
        if self.payment_method_id == DECLINED_CARD {
            Some("Your card was declined")
        } else {
            (self.amount_cents == DECLINED_AMOUNT).then_some("Insufficient funds")
        }
    }
}

/// The answer to a charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum ChargeOutcome {
    /// The customer has paid.
    Success {
        /// `ch_63d74d53`
        charge_id: String,
    },
    /// The customer has not paid, and nothing was charged. A retry with the same key may succeed, unless the service
    /// [stores refusals](crate::Client::store_refusals).
    Declined {
        /// The reason.
        explanation: String,
    },
}

/// A charge in the records of the service. Declined charges are included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChargeRecord {
    /// The request.
    #[serde(flatten)]
    pub charge: Charge,
    /// The answer.
    #[serde(flatten)]
    pub answer: ChargeOutcome,
    /// When it was made.
    #[serde(skip)]
    pub created: CreatedAt,
}

impl ChargeRecord {
    /// The id of a charge that succeeded.
    pub fn charge_id(&self) -> Option<&str> {
        match &self.answer {
            ChargeOutcome::Success { charge_id } => Some(charge_id),
            ChargeOutcome::Declined { .. } => None,
        }
    }
}

/// A request to [`Payments`].
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Request {
    /// Charge a card.
    Charge(Charge),
    /// The charges of an order.
    Charges {
        /// The order.
        order_id: String,
    },
}

/// A reply of [`Payments`].
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// The reply to a charge.
    Charged(ChargeOutcome),
    /// The reply to a look-up.
    Charges(Vec<ChargeRecord>),
}

/// The payment service.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Payments {
    records: Vec<ChargeRecord>,
    keys: Keys<ChargeOutcome>,
    stores_refusals: bool,
}

impl Payments {
    /// All charges so far, including declined ones.
    pub fn records(&self) -> &[ChargeRecord] {
        &self.records
    }

    /// Configures the idempotency keys: when they expire, and whether a reused one is rejected.
    pub fn keys(&mut self) -> &mut Keys<ChargeOutcome> {
        &mut self.keys
    }

    /// Stores declines under their idempotency keys, like successes. A later charge with the key gets the stored
    /// decline, even with another card.
    pub fn store_refusals(&mut self) {
        self.stores_refusals = true;
    }

    /// Removes all charges and all keys.
    pub fn clear(&mut self) {
        self.records.clear();
        self.keys.clear();
    }

    /// `refusal` is the reason for a decline, if the charge must be declined.
    fn charge(
        &mut self,
        mut charge: Charge,
        refusal: Option<&str>,
        cx: &mut ServiceContext<'_>,
    ) -> Result<ChargeOutcome, Refusal> {
        // The body of the effect is the request without the key.
        let key = charge.metadata.idempotency_key.take();
        if let Some(answer) = self.keys.known("charge", key.as_deref(), &charge, cx)? {
            return Ok(answer);
        }
        let answer = match refusal.or(charge.refused_always()) {
            Some(explanation) => ChargeOutcome::Declined { explanation: explanation.to_owned() },
            None => ChargeOutcome::Success { charge_id: cx.effect("charge", key.as_deref(), &charge, "ch_") },
        };
        match (&key, &answer) {
            (Some(key), ChargeOutcome::Success { .. }) => self.keys.store(key, answer.clone(), cx),
            (Some(key), ChargeOutcome::Declined { .. }) if self.stores_refusals => {
                self.keys.store_refusal(key, &charge, answer.clone(), cx);
            }
            _ => {}
        }
        charge.metadata.idempotency_key = key;
        self.records.push(ChargeRecord { charge, answer: answer.clone(), created: cx.created_at() });
        Ok(answer)
    }
}

impl Service for Payments {
    type Request = Request;
    type Reply = Reply;

    fn operation(&self, request: &Request) -> Operation {
        match request {
            Request::Charge(_) => Operation::write("charge".into()),
            Request::Charges { .. } => Operation::read("charges".into()),
        }
    }

    fn answer(&mut self, request: Request, cx: &mut ServiceContext<'_>) -> Result<Reply, Refusal> {
        match request {
            Request::Charge(charge) => self.charge(charge, None, cx).map(Reply::Charged),
            Request::Charges { order_id } => {
                let wanted =
                    |r: &&ChargeRecord| r.charge.metadata.order_id == order_id && cx.shows(r.created);
                Ok(Reply::Charges(self.records.iter().filter(wanted).cloned().collect()))
            }
        }
    }

    /// The same card, amount and order get the same answer in every attempt, regardless of the key.
    fn refusals(&self, request: &Request, cx: &ServiceContext<'_>) -> Option<Refusals> {
        let Request::Charge(charge) = request else { return None };
        let key = charge.metadata.idempotency_key.as_deref();
        if charge.refused_always().is_some() || self.keys.knows(key, cx) {
            return None;
        }
        let amount = charge.amount_cents.to_string();
        let parts = [&charge.metadata.order_id, &charge.customer_id, &charge.payment_method_id, &amount];
        Some(Refusals::of(parts.into_iter().filter(|part| !part.is_empty()), &["declined"]))
    }

    fn refuse(
        &mut self,
        request: Request,
        _: &'static str,
        cx: &mut ServiceContext<'_>,
    ) -> Result<Reply, Refusal> {
        match request {
            Request::Charge(charge) => {
                self.charge(charge, Some("Your card was declined"), cx).map(Reply::Charged)
            }
            other => self.answer(other, cx),
        }
    }

    fn key<'r>(&self, request: &'r Request) -> Option<&'r str> {
        match request {
            Request::Charge(charge) => charge.metadata.idempotency_key.as_deref(),
            Request::Charges { .. } => None,
        }
    }

    fn state(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}
