//! `cargo test` and nextest, with one thread and with several: the same reports, the same files, the same names.
//!
//! A part: the output of a process has paths, seeds and times that differ in each run.

use std::path::Path;
use std::process::Command;

use expect_test::expect;

use crate::support::has_line;
use crate::{Folder, play, report_in, surround};

const SCENES: [&str; 4] = ["charges", "charges_by_check", "gets_stuck", "panics_often"];

/// The reports and the stored scenarios of all scenes, one after another.
#[derive(Debug, PartialEq)]
struct Outcome {
    reports: Vec<String>,
    kept: Vec<String>,
    summary: Vec<String>,
}

/// Runs the scenes with a runner, and again so that they run their stored scenarios first.
fn outcome(runner: impl Fn() -> Command) -> [Outcome; 2] {
    let folder = Folder::new();
    [(); 2].map(|()| {
        let summary = folder.join("summary.md");
        let mut command = runner();
        surround(&mut command);
        command.env("RETRYPROOF_KEEP", folder.text()).env("GITHUB_STEP_SUMMARY", &summary);
        let text = play(&mut command).red();
        let report = |scene: &&str| {
            let headline = format!("scenes::{scene} is NOT retry-proof");
            // Runners that indent a test's output indent all lines equally.
            let from = text.lines().position(|line| line.trim_start() == headline)?;
            let first = text.lines().nth(from)?;
            let indent = first.len() - first.trim_start().len();
            let lines: Vec<_> =
                text.lines().skip(from).map(|l| l.get(indent..).unwrap_or_default()).collect();
            Some(report_in(&lines.join("\n")).to_owned())
        };
        let reports: Vec<_> = SCENES.iter().filter_map(report).collect();
        assert_eq!(reports.len(), 3, "one of them gets stuck: {text}");
        has_line(&text, expect![[r#"scenes::gets_stuck gets stuck"#]]);
        assert!(!text.contains(" of at least "), "no line tells how far it is: {text}");
        // `cargo test` and nextest both name the package in a variable.
        let file = |scene| folder.read(&format!("retryproof-process/scenes.{scene}.txt"));
        let kept = SCENES.iter().map(file).collect();
        let page = folder.read("summary.md").replace(folder.text(), "FOLDER").replace("\\_", "_");
        let mut summary: Vec<_> = page.lines().map(str::to_owned).collect();
        // Each test appends in one write. The order depends on the runner.
        summary.sort();
        std::fs::remove_file(folder.join("summary.md")).unwrap();
        Outcome { reports, kept, summary }
    })
}

fn names() -> impl Iterator<Item = String> {
    SCENES.iter().map(|scene| format!("scenes::{scene}"))
}

/// Runs the test binary like `cargo test`.
fn as_cargo_test(threads: usize) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "--color=never", &format!("--test-threads={threads}")])
        .args(names());
    command
}

/// Runs nextest, which gets this binary as if it had built it, for a package with this name and nothing else.
fn by_nextest(package: &Folder, threads: usize) -> Command {
    let mut command = Command::new(cargo());
    command.args(["nextest", "run", "--run-ignored", "only", "--no-fail-fast", "--color", "never"]);
    command.args(["--user-config-file", "none", "--failure-output", "final", "--test-threads"]);
    command.arg(threads.to_string()).arg("--cargo-metadata").arg(package.join("cargo.json"));
    command.arg("--binaries-metadata").arg(package.join("binaries.json"));
    let filter = names().map(|name| format!("test(={name})")).collect::<Vec<_>>().join(" + ");
    command.args(["-E", &filter]).current_dir(&package.0);
    command
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn for_nextest() -> Folder {
    let package = Folder::new();
    package.write(
        "Cargo.toml",
        "[workspace]\n[package]\nname = \"retryproof\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    );
    package.write("src/lib.rs", "");
    // Reports show lines of the tests, and the target folder may be outside of the workspace.
    #[cfg(unix)]
    std::os::unix::fs::symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), package.join("tests"))
        .unwrap();
    let metadata = Command::new(cargo())
        .args(["metadata", "--format-version=1", "--offline"])
        .current_dir(&package.0)
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let json: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    std::fs::write(package.join("cargo.json"), &metadata.stdout).unwrap();
    let binary = std::env::current_exe().unwrap();
    let folder: &Path = binary.parent().unwrap();
    let binaries = serde_json::json!({
        "rust-build-meta": {
            "target-directory": folder,
            "base-output-directories": [],
            "non-test-binaries": {},
            "build-script-out-dirs": {},
            "linked-paths": [],
            "target-platforms": [],
            "target-platform": null,
        },
        "rust-binaries": {
            "retryproof::process": {
                "binary-id": "retryproof::process",
                "binary-name": "process",
                "package-id": json["packages"][0]["id"],
                "kind": "test",
                "binary-path": binary,
                "build-platform": "target",
            },
        },
    });
    package.write("binaries.json", &binaries.to_string());
    package
}

#[test]
fn runners_and_threads_make_no_difference() {
    let expected = outcome(|| as_cargo_test(1));
    assert!(expected[0].reports[0].contains("13 runs, all scenarios"), "{expected:?}");
    assert!(expected[1].reports[0].contains("scenarios kept from earlier runs"), "{expected:?}");
    assert_eq!(expected[0].kept, expected[1].kept);
    assert_eq!(outcome(|| as_cargo_test(4)), expected);
    let installed = Command::new(cargo()).args(["nextest", "--version"]).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        eprintln!("cargo-nextest is not installed: not run");
        return;
    }
    let package = for_nextest();
    for threads in [1, 4] {
        assert_eq!(outcome(|| by_nextest(&package, threads)), expected, "nextest with {threads}");
    }
}

/// Runs like nextest: lists the tests of a binary, and runs each in its own process.
#[test]
fn a_binary_is_listed_and_run_as_nextest_does_it() {
    let listed = Command::new(std::env::current_exe().unwrap())
        .args(["--list", "--format", "terse", "--ignored"])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for name in names() {
        assert!(listed.lines().any(|line| line == format!("{name}: test")), "{listed}");
        let mut command = Command::new(std::env::current_exe().unwrap());
        surround(&mut command);
        command.args(["--exact", &name, "--nocapture", "--ignored"]).env("SCENE", "keyed mended");
        // The scene that panics has no key.
        match name.ends_with("panics_often") {
            true => assert!(play(&mut command).red().contains(&format!("{name} is NOT retry-proof"))),
            false => {
                // One line for the test that passes, and no warning.
                let text = play(&mut command).green();
                let warns = |line: &str| line.contains("retryproof: ") && !line.contains(" is retry-proof: ");
                assert!(!text.lines().any(warns), "{text}");
            }
        }
    }
}
