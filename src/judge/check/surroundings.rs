//! The environment of the process: CI or a person, terminal or not, package, and target folder.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Whether `CI` is set, as every CI service does.
pub(super) fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|ci| !["", "0", "false"].iter().any(|no| ci == *no))
}

/// Whether a report should be in color: on a terminal, unless `NO_COLOR` or `CI` is set.
pub(super) fn in_colour() -> bool {
    let is_forbidden = env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    !is_forbidden && !in_ci() && std::io::stderr().is_terminal()
}

/// Whether panics should print a backtrace: `RUST_BACKTRACE` is set and not `0`.
pub(super) fn wants_backtraces() -> bool {
    env::var_os("RUST_BACKTRACE").is_some_and(|set| set != "0" && !set.is_empty())
}

/// Returns the folder of the tested package.
pub(crate) fn package() -> Option<PathBuf> {
    // Cargo and nextest set this variable, and a test may have changed the current folder.
    env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).or_else(|| env::current_dir().ok())
}

/// Returns Cargo's target folder if the program is in it, which a doctest, for example, is not. Cargo marks the folder.
pub(super) fn target() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    program.ancestors().skip(1).find(|folder| folder.join("CACHEDIR.TAG").is_file()).map(Path::to_owned)
}

/// Returns the name of the test binary, without Cargo's hash.
pub(super) fn binary() -> String {
    let program = env::current_exe().unwrap_or_default();
    let name = program.file_stem().and_then(OsStr::to_str).unwrap_or("test").to_owned();
    match name.rsplit_once('-') {
        Some((name, digest)) if digest.len() == 16 && digest.bytes().all(|b| b.is_ascii_hexdigit()) => {
            name.to_owned()
        }
        _ => name,
    }
}

/// Replaces a whole file in one step, so that a concurrent reader sees either the old or the new content.
pub(super) fn replace_file(path: &Path, text: &str) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("{}-{number}.new", std::process::id()));
    let written = || -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        fs::write(&beside, text)?;
        fs::rename(&beside, path)
    };
    written().inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

/// Prints a message that does not affect whether the test passes.
pub(crate) fn say(text: &str) {
    // libtest would capture `eprintln!` if the test passes.
    let _ = std::io::stderr().write_all(format!("retryproof: {text}\n").as_bytes());
}
