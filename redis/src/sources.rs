//! The place of a command in the sources of the code under test. Nobody tells the proxy which line has sent a command, but
//! the command or its method usually stands in the source once with that key.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::commands::Command;

/// The most files that are read, and the largest one, in bytes.
const MOST: usize = 5_000;
const LARGEST: u64 = 1 << 20;
/// The key stands in one of this many lines, from that of the command on.
const NEAR: usize = 3;

/// The commands whose methods in redis-rs have other names.
const METHODS: [(&str, &str); 10] = [
    ("incrby", "incr"),
    ("incrbyfloat", "incr"),
    ("decrby", "decr"),
    ("setex", "set_ex"),
    ("psetex", "pset_ex"),
    ("setnx", "set_nx"),
    ("xreadgroup", "xread"),
    ("xgroup", "xgroup_create"),
    ("evalsha", "invoke"),
    ("eval", "invoke"),
];
/// The endings of methods, with options or for an async connection.
const ENDINGS: [&str; 7] = ["(", "::<", "_options", "_async", "_multiple", "_mkstream", "_maxlen"];

/// A place as the compiler would write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourcePlace {
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

#[derive(Debug)]
struct Source {
    file: String,
    /// Whether it belongs to the package whose tests run.
    is_own: bool,
    lines: Vec<String>,
}

/// The place of a command, if it stands in the sources once.
pub(crate) fn place_of(command: &Command) -> Option<SourcePlace> {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    static KNOWN: Mutex<BTreeMap<(String, String), Option<SourcePlace>>> = Mutex::new(BTreeMap::new());
    let (name, key) = (command.name.clone(), command.literal());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    *known.entry((name, key)).or_insert_with_key(|(name, key)| find(SOURCES.get_or_init(read_all), name, key))
}

/// The column at which a line sends a command.
fn column(line: &str, command: &str, method: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    if line.trim_start().starts_with("//") {
        return None;
    }
    let called = lower
        .match_indices(&format!(".{method}"))
        .find(|(at, found)| ENDINGS.iter().any(|ending| lower[at + found.len()..].starts_with(ending)));
    let quoted = lower.find(&format!("\"{command}\"")).filter(|_| !lower.contains("redis.run("));
    called.map(|(at, _)| at + 1).or(quoted)
}

fn find(sources: &[Source], command: &str, key: &str) -> Option<SourcePlace> {
    let method = METHODS.iter().find(|(known, _)| *known == command).map_or(command, |(_, method)| method);
    let found = |is_own: bool| -> Vec<_> {
        let of_kind = sources.iter().filter(|source| source.is_own == is_own);
        let all = of_kind.flat_map(|source| source.lines.iter().enumerate().map(move |line| (source, line)));
        all.filter_map(|(source, (at, line))| Some((source, at, column(line, command, method)?))).collect()
    };
    let mut places = found(true);
    if places.is_empty() {
        places = found(false);
    }
    // The key stands in the same line, or soon after it. Or there is no key as a literal, which would be another one.
    let ends: &[char] = if key.ends_with([':', '/', '-', '_', '.']) { &['{', '"'] } else { &['"'] };
    let literals: Vec<_> = ends.iter().map(|end| format!("\"{key}{end}")).collect();
    for lines in [1, NEAR] {
        let has_key = |source: &Source, at: usize| {
            let mut near = source.lines[at..].iter().take(lines);
            !key.is_empty() && near.any(|line| literals.iter().any(|literal| line.contains(literal)))
        };
        let exact: Vec<_> = places.iter().filter(|(source, at, _)| has_key(source, *at)).collect();
        match exact[..] {
            [] => {}
            [(source, at, column)] => return Some(place(source, *at, *column)),
            _ => return None,
        }
    }
    let [(source, at, column)] = places[..] else { return None };
    let is_literal = source.lines[at][column..].contains(&format!("{method}(\""));
    (!is_literal).then(|| place(source, at, column))
}

fn place(source: &Source, at: usize, column: usize) -> SourcePlace {
    let column = source.lines[at][..column].chars().count() as u32 + 1;
    // There are as many of them as there are commands in the source.
    SourcePlace { file: Box::leak(source.file.clone().into_boxed_str()), line: at as u32 + 1, column }
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
        let lines = fs::read_to_string(&path).ok()?.lines().map(str::to_owned).collect();
        let file = path.strip_prefix(root).ok()?.to_string_lossy().into_owned();
        Some(Source { file, is_own: path.starts_with(&package), lines })
    });
    read.collect()
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if files.len() >= MOST || name.starts_with('.') || name == "target" {
            continue;
        }
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            list(&path, files);
        } else if kind.is_file() && name.ends_with(".rs") {
            let is_small = entry.metadata().is_ok_and(|metadata| metadata.len() <= LARGEST);
            files.extend(is_small.then_some(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_found_where_it_stands_once() {
        let text = r#"
            // connection.incr("visits", 1)
            connection.incr("visits", 1).await?;
            connection.incr::<_, _, ()>("orders", 1).await?;
            redis::cmd("SET").arg("lock:stock").arg(job);
            redis::cmd("set")
                .arg(format!("lock:{job}"));
            connection.sadd(&key, 1).await?;
            connection.del("a").await?; connection.del("b").await?;
            redis.run(&["GET", "visits"]);
            connection.lpush("one", 1); connection.rpush("x", 1);
        "#;
        let source = Source {
            file: "a.rs".to_owned(),
            is_own: true,
            lines: text.lines().map(str::to_owned).collect(),
        };
        let sources = [source];
        let found = |command, key| find(&sources, command, key).map(|place| (place.line, place.column));
        assert_eq!(found("incrby", "visits"), Some((3, 24)));
        assert_eq!(found("incr", "orders"), Some((4, 24)));
        assert_eq!(found("sadd", "users"), Some((8, 24)));
        assert_eq!(found("set", "lock:stock"), Some((5, 24)));
        // Another key stands there as a literal.
        assert_eq!(found("lpush", "two"), None);
        // Two places, or none.
        for (command, key) in [("incr", "other"), ("set", "lock:"), ("get", "visits"), ("hset", "a")] {
            assert_eq!(found(command, key), None, "{command} {key}");
        }
    }
}
