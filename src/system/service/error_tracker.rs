//! Receives failures, so that people can look at them. Reports are judged together with the ends of jobs, not as
//! effects: a job that ends dead must report once, and a job that is retried must not report.

use serde::{Deserialize, Serialize};

use super::{Operation, Refusal, Service, ServiceContext};

/// A report to the error tracker.
///
/// ```
/// use retryproof::service::error_tracker::Notification;
///
/// let notification = Notification::new("Timeout", "the bank did not answer");
/// assert_eq!(notification.exception_class, "Timeout");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The class of the failure.
    #[serde(default)]
    pub exception_class: String,
    /// The message of the failure.
    #[serde(default)]
    pub exception_message: String,
}

impl Notification {
    /// Makes a report of a failure.
    pub fn new(exception_class: impl Into<String>, exception_message: impl Into<String>) -> Self {
        Self { exception_class: exception_class.into(), exception_message: exception_message.into() }
    }
}

/// The answer to a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NotifyOutcome {
    /// The report was recorded.
    Noted {
        /// `err_63d74d53`
        notification_id: String,
    },
    /// The report was rejected.
    Rejected {
        /// The reason.
        error: String,
    },
}

/// The error tracker.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ErrorTracker {
    notifications: Vec<Notification>,
    /// The ignored classes.
    ignored: Vec<String>,
}

impl ErrorTracker {
    /// All reports so far.
    pub fn records(&self) -> &[Notification] {
        &self.notifications
    }

    /// Removes all reports.
    pub fn clear(&mut self) {
        self.notifications.clear();
    }

    /// Ignores these classes from now on. Reports of them are answered as usual, but not recorded.
    pub fn ignore<C: Into<String>>(&mut self, exception_classes: impl IntoIterator<Item = C>) {
        self.ignored.extend(exception_classes.into_iter().map(Into::into));
    }
}

impl Service for ErrorTracker {
    type Request = Notification;
    type Reply = NotifyOutcome;

    fn operation(&self, _: &Notification) -> Operation {
        Operation::write("notify".into())
    }

    fn answer(
        &mut self,
        notification: Notification,
        cx: &mut ServiceContext<'_>,
    ) -> Result<NotifyOutcome, Refusal> {
        let texts = [&notification.exception_class, &notification.exception_message];
        if texts.iter().any(|text| text.trim().is_empty()) {
            return Ok(NotifyOutcome::Rejected { error: "exception class or message is missing".to_owned() });
        }
        if self.ignored.contains(&notification.exception_class) {
            let notification_id = cx.id("notify", &notification, "err_");
            return Ok(NotifyOutcome::Noted { notification_id });
        }
        let notification_id = cx.effect("notify", None, &notification, "err_");
        self.notifications.push(notification);
        Ok(NotifyOutcome::Noted { notification_id })
    }

    fn is_error_tracker(&self) -> bool {
        true
    }

    fn state(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}
