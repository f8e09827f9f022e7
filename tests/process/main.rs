//! Tests that start processes: this binary again, cargo, or the example `order_pipeline`.
//!
//! They test what surrounds a test, from end to end: runners, terminals, variables, files. The scenes are tests of this
//! binary, which runs itself with the surroundings that a test needs.

#[path = "../support/mod.rs"]
mod support;

mod aborts;
mod bugs;
mod hangs;
mod kept;
mod order_pipeline;
mod page;
mod passing;
mod ratchet;
mod runners;
mod scenes;
mod summary;
mod terminal;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A temporary folder, which is removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("process-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn join(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The result of a scene.
struct Played {
    passed: bool,
    text: String,
}

impl Played {
    #[track_caller]
    fn green(self) -> String {
        assert!(self.passed, "{}", self.text);
        self.text
    }

    #[track_caller]
    fn red(self) -> String {
        assert!(!self.passed, "{}", self.text);
        self.text
    }
}

/// Returns the command for a scene in its own surroundings. It stores nothing unless it sets a folder.
fn scene(name: &str) -> Command {
    let mut command = support::own_test("process::scenes", name);
    surround(&mut command);
    command.arg("--color=never");
    command
}

/// Removes the variables that this process may have been started with.
fn surround(command: &mut Command) {
    for variable in [
        "CI",
        "GITHUB_ACTIONS",
        "RETRYPROOF_ANNOTATIONS",
        "NO_COLOR",
        "GITHUB_STEP_SUMMARY",
        "RETRYPROOF_REPLAY",
        "RETRYPROOF_SHARD",
        "RETRYPROOF_BASELINE",
        "RETRYPROOF_SEED",
        "RETRYPROOF_HTML_DIR",
        "RETRYPROOF_DEVIATIONS",
        "RETRYPROOF_RUN",
        "PROPTEST_CASES",
    ] {
        command.env_remove(variable);
    }
    command
        .env("RETRYPROOF_KEEP", "off")
        .env("RETRYPROOF_HTML", "off")
        .env("RETRYPROOF_RESULTS", "off")
        .env("RUST_BACKTRACE", "0")
        .env("TERM", "xterm")
        .stdin(Stdio::null());
}

fn play(command: &mut Command) -> Played {
    let output = command.output().unwrap();
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Played { passed: output.status.success(), text }
}

/// Returns the report from its headline to the summary of the exploration, which must not depend on the surroundings.
#[track_caller]
fn report_in(text: &str) -> &str {
    let from = text.find("is NOT retry-proof").unwrap_or_else(|| panic!("no report in:\n{text}"));
    let to = from + text[from..].find("\nexplored\n").unwrap();
    let end = to + 10 + text[to + 10..].find('\n').unwrap();
    &text[from..end]
}
