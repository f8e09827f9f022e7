//! The calls of the built-in services by name. They use only what custom services have, too.

use super::client::{Client, TypedCall};
use crate::system::service::ServiceError;
use crate::system::service::email::{self, Email, EmailRecord, EmailService, SendOutcome};
use crate::system::service::error_tracker::{ErrorTracker, Notification, NotifyOutcome};
use crate::system::service::fulfillment::{Fulfillment, Shipment, ShipmentOutcome};
use crate::system::service::payments::{self, Charge, ChargeOutcome, ChargeRecord, Payments};

/// Generates the async and the blocking form of a call, with the type of its reply.
macro_rules! calls {
    ($service:ty: $($(#[$doc:meta])* $name:ident, $blocking:ident($($arg:ident: $type:ty),*) $request:expr => $unpack:expr, $output:ty;)*) => {
        impl Client<$service> {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// Returns an error if the call failed from the caller's point of view. It may have happened nevertheless.
            #[track_caller]
            pub fn $name(&self, $($arg: $type),*) -> TypedCall<$service, $output> {
                self.call($request).map($unpack)
            }

            #[doc = concat!("The blocking form of [`", stringify!($name), "`](Self::", stringify!($name), "). A crash unwinds.")]
            ///
            /// # Errors
            /// Returns an error if the call failed from the caller's point of view. It may have happened nevertheless.
            #[track_caller]
            pub fn $blocking(&self, $($arg: $type),*) -> Result<$output, ServiceError> {
                self.call_blocking($request).map($unpack)
            }
        )*}
    };
}

fn other_reply<T>() -> T {
    unreachable!("a service answers the request that it received")
}

calls! { Payments:
    /// Charges a card.
    charge, charge_blocking(charge: Charge) payments::Request::Charge(charge) => |reply| match reply { payments::Reply::Charged(charged) => charged, payments::Reply::Charges(_) => other_reply() }, ChargeOutcome;
    /// Returns the charges of an order, including declined ones.
    charges, charges_blocking(order_id: impl std::fmt::Display) payments::Request::Charges { order_id: order_id.to_string() } => |reply| match reply { payments::Reply::Charges(charges) => charges, payments::Reply::Charged(_) => other_reply() }, Vec<ChargeRecord>;
}

calls! { EmailService:
    /// Sends an email.
    send, send_blocking(email: Email) email::Request::Send(email) => |reply| match reply { email::Reply::Sent(sent) => sent, email::Reply::Emails(_) => other_reply() }, SendOutcome;
    /// Returns the emails that were sent to an address from a template.
    emails, emails_blocking(to: &str, template_id: &str) email::Request::Emails { email: to.to_owned(), template_id: template_id.to_owned() } => |reply| match reply { email::Reply::Emails(emails) => emails, email::Reply::Sent(_) => other_reply() }, Vec<EmailRecord>;
}

calls! { Fulfillment:
    /// Ships a parcel.
    request, request_blocking(shipment: Shipment) shipment => |shipped| shipped, ShipmentOutcome;
}

calls! { ErrorTracker:
    /// Reports a failure.
    notify, notify_blocking(notification: Notification) notification => |noted| noted, NotifyOutcome;
}

impl Client<ErrorTracker> {
    /// Returns all notifications so far. For the test: this is not a call.
    pub fn records(&self) -> Vec<Notification> {
        self.inspect(|service| service.records().to_vec())
    }

    /// Makes the service forget all notifications. For the test. The ledger keeps the effects.
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    pub fn clear(&self) {
        self.configure(ErrorTracker::clear);
    }
}

impl Client<Payments> {
    /// Returns all charges so far, including declined ones. For the test: this is not a call.
    pub fn records(&self) -> Vec<ChargeRecord> {
        self.inspect(|service| service.records().to_vec())
    }

    /// Makes the service forget all charges and keys. For the test. The ledger keeps the effects.
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    pub fn clear(&self) {
        self.configure(Payments::clear);
    }
}

impl Client<EmailService> {
    /// Returns all emails so far. For the test: this is not a call.
    pub fn records(&self) -> Vec<EmailRecord> {
        self.inspect(|service| service.records().to_vec())
    }

    /// Makes the service forget all emails. For the test. The ledger keeps the effects.
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    pub fn clear(&self) {
        self.configure(EmailService::clear);
    }
}

impl Client<Fulfillment> {
    /// Returns all parcels so far. For the test: this is not a call.
    pub fn records(&self) -> Vec<Shipment> {
        self.inspect(|service| service.records().to_vec())
    }

    /// Makes the service forget all parcels and keys. For the test. The ledger keeps the effects.
    ///
    /// # Panics
    /// Panics if called through the handle of a process.
    pub fn clear(&self) {
        self.configure(Fulfillment::clear);
    }
}
