//! What the three versions share: the shop's handles, and what it asks of the outside for an order.

use std::error::Error;

use retryproof::service::email::{Email, EmailRecord, EmailService, SendOutcome};
use retryproof::service::fulfillment::{Fulfillment, Shipment};
use retryproof::service::payments::{Charge, DECLINED_AMOUNT, Payments};
use retryproof::{Client, Durable, JobQueue, Process, World};

use crate::order::{Order, Orders, Status};

/// How an attempt of a job ends.
pub(crate) type Done = Result<(), Box<dyn Error>>;

/// The templates of the shop's emails.
pub(crate) const CONFIRMATION: &str = "order-confirmation";
pub(crate) const ADDRESS_NEEDED: &str = "address-needed";

/// The shop, as one incarnation of its worker reaches it.
#[derive(Clone)]
pub(crate) struct Shop {
    orders: Durable<Orders>,
    pub(crate) payments: Client<Payments>,
    pub(crate) email: Client<EmailService>,
    pub(crate) fulfillment: Client<Fulfillment>,
    pub(crate) queue: JobQueue,
}

impl Shop {
    pub(crate) fn new(p: &Process, orders: &Durable<Orders>) -> Self {
        Self {
            orders: orders.clone(),
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

    /// Writes the whole row, whatever is in it by now.
    #[track_caller]
    pub(crate) fn save(&self, order: Order) {
        self.orders.update(|orders| orders.insert(order.id, order));
    }

    /// Changes the row as it is now, all at once.
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

    /// Says that the money has come and the order will be looked after; it promises no parcel yet.
    pub(crate) fn confirmation(&self) -> Email {
        self.email(CONFIRMATION).data("total_cents", self.total_cents)
    }

    /// Says that the order is paid and cannot be shipped, and asks for an address.
    ///
    /// A customer whose order was rejected has had the confirmation already. To leave it at that would be a lie, and
    /// they alone can mend it.
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

/// The id of an email that was sent; an error, if it was not.
pub(crate) fn email_id(sent: SendOutcome) -> Result<String, String> {
    match sent {
        SendOutcome::Queued { email_id } => Ok(email_id),
        SendOutcome::NotQueued { error_message } => Err(error_message),
    }
}

/// The email about this order among those that a customer has had. The address and the template alone will not do:
/// a customer may have two orders.
pub(crate) fn email_about(order_id: u32, sent: &[EmailRecord]) -> Option<String> {
    let about =
        |record: &&EmailRecord| record.email.template_data.get("order_id").is_some_and(|id| *id == order_id);
    sent.iter().find(about).map(|record| record.email_id.clone())
}

/// What any test of the shop would assert when all is over: each order has come to the end that it should.
///
/// That nothing is done twice is not asserted: the harness sees to it. But it compares with the run in which nothing
/// goes wrong, and cannot know that *that* run is right: a constant key would ship the first order and no other, every
/// time.
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
