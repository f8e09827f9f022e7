//! Sends emails. This service ignores idempotency keys on purpose. Sent emails can be looked up.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CreatedAt, Operation, Refusal, Refusals, Service, ServiceContext};

/// The request to send an email.
///
/// ```
/// use retryproof::service::email::Email;
///
/// let email = Email::new("ada@example.com", "order-confirmation").data("order_id", 6);
/// assert_eq!(email.template_data["order_id"], 6);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Email {
    /// The recipient.
    #[serde(default)]
    pub to: String,
    /// The template.
    #[serde(default)]
    pub template_id: String,
    /// The values for the template.
    #[serde(default)]
    pub template_data: serde_json::Map<String, Value>,
}

impl Email {
    /// Makes an email from a template.
    pub fn new(to: impl Into<String>, template_id: impl Into<String>) -> Self {
        Self { to: to.into(), template_id: template_id.into(), ..Self::default() }
    }

    /// Sets a value for the template.
    #[must_use]
    pub fn data(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.template_data.insert(name.into(), value.into());
        self
    }
}

/// The answer to a request to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum SendOutcome {
    /// The email is on its way.
    Queued {
        /// `em_63d74d53`
        email_id: String,
    },
    /// It was not sent.
    NotQueued {
        /// The reason.
        #[serde(rename = "errorMessage")]
        error_message: String,
    },
}

/// An email that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EmailRecord {
    /// `em_63d74d53`
    pub email_id: String,
    /// The email.
    #[serde(flatten)]
    pub email: Email,
    /// When it was sent.
    #[serde(skip)]
    pub made: CreatedAt,
}

/// A request to [`EmailService`].
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Request {
    /// Send an email.
    Send(Email),
    /// The emails to an address from a template.
    Emails {
        /// The address.
        email: String,
        /// The template.
        template_id: String,
    },
}

/// A reply of [`EmailService`].
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// The reply to a request to send.
    Sent(SendOutcome),
    /// The reply to a look-up.
    Emails(Vec<EmailRecord>),
}

/// The email service.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EmailService {
    records: Vec<EmailRecord>,
}

impl EmailService {
    /// All emails so far.
    pub fn records(&self) -> &[EmailRecord] {
        &self.records
    }

    /// Removes all emails.
    pub fn clear(&mut self) {
        self.records.clear();
    }

    fn send(&mut self, email: Email, cx: &mut ServiceContext<'_>) -> SendOutcome {
        let missing = [("to", &email.to), ("template_id", &email.template_id)];
        if let Some((field, _)) = missing.iter().find(|(_, value)| value.trim().is_empty()) {
            return SendOutcome::NotQueued { error_message: format!("{field} required") };
        }
        let email_id = cx.effect("send", None, &email, "em_");
        self.records.push(EmailRecord { email_id: email_id.clone(), email, made: cx.made() });
        SendOutcome::Queued { email_id }
    }
}

impl Service for EmailService {
    type Request = Request;
    type Reply = Reply;

    fn operation(&self, request: &Request) -> Operation {
        match request {
            Request::Send(_) => Operation::write("send".into()).done_before_failure(),
            Request::Emails { .. } => Operation::read("emails".into()),
        }
    }

    fn answer(&mut self, request: Request, cx: &mut ServiceContext<'_>) -> Result<Reply, Refusal> {
        Ok(match request {
            Request::Send(email) => Reply::Sent(self.send(email, cx)),
            Request::Emails { email, template_id } => {
                let wanted = |record: &&EmailRecord| {
                    record.email.to == email
                        && record.email.template_id == template_id
                        && cx.shows(record.made)
                };
                Reply::Emails(self.records.iter().filter(wanted).cloned().collect())
            }
        })
    }

    /// A rejected address is rejected for all emails.
    fn refusals(&self, request: &Request, _: &ServiceContext<'_>) -> Option<Refusals> {
        match request {
            Request::Send(Email { to, template_id, .. })
                if ![to, template_id].iter().any(|s| s.trim().is_empty()) =>
            {
                Some(Refusals::of([to], &["address-rejected"]))
            }
            _ => None,
        }
    }

    fn refuse(
        &mut self,
        request: Request,
        _: &'static str,
        cx: &mut ServiceContext<'_>,
    ) -> Result<Reply, Refusal> {
        match request {
            Request::Send(_) => {
                Ok(Reply::Sent(SendOutcome::NotQueued { error_message: "address rejected".to_owned() }))
            }
            look_up => self.answer(look_up, cx),
        }
    }

    fn state(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}
