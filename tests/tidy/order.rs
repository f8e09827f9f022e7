//! At each level, the order of `mod` lines is the order in which data flows. So no two files of a folder use each other,
//! directly or indirectly.

use std::collections::BTreeMap;

use crate::code::{members, root};
use crate::modules::{Mention, Modules};

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
    let (mut wrong, mut seen) = (Vec::new(), 0);
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
            wrong.push(format!("{}: in {folder} {from} must not know {to}", mention.place));
        }
    }
    assert!(seen > 500, "only {seen} mentions found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
