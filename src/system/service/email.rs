//! Sends emails. A request without an idempotency key is sent each time, as most providers do. Sent emails can be looked
//! up.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CreatedAt, Keys, Operation, Refusal, Refusals, Service, ServiceContext};

/// The request to send an email.
///
/// ```
/// use retryproof::service::email::Email;
///
/// let email = Email::new("ada@example.com", "order-confirmation").data("order_id", 6);
/// assert_eq!(email.template_data["order_id"], 6);
///
/// // A service that takes a text, and honors idempotency keys.
/// let email = Email::text("ada@example.com", "Your order 6 has shipped.").key("shipped-6");
/// assert_eq!(email.idempotency_key.as_deref(), Some("shipped-6"));
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
    /// The text, if it comes from no template.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// The idempotency key: a second email with this key is not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

impl Email {
    /// Makes an email from a template.
    pub fn new(to: impl Into<String>, template_id: impl Into<String>) -> Self {
        Self { to: to.into(), template_id: template_id.into(), ..Self::default() }
    }

    /// Creates an email with a text of its own.
    pub fn text(to: impl Into<String>, body: impl Into<String>) -> Self {
        Self { to: to.into(), body: body.into(), ..Self::default() }
    }

    /// Sets the idempotency key: a second email with this key is not sent.
    #[must_use]
    pub fn key(mut self, idempotency_key: impl Into<String>) -> Self {
        self.idempotency_key = Some(idempotency_key.into());
        self
    }

    /// Returns the name of the first missing field.
    fn missing(&self) -> Option<&'static str> {
        let content = [&self.template_id, &self.body].iter().all(|text| text.trim().is_empty());
        let missing = [("to", self.to.trim().is_empty()), ("template_id", content)];
        missing.iter().find(|(_, is_missing)| *is_missing).map(|(field, _)| *field)
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
    pub created: CreatedAt,
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
    keys: Keys<SendOutcome>,
}

impl EmailService {
    /// All emails so far.
    pub fn records(&self) -> &[EmailRecord] {
        &self.records
    }

    /// Removes all emails and all keys.
    pub fn clear(&mut self) {
        self.records.clear();
        self.keys.clear();
    }

    fn send(&mut self, mut email: Email, cx: &mut ServiceContext<'_>) -> Result<SendOutcome, Refusal> {
        if let Some(field) = email.missing() {
            return Ok(SendOutcome::NotQueued { error_message: format!("{field} required") });
        }
        // The body of the effect is what was asked for, without the key.
        let key = email.idempotency_key.take();
        if let Some(answer) = self.keys.known("send", key.as_deref(), &email, cx)? {
            return Ok(answer);
        }
        let email_id = cx.effect("send", key.as_deref(), &email, "em_");
        let answer = SendOutcome::Queued { email_id: email_id.clone() };
        if let Some(key) = &key {
            self.keys.store(key, answer.clone(), cx);
        }
        email.idempotency_key = key;
        self.records.push(EmailRecord { email_id, email, created: cx.created_at() });
        Ok(answer)
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
            Request::Send(email) => Reply::Sent(self.send(email, cx)?),
            Request::Emails { email, template_id } => {
                let wanted = |record: &&EmailRecord| {
                    record.email.to == email
                        && record.email.template_id == template_id
                        && cx.shows(record.created)
                };
                Reply::Emails(self.records.iter().filter(wanted).cloned().collect())
            }
        })
    }

    /// A rejected address is rejected for all emails.
    fn refusals(&self, request: &Request, cx: &ServiceContext<'_>) -> Option<Refusals> {
        let Request::Send(email) = request else { return None };
        let is_settled = email.missing().is_some() || self.keys.knows(email.idempotency_key.as_deref(), cx);
        (!is_settled).then(|| Refusals::of([&email.to], &["address-rejected"]))
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

    fn key<'r>(&self, request: &'r Request) -> Option<&'r str> {
        match request {
            Request::Send(email) => email.idempotency_key.as_deref(),
            Request::Emails { .. } => None,
        }
    }

    fn state(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}
