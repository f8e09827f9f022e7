//! The place of a statement in the sources of the code under test. Nobody tells the proxy which line has sent a statement,
//! but its text usually stands in the source exactly once.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A shorter text may stand anywhere by chance.
const SHORTEST: usize = 16;
/// The most files that are read, and the largest one, in bytes.
const MOST: usize = 5_000;
const LARGEST: u64 = 1 << 20;

/// A place as the compiler would write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourcePlace {
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// A file with its white space collapsed.
#[derive(Debug)]
struct Source {
    file: String,
    /// Whether it belongs to the package whose tests run.
    is_own: bool,
    text: String,
    /// For each line that has text: where that begins in `text`, the number of the line, and the column.
    lines: Vec<(usize, u32, u32)>,
}

/// The place of a statement, if its text stands in the sources once.
pub(crate) fn place_of(statement: &str) -> Option<SourcePlace> {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    static KNOWN: Mutex<BTreeMap<String, Option<SourcePlace>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(place) = known.get(statement) {
        return *place;
    }
    let place = find(SOURCES.get_or_init(read_all), statement);
    known.insert(statement.to_owned(), place);
    place
}

fn find(sources: &[Source], statement: &str) -> Option<SourcePlace> {
    let (wanted, _) = collapsed(statement);
    if wanted.len() < SHORTEST {
        return None;
    }
    let found = |is_own: bool| {
        let sources = sources.iter().filter(move |source| source.is_own == is_own);
        sources.flat_map(|source| source.text.match_indices(&wanted).map(move |(at, _)| (source, at)))
    };
    // A text that stands in the package itself twice is not looked for elsewhere.
    let mut all = found(true).take(2).collect::<Vec<_>>();
    if all.is_empty() {
        all = found(false).take(2).collect();
    }
    let [(source, at)] = all[..] else { return None };
    let line = source.lines.partition_point(|(from, ..)| *from <= at).checked_sub(1)?;
    let (from, line, column) = source.lines[line];
    let column = column + source.text[from..at].chars().count() as u32;
    // There are as many of them as there are statements.
    Some(SourcePlace { file: Box::leak(source.file.clone().into_boxed_str()), line, column })
}

/// The text with each run of white space as one space, without the escapes of a string, and the beginnings of its lines.
fn collapsed(text: &str) -> (String, Vec<(usize, u32, u32)>) {
    let (mut short, mut lines) = (String::with_capacity(text.len()), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let content = line.trim_start();
        let column = line.chars().count() - content.chars().count() + 1;
        let content = content.trim_end();
        // A string goes on in the next line.
        let content = content.strip_suffix('\\').unwrap_or(content).replace("\\\"", "\"");
        let mut words = content.split_whitespace().peekable();
        if words.peek().is_none() {
            continue;
        }
        if !short.is_empty() && !short.ends_with(' ') {
            short.push(' ');
        }
        lines.push((short.len(), number as u32 + 1, column as u32));
        short.push_str(&words.collect::<Vec<_>>().join(" "));
    }
    (short.trim().to_owned(), lines)
}

/// All sources of the workspace.
fn read_all() -> Vec<Source> {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).or_else(|| env::current_dir().ok());
    let Some(package) = package else { return Vec::new() };
    let root = package.ancestors().find(|folder| folder.join("Cargo.lock").is_file()).unwrap_or(&package);
    let mut files = Vec::new();
    list(root, &mut files);
    files.sort();
    let read = files.into_iter().filter_map(|path| {
        let (text, lines) = collapsed(&fs::read_to_string(&path).ok()?);
        let is_own = path.starts_with(&package);
        let file = path.strip_prefix(root).ok()?.to_string_lossy().into_owned();
        Some(Source { file, is_own, text, lines })
    });
    read.collect()
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if files.len() >= MOST || name.starts_with('.') || name == "target" || name == "node_modules" {
            continue;
        }
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            list(&path, files);
        } else if kind.is_file() && (name.ends_with(".rs") || name.ends_with(".sql")) {
            let is_small = entry.metadata().is_ok_and(|metadata| metadata.len() <= LARGEST);
            files.extend(is_small.then_some(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(file: &str, is_own: bool, text: &str) -> Source {
        let (text, lines) = collapsed(text);
        Source { file: file.to_owned(), is_own, text, lines }
    }

    #[test]
    fn a_statement_is_found_where_it_stands_once() {
        let one =
            "fn f() {\n\n    query(\"UPDATE orders \\\n        SET state = $1\n  WHERE \\\"id\\\" = 6\");\n}";
        let two = "let a = \"SELECT state FROM orders\"; // and again: SELECT state FROM orders";
        let far = "SELECT cents   FROM orders";
        let sources = [source("a.rs", true, one), source("b.rs", true, two), source("c.rs", false, far)];
        let found = |text| {
            find(&sources, text).map(|place| format!("{}:{}:{}", place.file, place.line, place.column))
        };
        let long = "UPDATE orders SET state = $1 WHERE \"id\" = 6";
        assert_eq!(found(long).as_deref(), Some("a.rs:3:12"));
        assert_eq!(found("SET state = $1\nWHERE").as_deref(), Some("a.rs:4:9"));
        assert_eq!(found("SELECT state FROM orders"), None);
        assert_eq!(found("SELECT cents FROM orders").as_deref(), Some("c.rs:1:1"));
        assert_eq!(found("COMMIT"), None);
        assert_eq!(found("SELECT nothing FROM orders"), None);
    }
}
