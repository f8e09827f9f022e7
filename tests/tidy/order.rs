//! At each level, the order of `mod` lines is the order in which data flows, and no two files of a folder use each
//! other.

use std::collections::{BTreeMap, BTreeSet};

use crate::code::{members, root};
use crate::modules::{Mention, Modules};

/// Folders that do not follow the order of their `mod` lines yet. Add no folder, and remove one that follows it.
const UNORDERED: &[&str] = &[
    "examples/postgres/src",
    "graphile-worker/src",
    "src/engine/state",
    "src/executor",
    "src/judge/check",
    "src/judge/report",
    "src/memory",
    "src/memory/sync",
    "src/process/handlers",
    "src/process/handles",
    "src/process/handles/store",
    "src/proptest",
    "src/system/job",
    "src/system/service",
    "src/system/service/store",
];

/// Files of one folder that use each other, directly or indirectly, and that should be separated. Add none, and remove
/// those that no longer do.
const CIRCLES: &[(&str, &[&str])] = &[];

/// Returns the top-level folders of `src/` in the order of their `mod` lines, and the folder of each exported name.
pub(crate) fn rooms() -> (Vec<String>, BTreeMap<String, String>) {
    let modules = Modules::of("src");
    let (_, rooms) = modules.folders().find(|(path, _)| path.is_empty()).expect("the crate has modules");
    (rooms.to_vec(), modules.exports())
}

/// Returns the modules that lib.rs assembles from others, with the names that each exports.
pub(crate) fn facade() -> BTreeMap<String, Vec<String>> {
    Modules::of("src").facade()
}

/// Returns the folder of each member, with its modules.
fn libraries() -> Vec<(String, Modules)> {
    let folders =
        members().into_iter().map(|member| format!("{member}/src").trim_start_matches('/').to_owned());
    let there = folders.filter(|folder| root().join(folder).join("lib.rs").exists());
    there.map(|folder| (folder.clone(), Modules::of(&folder))).collect()
}

/// Returns the folder in which two modules part, and their names there. The folder's own file has no name.
fn parting(mention: &Mention) -> (&[String], Option<&String>, Option<&String>) {
    let common = mention.from.iter().zip(&mention.to).take_while(|(from, to)| from == to).count();
    (&mention.from[..common], mention.from.get(common), mention.to.get(common))
}

fn name(library: &str, folder: &[String]) -> String {
    [&[library.to_owned()], folder].concat().join("/")
}

/// A doc link may point anywhere.
#[test]
fn a_module_knows_only_those_above_it() {
    let (mut wrong, mut unordered, mut seen) = (Vec::new(), BTreeSet::new(), 0);
    for (library, modules) in libraries() {
        let folders: BTreeMap<_, _> = modules.folders().collect();
        for mention in modules.mentions() {
            let (folder, Some(from), Some(to)) = parting(&mention) else { continue };
            let place = |name| folders[&folder.to_vec()].iter().position(|child| child == name);
            seen += 1;
            // These are the standard library's types outside of a model, so any module with shared memory may use them.
            let is_std = library == "src" && folder.is_empty() && to == "memory";
            if is_std || place(to) <= place(from) {
                continue;
            }
            let folder = name(&library, folder);
            if !UNORDERED.contains(&&*folder) {
                wrong.push(format!("{}: in {folder} {from} must not know {to}", mention.place));
            }
            unordered.insert(folder);
        }
    }
    assert!(seen > 500, "only {seen} mentions found");
    let ordered: Vec<_> = UNORDERED.iter().filter(|folder| !unordered.contains(**folder)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(ordered.is_empty(), "in order now, so take them from `UNORDERED`: {ordered:?}");
}

#[test]
fn files_of_a_folder_do_not_know_each_other() {
    let mut found = Vec::new();
    let mut places = String::new();
    for (library, modules) in libraries() {
        let mut folders: BTreeMap<Vec<String>, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
        let mentions = modules.mentions();
        for mention in &mentions {
            let (folder, Some(from), Some(to)) = parting(mention) else { continue };
            let is_std = library == "src" && folder.is_empty() && to == "memory";
            if !is_std {
                let known = folders.entry(folder.to_vec()).or_default();
                known.entry(from).or_default().insert(to);
                known.entry(to).or_default();
            }
        }
        for (folder, known) in folders {
            for circle in circles(&known) {
                for mention in &mentions {
                    let (parting, from, to) = parting(mention);
                    let is_in =
                        |name: Option<&String>| name.is_some_and(|name| circle.contains(name.as_str()));
                    if parting == folder && is_in(from) && is_in(to) {
                        places += &format!("{}: {from:?} → {to:?}\n", mention.place);
                    }
                }
                found.push((
                    name(&library, &folder),
                    circle.iter().map(|&name| name.to_owned()).collect::<Vec<_>>(),
                ));
            }
        }
    }
    let allowed: Vec<(String, Vec<String>)> = CIRCLES
        .iter()
        .map(|(folder, files)| ((*folder).to_owned(), files.iter().map(|&file| file.to_owned()).collect()))
        .collect();
    assert_eq!(found, allowed, "on the left what is there, on the right `CIRCLES`:\n{places}");
}

/// Returns the sets of modules that use each other, each sorted by name.
fn circles<'n>(known: &BTreeMap<&'n str, BTreeSet<&'n str>>) -> Vec<BTreeSet<&'n str>> {
    let reached = |from: &'n str| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(one) = next.pop() {
            next.extend(known[one].iter().filter(|other| reached.insert(**other)));
        }
        reached
    };
    let reached: BTreeMap<_, _> = known.keys().map(|&name| (name, reached(name))).collect();
    let circle = |name: &'n str| -> BTreeSet<&'n str> {
        reached[name].iter().copied().filter(|other| reached[other].contains(name)).collect()
    };
    let circles: BTreeSet<_> =
        known.keys().map(|&name| circle(name)).filter(|circle| circle.len() > 1).collect();
    circles.into_iter().collect()
}

#[test]
fn circles_are_found() {
    let known = |pairs: &[(&'static str, &[&'static str])]| -> BTreeMap<&str, BTreeSet<&str>> {
        pairs.iter().map(|(from, to)| (*from, to.iter().copied().collect())).collect()
    };
    let none = known(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])]);
    assert_eq!(circles(&none), Vec::<BTreeSet<_>>::new());
    let two = known(&[("a", &["b"]), ("b", &["c"]), ("c", &["a", "d"]), ("d", &["e"]), ("e", &["d"])]);
    assert_eq!(circles(&two), [BTreeSet::from(["a", "b", "c"]), BTreeSet::from(["d", "e"])]);
}
