//! The page of a test run for a browser.
//!
//! A part: the output of a process has paths that differ in each run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Folder, play, support, surround};

const TESTS: [&str; 3] = ["charges_twice", "loses_a_mail", "oversells"];
const PAGE: &str = "report.html";
const PARTS: &str = "report-parts";

/// Returns a command that runs a test of this binary, with its page in this folder.
fn on_page(module: &str, name: &str, folder: &Folder) -> Command {
    let mut command = support::own_test(module, name);
    surround(&mut command);
    command.arg("--color=never").env_remove("RETRYPROOF_HTML").env("RETRYPROOF_HTML_DIR", folder.text());
    command
}

fn bug(name: &str, folder: &Folder) -> Command {
    on_page("process::bugs", name, folder)
}

/// An element: its name and its attributes.
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
}

/// Returns the elements of a page. Fails unless they are nested and quoted as HTML has to be.
fn elements(page: &str) -> Vec<Element> {
    const VOID: [&str; 2] = ["meta", "input"];
    let rest = page.strip_prefix("<!DOCTYPE html>\n").expect("a page begins with its type");
    let (mut elements, mut open, mut rest) = (Vec::new(), Vec::new(), rest);
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "a sign that is no tag: {}", &rest[..at]);
        let end = at + rest[at..].find('>').expect("a tag ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed before {}", &rest[..rest.len().min(80)]);
            continue;
        }
        let (name, mut texts) = tag.trim_end_matches('/').split_once(' ').unwrap_or((tag, ""));
        let mut attributes = Vec::new();
        while !texts.is_empty() {
            let (name, more) = texts.split_once("=\"").unwrap_or_else(|| panic!("an attribute: {texts}"));
            let (value, more) = more.split_once('"').unwrap_or_else(|| panic!("a value: {more}"));
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{name} in <{tag}>");
            attributes.push((name.to_owned(), value.to_owned()));
            texts = more.trim_start();
        }
        if ["style", "script"].contains(&name) {
            // What is inside is not HTML.
            rest = &rest[rest.find("</").expect("it ends")..];
        }
        if !VOID.contains(&name) && !tag.ends_with('/') {
            open.push(name.to_owned());
        }
        elements.push(Element { name: name.to_owned(), attributes });
    }
    assert_eq!(open, [""; 0], "all elements are closed");
    elements
}

impl Element {
    fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    fn has_class(&self, class: &str) -> bool {
        self.attribute("class").split(' ').any(|one| one == class)
    }
}

fn count(elements: &[Element], class: &str) -> usize {
    // The list of signs has other elements.
    elements.iter().filter(|one| one.name != "i" && one.has_class(class)).count()
}

/// The tests on the page, in the order of its list.
fn listed(page: &str) -> Vec<&str> {
    let (list, _) = page.split_once("</nav>").expect("a page has a list");
    list.split("<li class=\"").skip(1).map(|item| item.split(['>', '<']).nth(3).unwrap()).collect()
}

fn parts(folder: &Folder) -> Vec<PathBuf> {
    let runs = std::fs::read_dir(folder.join(PARTS)).into_iter().flatten();
    let files = runs.flat_map(|run| std::fs::read_dir(run.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

#[test]
fn the_failing_tests_of_a_run_are_on_one_page_until_they_pass() {
    let [folder, other] = [Folder::new(), Folder::new()];
    for name in TESTS {
        let text = play(&mut bug(name, &folder)).red();
        assert!(text.contains(&format!("as pictures: {}", folder.join(PAGE).display())), "{text}");
    }
    let page = folder.read(PAGE);
    assert_eq!(listed(&page), TESTS.map(|name| format!("bugs::{name}")));
    // The order of the tests, their processes and the time change nothing.
    for name in ["oversells", "charges_twice", "oversells", "loses_a_mail"] {
        play(&mut bug(name, &other)).red();
    }
    assert_eq!(other.read(PAGE), page);
    assert!(!page.contains("http:") && page.len() < 100_000, "{} bytes", page.len());

    play(bug("charges_twice", &folder).env("SCENE", "mended")).green();
    assert_eq!(listed(&folder.read(PAGE)), ["bugs::loses_a_mail", "bugs::oversells"]);
    assert_eq!(parts(&folder).len(), 2);
}

#[test]
fn a_page_shows_what_happened_and_where() {
    let folder = Folder::new();
    play(&mut bug("charges_twice", &folder)).red();
    let page = folder.read(PAGE);
    let drawn = elements(&page);
    // The lost reply, the first charge, the second one, and what connects them.
    for class in ["lost", "e1", "e2", "k", "v"] {
        assert_eq!(count(&drawn, class), 1, "{class} in:\n{page}");
    }
    assert!(page.contains("<b>×2</b>"));
    // The lines of the job: those after the charge are bad.
    let [bad, good] = ["bad", "good"]
        .map(|fate| drawn.iter().filter(|one| one.has_class("ln") && one.has_class(fate)).count());
    assert_eq!((bad, good), (4, 2));
    assert!(
        page.contains(
            "A crash before this line leaves payments.charge. After recovery: payments.charge twice."
        )
    );
    let replay =
        "RETRYPROOF_REPLAY=&#39;bugs::charges_twice job#1.1/payments.charge:call=reply-lost&#39; cargo test";
    assert!(drawn.iter().any(|one| one.name == "button" && one.attribute("data-copy") == replay));
    // Everything can be reached with the keyboard, and read aloud.
    assert!(drawn.iter().filter(|one| one.has_class("d")).all(|one| one.attribute("tabindex") == "0"));
    assert!(
        drawn
            .iter()
            .filter(|one| one.has_class("e") && one.name == "div")
            .all(|one| { one.attribute("role") == "img" && !one.attribute("aria-label").is_empty() })
    );

    play(&mut bug("loses_a_mail", &folder)).red();
    play(&mut bug("oversells", &folder)).red();
    let drawn = elements(&folder.read(PAGE));
    assert_eq!((count(&drawn, "m"), count(&drawn, "bp"), count(&drawn, "btw")), (2, 1, 1));
    let mut ids: Vec<_> = drawn.iter().map(|one| one.attribute("id")).filter(|id| !id.is_empty()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), count(&drawn, "test")), (all, 3));
}

#[test]
fn nothing_in_a_name_is_markup() {
    let folder = Folder::new();
    play(&mut bug("is_markup", &folder)).red();
    let page = folder.read(PAGE);
    let elements = elements(&page);
    assert_eq!(elements.iter().filter(|one| one.name == "script").count(), 1);
    assert!(elements.iter().all(|one| !["img", "iframe", "object", "link"].contains(&&*one.name)));
    let attributes = elements.iter().flat_map(|one| &one.attributes);
    assert!(attributes.clone().all(|(name, _)| !name.starts_with("on") && name != "src"));
    assert!(
        attributes
            .filter(|(name, _)| name == "href")
            .all(|(_, to)| { to.starts_with('#') || to.starts_with("https://docs.rs/") })
    );
    assert!(!page.contains("<!--") && page.contains("&lt;img"));
}

#[test]
fn processes_that_end_at_once_lose_nothing() {
    let folder = Folder::new();
    let scenes = ["charges", "charges_without_faults", "charges_by_check", "mails_twice"];
    let scenes = scenes.map(|name| ("process::scenes", name));
    let bugs = TESTS.map(|name| ("process::bugs", name));
    for _ in 0..4 {
        std::thread::scope(|scope| {
            for (module, name) in scenes.into_iter().chain(bugs) {
                let mut command = on_page(module, name, &folder);
                scope.spawn(move || drop(play(&mut command)));
            }
        });
        let page = folder.read(PAGE);
        elements(&page);
        assert_eq!(listed(&page).len(), parts(&folder).len());
        assert!(listed(&page).len() >= 6, "{:?}", listed(&page));
        std::fs::remove_file(folder.join(PAGE)).unwrap();
    }
}

/// A run lives as long as the process that started it.
#[test]
#[cfg(target_os = "linux")]
fn a_run_that_has_ended_is_not_on_the_page_and_one_under_way_stays() {
    let folder = Folder::new();
    play(&mut bug("loses_a_mail", &folder)).red();
    // It ends when its input does, so at the latest with this process.
    let mut runner = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", runner.id())).unwrap();
    let start = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().to_owned();
    let other = folder.join(PARTS).join(format!("{}-{start}", runner.id()));
    std::fs::rename(parts(&folder)[0].parent().unwrap(), &other).unwrap();
    play(&mut bug("charges_twice", &folder)).red();
    assert_eq!(listed(&folder.read(PAGE)), ["bugs::charges_twice", "bugs::loses_a_mail"]);
    drop(runner.stdin.take());
    runner.wait().unwrap();
    play(&mut bug("oversells", &folder)).red();
    assert_eq!(listed(&folder.read(PAGE)), ["bugs::charges_twice", "bugs::oversells"]);
    assert!(!other.exists());
}

#[test]
fn a_part_of_another_version_is_left_out_with_a_line() {
    let folder = Folder::new();
    play(&mut bug("loses_a_mail", &folder)).red();
    let part = parts(&folder).remove(0);
    let text = std::fs::read_to_string(&part).unwrap();
    let (header, rest) = text.split_once('\n').unwrap();
    assert_eq!(header, concat!("retryproof report part, version ", env!("CARGO_PKG_VERSION")));
    std::fs::write(&part, format!("retryproof report part, version 0.0.9\n{rest}")).unwrap();
    let text = play(&mut bug("oversells", &folder)).red();
    let told = format!("{}: it was written by another version of retryproof than ", part.display());
    assert_eq!(text.matches(&told).count(), 1, "{text}");
    assert_eq!(listed(&folder.read(PAGE)), ["bugs::oversells"]);
}

#[test]
fn a_folder_that_cannot_be_written_changes_no_verdict() {
    let folder = Folder::new();
    folder.write("file", "");
    let mut command = bug("charges_twice", &folder);
    command.env("RETRYPROOF_HTML_DIR", folder.join("file"));
    let text = play(&mut command).red();
    assert!(text.contains("bugs::charges_twice is NOT retry-proof"), "{text}");
    assert!(!text.contains("as pictures"), "{text}");
    assert_eq!(text.matches("cannot write the report for a browser: ").count(), 1, "{text}");
    let text = play(command.env("SCENE", "mended")).green();
    assert!(!text.contains("cannot write"), "a test that passes writes nothing: {text}");
    assert_eq!(folder.read("file"), "");
}

#[test]
fn the_variable_says_which_tests_are_on_the_page() {
    let folder = Folder::new();
    play(bug("charges_twice", &folder).env("RETRYPROOF_HTML", "off")).red();
    play(bug("charges_twice", &folder).env("SCENE", "mended")).green();
    assert!(!folder.join(PAGE).exists() && !folder.join(PARTS).exists());
    play(bug("charges_twice", &folder).env("SCENE", "mended").env("RETRYPROOF_HTML", "all")).green();
    play(bug("oversells", &folder).env("RETRYPROOF_HTML", "all")).red();
    let page = folder.read(PAGE);
    elements(&page);
    assert_eq!(listed(&page), ["bugs::oversells", "bugs::charges_twice"]);
    assert!(page.contains("<title>retryproof: 1 failed, 1 passed</title>"));
    // A replay that passes says nothing about the rest of its test.
    let replay = "bugs::oversells job#1.1/store.put:next=other";
    play(bug("oversells", &folder).env("RETRYPROOF_REPLAY", replay));
    assert_eq!(listed(&folder.read(PAGE)).len(), 2);
    assert!(Path::new(&folder.join(PAGE)).is_file());
}
