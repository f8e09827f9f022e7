//! The calls of the built-in services by name. Nothing here but what a user has for a service of their own.

use super::client::{Client, TypedCall};
use crate::system::service::ServiceError;
use crate::system::service::email::{self, Email, EmailRecord, EmailService, SendOutcome};
use crate::system::service::error_tracker::{ErrorTracker, Notification, NotifyOutcome};
use crate::system::service::fulfillment::{Fulfillment, Shipment, ShipmentOutcome};
use crate::system::service::payments::{self, Charge, ChargeOutcome, ChargeRecord, Payments};

/// Writes the async and the blocking form of a call, with the reply as that call has it.
macro_rules! calls {
    ($service:ty: $($(#[$doc:meta])* $name:ident, $blocking:ident($($arg:ident: $type:ty),*) $request:expr => $unpack:expr, $output:ty;)*) => {
        impl Client<$service> {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// When the call came to nothing, as far as the caller can see. It may have happened all the same.
            #[track_caller]
            pub fn $name(&self, $($arg: $type),*) -> TypedCall<$service, $output> {
                self.call($request).map($unpack)
            }

            #[doc = concat!("The blocking form of [`", stringify!($name), "`](Self::", stringify!($name), "). A crash unwinds.")]
            ///
            /// # Errors
            /// When the call came to nothing, as far as the caller can see. It may have happened all the same.
            #[track_caller]
            pub fn $blocking(&self, $($arg: $type),*) -> Result<$output, ServiceError> {
                self.call_blocking($request).map($unpack)
            }
        )*}
    };
}

fn other_reply<T>() -> T {
    unreachable!("a service answers what it was asked")
}

calls! { Payments:
    /// Charges a card.
    charge, charge_blocking(charge: Charge) payments::Request::Charge(charge) => |reply| match reply { payments::Reply::Charged(charged) => charged, payments::Reply::Charges(_) => other_reply() }, ChargeOutcome;
    /// The charges of an order, declined ones included.
    charges, charges_blocking(order_id: impl std::fmt::Display) payments::Request::Charges { order_id: order_id.to_string() } => |reply| match reply { payments::Reply::Charges(charges) => charges, payments::Reply::Charged(_) => other_reply() }, Vec<ChargeRecord>;
}

calls! { EmailService:
    /// Sends an email.
    send, send_blocking(email: Email) email::Request::Send(email) => |reply| match reply { email::Reply::Sent(sent) => sent, email::Reply::Emails(_) => other_reply() }, SendOutcome;
    /// The emails sent to an address from a template.
    emails, emails_blocking(to: &str, template_id: &str) email::Request::Emails { email: to.to_owned(), template_id: template_id.to_owned() } => |reply| match reply { email::Reply::Emails(emails) => emails, email::Reply::Sent(_) => other_reply() }, Vec<EmailRecord>;
}

calls! { Fulfillment:
    /// Ships a parcel.
    request, request_blocking(shipment: Shipment) shipment => |shipped| shipped, ShipmentOutcome;
}

calls! { ErrorTracker:
    /// Tells of a failure.
    notify, notify_blocking(notification: Notification) notification => |noted| noted, NotifyOutcome;
}

impl Client<ErrorTracker> {
    /// All that it was told so far. For the test: it is no call.
    pub fn records(&self) -> Vec<Notification> {
        self.inspect(|service| service.records().to_vec())
    }

    /// Has the service forget all that it was told. For the test; what happened has happened, and stays in the ledger.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn clear(&self) {
        self.configure(ErrorTracker::clear);
    }
}

impl Client<Payments> {
    /// Every charge so far, declined ones included. For the test: it is no call.
    pub fn records(&self) -> Vec<ChargeRecord> {
        self.inspect(|service| service.records().to_vec())
    }

    /// Has the service forget every charge, and every key. For the test; what happened has happened, and stays in the ledger.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn clear(&self) {
        self.configure(Payments::clear);
    }
}

impl Client<EmailService> {
    /// Every email so far. For the test: it is no call.
    pub fn records(&self) -> Vec<EmailRecord> {
        self.inspect(|service| service.records().to_vec())
    }

    /// Has the service forget every email. For the test; what happened has happened, and stays in the ledger.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn clear(&self) {
        self.configure(EmailService::clear);
    }
}

impl Client<Fulfillment> {
    /// Every parcel so far. For the test: it is no call.
    pub fn records(&self) -> Vec<Shipment> {
        self.inspect(|service| service.records().to_vec())
    }

    /// Has the service forget every parcel, and every key. For the test; what happened has happened, and stays in the ledger.
    ///
    /// # Panics
    /// Through the handle of a process.
    pub fn clear(&self) {
        self.configure(Fulfillment::clear);
    }
}
