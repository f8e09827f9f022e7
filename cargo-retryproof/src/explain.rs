//! Explains a code: the section of the guide, as plain text.

use std::cmp::Reverse;
use std::io::Write;

use crate::failure::{Exit, Failure};
use crate::text::in_one_line;

const PAGE: &str = include_str!("../violations.md");
/// The number of codes that are suggested.
const MOST_NEAR: usize = 3;

/// Prints the section of a code, or the list of all codes.
pub(crate) fn explain(code: Option<&str>, out: &mut impl Write) -> Result<Exit, Failure> {
    let Some(asked) = code else {
        for (code, _) in sections() {
            writeln!(out, "{code}  {}", title(code))?;
        }
        return Ok(Exit::Green);
    };
    let wanted = normal(asked);
    match sections().find(|(code, _)| *code == wanted) {
        Some((code, section)) => {
            writeln!(out, "{code}\n\n{}", plain(section.trim()).trim_end())?;
            Ok(Exit::Green)
        }
        None => Err(Failure::Usage(format!(
            "there is no code `{}`; the nearest ones are {}; `cargo retryproof explain` lists all codes",
            in_one_line(asked),
            nearest(&wanted).join(", ")
        ))),
    }
}

/// Returns what a code means, in a few words.
pub(crate) fn title(code: &str) -> String {
    let section = sections().find(|(known, _)| *known == code).map(|(_, section)| section.trim_start());
    let first = section.and_then(|section| section.lines().next()).unwrap_or("a check failed");
    plain(first.split(" (").next().unwrap_or_default()).trim_end().to_owned()
}

/// Returns each code with the text of its section.
fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    PAGE.split("\n## ").skip(1).filter_map(|section| section.split_once('\n'))
}

/// `2`, `rp2` and `RP0002` are the same code.
fn normal(code: &str) -> String {
    let upper = code.trim().to_uppercase();
    match upper.trim_start_matches("RP").parse::<u16>() {
        Ok(number) => format!("RP{number:04}"),
        Err(_) => upper,
    }
}

fn nearest(wanted: &str) -> Vec<&'static str> {
    let number = |code: &str| code.trim_start_matches("RP").parse::<i64>().ok();
    let alike = |code: &str| code.chars().zip(wanted.chars()).filter(|(one, other)| one == other).count();
    let mut codes: Vec<_> = sections().map(|(code, _)| code).collect();
    match number(wanted) {
        Some(wanted) => codes.sort_by_key(|code| number(code).map_or(i64::MAX, |is| (is - wanted).abs())),
        None => codes.sort_by_key(|code| Reverse(alike(code))),
    }
    codes.truncate(MOST_NEAR);
    codes
}

/// Removes the markup of Markdown. Code is indented.
fn plain(section: &str) -> String {
    let (mut text, mut is_code) = (String::new(), false);
    for line in section.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        } else if is_code {
            text.push_str(format!("    {line}").trim_end());
            text.push('\n');
        } else if !is_definition(line) {
            text.push_str(
                &without_links(line).replace("**", "").replace('`', "").replace("*Help:*", "Help:"),
            );
            text.push('\n');
        }
    }
    text
}

/// `[name]: target`
fn is_definition(line: &str) -> bool {
    line.starts_with('[') && line.contains("]: ")
}

/// `[text](target)` and `[text]` become `text`.
fn without_links(line: &str) -> String {
    let (mut text, mut rest) = (String::new(), line);
    while let Some((before, link)) = rest.split_once('[') {
        let Some((name, after)) = link.split_once(']') else { break };
        text.push_str(before);
        text.push_str(name);
        rest = match after.strip_prefix('(').and_then(|target| target.split_once(')')) {
            Some((_, after)) => after,
            None => after,
        };
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(code: &str) -> Result<String, String> {
        let mut out = Vec::new();
        explain(Some(code), &mut out).map_err(|failure| failure.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_code_is_explained_however_it_is_written() {
        let text = explained("RP0002").unwrap();
        assert!(
            text.starts_with("RP0002\n\nEffect repeated after an error (Code::RepeatedAfterError)\n"),
            "{text}"
        );
        assert!(!text.contains("```") && !text.contains("RP0003"), "{text}");
        assert_eq!(explained("rp2").unwrap(), text);
        assert_eq!(explained("2").unwrap(), text);
    }

    #[test]
    fn an_unknown_code_gets_its_neighbors() {
        assert_eq!(
            explained("RP0016").unwrap_err(),
            "there is no code `RP0016`; the nearest ones are RP0015, RP0014, RP0013; `cargo retryproof explain` lists all codes"
        );
        // A part: the rest is the list of codes.
        assert!(explained("\u{1b}[2J").unwrap_err().starts_with("there is no code `\\u{1b}[2J`; "));
    }

    #[test]
    fn the_page_is_compiled_in() {
        assert!(sections().count() > 40, "a link that is not followed leaves a path, not the page");
        assert_eq!(without_links("see [a](b.md) and [c], d[0"), "see a and c, d[0");
    }
}
