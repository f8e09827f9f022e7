//! Source files as text, and their code without comments and literals.

use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, LineColumn, TokenStream, TokenTree};

/// A source file: its path and its content.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments and literals blanked out. Each line keeps its length.
    pub(crate) code: String,
    pub(crate) tokens: TokenStream,
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the folders of the workspace's members. That of the root is empty.
pub(crate) fn members() -> Vec<String> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, list) = manifest.split_once("members = [").expect("a workspace");
    let (list, _) = list.split_once(']').expect("an array ends");
    let members = list.split('"').skip(1).step_by(2);
    members.map(|member| member.trim_start_matches('.').to_owned()).collect()
}

/// Returns every `.rs` file under a folder, sorted by path, without snapshots and ui tests.
pub(crate) fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let path = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
        Source { path, code: code_only(&tokens), text, tokens }
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

/// Returns the tokens at their places, and nothing else.
fn code_only(tokens: &TokenStream) -> String {
    let mut code = Code { text: String::new(), line: 1, column: 0 };
    code.add(tokens.clone());
    code.text
}

struct Code {
    text: String,
    line: usize,
    column: usize,
}

impl Code {
    fn put(&mut self, at: LineColumn, token: &str) {
        for _ in self.line..at.line {
            self.text.push('\n');
            (self.line, self.column) = (self.line + 1, 0);
        }
        for _ in self.column..at.column {
            self.text.push(' ');
            self.column += 1;
        }
        self.text.push_str(token);
        self.column += token.chars().count();
    }

    fn add(&mut self, tokens: TokenStream) {
        for token in without_docs(tokens) {
            let at = token.span().start();
            match token {
                TokenTree::Literal(_) => {}
                TokenTree::Group(group) => {
                    let (open, close) = match group.delimiter() {
                        Delimiter::Parenthesis => ("(", ")"),
                        Delimiter::Brace => ("{", "}"),
                        Delimiter::Bracket => ("[", "]"),
                        Delimiter::None => ("", ""),
                    };
                    self.put(group.span_open().start(), open);
                    self.add(group.stream());
                    self.put(group.span_close().start(), close);
                }
                other => self.put(at, &other.to_string()),
            }
        }
    }
}

/// Removes doc comments, which are attributes to a parser.
pub(crate) fn without_docs(tokens: TokenStream) -> Vec<TokenTree> {
    let mut kept: Vec<TokenTree> = Vec::new();
    for token in tokens {
        if let TokenTree::Group(group) = &token {
            let is_doc = group.delimiter() == Delimiter::Bracket
                && group.stream().into_iter().next().is_some_and(|first| first.to_string() == "doc");
            let marks = kept.iter().rev().take_while(|one| ["#", "!"].contains(&&*one.to_string())).count();
            if is_doc && marks > 0 {
                kept.truncate(kept.len() - marks);
                continue;
            }
        }
        kept.push(token);
    }
    kept
}

#[test]
fn what_is_no_code_is_blanked_out() {
    let text = "a // \"b\nc(\"d // {\", 'e', '\"', b'\\'', r#\"f \" g\"#) /* h\n */ fn i<'j>(k: &'j str) {}\n/// l\nm";
    let code = code_only(&text.parse().unwrap());
    assert_eq!(code.split_whitespace().collect::<String>(), "ac(,,,,)fni<'j>(k:&'jstr){}m");
    assert_eq!(code.lines().count(), text.lines().count());
    assert_eq!(code.lines().nth(2).unwrap().find("fn"), text.lines().nth(2).unwrap().find("fn"));
}
