//! Checks the pages: links, indexes, the map, and that the crate's page names everything public.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::code::{Source, root, sources};
use crate::order::{facade, rooms};

/// The root's names that are modules.
const MODULES: [&str; 3] = ["service", "sync", "thread"];

/// The root has only the names that most tests need. The other names are in modules.
#[test]
fn at_most_30_names_stand_at_the_root() {
    let (rooms, names) = rooms();
    let names: Vec<_> =
        names.keys().filter(|name| !rooms.contains(name) && !MODULES.contains(&&***name)).collect();
    assert!((20..=30).contains(&names.len()), "{} names at the root: {names:?}", names.len());
}

/// The crate's page names everything that the crate exports: at the root, and in the modules that lib.rs assembles.
#[test]
fn the_crates_page_names_whatever_is_public() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    // Items of a feature are named if the feature is on.
    let is_of_page = |line: &&str| line.starts_with("//!") || line.starts_with("#![cfg_attr(feature");
    let page: String = lib.lines().filter(is_of_page).collect();
    let (rooms, names) = rooms();
    let facade = facade();
    assert!(facade.values().flatten().count() > 40, "{facade:?}");
    let modules = facade.iter().filter(|(_, names)| !names.is_empty()).map(|(module, _)| module);
    let names = names.keys().filter(|name| !rooms.contains(name)).chain(facade.values().flatten());
    let missing: BTreeSet<_> = names
        .chain(modules)
        .filter(|name| !["`", "macro@", "("].iter().any(|sign| page.contains(&link_to(name, sign))))
        .collect();
    assert!(missing.is_empty(), "not on the crate's page: {missing:?}");
}

/// How the crate's page may link a name: as it is, as a macro, or as a function that shares its name with a module.
fn link_to(name: &str, sign: &str) -> String {
    match sign {
        "macro@" => format!("[`macro@{name}`]"),
        "(" => format!("[`{name}()`]"),
        _ => format!("[`{name}`]"),
    }
}

/// The sections of ARCHITECTURE.md under `## Folders` are the modules of lib.rs, in the same order. The page must stay
/// short: the limit counts words, because a limit on lines made the lines long.
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
    assert!(words < 3_800, "ARCHITECTURE.md has {words} words");
}

/// Names of functions that wait in real time, or read a real clock. `disallowed_methods` marks exceptions to clippy's
/// ban.
const REAL_TIME: &[&str] = &[
    "park_timeout",
    "wait_timeout",
    "recv_timeout",
    "real_time(",
    "disallowed_methods",
    "tokio::time::timeout",
    "TokioTimer",
];

/// ARCHITECTURE.md names under `Where real time decides` exactly the files of `src/` that wait in real time, or read a
/// real clock, and says why the report does not depend on it.
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

/// A link from one Markdown page to another, or to one of its own headings.
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

/// Returns the lines that are not code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Returns the anchor of a heading, as GitHub and mdBook make it.
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

pub(crate) fn pages_under(folder: &Path, found: &mut Vec<PathBuf>) {
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

/// A link between pages leads to an existing file, and to an existing heading.
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

/// The index lists each decision, and the other index lists each specification.
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
