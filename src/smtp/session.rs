//! Commands and messages of one connection (RFC 5321), without I/O.

use std::mem;

use crate::wire::tls;

/// The longest message, in bytes.
const LONGEST_MESSAGE: usize = 10 << 20;
/// The longest command. RFC 5321, section 4.5.3.1, asks for 512, and login data may be longer.
const LONGEST_COMMAND: usize = 12 << 10;
/// The most recipients of a message.
const MOST_RECIPIENTS: usize = 1_000;

/// A message as it was sent, with its envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) from: String,
    pub(super) to: Vec<String>,
    /// Headers and body, without the dots that were added for the transfer.
    pub(super) data: Vec<u8>,
}

/// The next thing on the connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Partial,
    Answer(String),
    Last(String),
    Message(Envelope),
    /// A client that speaks TLS.
    Tls,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Command,
    /// The number of lines that the login still needs.
    Login(u32),
    Data,
    /// A message that is too long: its rest is read and forgotten.
    Overlong,
}

/// The state of a connection.
#[derive(Debug, Default)]
pub(super) struct Session {
    phase: Phase,
    is_greeted: bool,
    from: Option<String>,
    to: Vec<String>,
    data: Vec<u8>,
}

fn answer(text: &str) -> Next {
    Next::Answer(format!("{text}\r\n"))
}

/// Takes a line without its end off the front.
fn line(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let mut line: Vec<u8> = bytes.drain(..end + 2).collect();
    line.truncate(end);
    Some(line)
}

/// The address between `<` and `>`, and the parameters after it.
fn path(text: &str) -> Option<(&str, &str)> {
    let (address, parameters) = text.trim_start().strip_prefix('<')?.split_once('>')?;
    // A source route is obsolete (RFC 5321, appendix C): `<@relay:ada@example.com>`.
    let address = match address.starts_with('@') {
        true => address.split_once(':')?.1,
        false => address,
    };
    Some((address, parameters))
}

impl Session {
    /// Reads the next command or message off the front of the bytes.
    pub(super) fn read(&mut self, bytes: &mut Vec<u8>) -> Next {
        if !self.is_greeted && tls::is_spoken(bytes) {
            bytes.clear();
            return Next::Tls;
        }
        while let Some(line) = line(bytes) {
            let next = match self.phase {
                Phase::Command => self.command(&line),
                Phase::Login(lines) => self.login(&line, lines),
                Phase::Data | Phase::Overlong => match self.content(&line) {
                    Some(next) => next,
                    None => continue,
                },
            };
            return next;
        }
        match bytes.len() > LONGEST_COMMAND && matches!(self.phase, Phase::Command | Phase::Login(_)) {
            true => Next::Last("500 5.5.6 line too long\r\n".to_owned()),
            false => Next::Partial,
        }
    }

    /// Takes the transaction back to its beginning.
    fn reset(&mut self) {
        (self.from, self.to, self.data) = (None, Vec::new(), Vec::new());
    }

    fn command(&mut self, line: &[u8]) -> Next {
        let Ok(text) = std::str::from_utf8(line) else {
            return Next::Last("500 5.5.2 this is not SMTP\r\n".to_owned());
        };
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                self.reset();
                self.is_greeted = true;
                let extensions =
                    ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "AUTH PLAIN LOGIN"];
                let extensions: String = extensions.iter().map(|name| format!("250-{name}\r\n")).collect();
                Next::Answer(format!("250-retryproof\r\n{extensions}250 SIZE {LONGEST_MESSAGE}\r\n"))
            }
            "HELO" => {
                self.reset();
                self.is_greeted = true;
                answer("250 retryproof")
            }
            "MAIL" => self.mail(rest),
            "RCPT" => self.recipient(rest),
            "DATA" if self.to.is_empty() => answer("503 5.5.1 RCPT first"),
            "DATA" => {
                self.phase = Phase::Data;
                answer("354 end with a line that is only a dot")
            }
            "AUTH" => self.begin_login(rest),
            "RSET" => {
                self.reset();
                answer("250 2.0.0 OK")
            }
            "NOOP" => answer("250 2.0.0 OK"),
            "VRFY" => answer("252 2.1.5 not verified"),
            "QUIT" => Next::Last("221 2.0.0 bye\r\n".to_owned()),
            "STARTTLS" => answer("502 5.5.1 TLS is not offered: turn it off in the client"),
            // A browser, or another client of HTTP.
            _ if text.ends_with("HTTP/1.1") || text.ends_with("HTTP/1.0") => {
                Next::Last("500 5.5.2 this is SMTP, not HTTP\r\n".to_owned())
            }
            _ => answer("500 5.5.1 unknown command"),
        }
    }

    fn mail(&mut self, rest: &str) -> Next {
        if !self.is_greeted {
            return answer("503 5.5.1 EHLO first");
        }
        if self.from.is_some() {
            return answer("503 5.5.1 MAIL once for each message");
        }
        let from = rest.get(..5).filter(|from| from.eq_ignore_ascii_case("FROM:"));
        let Some((address, parameters)) = from.and_then(|_| path(&rest[5..])) else {
            return answer("501 5.5.4 MAIL FROM:<address>");
        };
        let size = parameters.split_whitespace().filter_map(|parameter| parameter.split_once('='));
        let mut size = size.filter(|(name, _)| name.eq_ignore_ascii_case("SIZE"));
        if size.any(|(_, size)| size.parse::<usize>().is_ok_and(|size| size > LONGEST_MESSAGE)) {
            return answer("552 5.3.4 the message is too long");
        }
        self.from = Some(address.to_owned());
        answer("250 2.1.0 OK")
    }

    fn recipient(&mut self, rest: &str) -> Next {
        if self.from.is_none() {
            return answer("503 5.5.1 MAIL first");
        }
        let to = rest.get(..3).filter(|to| to.eq_ignore_ascii_case("TO:"));
        match to.and_then(|_| path(&rest[3..])) {
            Some((address, _)) if !address.is_empty() => {
                if self.to.len() == MOST_RECIPIENTS {
                    return answer("452 4.5.3 too many recipients");
                }
                self.to.push(address.to_owned());
                answer("250 2.1.5 OK")
            }
            _ => answer("501 5.5.4 RCPT TO:<address>"),
        }
    }

    /// Any login is accepted.
    fn begin_login(&mut self, rest: &str) -> Next {
        let (mechanism, first) = rest.split_once(' ').unwrap_or((rest, ""));
        let (lines, ask) = match (mechanism.to_ascii_uppercase().as_str(), first.is_empty()) {
            ("PLAIN", true) => (1, ""),
            // The questions `Username:` and `Password:`, in Base64.
            ("LOGIN", true) => (2, "VXNlcm5hbWU6"),
            ("LOGIN", false) => (1, "UGFzc3dvcmQ6"),
            ("PLAIN", false) => return answer("235 2.7.0 OK"),
            _ => return answer("504 5.5.4 PLAIN or LOGIN"),
        };
        self.phase = Phase::Login(lines);
        answer(&format!("334 {ask}"))
    }

    fn login(&mut self, line: &[u8], lines: u32) -> Next {
        if line == b"*" {
            self.phase = Phase::Command;
            return answer("501 5.0.0 the login was given up");
        }
        if lines > 1 {
            self.phase = Phase::Login(lines - 1);
            return answer("334 UGFzc3dvcmQ6");
        }
        self.phase = Phase::Command;
        answer("235 2.7.0 OK")
    }

    /// A line of the message. Its last line is a dot.
    fn content(&mut self, line: &[u8]) -> Option<Next> {
        if line == b"." {
            let is_overlong = matches!(mem::take(&mut self.phase), Phase::Overlong);
            let envelope = Envelope {
                from: self.from.take().unwrap_or_default(),
                to: mem::take(&mut self.to),
                data: mem::take(&mut self.data),
            };
            return Some(match is_overlong {
                true => answer("552 5.3.4 the message is too long"),
                false => Next::Message(envelope),
            });
        }
        if self.data.len() + line.len() > LONGEST_MESSAGE {
            (self.phase, self.data) = (Phase::Overlong, Vec::new());
        }
        if matches!(self.phase, Phase::Data) {
            self.data.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            self.data.extend_from_slice(b"\r\n");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// Sends all lines at once, and returns what happens, a line each.
    fn dialog(session: &mut Session, sent: &str) -> String {
        let (mut bytes, mut told) = (sent.replace('\n', "\r\n").into_bytes(), String::new());
        loop {
            let next = session.read(&mut bytes);
            match &next {
                Next::Answer(text) => told.extend(text.lines().map(|line| format!("{line}\n"))),
                Next::Last(text) => told += &format!("{} and closed\n", text.trim_end()),
                Next::Message(envelope) => {
                    let text = String::from_utf8_lossy(&envelope.data).replace("\r\n", "|");
                    told += &format!("<{}> to {:?}: {text}\n", envelope.from, envelope.to);
                }
                Next::Tls => told += "TLS\n",
                Next::Partial => {}
            }
            if matches!(next, Next::Partial | Next::Last(_) | Next::Tls) {
                return told;
            }
        }
    }

    fn expect_dialog(sent: &str, expected: &Expect) {
        expected.assert_eq(&dialog(&mut Session::default(), sent));
    }

    #[test]
    fn a_message_is_read_without_the_dots_of_its_transfer() {
        expect_dialog(
            "ehlo shop\nMAIL FROM:<shop@example.com> SIZE=30\nRCPT TO:<ada@example.com>\nrcpt to: <@relay:bob@example.com>\nDATA\nSubject: x\n\n..hidden\n.a\n.\nQUIT\n",
            &expect![[r#"
                250-retryproof
                250-PIPELINING
                250-8BITMIME
                250-SMTPUTF8
                250-ENHANCEDSTATUSCODES
                250-AUTH PLAIN LOGIN
                250 SIZE 10485760
                250 2.1.0 OK
                250 2.1.5 OK
                250 2.1.5 OK
                354 end with a line that is only a dot
                <shop@example.com> to ["ada@example.com", "bob@example.com"]: Subject: x||.hidden|a|
                221 2.0.0 bye and closed
            "#]],
        );
    }

    #[test]
    fn the_pieces_in_which_a_message_arrives_make_no_difference() {
        let sent = "HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<b@c>\r\nDATA\r\n\r\na\nb\r\n.\r\n";
        let whole = dialog(&mut Session::default(), &sent.replace("\r\n", "\n").replace("a\nb", "a b"));
        let (mut session, mut bytes, mut messages) = (Session::default(), Vec::new(), Vec::new());
        for byte in sent.bytes() {
            bytes.push(byte);
            if let Next::Message(envelope) = session.read(&mut bytes) {
                messages.push(envelope);
            }
        }
        // A line feed alone ends no line, so nobody can hide a second message behind it.
        assert_eq!(messages.len(), 1, "{whole}");
        assert_eq!(messages[0].data, b"\r\na\nb\r\n");
    }

    #[test]
    fn a_second_message_on_a_connection_has_its_own_recipients() {
        let session = &mut Session::default();
        let first = dialog(session, "HELO a\nMAIL FROM:<a@a>\nRCPT TO:<b@b>\nDATA\nx\n.\n");
        assert_eq!(first.lines().last(), Some("<a@a> to [\"b@b\"]: x|"));
        expect![[r#"
            503 5.5.1 MAIL first
            250 2.1.0 OK
            250 2.1.5 OK
            250 2.0.0 OK
            503 5.5.1 RCPT first
        "#]]
        .assert_eq(&dialog(session, "RCPT TO:<c@c>\nMAIL FROM:<a@a>\nRCPT TO:<c@c>\nRSET\nDATA\n"));
    }

    #[test]
    fn every_login_is_accepted() {
        expect_dialog(
            "EHLO a\nAUTH PLAIN AGEAYg==\nAUTH PLAIN\nAGEAYg==\nAUTH LOGIN\nYQ==\nYg==\nAUTH LOGIN YQ==\nYg==\nAUTH LOGIN\n*\nAUTH CRAM-MD5\n",
            &expect![[r#"
                250-retryproof
                250-PIPELINING
                250-8BITMIME
                250-SMTPUTF8
                250-ENHANCEDSTATUSCODES
                250-AUTH PLAIN LOGIN
                250 SIZE 10485760
                235 2.7.0 OK
                334 
                235 2.7.0 OK
                334 VXNlcm5hbWU6
                334 UGFzc3dvcmQ6
                235 2.7.0 OK
                334 UGFzc3dvcmQ6
                235 2.7.0 OK
                334 VXNlcm5hbWU6
                501 5.0.0 the login was given up
                504 5.5.4 PLAIN or LOGIN
            "#]],
        );
    }

    #[test]
    fn commands_in_the_wrong_order_and_unknown_ones_are_refused() {
        expect_dialog(
            "MAIL FROM:<a@a>\nHELO a\nDATA\nMAIL a@a\nMAIL FROM:<a@a> SIZE=99999999\nMAIL FROM:<a@a>\nMAIL FROM:<b@b>\nRCPT TO:<>\nRCPT TO:a@a\nTURN\nVRFY a\nSTARTTLS\n",
            &expect![[r#"
                503 5.5.1 EHLO first
                250 retryproof
                503 5.5.1 RCPT first
                501 5.5.4 MAIL FROM:<address>
                552 5.3.4 the message is too long
                250 2.1.0 OK
                503 5.5.1 MAIL once for each message
                501 5.5.4 RCPT TO:<address>
                501 5.5.4 RCPT TO:<address>
                500 5.5.1 unknown command
                252 2.1.5 not verified
                502 5.5.1 TLS is not offered: turn it off in the client
            "#]],
        );
    }

    #[test]
    fn other_protocols_end_the_connection() {
        let read = |bytes: &[u8]| Session::default().read(&mut bytes.to_vec());
        assert_eq!(read(&[0x16, 0x03, 0x01, 0x02]), Next::Tls);
        assert_eq!(
            read(b"GET / HTTP/1.1\r\n"),
            Next::Last("500 5.5.2 this is SMTP, not HTTP\r\n".to_owned())
        );
        assert_eq!(read(b"\xff\xfe\r\n"), Next::Last("500 5.5.2 this is not SMTP\r\n".to_owned()));
        assert_eq!(read(&[b'A'; 20_000]), Next::Last("500 5.5.6 line too long\r\n".to_owned()));
        assert_eq!(read(b"HELO"), Next::Partial);
    }

    #[test]
    fn a_message_that_is_too_long_is_read_to_its_end_and_refused() {
        let session = &mut Session::default();
        dialog(session, "HELO a\nMAIL FROM:<a@a>\nRCPT TO:<b@b>\nDATA\n");
        let line = format!("{}\n", "x".repeat(998));
        for _ in 0..11_000 {
            assert_eq!(dialog(session, &line), "");
        }
        assert_eq!(dialog(session, ".\nNOOP\n"), "552 5.3.4 the message is too long\n250 2.0.0 OK\n");
        assert!(session.data.capacity() < 1_000, "its bytes are not kept");
    }
}
