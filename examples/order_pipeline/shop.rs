//! The shared part of the three versions: the shop's handles, and its requests to external services.

use std::error::Error;

use retryproof::service::email::{Email, EmailRecord, EmailService, SendOutcome};
use retryproof::service::fulfillment::{Fulfillment, Shipment};
use retryproof::service::payments::{Charge, DECLINED_AMOUNT, Payments};
use retryproof::{Client, Durable, JobQueue, Process, World};

use crate::order::{Order, Orders, Status};

/// The result of an attempt of a job.
pub(crate) type Done = Result<(), Box<dyn Error>>;

/// The templates of the shop's emails.
pub(crate) const CONFIRMATION: &str = "order-confirmation";
pub(crate) const ADDRESS_NEEDED: &str = "address-needed";

/// The shop, for one incarnation of its worker.
#[derive(Clone)]
pub(crate) struct Shop {
    orders: Durable<Orders>,
    pub(crate) payments: Client<Payments>,
    pub(crate) email: Client<EmailService>,
    pub(crate) fulfillment: Client<Fulfillment>,
    pub(crate) queue: JobQueue,
}

impl Shop {
    pub(crate) fn new(p: &Process) -> Self {
        Self {
            orders: p.durable("orders"),
            payments: p.payments(),
            email: p.email(),
            fulfillment: p.fulfillment(),
            queue: p.queue(),
        }
    }

    /// The row of an order.
    pub(crate) fn order(&self, order_id: u32) -> Order {
        self.orders.read(|orders| orders[&order_id].clone())
    }

    /// Writes the whole row, regardless of its current contents.
    #[track_caller]
    pub(crate) fn save(&self, order: Order) {
        self.orders.update(|orders| orders.insert(order.id, order));
    }

    /// Changes the current row atomically.
    #[track_caller]
    pub(crate) fn update(&self, order_id: u32, change: impl FnOnce(&mut Order)) {
        self.orders.update(|orders| orders.get_mut(&order_id).map(change));
    }
}

impl Order {
    pub(crate) fn charge(&self) -> Charge {
        let customer = &self.customer;
        Charge::of_order(self.id, self.total_cents)
            .customer(&customer.id)
            .payment_method(&customer.payment_method_id)
    }

    /// Tells the customer that the payment has arrived and the order is being processed. It does not promise a parcel
    /// yet.
    pub(crate) fn confirmation(&self) -> Email {
        self.email(CONFIRMATION).data("total_cents", self.total_cents)
    }

    /// Tells the customer that the order is paid but cannot be shipped, and asks for an address.
    ///
    /// The customer already has the confirmation, which would be a lie if the order were rejected silently. Only the
    /// customer can correct the address.
    pub(crate) fn address_needed(&self) -> Email {
        self.email(ADDRESS_NEEDED)
    }

    pub(crate) fn shipment(&self) -> Shipment {
        Shipment::of_order(self.id, &self.product_id, self.quantity)
            .customer(&self.customer.id)
            .address(&self.customer.address)
    }

    fn email(&self, template_id: &str) -> Email {
        Email::new(&self.customer.email, template_id)
            .data("order_id", self.id)
            .data("name", self.customer.name.as_str())
            .data("product", self.product.as_str())
    }
}

/// The id of an email that was sent, or an error.
pub(crate) fn email_id(sent: SendOutcome) -> Result<String, String> {
    match sent {
        SendOutcome::Queued { email_id } => Ok(email_id),
        SendOutcome::NotQueued { error_message } => Err(error_message),
    }
}

/// The email about this order among a customer's emails. The address and the template alone are not enough, because a
/// customer may have two orders.
pub(crate) fn email_about(order_id: u32, sent: &[EmailRecord]) -> Option<String> {
    let about =
        |record: &&EmailRecord| record.email.template_data.get("order_id").is_some_and(|id| *id == order_id);
    sent.iter().find(about).map(|record| record.email_id.clone())
}

/// The assertions of any test of the shop: each order has reached its expected end.
///
/// Duplicates are not asserted here, because the harness finds them. But the harness compares with the fault-free run
/// and cannot know whether *that* run is right: a constant key would ship the first order and no other, every time.
pub(crate) fn assert_completed(world: &World, orders: &Orders) {
    let (charges, emails) = (world.payments().records(), world.email().records());
    let parcels = world.fulfillment().records();
    for order in orders.values() {
        let id = order.id.to_string();
        let paid = charges.iter().any(|c| c.charge.metadata.order_id == id && c.charge_id().is_some());
        let shipped = parcels.iter().any(|parcel| parcel.metadata.order_id == id);
        let told = |template: &str| {
            let mut of_template = emails.iter().filter(|sent| sent.email.template_id == template);
            of_template.any(|sent| sent.email.template_data.get("order_id") == Some(&order.id.into()))
        };
        let end = (order.status, paid, told(CONFIRMATION), told(ADDRESS_NEEDED), shipped);
        let expected = if order.total_cents == DECLINED_AMOUNT {
            (Status::Declined, false, false, false, false)
        } else if order.customer.address.trim().is_empty() {
            (Status::Rejected, true, true, true, false)
        } else {
            (Status::Shipped, true, true, false, true)
        };
        assert_eq!(end, expected, "order {id}: status, paid, confirmed, asked for an address, shipped");
    }
}
