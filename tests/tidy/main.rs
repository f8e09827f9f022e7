//! Checks the rules of this code base that a test can check. If a rule costs clarity, change it here and say why.

mod code;
mod modules;
mod order;
mod pages;
mod parts;
mod prose;

use code::{Source, members, sources};

/// The maximum number of lines in a file. Aim for 600. A longer file, up to this limit, is better than a bad split.
const FILE_LINES: usize = 700;
/// The maximum number of lines in a function, from `fn` to its closing brace.
const FUNCTION_LINES: usize = 70;

/// Returns the source files of all members.
fn all_sources() -> Vec<Source> {
    let of_the_root = ["src", "tests", "examples", "benches"].into_iter().map(str::to_owned);
    let folders: Vec<_> = of_the_root.chain(members()).filter(|folder| !folder.is_empty()).collect();
    let is_within = |one: &str| {
        folders.iter().any(|other| one.strip_prefix(&**other).is_some_and(|rest| rest.starts_with('/')))
    };
    folders.iter().filter(|folder| !is_within(folder)).flat_map(|folder| sources(folder)).collect()
}

#[test]
fn files_and_functions_are_short() {
    let mut long = Vec::new();
    for source in all_sources() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            long.push(format!("{}: {lines} lines, at most {FILE_LINES}", source.path));
        }
        for (line, name, length) in functions(&source.code) {
            if length > FUNCTION_LINES {
                let path = &source.path;
                long.push(format!("{path}:{line}: fn {name} has {length} lines, at most {FUNCTION_LINES}"));
            }
        }
    }
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

/// Returns each function with a body: its line, its name, and its number of lines.
fn functions(code: &str) -> Vec<(usize, &str, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let name =
            code[at + 3..].split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        let Some(end) = body_end(&code[at..]) else { continue };
        if !name.is_empty() {
            found.push((
                1 + code[..at].matches('\n').count(),
                name,
                1 + code[at..at + end].matches('\n').count(),
            ));
        }
    }
    found
}

/// Returns the end of a function's body, if it has one: the brace that closes the first one.
fn body_end(code: &str) -> Option<usize> {
    let (mut depth, mut brackets) = (0_usize, 0_usize);
    for (at, c) in code.char_indices() {
        match c {
            ';' if depth == 0 && brackets == 0 => return None,
            '[' => brackets += 1,
            ']' => brackets = brackets.saturating_sub(1),
            '{' => depth += 1,
            '}' if depth <= 1 => return (depth == 1).then_some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The order of a hash map differs from run to run. Clippy forbids that of the standard library, and this test all
/// others.
#[test]
fn nothing_in_the_core_has_no_order() {
    for source in sources("src") {
        for name in ["HashMap", "HashSet"] {
            assert!(!source.code.contains(name), "{}: {name}; use a BTreeMap or a Vec", source.path);
        }
    }
}
