//! Finds out which modules of a member use each other: by `crate::`, `super::`, `self::` and the names of their
//! children. Re-exports are followed to the module that defines the name.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::code::{Source, sources, without_docs};

/// A path from the root of a member.
type Path = Vec<String>;

/// A use of another module.
pub(crate) struct Mention {
    pub(crate) from: Path,
    pub(crate) to: Path,
    pub(crate) place: String,
}

/// The modules of a member, and how they use each other.
#[derive(Default)]
pub(crate) struct Modules {
    modules: BTreeMap<Path, Module>,
    mentions: Vec<Written>,
}

#[derive(Default)]
struct Module {
    /// The module that has its own file: this one, or its closest ancestor.
    file: Path,
    /// In the order of their `mod` lines.
    children: Vec<String>,
    /// The names that its `use` items import, with their sources.
    aliases: BTreeMap<String, Path>,
    globs: Vec<Path>,
    /// The names that it defines.
    items: BTreeSet<String>,
}

/// A path as it is written in a module.
struct Written {
    module: Path,
    path: Path,
    place: String,
    /// Whether it re-exports a name, which does not count as using the module behind it.
    is_export: bool,
}

impl Modules {
    /// Reads a folder with a `lib.rs`.
    pub(crate) fn of(folder: &str) -> Self {
        let mut modules = Self::default();
        let sources = sources(folder);
        // Parents first, because they say which children are tests.
        let mut files: Vec<_> =
            sources.iter().map(|source| (module_of(folder, &source.path), source)).collect();
        files.sort_by(|(one, _), (other, _)| (one.len(), one).cmp(&(other.len(), other)));
        for (module, source) in files {
            let is_known = module.is_empty() || modules.declares(&module);
            if is_known {
                let mut reader = Reader { source, file: module.clone(), modules: &mut modules };
                reader.module(&module, source.tokens.clone());
            }
        }
        modules
    }

    /// Whether the parent declares the module as a child that is not a test.
    fn declares(&self, module: &Path) -> bool {
        let (name, parent) = module.split_last().expect("the root is known");
        self.modules.get(parent).is_some_and(|parent| parent.children.contains(name))
    }

    /// Returns the children of each folder, in the order of their `mod` lines.
    pub(crate) fn folders(&self) -> impl Iterator<Item = (&Path, &[String])> {
        let folders = self.modules.iter().filter(|(path, module)| **path == module.file);
        folders.map(|(path, module)| (path, &*module.children)).filter(|(_, children)| children.len() > 1)
    }

    /// Returns all uses of one file by another.
    pub(crate) fn mentions(&self) -> Vec<Mention> {
        let mut found = Vec::new();
        for written in self.mentions.iter().filter(|written| !written.is_export) {
            let Some(to) = self.resolve(&written.module, &written.path, 0) else { continue };
            let (from, to) = (self.modules[&written.module].file.clone(), self.modules[&to].file.clone());
            if from != to {
                found.push(Mention { from, to, place: written.place.clone() });
            }
        }
        found
    }

    /// Returns the names that the root exports, with their top-level modules.
    pub(crate) fn exports(&self) -> BTreeMap<String, String> {
        let root = &self.modules[&Path::new()];
        let modules = root.children.iter().map(|name| (name.clone(), name.clone()));
        let names = root.aliases.iter().filter_map(|(name, path)| {
            let home = self.resolve(&Path::new(), path, 0)?;
            Some((name.clone(), home.first()?.clone()))
        });
        modules.chain(names).collect()
    }

    /// Returns the modules in the root's own file, with the names that each exports.
    pub(crate) fn facade(&self) -> BTreeMap<String, Vec<String>> {
        let inside = self.modules.iter().filter(|(path, module)| path.len() == 1 && module.file.is_empty());
        inside.map(|(path, module)| (path[0].clone(), module.aliases.keys().cloned().collect())).collect()
    }

    /// Returns the module that defines the last name of a path, if it belongs to this member.
    fn resolve(&self, module: &Path, path: &[String], depth: usize) -> Option<Path> {
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Path::new(),
            "self" => module.clone(),
            "super" => {
                let mut at = module.clone();
                at.pop()?;
                while let Some((_, more)) = rest.split_first().filter(|(next, _)| *next == "super") {
                    (_, rest) = (at.pop()?, more);
                }
                at
            }
            _ => {
                rest = path;
                module.clone()
            }
        };
        let is_relative = rest.len() == path.len();
        for (n, name) in rest.iter().enumerate() {
            let here = self.modules.get(&at)?;
            let below: Path = at.iter().chain([name]).cloned().collect();
            if self.modules.contains_key(&below) {
                at = below;
            } else if let Some(target) = here.aliases.get(name).filter(|_| depth < 16) {
                let onward: Path = target.iter().chain(&rest[n + 1..]).cloned().collect();
                return self.resolve(&at, &onward, depth + 1).or((!is_relative).then_some(at));
            } else {
                let from_glob = here.globs.iter().filter(|_| depth < 16).find_map(|glob| {
                    let onward: Path = glob.iter().chain(&rest[n..]).cloned().collect();
                    let module = self.resolve(&at, glob, depth + 1)?;
                    let defines = self.modules[&module].items.contains(name)
                        || self.modules[&module].aliases.contains_key(name);
                    defines.then(|| self.resolve(&at, &onward, depth + 1)).flatten()
                });
                return match from_glob {
                    Some(found) => Some(found),
                    // A local name, or one from another crate.
                    None if n == 0 && is_relative => None,
                    None => Some(at),
                };
            }
        }
        Some(at)
    }
}

/// `src/a/b.rs` and `src/a/b/mod.rs` are the module `a::b`.
fn module_of(folder: &str, path: &str) -> Path {
    let path = path[folder.len()..].trim_start_matches('/').trim_end_matches(".rs");
    let mut module: Path = path.split('/').map(str::to_owned).collect();
    if ["lib", "mod", "main"].contains(&module.last().expect("a name").as_str()) {
        module.pop();
    }
    module
}

struct Reader<'a> {
    source: &'a Source,
    file: Path,
    modules: &'a mut Modules,
}

impl Reader<'_> {
    fn module(&mut self, module: &Path, tokens: TokenStream) {
        let entry = self.modules.modules.entry(module.clone()).or_default();
        entry.file.clone_from(&self.file);
        self.tokens(module, &without_docs(tokens), true);
    }

    fn tokens(&mut self, module: &Path, tokens: &[TokenTree], is_top: bool) {
        let text = |at: usize| tokens.get(at).map(ToString::to_string).unwrap_or_default();
        let mut at = 0;
        let mut is_test = false;
        let mut is_public = false;
        while at < tokens.len() {
            let word = text(at);
            match &tokens[at] {
                TokenTree::Group(group) => {
                    let inner = without_docs(group.stream());
                    let is_attribute =
                        group.delimiter() == Delimiter::Bracket && at > 0 && text(at - 1) == "#";
                    is_test |= is_attribute && group.to_string().replace(' ', "").contains("cfg(test)");
                    if is_test && group.delimiter() == Delimiter::Brace {
                        // The body of a test module or a test function may use anything.
                        (is_test, at) = (false, at + 1);
                        continue;
                    }
                    self.tokens(module, &inner, false);
                }
                TokenTree::Ident(_) if word == "mod" && is_top => {
                    let name = text(at + 1);
                    if let (Some(TokenTree::Group(body)), false) = (tokens.get(at + 2), is_test) {
                        let inner: Path = module.iter().chain([&name]).cloned().collect();
                        self.module(&inner, body.stream());
                    } else if !is_test {
                        self.modules.modules.get_mut(module).expect("it was begun").children.push(name);
                    }
                    (at, is_test, is_public) = (at + 3, false, false);
                    continue;
                }
                TokenTree::Ident(_) if word == "use" => {
                    let end = (at..tokens.len()).find(|&end| text(end) == ";").unwrap_or(tokens.len());
                    if !is_test {
                        self.import(module, &tokens[at + 1..end], is_public);
                    }
                    (at, is_test, is_public) = (end + 1, false, false);
                    continue;
                }
                TokenTree::Ident(_) if word == "pub" => is_public = true,
                TokenTree::Ident(_) => {
                    const ITEMS: [&str; 8] =
                        ["fn", "struct", "enum", "trait", "type", "const", "static", "union"];
                    if is_top && ITEMS.contains(&&*word) {
                        let module = self.modules.modules.get_mut(module).expect("it was begun");
                        module.items.insert(text(at + 1));
                    }
                    let begins = at == 0 || ![":", ".", "$"].contains(&&*text(at - 1));
                    if begins && text(at + 1) == ":" && text(at + 2) == ":" {
                        let length = self.path(module, tokens, at, false);
                        at += length;
                        continue;
                    }
                }
                TokenTree::Punct(punct) if punct.as_char() == ';' => (is_test, is_public) = (false, false),
                _ => {}
            }
            at += 1;
        }
    }

    /// Reads a path in an expression or a type, and returns its number of tokens.
    fn path(&mut self, module: &Path, tokens: &[TokenTree], from: usize, is_export: bool) -> usize {
        let mut path = vec![tokens[from].to_string()];
        let mut at = from + 1;
        let is = |at: usize, what: &str| tokens.get(at).is_some_and(|token| token.to_string() == what);
        while is(at, ":") && is(at + 1, ":") {
            let Some(TokenTree::Ident(name)) = tokens.get(at + 2) else { break };
            path.push(name.to_string());
            at += 3;
        }
        self.written(module, path, &tokens[from], is_export);
        at - from
    }

    fn written(&mut self, module: &Path, path: Path, token: &TokenTree, is_export: bool) {
        let place = format!("{}:{}", self.source.path, token.span().start().line);
        self.modules.mentions.push(Written { module: module.clone(), path, place, is_export });
    }

    /// Reads what is between `use` and `;`.
    fn import(&mut self, module: &Path, tokens: &[TokenTree], is_public: bool) {
        let mut leaves = Vec::new();
        leaves_of(&Path::new(), tokens, &mut leaves);
        for (path, alias) in leaves {
            let entry = self.modules.modules.get_mut(module).expect("it was begun");
            match alias.as_str() {
                "*" => entry.globs.push(path.clone()),
                "_" => {}
                _ => _ = entry.aliases.insert(alias, path.clone()),
            }
            if let Some(token) = tokens.first() {
                self.written(module, path, token, is_public);
            }
        }
    }
}

/// Collects each path of a `use` tree, and the name that it imports.
fn leaves_of(before: &Path, tokens: &[TokenTree], found: &mut Vec<(Path, String)>) {
    let (mut path, mut alias) = (before.clone(), None);
    let mut tokens = tokens.iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                for part in inner.split(|token| token.to_string() == ",").filter(|part| !part.is_empty()) {
                    leaves_of(&path, part, found);
                }
                return;
            }
            TokenTree::Ident(word) if word == "as" => alias = tokens.next().map(ToString::to_string),
            TokenTree::Ident(word) if word == "self" && !path.is_empty() => {}
            TokenTree::Ident(word) => path.push(word.to_string()),
            TokenTree::Punct(punct) if punct.as_char() == '*' => alias = Some("*".to_owned()),
            _ => {}
        }
    }
    let last = path.last().cloned().unwrap_or_default();
    found.push((path, alias.unwrap_or(last)));
}

#[test]
fn a_tree_of_a_use_is_taken_apart() {
    let tokens: Vec<_> =
        "crate::{World, a::{self, b as c, d::*}, e}".parse::<TokenStream>().unwrap().into_iter().collect();
    let mut leaves = Vec::new();
    leaves_of(&Path::new(), &tokens, &mut leaves);
    let leaves: Vec<_> =
        leaves.into_iter().map(|(path, name)| format!("{} {name}", path.join("::"))).collect();
    assert_eq!(leaves, ["crate::World World", "crate::a a", "crate::a::b c", "crate::a::d *", "crate::e e"]);
}
