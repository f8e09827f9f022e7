//! Walks through a timeline, event by event.

use std::io::{BufRead, Write};

use crate::failure::Failure;
use crate::results::Event;
use crate::text::in_one_line;

/// Shows an event after each line of input: an empty line goes on, `b` goes back, `a` shows the rest, and `q` quits.
pub(crate) fn walk(events: &[Event], input: &mut impl BufRead, out: &mut impl Write) -> Result<(), Failure> {
    writeln!(
        out,
        "{} events; Enter shows the next one, b the one before, a all others, q quits",
        events.len()
    )?;
    let (mut at, mut is_rest) = (0, false);
    while let Some(event) = events.get(at) {
        let mark = if event.deviation { "✗" } else { " " };
        let what = in_one_line(event.what.trim_start_matches("✗ "));
        writeln!(
            out,
            "{mark} {:>3}/{} {:<9} {:<10} {what}",
            at + 1,
            events.len(),
            event.at,
            in_one_line(&event.by)
        )?;
        out.flush()?;
        if is_rest || at + 1 == events.len() {
            at += 1;
            continue;
        }
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            break;
        }
        match line.trim() {
            "q" => break,
            "b" => at = at.saturating_sub(1),
            "a" => (at, is_rest) = (at + 1, true),
            _ => at += 1,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(input: &str) -> Vec<String> {
        let event = |what: &str| Event {
            at: "t+0".into(),
            by: "worker".into(),
            what: what.into(),
            deviation: what.starts_with('✗'),
        };
        let events = ["boots", "✗ crash", "boots\u{7}"].map(event);
        let mut out = Vec::new();
        walk(&events, &mut input.as_bytes(), &mut out).unwrap();
        let lines = String::from_utf8(out).unwrap();
        lines.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn each_line_of_input_goes_one_event_on() {
        let [first, second, third] =
            ["1/3 t+0 worker boots", "✗ 2/3 t+0 worker crash", "3/3 t+0 worker boots\\u{7}"];
        assert_eq!(shown("\n\n"), [first, second, third]);
        assert_eq!(shown("a\n"), [first, second, third]);
        assert_eq!(shown("\nb\nq\n"), [first, second, first]);
        assert_eq!(shown(""), [first], "the end of the input ends the walk");
    }
}
