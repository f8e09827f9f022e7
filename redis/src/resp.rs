//! The framing of RESP2 and RESP3: where a request or a reply ends, and what is in it.

/// The longest request, because the proxy holds it in memory.
const LONGEST: usize = 4 << 20;
/// The most arguments of a command.
const MOST_ARGUMENTS: usize = 1 << 20;
/// The longest line of a header or of an inline command, as in the server.
const LONGEST_LINE: usize = 64 << 10;

/// The result of looking for a frame at the front of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Framed<T> {
    /// More bytes must come.
    Partial,
    /// It is whole.
    Whole(T),
    /// It cannot become one, for this reason.
    Invalid(&'static str),
}

/// A reply of RESP2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Nil,
    Simple(String),
    Error(String),
    Integer(i64),
    Bytes(Vec<u8>),
    Array(Vec<Value>),
}

impl Value {
    pub(crate) fn array(self) -> Vec<Value> {
        if let Value::Array(values) = self { values } else { Vec::new() }
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Value::Bytes(bytes) => bytes,
            Value::Simple(text) => text.into_bytes(),
            Value::Integer(number) => number.to_string().into_bytes(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn text(self) -> String {
        shown(&self.bytes())
    }

    pub(crate) fn integer(&self) -> Option<i64> {
        if let Value::Integer(number) = self { Some(*number) } else { None }
    }
}

/// Bytes as text. Those that are no UTF-8 are written as `\xff`, so that different bytes stay different.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// Makes a request.
pub(crate) fn request<A: AsRef<[u8]>>(arguments: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        let argument = argument.as_ref();
        bytes.extend(format!("${}\r\n", argument.len()).into_bytes());
        bytes.extend(argument);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// The line that begins at `at`, and the place after it.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    Some((line, at + end + 1))
}

fn number(line: &[u8]) -> Option<i64> {
    std::str::from_utf8(line).ok()?.parse().ok()
}

/// Looks for a request. Returns its arguments, and its length. A line without the header of an array is a command of words.
pub(crate) fn decode_request(bytes: &[u8]) -> Framed<(Vec<Vec<u8>>, usize)> {
    let Some(first) = bytes.first() else { return Framed::Partial };
    if *first == 0x16 {
        return Framed::Invalid("this is TLS, and the proxy has none: use redis:// instead of rediss://");
    }
    let is_text = |line: &[u8]| line.iter().all(|byte| byte.is_ascii_graphic() || b" \t\r".contains(byte));
    let Some((head, mut at)) = line(bytes, 0) else {
        return match bytes.len() > LONGEST_LINE || !is_text(bytes) {
            true => Framed::Invalid("Protocol error: too big or invalid inline request"),
            false => Framed::Partial,
        };
    };
    let Some(count) = head.strip_prefix(b"*") else {
        return match is_text(head) {
            true => {
                let words = head.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                Framed::Whole((words.map(<[u8]>::to_vec).collect(), at))
            }
            false => Framed::Invalid("Protocol error: invalid inline request"),
        };
    };
    let Some(count) = number(count).filter(|count| *count <= MOST_ARGUMENTS as i64) else {
        return Framed::Invalid("Protocol error: invalid multibulk length");
    };
    let mut arguments = Vec::new();
    for _ in 0..count.max(0) {
        let Some((head, begin)) = line(bytes, at) else {
            return match bytes.len() - at > LONGEST_LINE {
                true => Framed::Invalid("Protocol error: too big mbulk count string"),
                false => Framed::Partial,
            };
        };
        let Some(length) = head.strip_prefix(b"$") else {
            return Framed::Invalid("Protocol error: expected '$'");
        };
        let Some(length) = number(length).and_then(|length| usize::try_from(length).ok()) else {
            return Framed::Invalid("Protocol error: invalid bulk length");
        };
        if length > LONGEST {
            return Framed::Invalid("retryproof: the proxy carries at most 4 MiB in a command");
        }
        let Some(argument) = bytes.get(begin..begin + length) else { return Framed::Partial };
        at = begin + length + 2;
        if bytes.len() < at {
            return Framed::Partial;
        }
        arguments.push(argument.to_vec());
    }
    Framed::Whole((arguments, at))
}

/// A reply that is being read: how much of it is there, and how many of its parts are missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyScan {
    at: usize,
    left: u64,
}

impl Default for ReplyScan {
    fn default() -> Self {
        Self { at: 0, left: 1 }
    }
}

impl ReplyScan {
    /// Looks on for the end of the reply at the front of `bytes`. Returns its length.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Framed<usize> {
        while self.left > 0 {
            let Some((head, after)) = line(bytes, self.at) else { return Framed::Partial };
            let Some((kind, rest)) = head.split_first() else { return Framed::Invalid("an empty line") };
            let mut more = 0;
            let mut end = after;
            match kind {
                b'+' | b'-' | b':' | b',' | b'_' | b'#' | b'(' => {}
                b'$' | b'!' | b'=' | b'*' | b'%' | b'~' | b'>' | b'|' => {
                    let Some(count) = number(rest) else { return Framed::Invalid("no number") };
                    // A length of -1 is nil.
                    let count = u64::try_from(count).unwrap_or_default();
                    match kind {
                        b'$' | b'!' | b'=' if rest.starts_with(b"-") => {}
                        b'$' | b'!' | b'=' => {
                            end = usize::try_from(count)
                                .map_or(usize::MAX, |count| after.saturating_add(count));
                            end = end.saturating_add(2);
                            if bytes.len() < end {
                                return Framed::Partial;
                            }
                        }
                        b'%' => more = count.saturating_mul(2),
                        // What it describes comes after it.
                        b'|' => more = count.saturating_mul(2).saturating_add(1),
                        _ => more = count,
                    }
                }
                _ => return Framed::Invalid("an unknown type"),
            }
            (self.at, self.left) = (end, (self.left - 1).saturating_add(more));
        }
        Framed::Whole(self.at)
    }
}

/// Reads a whole reply of RESP2.
pub(crate) fn value(bytes: &[u8]) -> Value {
    value_at(bytes, &mut 0).unwrap_or(Value::Nil)
}

fn value_at(bytes: &[u8], at: &mut usize) -> Option<Value> {
    let (head, after) = line(bytes, *at)?;
    let (kind, rest) = head.split_first()?;
    *at = after;
    Some(match kind {
        b'+' => Value::Simple(shown(rest)),
        b'-' => Value::Error(shown(rest)),
        b':' => Value::Integer(number(rest)?),
        b'$' => match usize::try_from(number(rest)?) {
            Ok(length) => {
                let content = bytes.get(after..after + length)?.to_vec();
                *at = after + length + 2;
                Value::Bytes(content)
            }
            Err(_) => Value::Nil,
        },
        b'*' => match number(rest)? {
            ..0 => Value::Nil,
            count => Value::Array((0..count).map_while(|_| value_at(bytes, at)).collect()),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLIES: &[&[u8]] = &[
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":-5\r\n",
        b"$-1\r\n",
        b"$0\r\n\r\n",
        b"$3\r\na\r\n\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*2\r\n*2\r\n:1\r\n$1\r\nx\r\n+QUEUED\r\n",
        b"%1\r\n+a\r\n*1\r\n,1.5\r\n",
        b"|1\r\n+ttl\r\n:3\r\n$1\r\ny\r\n",
        b">3\r\n+message\r\n+news\r\n+six\r\n",
        b"~2\r\n#t\r\n_\r\n",
        b"=7\r\ntxt:abc\r\n",
        b"(12345678901234567890\r\n",
    ];

    #[test]
    fn a_reply_ends_where_its_last_part_ends_however_it_arrives() {
        for reply in REPLIES {
            let bytes = [reply, &b"+next\r\n"[..]].concat();
            assert_eq!(ReplyScan::default().advance(&bytes), Framed::Whole(reply.len()), "{}", shown(reply));
            let mut scan = ReplyScan::default();
            for end in 0..reply.len() {
                assert_eq!(scan.advance(&bytes[..end]), Framed::Partial, "{} of {}", end, shown(reply));
            }
            assert_eq!(scan.advance(&bytes), Framed::Whole(reply.len()));
        }
    }

    #[test]
    fn a_request_is_what_was_sent_however_it_arrives() {
        let sent = [&b"SET"[..], b"a\r\nb", b"", b"\xff*3\r\n"];
        let bytes = request(&sent);
        for end in 0..bytes.len() {
            assert_eq!(decode_request(&bytes[..end]), Framed::Partial, "{end}");
        }
        let owned = sent.map(<[u8]>::to_vec).to_vec();
        assert_eq!(decode_request(&[&bytes[..], b"*1"].concat()), Framed::Whole((owned, bytes.len())));
        let words = vec![b"SET".to_vec(), b"a".to_vec()];
        assert_eq!(decode_request(b"SET  a\r\nrest"), Framed::Whole((words, 8)));
    }

    #[test]
    fn what_is_no_request_is_refused_and_nothing_panics() {
        for bytes in [
            &b"\x16\x03\x01\x02"[..],
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"*x\r\n",
            b"*1\r\n+a\r\n",
            b"*1\r\n$-1\r\n",
            b"*1\r\n$99999999999\r\n",
            b"*99999999999\r\n",
        ] {
            assert!(matches!(decode_request(bytes), Framed::Invalid(_)), "{}", shown(bytes));
        }
        // Every byte in every place of something valid.
        let valid = [REPLIES.concat(), request(&["SET", "a", "b"])].concat();
        for at in 0..valid.len() {
            for byte in 0..=255 {
                let mut bytes = valid.clone();
                bytes[at] = byte;
                let mut rest = &bytes[..];
                while let Framed::Whole(length) = ReplyScan::default().advance(rest) {
                    assert!(length > 0);
                    value(&rest[..length]);
                    rest = &rest[length..];
                }
                let _ = decode_request(&bytes[at.saturating_sub(4)..]);
            }
        }
    }

    #[test]
    fn a_reply_is_read() {
        let read = value(b"*3\r\n:1\r\n$2\r\n\xff\xfe\r\n*1\r\n$-1\r\n");
        let expected = Value::Array(vec![
            Value::Integer(1),
            Value::Bytes(vec![0xff, 0xfe]),
            Value::Array(vec![Value::Nil]),
        ]);
        assert_eq!(read, expected);
        assert_eq!(Value::Bytes(b"a\xffb".to_vec()).text(), "a\\xffb");
    }
}
