//! Checks that retryproof works in the user's own setup: planted bugs are found, and a correct job passes.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::failure::{Exit, Failure};
use crate::project::{Project, cargo};

const TESTS: &str = include_str!("../templates/self_test.rs");

/// The tests of the crate, with what each of them proves.
const CONTROLS: [(&str, &str); 4] = [
    ("a_lost_reply_is_found", "a lost reply is found"),
    ("a_crash_at_a_line_is_found", "a crash at a line is found"),
    ("the_clock_is_virtual", "the clock is virtual"),
    ("a_correct_job_is_green", "a correct job is green"),
];

/// Makes a crate in the target folder, and runs its tests.
pub(crate) fn run(project: &Project, out: &mut impl Write) -> Result<Exit, Failure> {
    let folder = project.target_directory.join("retryproof").join("self-test");
    make(project, &folder)?;
    let mut command = cargo();
    command.args(["test", "--no-fail-fast", "--manifest-path"]).arg(folder.join("Cargo.toml"));
    command.arg("--target-dir").arg(&project.target_directory);
    for variable in ["RETRYPROOF_REPLAY", "RETRYPROOF_SHARD", "RETRYPROOF_DEVIATIONS"] {
        command.env_remove(variable);
    }
    command.env("RETRYPROOF_RESULTS", "off").env("RETRYPROOF_KEEP", "off").env("RETRYPROOF_HTML", "off");
    let output = command.output();
    let output = output.map_err(|error| Failure::NotStarted { program: "cargo".to_owned(), error })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let has = |line: &str| text.lines().any(|known| known == line);
    let ran = CONTROLS
        .iter()
        .filter(|(name, _)| has(&format!("test {name} ... ok")) || has(&format!("test {name} ... FAILED")));
    if ran.count() == 0 {
        write!(out, "{}", String::from_utf8_lossy(&output.stderr))?;
        writeln!(out, "the crate in {} does not build, so nothing is known", folder.display())?;
        return Ok(Exit::BuildFailed);
    }
    let mut failed = 0;
    for (name, what) in CONTROLS {
        let works = has(&format!("test {name} ... ok"));
        failed += u32::from(!works);
        writeln!(out, "{} {what}", if works { "✓ works:    " } else { "✗ does not: " })?;
    }
    if failed == 0 {
        return Ok(Exit::Green);
    }
    write!(out, "\n{}", crate::text::visible(&text))?;
    Ok(Exit::Violations)
}

/// Writes the crate. It depends on the user's own retryproof.
fn make(project: &Project, folder: &Path) -> Result<(), Failure> {
    let path = |name: &str| {
        let package = project.packages.iter().find(|package| package.name == name);
        package.map(|package| format!("{:?}", package.folder().display().to_string()))
    };
    let (Some(retryproof), Some(crash_points)) = (path("retryproof"), path("crash-points")) else {
        let words = "this package does not depend on retryproof; add it with `cargo add --dev retryproof`";
        return Err(Failure::Usage(words.to_owned()));
    };
    let manifest = format!(
        "[package]\nname = \"retryproof-self-test\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n\
         [dependencies]\ncrash-points = {{ path = {crash_points} }}\nretryproof = {{ path = {retryproof} }}\n\n[workspace]\n"
    );
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        let written =
            fs::create_dir_all(path.parent().unwrap_or(folder)).and_then(|()| fs::write(&path, text));
        written.map_err(|error| Failure::file(path, error))
    };
    write("Cargo.toml", &manifest)?;
    write("src/lib.rs", "")?;
    write("tests/self_test.rs", TESTS)?;
    // The same versions as in the user's build, so that most of it is there already.
    let lock = project.workspace_root.join("Cargo.lock");
    if lock.is_file() {
        let _ = fs::copy(lock, folder.join("Cargo.lock"));
    }
    Ok(())
}
