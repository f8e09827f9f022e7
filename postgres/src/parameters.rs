//! The parameters of a statement, as a timeline shows them.

/// The longest text of a parameter, in characters.
const LONGEST: usize = 60;

/// The types of a statement's parameters, by their numbers in the catalog. 0 is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parameters(Vec<u32>);

/// Takes a number of two bytes from the front.
fn short(bytes: &mut &[u8]) -> Option<i16> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(i16::from_be_bytes(*number))
}

fn long(bytes: &mut &[u8]) -> Option<i32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*number))
}

impl Parameters {
    /// The end of a `Parse`.
    pub(crate) fn of_parse(mut rest: &[u8]) -> Self {
        let count = short(&mut rest).unwrap_or(0);
        Self((0..count).map_while(|_| long(&mut rest)).map(|kind| kind as u32).collect())
    }

    /// Those of all `ParameterDescription`s in a reply, in order.
    pub(crate) fn of_reply(mut reply: &[u8]) -> Vec<Self> {
        let mut all = Vec::new();
        while let [kind, rest @ ..] = reply {
            let mut length = rest;
            let Some(length) = long(&mut length).and_then(|length| usize::try_from(length).ok()) else {
                break;
            };
            let Some(body) = rest.get(4..length) else { break };
            if *kind == b't' {
                all.push(Self::of_parse(body));
            }
            reply = &rest[length..];
        }
        all
    }

    /// The values of a `Bind`, after the names of portal and statement, as a comment: ` /* 1, 'a' */`. Empty if there are
    /// none.
    pub(crate) fn shown(&self, rest: &[u8]) -> String {
        let values = values(rest).unwrap_or_default();
        let shown = values.iter().enumerate().map(|(at, (format, value))| match (format, value) {
            (_, None) => "NULL".to_owned(),
            (0, Some(value)) => quoted(value),
            (_, Some(value)) => of_binary(self.0.get(at).copied().unwrap_or(0), value),
        });
        let shown = shown.collect::<Vec<_>>().join(", ");
        match shown.is_empty() {
            true => String::new(),
            // A comment, so that the text can still be read as a statement.
            false => format!(" /* {} */", shown.replace("*/", "* /").replace("/*", "/ *")),
        }
    }
}

/// The values of a `Bind` in a form that tells different values apart, whatever their types: `$`, the format, the bytes.
pub(crate) fn told_apart(rest: &[u8]) -> Vec<String> {
    let values = values(rest).unwrap_or_default();
    values.iter().map(|(format, value)| format!("${format}:{value:02x?}")).collect()
}

/// The format of a value, and its bytes. `None` is `NULL`.
type BoundValue<'a> = (i16, Option<&'a [u8]>);

/// The values of a `Bind`.
fn values(mut rest: &[u8]) -> Option<Vec<BoundValue<'_>>> {
    let formats = short(&mut rest)?;
    let formats: Vec<i16> = (0..formats).map_while(|_| short(&mut rest)).collect();
    let count = short(&mut rest)?;
    let mut values = Vec::new();
    for at in 0..usize::try_from(count).ok()? {
        let format = formats.get(if formats.len() == 1 { 0 } else { at }).copied().unwrap_or(0);
        let value = match usize::try_from(long(&mut rest)?) {
            Err(_) => None,
            Ok(length) => {
                let (value, more) = rest.split_at_checked(length)?;
                rest = more;
                Some(value)
            }
        };
        values.push((format, value));
    }
    Some(values)
}

fn quoted(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let cut: String = text.chars().take(LONGEST).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("'{cut}{more}'")
}

fn of_binary(kind: u32, value: &[u8]) -> String {
    match (kind, value) {
        (16, [value]) => (*value != 0).to_string(),
        (20, _) => {
            value.try_into().map(i64::from_be_bytes).map_or_else(|_| "…".to_owned(), |n| n.to_string())
        }
        (21, _) => {
            value.try_into().map(i16::from_be_bytes).map_or_else(|_| "…".to_owned(), |n| n.to_string())
        }
        (23, _) => {
            value.try_into().map(i32::from_be_bytes).map_or_else(|_| "…".to_owned(), |n| n.to_string())
        }
        (25 | 1042 | 1043 | 114, _) => quoted(value),
        // A version, then the text.
        (3802, [1, value @ ..]) => quoted(value),
        // Times and random ids differ from run to run, so they are not shown.
        _ => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_by_their_types() {
        let types = Parameters(vec![23, 25, 2950, 20, 16]);
        let mut bind = vec![0, 1, 0, 1, 0, 5];
        let id = [7; 16];
        let number = (-6_i64).to_be_bytes();
        for value in [Some(&[0, 0, 0, 42][..]), Some(b"a */ b"), Some(&id), Some(&number), None] {
            let length = value.map_or(-1, |value| value.len() as i32);
            bind.extend(length.to_be_bytes());
            bind.extend(value.unwrap_or_default());
        }
        assert_eq!(types.shown(&bind), " /* 42, 'a * / b', …, -6, NULL */");
        assert_eq!(Parameters::default().shown(&[0, 0, 0, 1, 0, 0, 0, 1, b'x']), " /* 'x' */");
        assert_eq!(Parameters::default().shown(&[0, 0, 0, 0]), "");
        // Cut off anywhere, it is no reason to fail.
        for length in 0..bind.len() {
            types.shown(&bind[..length]);
        }
        assert_eq!(
            told_apart(&bind)[..2],
            ["$1:Some([00, 00, 00, 2a])", "$1:Some([61, 20, 2a, 2f, 20, 62])"]
        );
        assert_eq!(told_apart(&bind)[4], "$1:None");
    }

    #[test]
    fn types_are_read_from_both_sides() {
        assert_eq!(Parameters::of_parse(&[0, 2, 0, 0, 0, 23, 0, 0, 0, 0]), Parameters(vec![23, 0]));
        let reply = [b'1', 0, 0, 0, 4, b't', 0, 0, 0, 10, 0, 1, 0, 0, 0, 25, b'n', 0, 0, 0, 4];
        assert_eq!(Parameters::of_reply(&reply), [Parameters(vec![25])]);
        assert!(Parameters::of_reply(&reply[..9]).is_empty());
    }
}
