//! Places in the source. In most runs a place is the line that called the harness. In the run that the report shows,
//! the place is the innermost line of the code under test, not that of an adapter or of another crate in between.

use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A place in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) file: &'static str,
    /// Counted from 1.
    pub(crate) line: u32,
    /// Counted from 1, in characters.
    pub(crate) column: u32,
}

/// The way in which places are looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PlaceLookup {
    /// The place that called the harness.
    #[default]
    Plain,
    /// Like `Plain`, and also records the callers of each of these places.
    Survey,
    /// The innermost line of the code under test.
    Close,
}

/// The callers of each place that calls the harness, in the fault-free run.
type Survey = BTreeMap<Place, BTreeSet<Place>>;

thread_local! {
    static LOOK: Cell<PlaceLookup> = const { Cell::new(PlaceLookup::Plain) };
    static SURVEY: RefCell<Survey> = const { RefCell::new(Survey::new()) };
    /// The places at which the code under test calls the harness itself. Looking one up again would cost a
    /// millisecond each time.
    static DIRECT: RefCell<BTreeSet<Place>> = const { RefCell::new(BTreeSet::new()) };
}

/// Returns how places are looked up on this thread, for threads that it starts.
pub(crate) fn look() -> PlaceLookup {
    LOOK.get()
}

pub(crate) fn set_look(look: PlaceLookup) {
    LOOK.set(look);
}

/// Forgets all look-ups, so that one exploration cannot affect another.
pub(crate) fn forget() {
    DIRECT.take();
    SURVEY.take();
}

/// Runs `code` with this way of looking up places.
pub(crate) fn looking<R>(look: PlaceLookup, code: impl FnOnce() -> R) -> R {
    struct RestoreGuard(PlaceLookup);
    impl Drop for RestoreGuard {
        fn drop(&mut self) {
            LOOK.set(self.0);
        }
    }
    let _former = RestoreGuard(LOOK.replace(look));
    code()
}

impl Place {
    /// The place that called the calling function, if that function is `#[track_caller]`.
    #[track_caller]
    pub(crate) fn caller() -> Self {
        let location = Location::caller();
        let place = Self::of(location);
        if LOOK.get() == PlaceLookup::Plain || DIRECT.with_borrow(|direct| direct.contains(&place)) {
            return place;
        }
        let frames = frames(&Backtrace::force_capture().to_string());
        let users = users(&frames, place.file, &Folders::here());
        if LOOK.get() == PlaceLookup::Survey {
            let outer = users.get(1).map(Frame::place);
            SURVEY.with_borrow_mut(|survey| survey.entry(place).or_default().extend(outer));
            return place;
        }
        let is_shared = SURVEY.with_borrow(|survey| survey.get(&place).is_some_and(|outer| outer.len() > 1));
        match under_test(&users, place, is_shared) {
            Some(close) => close,
            None => {
                DIRECT.with_borrow_mut(|direct| direct.insert(place));
                place
            }
        }
    }

    pub(crate) fn of(location: &'static Location<'static>) -> Self {
        Self { file: location.file(), line: location.line(), column: location.column() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A stack frame that has a place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    function: String,
    file: PathBuf,
    line: u32,
    column: u32,
}

impl Frame {
    fn place(&self) -> Place {
        Place { file: kept(&self.file.to_string_lossy()), line: self.line, column: self.column }
    }

    /// Reports whether the frame is in code next to the tested code.
    fn is_scaffolding(&self) -> bool {
        self.file.components().any(|part| {
            let name = part.as_os_str();
            name == "tests" || name == "benches" || name == "examples"
        })
    }

    /// Reports whether the frame is a trait method, `<Adapter as Gateway>::charge`. In a test this is usually an
    /// adapter for a service.
    fn is_trait_method(&self) -> bool {
        self.function.starts_with('<') && self.function.contains(" as ")
    }

    /// Reports whether the frame is a closure within another closure, as in a test body.
    fn is_inner_closure(&self) -> bool {
        self.function.matches("{{closure}}").count() > 1
    }
}

/// The folder with the user's code.
struct Folders {
    /// Paths in compiler messages are relative to it.
    root: PathBuf,
}

impl Folders {
    fn here() -> Self {
        let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let package = package.or_else(|| std::env::current_dir().ok()).unwrap_or_default();
        let root = package.ancestors().filter(|folder| folder.join("Cargo.lock").is_file()).last();
        Self { root: root.unwrap_or(&package).to_owned() }
    }

    /// The path of a user's file as the compiler writes it.
    fn relative<'f>(&self, file: &'f Path) -> Option<&'f Path> {
        let relative = file.strip_prefix(&self.root).ok()?;
        let is_foreign = relative.components().any(|part| {
            let name = part.as_os_str();
            name == "target" || name == ".cargo" || name == "vendor"
        });
        (!is_foreign).then_some(relative)
    }
}

/// The frames of a backtrace, the innermost first. The standard library offers them only as text. If the format
/// changes, the result is empty.
fn frames(text: &str) -> Vec<Frame> {
    let here = std::env::current_dir().unwrap_or_default();
    let mut frames = Vec::new();
    let mut function = "";
    for line in text.lines().map(str::trim) {
        let Some(at) = line.strip_prefix("at ") else {
            let numbered =
                line.split_once(": ").filter(|(number, _)| number.bytes().all(|b| b.is_ascii_digit()));
            function = numbered.map_or(line, |(_, name)| name);
            continue;
        };
        let mut parts = at.rsplitn(3, ':');
        let (column, line, file) = (parts.next(), parts.next(), parts.next());
        let number = |text: Option<&str>| text?.parse().ok();
        if let (Some(column), Some(line), Some(file)) = (number(column), number(line), file) {
            let file = here.join(file.strip_prefix("./").unwrap_or(file));
            frames.push(Frame { function: function.to_owned(), file, line, column });
        }
    }
    frames
}

/// The frames of the user's own code between two frames of the harness, the innermost first, with their paths as the
/// compiler writes them. `caller` is the file that called the harness.
fn users(frames: &[Frame], caller: &str, folders: &Folders) -> Vec<Frame> {
    // Function names may be missing, but paths are present: the harness is in the folder of this file.
    let Some(harness) = frames.iter().find_map(|frame| {
        let path = frame.file.to_str()?.strip_suffix("search/choice/place.rs")?;
        Some(PathBuf::from(path))
    }) else {
        return Vec::new();
    };
    let is_harness = |frame: &&Frame| frame.file.starts_with(&harness);
    let outside = frames.iter().skip_while(|frame| is_harness(frame) || !frame.file.ends_with(caller));
    let its = outside.take_while(|frame| !is_harness(frame));
    its.filter_map(|frame| {
        let file = folders.relative(&frame.file)?.to_owned();
        Some(Frame { file, ..frame.clone() })
    })
    .collect()
}

/// The innermost line of the code under test, if that line did not call the harness itself. `is_shared` is true if
/// several lines reach the place that called the harness.
fn under_test(users: &[Frame], caller: Place, is_shared: bool) -> Option<Place> {
    let chosen = users.iter().position(|frame| !frame.is_scaffolding()).or_else(|| match users {
        // An adapter for a service next to the test, and a line that calls it.
        [_, _, ..] if is_shared => Some(1),
        [adapter, job, ..] if adapter.is_trait_method() && !job.is_inner_closure() => Some(1),
        [] => None,
        [..] => Some(0),
    })?;
    let place = users[chosen].place();
    // For a direct call the compiler's place is more precise: its column is that of the method.
    ((place.file, place.line) != (caller.file, caller.line)).then_some(place)
}

/// Keeps the text for the life of the process. There are as many texts as files.
fn kept(text: &str) -> &'static str {
    static KEPT: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kept.get(text) {
        return known;
    }
    let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
    kept.insert(text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARNESS: (&str, &str, u32) = ("caller", "/r/src/search/choice/place.rs", 9);
    const EXECUTOR: (&str, &str, u32) = ("poll", "/r/src/executor/mod.rs", 9);
    const ADAPTER: (&str, &str, u32) = ("<shop::Adapter as shop::Gateway>::charge", "tests/orders.rs", 4);
    const WRAPPER: (&str, &str, u32) = ("orders::it::{{closure}}::{{closure}}", "tests/orders.rs", 30);

    fn named(stack: &[(&str, &str, u32)], is_shared: bool) -> Option<String> {
        let frame = |(function, file, line): &(&str, &str, u32)| Frame {
            function: (*function).to_owned(),
            file: Path::new("/shop").join(file),
            line: *line,
            column: 5,
        };
        let frames: Vec<_> = [&[HARNESS], stack, &[EXECUTOR, WRAPPER]].concat().iter().map(frame).collect();
        let caller = Place { file: kept(stack[0].1), line: stack[0].2, column: 9 };
        let users = users(&frames, caller.file, &Folders { root: "/shop".into() });
        let place = under_test(&users, caller, is_shared);
        place.map(|place| format!("{}:{}", place.file, place.line))
    }

    /// The place that a report names for a call with this stack between the harness and the executor. `None` means
    /// the caller's place.
    fn place(stack: &[(&str, &str, u32)]) -> Option<String> {
        named(stack, false)
    }

    #[test]
    fn two_calls_through_an_adapter_are_told_apart() {
        for line in [12, 14] {
            let job = ("orders::complete::{{closure}}", "tests/orders.rs", line);
            assert_eq!(place(&[ADAPTER, job, WRAPPER]), Some(format!("tests/orders.rs:{line}")));
            let job = ("shop::complete::{{closure}}", "src/orders.rs", line);
            assert_eq!(place(&[ADAPTER, job, WRAPPER]), Some(format!("src/orders.rs:{line}")));
        }
    }

    #[test]
    fn without_names_a_line_that_is_reached_from_several_is_an_adapter() {
        let (adapter, job) = (("charge", "tests/orders.rs", 4), ("{closure#0}", "tests/orders.rs", 12));
        assert_eq!(named(&[adapter, job], true), Some("tests/orders.rs:12".to_owned()));
        assert_eq!(named(&[adapter, job], false), None);
    }

    #[test]
    fn a_job_that_is_a_method_of_a_trait_is_no_adapter() {
        let job = ("<orders::Complete as orders::Job>::run", "tests/orders.rs", 12);
        assert_eq!(place(&[job, WRAPPER]), None);
    }

    #[test]
    fn the_line_of_the_users_crate_is_named_and_not_that_of_another() {
        let foreign = ("sms::Client::send", "/home/.cargo/registry/sms/lib.rs", 7);
        let job = ("shop::notify::{{closure}}", "src/orders.rs", 12);
        assert_eq!(place(&[foreign, job, WRAPPER]), Some("src/orders.rs:12".to_owned()));
        assert_eq!(place(&[foreign, WRAPPER]), Some("tests/orders.rs:30".to_owned()));
        assert_eq!(place(&[job, WRAPPER]), None, "the compiler knows this one");
    }

    #[test]
    fn without_line_tables_the_place_is_the_callers() {
        let frames = frames("   0: retryproof::x\n   1: shop::complete\n   2: main\n");
        assert_eq!(users(&frames, "src/orders.rs", &Folders { root: "/shop".into() }), []);
    }

    #[test]
    fn frames_are_read_from_a_backtrace() {
        let text = "   0: shop::complete::{{closure}}\n             at ./tests/orders.rs:12:5\n   1: <F as core::future::Future>::poll\n      inlined\n             at /rustc/abc/library/core/src/x.rs:3:9\n   2: main\n";
        let frames = frames(text);
        let told: Vec<_> = frames.iter().map(|f| (f.function.as_str(), f.line, f.column)).collect();
        assert_eq!(told, [("shop::complete::{{closure}}", 12, 5), ("inlined", 3, 9)]);
        assert!(frames[0].file.is_absolute() && frames[0].file.ends_with("tests/orders.rs"));
        assert_eq!(super::frames("something else altogether"), []);
    }
}
