//! Shows excerpts of the user's source, with marks on the lines.

use std::collections::BTreeMap;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::words::visible;
use super::{Code, Mark};
use crate::search::choice::Place;

/// The column at which a line of an excerpt is cut.
const MOST_COLUMNS: usize = 400;

/// Reads a source file, if it is on this machine.
pub(super) fn read(file: &str) -> Option<String> {
    // The compiler's paths are relative to the workspace, but tests run in their package: also search its parent
    // folders.
    let here =
        std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).or_else(|| std::env::current_dir().ok())?;
    here.ancestors().find_map(|folder| std::fs::read_to_string(folder.join(file)).ok())
}

/// Returns the statement at a place such as `src/a.rs:12:5`, as one line. If the same text occurs earlier in its
/// function, the ordinal follows.
pub(super) fn statement_at(place: &str) -> Option<String> {
    let mut parts = place.rsplitn(3, ':');
    let (_, line, file) = (parts.next()?, parts.next()?, parts.next()?);
    named_statement(&read(file)?, line.parse::<usize>().ok()?.checked_sub(1)?)
}

fn named_statement(source: &str, at: usize) -> Option<String> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    lines.get(at)?;
    let (from, text) = statement(&lines, at);
    let function = lines[..from].iter().rposition(|line| begins_function(line)).unwrap_or(0);
    let is_alike = |other: &usize| lines[*other] == lines[from] && statement(&lines, *other).1 == text;
    match (function..from).filter(is_alike).count() {
        0 => Some(text),
        earlier => Some(format!("{text} #{}", earlier + 1)),
    }
}

/// Returns the first line of the statement that contains this line, and its text up to its last closing bracket.
fn statement(lines: &[&str], at: usize) -> (usize, String) {
    // A statement with more lines is identified by its first lines.
    const MOST: usize = 20;
    let goes_on = |line: &&str| line.starts_with('.') || line.starts_with('?');
    let before = lines[..=at].iter().rev().take(MOST).take_while(|line| goes_on(line)).count();
    let from = at.saturating_sub(before);
    let (mut open, mut text) = (0, String::new());
    for (number, line) in lines.iter().enumerate().skip(from).take(MOST + before) {
        text.push_str(line);
        open += opened(line);
        if number >= at && open <= 0 {
            break;
        }
        text.push(' ');
    }
    (from, text.trim_end().to_owned())
}

/// Returns the number of brackets that a line opens minus those that it closes, outside of strings and comments.
fn opened(line: &str) -> i32 {
    let (mut open, mut in_text) = (0, false);
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => drop(rest.next()),
            '"' => in_text = !in_text,
            _ if in_text => {}
            '/' if rest.peek() == Some(&'/') => break,
            '\'' if matches!(rest.peek(), Some('(' | ')' | '[' | ']' | '{' | '}' | '"')) => drop(rest.next()),
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open -= 1,
            _ => {}
        }
    }
    open
}

pub(super) fn begins_function(line: &str) -> bool {
    let is_before =
        |word: &&str| matches!(*word, "pub" | "async" | "const" | "unsafe") || word.starts_with("pub(");
    line.split_whitespace().find(|word| !is_before(word)) == Some("fn")
}

/// The places to mark, by file, line and column: whether a deviation was injected there, and the labels.
type Places<'m> = BTreeMap<(&'m str, u32, u32), (Place, bool, Vec<&'m str>)>;

/// Renders the marked places below the title of a violation, if there is one. Places without a source file are listed.
pub(crate) fn excerpt(wrong: Option<(&str, Option<Code>)>, marks: &[Mark], colour: bool) -> String {
    // Each place has one mark, with each label once.
    let mut places: Places<'_> = BTreeMap::new();
    let mut files: Vec<&str> = Vec::new();
    for mark in marks {
        let key = (mark.place.file, mark.place.line, mark.place.column);
        let (_, primary, texts) = places.entry(key).or_insert((mark.place, false, Vec::new()));
        *primary |= mark.primary;
        if !texts.contains(&mark.text.as_str()) {
            texts.push(&mark.text);
        }
        if !files.contains(&mark.place.file) {
            files.push(mark.place.file);
        }
    }
    let sources: Vec<_> = files.iter().map(|file| (*file, read(file))).collect();
    let mut group = Group::with_title(match wrong {
        Some((wrong, Some(code))) => Level::ERROR.primary_title(visible(wrong)).id(code.as_str()),
        Some((wrong, None)) => Level::ERROR.primary_title(visible(wrong)),
        None => Level::NOTE.primary_title("what was injected"),
    });
    let mut unseen = String::new();
    for (file, source) in &sources {
        let here = places.values().filter(|(place, _, _)| place.file == *file);
        let Some(source) = source else {
            for (place, _, texts) in here {
                let texts: Vec<_> = texts.iter().map(|text| visible(text)).collect();
                unseen.push_str(&format!("\n  --> {place}\n      {}", texts.join("\n      ")));
            }
            continue;
        };
        let annotations = here.flat_map(|(place, primary, texts)| {
            let kind = if *primary { AnnotationKind::Primary } else { AnnotationKind::Context };
            let span = span(source, *place);
            texts.iter().filter_map(move |text| Some(kind.span(span.clone()?).label(visible(text))))
        });
        group =
            group.element(Snippet::source(source.as_str()).path(*file).fold(true).annotations(annotations));
    }
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    // A label must wrap instead of being cut at the width of the terminal.
    let renderer = renderer.term_width(MOST_COLUMNS);
    format!("{}{unseen}", renderer.render(&[group]))
}

/// Returns the span of the name at a place, which is the name of the called method.
fn span(source: &str, place: Place) -> Option<std::ops::Range<usize>> {
    let line_start: usize = source.split_inclusive('\n').take(place.line as usize - 1).map(str::len).sum();
    let line = source[line_start..].lines().next()?;
    let column: usize = line.chars().take(place.column as usize - 1).map(char::len_utf8).sum();
    let name = line[column..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(line.len() - column);
    let start = line_start + column;
    Some(start..start + name.max(1).min(line.len() - column))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"fn one() {
    assert_eq!(
        world.mails(":)").len(), // (all
        1,
        "one mail"
    );
    assert_eq!(
        world.charges(),
        1,
        "one charge"
    );
    assert!(world.dead().is_empty());
    settle();
    assert!(world.dead().is_empty());
    world
        .jobs()
        .first()
        .unwrap();
}

pub(crate) async fn two() {
    assert!(world.dead().is_empty());
}
"#;

    fn at(line: usize) -> String {
        named_statement(TWO, line - 1).unwrap()
    }

    #[test]
    fn a_statement_is_known_by_all_of_its_lines() {
        let mails = r#"assert_eq!( world.mails(":)").len(), // (all 1, "one mail" );"#;
        assert_eq!((at(2).as_str(), at(7).contains("charges")), (mails, true));
        assert_eq!(at(18), "world .jobs() .first() .unwrap();", "the line that panics is the last one");
    }

    #[test]
    fn equal_statements_of_one_function_are_counted() {
        let dead = "assert!(world.dead().is_empty());";
        assert_eq!(at(12), dead);
        assert_eq!(at(14), format!("{dead} #2"));
        assert_eq!(at(22), dead, "another function begins anew");
        assert_eq!(named_statement(TWO, 99), None);
    }

    #[test]
    fn what_never_ends_is_cut() {
        let endless = "f(\n".repeat(100);
        assert_eq!(named_statement(&endless, 40).unwrap().matches("f(").count(), 20);
    }
}
