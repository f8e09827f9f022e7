//! What the process was started in: by CI or by a person, on a terminal or not, for which package, into which folder.

use std::env;
use std::ffi::OsStr;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Whether nobody sits in front of it: `CI` is set, as every service for continuous integration does.
pub(super) fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|ci| !["", "0", "false"].iter().any(|no| ci == *no))
}

/// Whether a report is to be in colour: on a terminal, unless `NO_COLOR` says no or nobody sits in front of it.
pub(super) fn in_colour() -> bool {
    let is_forbidden = env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    !is_forbidden && !in_ci() && std::io::stderr().is_terminal()
}

/// Whether panics are to come with a backtrace: `RUST_BACKTRACE` is set and not `0`.
pub(super) fn wants_backtraces() -> bool {
    env::var_os("RUST_BACKTRACE").is_some_and(|set| set != "0" && !set.is_empty())
}

/// The folder of the package that is tested.
pub(crate) fn package() -> Option<PathBuf> {
    // Cargo and nextest set it, and a test may have changed the current folder.
    env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).or_else(|| env::current_dir().ok())
}

/// Cargo's target folder, if the program lies in one: cargo marks it. Doctests, say, lie elsewhere.
pub(super) fn target() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    program.ancestors().skip(1).find(|folder| folder.join("CACHEDIR.TAG").is_file()).map(Path::to_owned)
}

/// The name of the test binary, without the digest that cargo puts behind it.
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

/// Says something that has nothing to do with whether the test passes.
pub(crate) fn say(text: &str) {
    // Not through `eprintln!`: libtest would keep it to itself where the test passes.
    let _ = std::io::stderr().write_all(format!("retryproof: {text}\n").as_bytes());
}
