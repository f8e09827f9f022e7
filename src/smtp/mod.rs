//! A mail server behind a real loopback port, for code that sends emails by SMTP.
//!
//! `session` reads commands and messages, `message` makes an email of a message, and `protocol` sends it.

mod session;
mod message;
mod protocol;

use std::fmt;
use std::net::SocketAddr;

use self::protocol::SmtpProtocol;
use crate::process::{Link, Process};
use crate::search::choice::Place;
use crate::system::service::email::EmailService;
use crate::wire::{Wire, exchange_of};
use crate::world::World;

/// The name of the protocol.
const SMTP: &str = "smtp";

/// The address of the mail server, for one incarnation of a process or for the test body.
///
/// It is a port on 127.0.0.1. When the incarnation dies, the port is closed and its connections are reset.
#[derive(Clone)]
pub struct Smtp {
    wire: Wire,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Smtp {
    /// The URL, such as `smtp://127.0.0.1:43117`. The port differs in each incarnation and each run.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.wire.address())
    }

    /// The socket address.
    pub fn address(&self) -> SocketAddr {
        self.wire.address()
    }
}

fn open(link: &Link, place: Place) -> Smtp {
    // The service exists once it is used.
    link.shared().services.built_in::<EmailService>();
    exchange_of(link.shared()).get_or_add(SMTP.into(), || SmtpProtocol);
    Smtp { wire: Wire::open(link, SMTP.into(), place) }
}

impl Process {
    /// Returns the address of the mail server for this incarnation, to test code that sends emails by SMTP unchanged. The
    /// port is opened immediately, and closed when the incarnation dies. Further calls return the same address.
    ///
    /// Each message is one call of [`Process::email`]: `email.send`, with the recipients, the subject as the template, the
    /// text, and further headers and attachments in `template_data`. `Date`, `Message-ID` and the boundaries of parts are
    /// not compared, because each attempt generates them. The message is accepted or not at its end (`DATA`), and there it
    /// has the points and faults of a call over a connection:
    ///
    /// | fault | the client sees |
    /// | --- | --- |
    /// | unavailable | `421`, and the connection is closed |
    /// | throttled | `450` |
    /// | refused ([`explore_refusals`](crate::Client::explore_refusals) of the email service) | `550` |
    /// | timed out, or late | no answer |
    /// | reset, closed | a lost connection, before or after the message was accepted |
    ///
    /// A message is sent each time: SMTP has no idempotency keys. Any login is accepted. TLS is not offered.
    ///
    #[cfg_attr(doctest, doc = "```ignore")]
    #[cfg_attr(not(doctest), doc = "```")]
    #[doc = include_str!("../../docs/smtp/a_job.rs")]
    /// ```
    ///
    /// # Panics
    /// If no port can be opened.
    #[track_caller]
    pub fn smtp(&self) -> Smtp {
        open(self.link(), Place::caller())
    }
}

impl World {
    /// Returns the address of the mail server for the test body itself. Nothing goes wrong with messages to it. Processes
    /// use [`Process::smtp`].
    ///
    /// The messages are in [`World::email`]:
    ///
    #[cfg_attr(doctest, doc = "```ignore")]
    #[cfg_attr(not(doctest), doc = "```")]
    #[doc = include_str!("../../docs/smtp/a_fake.rs")]
    /// ```
    ///
    /// # Panics
    /// If no port can be opened.
    #[track_caller]
    pub fn smtp(&self) -> Smtp {
        open(&self.link(), Place::caller())
    }
}
