//! An order: a row of the shop's database, read from the fixture.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Every order by its id: the table that survives each crash.
pub(crate) type Orders = BTreeMap<u32, Order>;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: u32,
    pub(crate) customer: Customer,
    pub(crate) product_id: String,
    pub(crate) product: String,
    pub(crate) quantity: u32,
    pub(crate) unit_price_cents: u64,
    pub(crate) total_cents: u64,

    // The progress of the order. None of this is in the fixture.
    #[serde(default)]
    pub(crate) status: Status,
    /// From the payment service.
    #[serde(default)]
    pub(crate) charge_id: Option<String>,
    /// From the email service: the confirmation.
    #[serde(default)]
    pub(crate) email_id: Option<String>,
    /// From fulfillment.
    #[serde(default)]
    pub(crate) request_id: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Customer {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) email: String,
    /// The destination of the parcel. It is blank in one order, because people leave fields out.
    pub(crate) address: String,
    pub(crate) payment_method_id: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    #[default]
    Placed,
    Paid,
    /// Paid, and the customer has the confirmation.
    Confirmed,
    /// Final: fulfillment accepted it.
    Shipped,
    /// Final: the card was declined. Nothing was emailed or shipped.
    Declined,
    /// Final: fulfillment rejected it. The customer was asked for an address.
    Rejected,
}

/// The reason why there are no orders.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrdersError {
    #[error("the orders cannot be read from {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{} does not hold orders: {source}", path.display())]
    NotOrders { path: PathBuf, source: serde_json::Error },
    #[error("{} holds an order that cannot be: {reason}", path.display())]
    Impossible { path: PathBuf, reason: String },
}

/// Reads orders and checks the constraints that a database would check: unique ids, correct totals.
pub(crate) fn load(path: &Path) -> Result<Vec<Order>, OrdersError> {
    let text = fs::read_to_string(path)
        .map_err(|source| OrdersError::Unreadable { path: path.to_owned(), source })?;
    let orders: Vec<Order> = serde_json::from_str(&text)
        .map_err(|source| OrdersError::NotOrders { path: path.to_owned(), source })?;
    let impossible = |reason| Err(OrdersError::Impossible { path: path.to_owned(), reason });
    let mut ids = BTreeSet::new();
    for order in &orders {
        let adds_up = order.unit_price_cents.checked_mul(order.quantity.into()) == Some(order.total_cents);
        if !adds_up || order.quantity == 0 {
            let Order { id, quantity, unit_price_cents, total_cents, .. } = order;
            return impossible(format!(
                "order {id}: {quantity} × {unit_price_cents} cents is not {total_cents} cents"
            ));
        }
        if !ids.insert(order.id) {
            return impossible(format!("two orders have the id {}", order.id));
        }
    }
    if orders.is_empty() {
        return impossible("there is none".to_owned());
    }
    Ok(orders)
}
