//! A test holds a text as a whole, as an inline snapshot. It holds a part only where it says why.

use crate::code::Source;

/// The comment that gives the reason. It covers the rest of its item, or the file if it is on the file's first lines.
const REASON: &str = "A part: ";

/// Returns the lines that assert a part of a sentence without a reason: the literals of three words or more. `&"…"` is an
/// element of a list, and so a whole.
fn without_reason(source: &Source) -> Vec<String> {
    let text = &source.text;
    if text.lines().take_while(|line| line.starts_with("//!")).any(|line| line.contains(REASON)) {
        return Vec::new();
    }
    let asserts = |at: usize| {
        let statement = [";\n", "{\n", "}\n"].iter().filter_map(|end| text[..at].rfind(end)).max();
        text[statement.unwrap_or(0)..at].contains("assert!(")
    };
    let is_absent = |at: usize| receiver(&text[..at]).ends_with('!');
    let has_reason = |at: usize| {
        let item = text[..at].rfind("\n}\n").unwrap_or(0);
        text[item..at].contains(REASON)
    };
    let mut found = Vec::new();
    for (at, _) in text.match_indices(".contains(") {
        let argument = &text[at + ".contains(".len()..];
        let argument = argument.trim_start().trim_start_matches("&format!(").trim_start();
        let Some(literal) = argument.strip_prefix('"') else { continue };
        let literal = &literal[..literal.find('"').unwrap_or(literal.len())];
        if is_code(source, at)
            && literal.matches(' ').count() >= 2
            && asserts(at)
            && !is_absent(at)
            && !has_reason(at)
        {
            found.push(format!("{}:{}: {literal:?}", source.path, 1 + text[..at].matches('\n').count()));
        }
    }
    found
}

/// The text before the receiver of a method call, which ends the text.
fn receiver(text: &str) -> &str {
    let mut depth = 0_usize;
    let begins = text.char_indices().rev().find(|(_, c)| match c {
        ')' | ']' => {
            depth += 1;
            false
        }
        '(' | '[' => depth.checked_sub(1).map(|less| depth = less).is_none(),
        _ => depth == 0 && !c.is_alphanumeric() && !"_.".contains(*c),
    });
    begins.map_or("", |(at, c)| &text[..at + c.len_utf8()])
}

/// Reports whether a place in the text is code, not a comment, a doc comment or a literal.
fn is_code(source: &Source, at: usize) -> bool {
    let line = source.text[..at].matches('\n').count();
    source.code.lines().nth(line).is_some_and(|code| code.contains("contains"))
}

#[test]
fn a_test_that_holds_a_part_of_a_sentence_says_why() {
    let wrong: Vec<_> = crate::all_sources().iter().flat_map(without_reason).collect();
    assert!(
        wrong.is_empty(),
        "hold the whole line (`expect![[…]]`), or write `// {REASON}` and what the rest depends on:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn what_counts_as_a_part() {
    let found = |body: &str| {
        let text = format!("fn a() {{\n    {body}\n}}\n");
        let code = text.clone();
        let source = Source { path: "a.rs".into(), tokens: text.parse().unwrap(), code, text };
        without_reason(&source).len()
    };
    assert_eq!(found("assert!(text.contains(\"three words here\"));"), 1);
    assert_eq!(found("assert!(\n        text.contains(&format!(\"three words {here}\"))\n    );"), 1);
    assert_eq!(found("// A part: it has a path.\n    assert!(text.contains(\"three words here\"));"), 0);
    assert_eq!(found("assert!(list.contains(&\"three words here\"));"), 0);
    assert_eq!(found("assert!(!text.contains(\"three words here\"));"), 0);
    assert_eq!(found("assert!(text.contains(\"two words\"));"), 0);
    assert_eq!(found("let lines = text.lines().filter(|line| line.contains(\"three words here\"));"), 0);
}
