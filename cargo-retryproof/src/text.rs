//! Text of others, made fit for a terminal.

/// Escapes control characters, and characters that reorder text, except for the end of a line.
pub(crate) fn visible(text: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_hidden(c) {
            true => shown.extend(c.escape_unicode()),
            false => shown.push(c),
        }
    }
    shown
}

/// The same in one line.
pub(crate) fn in_one_line(text: &str) -> String {
    visible(text).replace('\n', " ")
}

/// `1.2 s`, `34 ms`
pub(crate) fn duration(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        _ => format!("{}.{} s", milliseconds / 1_000, milliseconds % 1_000 / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_as_a_command() {
        assert_eq!(visible("a\u{1b}[2J\u{202e}b\r\nc"), "a\\u{1b}[2J\\u{202e}b\\u{d}\nc");
        assert_eq!(in_one_line("a\nb"), "a b");
        assert_eq!((duration(999), duration(61_250)), ("999 ms".to_owned(), "61.2 s".to_owned()));
    }
}
