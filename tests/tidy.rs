//! What of the house's rules a test can hold the code to. Where a rule costs clarity, change it here and say why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Lines of a file. 600 is the aim; what is longer, up to this, is better than a seam in the wrong place.
const FILE_LINES: usize = 700;
/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES: usize = 70;

/// A source file: where it is, and what stands in it.
struct Source {
    path: String,
    text: String,
    /// The text with comments, strings and characters blanked out, line by line as long as before.
    code: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.rs` file under a folder, ordered by path. Snapshots and ui tests are no code of ours to judge.
fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let path = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        Source { path, code: code_only(&text), text }
    };
    found.into_iter().map(read).collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "snapshots", "ui", "corpus"].contains(&name) {
                walk(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// Blanks out what is no code: comments, strings, characters. Lines stay where they are.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest);
        let (piece, after) = rest.split_at(length.max(first.len_utf8()));
        match length {
            0 => code.push(first),
            _ => code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' })),
        }
        rest = after;
        // An identifier is taken whole, so that the `r` of `for"` is no raw string and a lifetime no character.
        if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            if length == 0 {
                code.push_str(&rest[..end]);
                rest = &rest[end..];
            }
        }
    }
    code
}

/// How much of the text, from its beginning, is a comment, a string or a character.
fn skipped(text: &str) -> usize {
    let until =
        |from: usize, end: &str| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return until(2, "*/");
    }
    let raw = text.strip_prefix("br").or_else(|| text.strip_prefix('r'));
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let from = text.len() - raw.len() + hashes + 1;
            return until(from, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    let quoted = |quote: char| {
        let mut escaped = false;
        for (at, c) in text.char_indices().skip(1) {
            if c == quote && !escaped {
                return at + 1;
            }
            escaped = c == '\\' && !escaped;
        }
        text.len()
    };
    let mut chars = text.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('"'), _, _) => quoted('"'),
        (Some('\''), Some('\\'), _) | (Some('\''), _, Some('\'')) => quoted('\''),
        _ => 0,
    }
}

#[test]
fn what_is_no_code_is_blanked_out() {
    let text = "a // \"b\nc(\"d // {\", 'e', '\"', b'\\'', r#\"f \" g\"#) /* h\n */ fn i<'j>(k: &'j str) {}";
    let code = code_only(text);
    assert_eq!(code.split_whitespace().collect::<String>(), "ac(,,,b,)fni<'j>(k:&'jstr){}");
    assert_eq!(code.lines().count(), text.lines().count());
}

/// The rooms in the order of their `mod` lines, and the room of each name that the crate's root gives out.
fn rooms() -> (Vec<String>, BTreeMap<String, String>) {
    let lib = code_only(&std::fs::read_to_string(root().join("src/lib.rs")).unwrap());
    let rooms: Vec<String> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod ")))
        .filter_map(|rest| rest.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    let mut names: BTreeMap<_, _> = rooms.iter().map(|room| (room.clone(), room.clone())).collect();
    for item in lib.split(';').filter_map(|item| item.split_once("pub use ")) {
        let (room, _) = item.1.split_once("::").unwrap();
        let what = match item.1.split_once('{') {
            Some((_, group)) => group.trim_end().trim_end_matches('}'),
            None => item.1.rsplit("::").next().unwrap(),
        };
        for name in what.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            names.insert(name.to_owned(), room.to_owned());
        }
    }
    (rooms, names)
}

/// The names behind each `crate::` in a piece of code; of `crate::{a::b, c}` it is `a` and `c`. With their lines.
fn mentions(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let line = code[..at].lines().count();
        let rest = &code[at + "crate::".len()..];
        let name = |text: &str| -> String {
            text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
        };
        match rest.strip_prefix('{') {
            None => found.push((line, name(rest))),
            Some(group) => {
                let mut depth = 0;
                let items = group.split_inclusive([',', '{', '}']);
                let mut starts = true;
                for item in items {
                    if depth == 0 && starts {
                        found.push((line, name(item)));
                    }
                    match item.chars().last() {
                        Some('{') => (depth, starts) = (depth + 1, false),
                        Some('}') if depth == 0 => break,
                        Some('}') => (depth, starts) = (depth - 1, false),
                        _ => starts = depth == 0,
                    }
                }
            }
        }
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

#[test]
fn mentions_are_found_in_groups_too() {
    let names = |code: &str| mentions(code).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
    assert_eq!(names("use crate::{World, a::{b, c}, panics}; crate::x::y()"), ["World", "a", "panics", "x"]);
    assert_eq!(names("use crate::state::{Shared, State}; $crate::no; mycrate::no"), ["state"]);
}

/// The order of `mod` lines is the order in which data flows: code mentions only what stands above it. A doc link may
/// point anywhere.
#[test]
fn a_room_knows_only_the_rooms_above_it() {
    let (rooms, names) = rooms();
    assert!(rooms.len() > 8, "{rooms:?}");
    let place = |room: &str| rooms.iter().position(|known| known == room);
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for source in sources("src") {
        let room = source.path["src/".len()..].trim_end_matches(".rs").split('/').next().unwrap();
        if room == "lib" {
            continue;
        }
        let own = place(room).unwrap_or_else(|| panic!("{} belongs to no room", source.path));
        for (line, name) in mentions(&source.code) {
            seen += 1;
            // The standard library's, but in a model: whoever's threads share memory may be tested in one.
            if ["sync", "thread", "memory", "Model", "model"].contains(&name.as_str()) {
                continue;
            }
            match names.get(&name).and_then(|room| place(room)) {
                Some(other) if other <= own => {}
                Some(other) => {
                    wrong.push(format!("{}:{line}: {room} must not know {}", source.path, rooms[other]));
                }
                None => wrong.push(format!("{}:{line}: crate::{name} belongs to no room", source.path)),
            }
        }
    }
    assert!(seen > 50, "only {seen} mentions found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Folders with code of ours.
fn all_sources() -> Vec<Source> {
    let members = ["src", "tests", "examples", "benches", "macros", "crash-points", "crash-points-macros"];
    members.into_iter().flat_map(sources).collect()
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

/// Each function with a body: its line, its name, how many lines it has.
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

/// Where the body of a function ends, if it has one: at the brace that closes the first one.
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

/// The order of a hash map differs from run to run. Clippy says so for std's; this says so for any.
#[test]
fn nothing_in_the_core_has_no_order() {
    for source in sources("src") {
        for name in ["HashMap", "HashSet"] {
            assert!(!source.code.contains(name), "{}: {name}; use a BTreeMap or a Vec", source.path);
        }
    }
}

/// Whatever the crate gives out by name is named on its page.
#[test]
fn the_crates_page_names_whatever_is_public() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    // What a feature brings is named there where the feature is on.
    let is_of_page = |line: &&str| line.starts_with("//!") || line.starts_with("#![cfg_attr(feature");
    let page: String = lib.lines().filter(is_of_page).collect();
    let (rooms, names) = rooms();
    let missing: BTreeSet<_> = names
        .keys()
        .filter(|name| !rooms.contains(name))
        .filter(|name| !page.contains(&format!("[`{name}`]")) && !page.contains(&format!("[`macro@{name}`]")))
        .collect();
    assert!(missing.is_empty(), "not on the crate's page: {missing:?}");
}

/// The sections of ARCHITECTURE.md under `## Folders` are the modules of lib.rs, in their order. The page is short enough to
/// be read: words count, not lines, since a limit on lines made the lines long.
#[test]
fn the_map_shows_the_rooms_as_they_are() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, folders) = page.split_once("\n## Folders\n").expect("there is a section `Folders`");
    let (folders, _) = folders.split_once("\n## ").expect("another section follows");
    let shown: Vec<_> = folders
        .lines()
        .filter_map(|line| line.strip_prefix("### `"))
        .map(|line| line.trim_end_matches('`'))
        .collect();
    for folder in &shown {
        assert!(root().join("src").join(folder).exists(), "src/{folder} is not there");
    }
    let shown: Vec<_> = shown.iter().map(|name| name.trim_end_matches(".rs").trim_end_matches('/')).collect();
    assert_eq!(shown, rooms().0);
    let words = page.split_whitespace().count();
    assert!(words < 3_500, "ARCHITECTURE.md has {words} words");
}

/// What waits in real time, or reads a real clock. `disallowed_methods` stands where clippy's ban of clocks is lifted.
const REAL_TIME: &[&str] = &[
    "park_timeout",
    "wait_timeout",
    "recv_timeout",
    "real_time(",
    "disallowed_methods",
    "tokio::time::timeout",
    "TokioTimer",
];

/// Each file of `src/` that waits in real time, or reads a real clock, is named in ARCHITECTURE.md, under `Where real time
/// decides`, and that section names no other: it says why the report is the same all the same.
#[test]
fn real_time_decides_only_where_the_map_says() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, section) = page.split_once("\n## Where real time decides\n").expect("there is such a section");
    let named: BTreeSet<_> =
        section.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs")).collect();
    let sources = sources("src");
    let waits = |source: &&Source| REAL_TIME.iter().any(|name| source.code.contains(name));
    let waiting: BTreeSet<_> =
        sources.iter().filter(waits).map(|source| &source.path["src/".len()..]).collect();
    assert!(waiting.len() > 5, "only {waiting:?} found");
    assert_eq!(
        waiting, named,
        "on the left what waits in real time, on the right what ARCHITECTURE.md names"
    );
}

/// A link from one page in Markdown to another, or to a heading of its own.
struct Link {
    page: PathBuf,
    to: PathBuf,
    anchor: Option<String>,
}

impl Link {
    fn leads_somewhere(&self) -> bool {
        let Some(anchor) = &self.anchor else { return self.to.exists() };
        let Ok(text) = std::fs::read_to_string(&self.to) else { return false };
        prose(&text).filter(|line| line.starts_with('#')).any(|heading| anchor_of(heading) == *anchor)
    }
}

/// The lines that are not code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The anchor of a heading, as GitHub and mdBook make it.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn links() -> Vec<Link> {
    let mut pages = Vec::new();
    pages_under(&root(), &mut pages);
    let mut links = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in prose(&text).flat_map(|line| line.split("](").skip(1)) {
            let Some((to, _)) = link.split_once(')').filter(|(to, _)| !to.contains("::")) else { continue };
            if to.contains("://") {
                continue;
            }
            let (file, anchor) = to.split_once('#').map_or((to, None), |(file, anchor)| (file, Some(anchor)));
            let to = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            links.push(Link { page: page.clone(), to, anchor: anchor.map(str::to_owned) });
        }
    }
    links
}

fn pages_under(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            pages_under(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// A link from one page to another leads to a file of the repository, and to a heading that it has.
#[test]
fn links_between_pages_lead_somewhere() {
    let links = links();
    assert!(links.iter().filter(|link| link.anchor.is_some()).count() > 30);
    assert!(links.iter().filter(|link| link.anchor.is_none()).count() > 50);
    let broken = links.iter().filter(|link| !link.leads_somewhere());
    let broken: Vec<_> = broken
        .map(|Link { page, to, anchor }| format!("{}: {} {anchor:?}", page.display(), to.display()))
        .collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// Each decision is in the index, and each specification in theirs.
#[test]
fn the_indexes_are_complete() {
    for folder in ["docs/decisions", "docs/spec"] {
        let folder = root().join(folder);
        let index = std::fs::read_to_string(folder.join("README.md")).unwrap();
        let mut pages = Vec::new();
        pages_under(&folder, &mut pages);
        assert!(pages.len() > 3, "{pages:?}");
        for page in pages {
            let name = page.file_name().unwrap().to_str().unwrap();
            assert!(
                name == "README.md" || index.contains(&format!("]({name})")),
                "{name} is not in the index"
            );
        }
    }
}
