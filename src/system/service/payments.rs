//! Charges a customer's card. A charge with the idempotency key of an earlier successful one does nothing.

use serde::{Deserialize, Serialize};

use super::{Cx, Keys, Made, Metadata, Operation, Refusal, Service};

/// A total of this many cents is always declined.
pub const DECLINED_AMOUNT: u64 = 9_999;

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
    /// Who pays.
    pub customer_id: String,
    /// With which card.
    pub payment_method_id: String,
    /// How much, in cents.
    pub amount_cents: u64,
    /// For which order, and under which key.
    pub metadata: Metadata,
}

impl Charge {
    /// A charge of `amount_cents` for an order.
    pub fn of_order(order_id: impl ToString, amount_cents: u64) -> Self {
        let metadata = Metadata { order_id: order_id.to_string(), idempotency_key: None };
        Self { amount_cents, metadata, ..Self::default() }
    }

    /// Who pays.
    #[must_use]
    pub fn customer(mut self, customer_id: impl Into<String>) -> Self {
        self.customer_id = customer_id.into();
        self
    }

    /// With which card.
    #[must_use]
    pub fn payment_method(mut self, payment_method_id: impl Into<String>) -> Self {
        self.payment_method_id = payment_method_id.into();
        self
    }

    /// Makes the charge repeatable: a second one with this key does nothing.
    #[must_use]
    pub fn key(mut self, idempotency_key: impl Into<String>) -> Self {
        self.metadata.idempotency_key = Some(idempotency_key.into());
        self
    }
}

/// The answer to a charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Charged {
    /// The customer has paid.
    Success {
        /// `ch_63d74d53`
        charge_id: String,
    },
    /// The customer has not paid. Nothing was charged; the same key may be tried again.
    Declined {
        /// Why.
        explanation: String,
    },
}

/// A charge as the service remembers it, declined ones included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChargeRecord {
    /// What was asked for.
    #[serde(flatten)]
    pub charge: Charge,
    /// What was answered.
    #[serde(flatten)]
    pub answer: Charged,
    /// When.
    #[serde(skip)]
    pub made: Made,
}

impl ChargeRecord {
    /// The id of a charge that succeeded.
    pub fn charge_id(&self) -> Option<&str> {
        match &self.answer {
            Charged::Success { charge_id } => Some(charge_id),
            Charged::Declined { .. } => None,
        }
    }
}

/// What can be asked of [`Payments`].
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

/// What [`Payments`] answers.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To a charge.
    Charged(Charged),
    /// To a look-up.
    Charges(Vec<ChargeRecord>),
}

/// The payment service.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Payments {
    records: Vec<ChargeRecord>,
    keys: Keys<Charged>,
}

impl Payments {
    /// Every charge so far, declined ones included.
    pub fn records(&self) -> &[ChargeRecord] {
        &self.records
    }

    /// The idempotency keys of charges, to be set: when they are forgotten, whether a reused one is refused.
    pub fn keys(&mut self) -> &mut Keys<Charged> {
        &mut self.keys
    }

    /// Forgets every charge, and every key.
    pub fn clear(&mut self) {
        self.records.clear();
        self.keys.clear();
    }

    fn charge(&mut self, mut charge: Charge, cx: &mut Cx<'_>) -> Result<Charged, Refusal> {
        // The body of the effect is what was asked for, without the key.
        let key = charge.metadata.idempotency_key.take();
        if let Some(answer) = self.keys.known("charge", key.as_deref(), &charge, cx)? {
            return Ok(answer);
        }
        let answer = if charge.amount_cents == DECLINED_AMOUNT {
            Charged::Declined { explanation: "Insufficient funds".to_owned() }
        } else {
            let answer = Charged::Success { charge_id: cx.effect("charge", key.as_deref(), &charge, "ch_") };
            if let Some(key) = &key {
                self.keys.store(key, answer.clone(), cx);
            }
            answer
        };
        charge.metadata.idempotency_key = key;
        self.records.push(ChargeRecord { charge, answer: answer.clone(), made: cx.made() });
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

    fn answer(&mut self, request: Request, cx: &mut Cx<'_>) -> Result<Reply, Refusal> {
        match request {
            Request::Charge(charge) => self.charge(charge, cx).map(Reply::Charged),
            Request::Charges { order_id } => {
                let wanted = |r: &&ChargeRecord| r.charge.metadata.order_id == order_id && cx.shows(r.made);
                Ok(Reply::Charges(self.records.iter().filter(wanted).cloned().collect()))
            }
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
