//! SMTP as a [`Protocol`]: each message is one call to the email service.

use super::message::email;
use super::session::{Envelope, Next, Session};
use crate::system::service::ServiceError;
use crate::system::service::email::{EmailService, Reply as EmailReply, Request, SendOutcome};
use crate::system::timeline::EventKind;
use crate::wire::{Caller, DecodeOutcome, Protocol, Reply, ServeOutcome, tls};

/// A mail server that keeps nothing itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct SmtpProtocol;

#[derive(Debug)]
pub(super) enum SmtpRequest {
    Message(Envelope),
    Tls,
}

impl Protocol for SmtpProtocol {
    type Session = Session;
    type Request = SmtpRequest;

    fn greeting(&self) -> Vec<u8> {
        b"220 retryproof ESMTP\r\n".to_vec()
    }

    fn decode(&self, bytes: &mut Vec<u8>, session: &mut Session) -> DecodeOutcome<SmtpRequest> {
        match session.read(bytes) {
            Next::Partial => DecodeOutcome::Partial,
            Next::Answer(text) => DecodeOutcome::Aside(text.into_bytes()),
            Next::Last(text) => DecodeOutcome::Close(text.into_bytes()),
            Next::Message(envelope) => DecodeOutcome::Request(SmtpRequest::Message(envelope)),
            Next::Tls => DecodeOutcome::Request(SmtpRequest::Tls),
        }
    }

    fn serve(&self, request: SmtpRequest, _: &mut Session, caller: &Caller<'_>) -> ServeOutcome {
        let SmtpRequest::Message(envelope) = request else {
            let text = "a client speaks TLS to the mail server; turn TLS off in it, or give it `smtp://…`";
            caller.shared().state().note(|| EventKind::Remarked { text: text.to_owned() });
            return ServeOutcome::reply(Reply::new(tls::HANDSHAKE_FAILURE).last());
        };
        let request = Request::Send(email(&envelope));
        caller.call::<EmailService>("email", request, |result| match result {
            Ok(EmailReply::Sent(SendOutcome::Queued { email_id })) => {
                Reply::new(format!("250 2.0.0 OK: queued as {email_id}\r\n"))
            }
            Ok(EmailReply::Sent(SendOutcome::NotQueued { error_message })) => {
                Reply::new(format!("550 5.1.1 {error_message}\r\n"))
            }
            Ok(EmailReply::Emails(_)) => unreachable!("the answer to a look-up"),
            Err(error) => failure(&error),
        })
    }
}

/// A failure of the service, as its clients see it.
fn failure(error: &ServiceError) -> Reply {
    match error {
        ServiceError::Unavailable { .. } => Reply::new("421 4.3.2 service not available\r\n").last(),
        ServiceError::Throttled { retry_after, .. } => {
            Reply::new(format!("450 4.7.1 too many messages, try again in {} s\r\n", retry_after.as_secs()))
        }
        ServiceError::Refused { reason, .. } => {
            let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            Reply::new(format!("554 5.7.1 {reason}\r\n"))
        }
        // An injected timeout never answers. This is the time limit of a slow service.
        ServiceError::TimedOut { .. } => Reply::new("421 4.4.2 timed out\r\n").last(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Repetitions, Sample, conformance_repeating};

    /// The first digit of the last line of a reply.
    fn last_code(reply: &[u8]) -> Option<u8> {
        let lines = reply.strip_suffix(b"\r\n")?;
        let last = lines.rsplit(|byte| *byte == b'\n').next()?;
        last.first().copied()
    }

    #[test]
    fn smtp_conforms() {
        let sample = Sample {
            write:
                b"HELO test\r\nMAIL FROM:<a@a>\r\nRCPT TO:<b@b>\r\nDATA\r\nSubject: x\r\n\r\nHello\r\n.\r\n",
            is_whole: |reply| {
                let text = String::from_utf8_lossy(reply);
                text.ends_with("\r\n")
                    && (text.contains("queued as") || matches!(last_code(reply), Some(b'4' | b'5')))
            },
            is_error: |reply| matches!(last_code(reply), Some(b'4' | b'5')),
        };
        conformance_repeating(Repetitions::FEW, || SmtpProtocol, |world| drop(world.email()), sample)
            .unwrap_or_else(|failures| panic!("{failures}"));
    }
}
