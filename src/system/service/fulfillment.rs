//! Ships parcels. A request with the idempotency key of an earlier accepted request ships nothing.

use serde::{Deserialize, Serialize};

use super::{Keys, Metadata, Operation, Refusal, Refusals, Service, ServiceContext};

/// The request to ship a parcel.
///
/// ```
/// use retryproof::service::fulfillment::Shipment;
///
/// let shipment = Shipment::of_order(6, "pr_3", 2).customer("cu_2").address("1 Main St").key("ship-order-6");
/// assert_eq!(shipment.quantity, 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    /// The customer.
    pub customer_id: String,
    /// The address. A blank one is rejected.
    #[serde(default)]
    pub address: String,
    /// The product.
    pub product_id: String,
    /// The number of items.
    pub quantity: u32,
    /// The order and the idempotency key.
    pub metadata: Metadata,
}

impl Shipment {
    /// Makes a shipment for an order.
    pub fn of_order(order_id: impl ToString, product_id: impl Into<String>, quantity: u32) -> Self {
        let metadata = Metadata { order_id: order_id.to_string(), idempotency_key: None };
        Self { product_id: product_id.into(), quantity, metadata, ..Self::default() }
    }

    /// Sets the customer.
    #[must_use]
    pub fn customer(mut self, customer_id: impl Into<String>) -> Self {
        self.customer_id = customer_id.into();
        self
    }

    /// Sets the address.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// Sets the idempotency key. A second request with this key ships nothing.
    #[must_use]
    pub fn key(mut self, idempotency_key: impl Into<String>) -> Self {
        self.metadata.idempotency_key = Some(idempotency_key.into());
        self
    }
}

/// The answer to a request to ship.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum ShipmentOutcome {
    /// The parcel will be shipped.
    Accepted {
        /// `fr_63d74d53`
        request_id: String,
    },
    /// The parcel will not be shipped.
    Rejected {
        /// The reason.
        error: String,
    },
}

/// The fulfillment service.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Fulfillment {
    requests: Vec<Shipment>,
    keys: Keys<ShipmentOutcome>,
}

impl Fulfillment {
    /// All parcels so far.
    pub fn records(&self) -> &[Shipment] {
        &self.requests
    }

    /// Removes all parcels and all keys.
    pub fn clear(&mut self) {
        self.requests.clear();
        self.keys.clear();
    }

    /// Configures the idempotency keys: when they expire, and whether a reused one is rejected.
    pub fn keys(&mut self) -> &mut Keys<ShipmentOutcome> {
        &mut self.keys
    }
}

impl Service for Fulfillment {
    type Request = Shipment;
    type Reply = ShipmentOutcome;

    fn operation(&self, _: &Shipment) -> Operation {
        Operation::write("request".into())
    }

    fn answer(
        &mut self,
        mut shipment: Shipment,
        cx: &mut ServiceContext<'_>,
    ) -> Result<ShipmentOutcome, Refusal> {
        let key = shipment.metadata.idempotency_key.take();
        if let Some(answer) = self.keys.known("request", key.as_deref(), &shipment, cx)? {
            return Ok(answer);
        }
        if shipment.address.trim().is_empty() {
            return Ok(ShipmentOutcome::Rejected { error: "Missing address".to_owned() });
        }
        let answer =
            ShipmentOutcome::Accepted { request_id: cx.effect("request", key.as_deref(), &shipment, "fr_") };
        self.requests.push(shipment);
        if let Some(key) = key {
            self.keys.store(key, answer.clone(), cx);
        }
        Ok(answer)
    }

    fn refusals(&self, shipment: &Shipment, cx: &ServiceContext<'_>) -> Option<Refusals> {
        let key = shipment.metadata.idempotency_key.as_deref();
        if self.keys.knows(key, cx) || shipment.address.trim().is_empty() {
            return None;
        }
        let quantity = shipment.quantity.to_string();
        let parts = [&shipment.metadata.order_id, &shipment.product_id, &quantity];
        Some(Refusals::of(
            parts.into_iter().filter(|part| !part.is_empty()),
            &["out-of-stock", "address-rejected"],
        ))
    }

    fn refuse(
        &mut self,
        _: Shipment,
        refusal: &'static str,
        _: &mut ServiceContext<'_>,
    ) -> Result<ShipmentOutcome, Refusal> {
        let error = if refusal == "out-of-stock" { "Out of stock" } else { "Address rejected" };
        Ok(ShipmentOutcome::Rejected { error: error.to_owned() })
    }

    fn key<'r>(&self, shipment: &'r Shipment) -> Option<&'r str> {
        shipment.metadata.idempotency_key.as_deref()
    }

    fn state(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}
