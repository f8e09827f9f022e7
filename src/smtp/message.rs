//! An email of the service, made of a message in MIME.

use mail_parser::{MessageParser, MimeHeaders, PartType};
use serde_json::{Value, json};

use super::session::Envelope;
use crate::search::digest::{Fingerprint, hex};
use crate::system::service::email::Email;

/// The template of a message without a subject.
const NO_SUBJECT: &str = "(no subject)";

/// Reports whether a header differs in each attempt, or is a part of the email of its own.
fn is_left_out(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("content-")
        || ["date", "message-id", "mime-version", "subject", "from", "to"].contains(&name.as_str())
}

/// Returns the email, without the parts that the client generates for each message.
pub(super) fn email(envelope: &Envelope) -> Email {
    let to = envelope.to.join(", ");
    let parsed = MessageParser::default().parse(&envelope.data);
    let Some(message) = parsed.filter(|message| !message.parts.is_empty()) else {
        let body = String::from_utf8_lossy(&envelope.data).into_owned();
        return Email { to, template_id: NO_SUBJECT.to_owned(), body, ..Email::default() };
    };
    let subject = message.subject().map(str::trim).filter(|subject| !subject.is_empty());
    let mut email = Email::new(to, subject.unwrap_or(NO_SUBJECT)).data("from", envelope.from.as_str());
    for (name, value) in message.headers_raw().filter(|(name, _)| !is_left_out(name)) {
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        email = email.data(name.to_ascii_lowercase(), value);
    }
    // A part that is only text is shown as HTML, too, and the reverse.
    let texts = message.text_bodies().filter_map(|part| match &part.body {
        PartType::Text(text) => Some(text.trim_end().to_owned()),
        _ => None,
    });
    email.body = texts.collect::<Vec<_>>().join("\n");
    let html = message.html_bodies().filter_map(|part| match &part.body {
        PartType::Html(html) => Some(html.trim_end().to_owned()),
        _ => None,
    });
    let html = html.collect::<Vec<_>>().join("\n");
    if !html.is_empty() {
        email = email.data("html", html);
    }
    let attachments = message.attachments().map(|part| {
        let kind = part.content_type().map(|kind| match kind.subtype() {
            Some(subtype) => format!("{}/{subtype}", kind.ctype()),
            None => kind.ctype().to_owned(),
        });
        let contents = part.contents();
        json!({
            "name": part.attachment_name(),
            "content_type": kind,
            "length": contents.len(),
            "digest": hex("", Fingerprint::of(&[]).and_bytes(contents).digest(), 16),
        })
    });
    let attachments: Vec<Value> = attachments.collect();
    if !attachments.is_empty() {
        email = email.data("attachments", attachments);
    }
    email
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn expect_email(data: &str, expected: &Expect) {
        let to = vec!["ada@example.com".to_owned(), "bob@example.com".to_owned()];
        let data = data.replace('\n', "\r\n").into_bytes();
        let email = email(&Envelope { from: "shop@example.com".to_owned(), to, data });
        expected.assert_eq(&serde_json::to_string_pretty(&email).unwrap());
    }

    #[test]
    fn an_email_has_what_the_job_wrote_and_nothing_that_its_client_generates() {
        expect_email(
            "From: Shop <shop@example.com>\nTo: Ada <ada@example.com>\nDate: Tue, 1 Dec 2026 04:00:00 +0000\nMessage-ID: <c0ffee@host>\nX-Order: 6\nReply-To:\n help@example.com\nSubject: =?utf-8?B?R3LDvMOfZQ==?=\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nIt costs 5 =E2=82=AC.\n",
            &expect![[r#"
                {
                  "to": "ada@example.com, bob@example.com",
                  "template_id": "Grüße",
                  "template_data": {
                    "from": "shop@example.com",
                    "reply-to": "help@example.com",
                    "x-order": "6"
                  },
                  "body": "It costs 5 €."
                }"#]],
        );
    }

    #[test]
    fn parts_are_told_apart_by_their_contents_and_not_by_their_boundaries() {
        let message = |boundary: &str| {
            format!(
                "Subject: Invoice\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\n\n--{boundary}\nContent-Type: text/html\n\n<b>Hello</b>\n--{boundary}\nContent-Type: application/pdf; name=i.pdf\nContent-Disposition: attachment; filename=i.pdf\nContent-Transfer-Encoding: base64\n\nSGVsbG8=\n--{boundary}--\n"
            )
        };
        expect_email(
            &message("aaa"),
            &expect![[r#"
                {
                  "to": "ada@example.com, bob@example.com",
                  "template_id": "Invoice",
                  "template_data": {
                    "attachments": [
                      {
                        "content_type": "application/pdf",
                        "digest": "b44b29130f6583ba",
                        "length": 5,
                        "name": "i.pdf"
                      }
                    ],
                    "from": "shop@example.com",
                    "html": "<b>Hello</b>"
                  }
                }"#]],
        );
        let email_of = |data: String| {
            email(&Envelope { data: data.replace('\n', "\r\n").into_bytes(), ..Envelope::default() })
        };
        assert_eq!(email_of(message("aaa")), email_of(message("bbb")));
        assert_ne!(email_of(message("aaa")), email_of(message("aaa").replace("SGVsbG8=", "SGVsbHA=")));
    }

    #[test]
    fn a_message_without_a_subject_or_with_nothing_in_it_is_an_email() {
        expect_email(
            "\nHello\n",
            &expect![[r#"
                {
                  "to": "ada@example.com, bob@example.com",
                  "template_id": "(no subject)",
                  "template_data": {
                    "from": "shop@example.com"
                  },
                  "body": "Hello"
                }"#]],
        );
        let empty = email(&Envelope::default());
        assert_eq!((&*empty.template_id, &*empty.body), (NO_SUBJECT, ""));
    }
}
