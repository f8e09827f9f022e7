//! Runs the program over a crate of its own, from end to end.
//!
//! A part: the output of a process has paths and times that differ in each run.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use expect_test::expect;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cargo-retryproof");

/// What a command printed, and its exit code.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cargo-retryproof").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The program in a folder, with results in another one.
fn program(folder: &Path, results: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("retryproof").args(arguments).current_dir(folder);
    for variable in
        ["CI", "RETRYPROOF_REPLAY", "RETRYPROOF_SHARD", "RETRYPROOF_DEVIATIONS", "RETRYPROOF_BASELINE"]
    {
        command.env_remove(variable);
    }
    command
        // The fixture shares the target folder of this workspace, in which most of it is built already.
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap())
        .env("CARGO_NET_OFFLINE", "true")
        .env("RETRYPROOF_RESULTS", results)
        .env("RETRYPROOF_HTML_DIR", results)
        .env("RETRYPROOF_KEEP", "off")
        .stdin(Stdio::null());
    command
}

/// The fixture crate, after one run of all of its tests.
struct Fixture {
    folder: PathBuf,
    results: PathBuf,
    first: Ran,
}

impl Fixture {
    fn get() -> &'static Self {
        static FIXTURE: OnceLock<Fixture> = OnceLock::new();
        FIXTURE.get_or_init(|| {
            let folder = folder("fixture");
            let results = folder.join("results");
            // The profiles of this workspace, so that nothing is built twice.
            let root = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
            let (_, profiles) = root.split_once("[profile.dev]").unwrap();
            let (profiles, _) = profiles.split_once("# This crate enumerates").unwrap();
            let manifest = format!(
                "[package]\nname = \"fixture\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[features]\nbroken = []\n\n\
                 [dev-dependencies]\nretryproof = {{ path = {:?} }}\n\n[workspace]\n\n[profile.dev]{profiles}",
                repository()
            );
            fs::write(folder.join("Cargo.toml"), manifest).unwrap();
            fs::create_dir_all(folder.join("src")).unwrap();
            fs::write(folder.join("src/lib.rs"), "").unwrap();
            fs::create_dir_all(folder.join("tests")).unwrap();
            fs::write(folder.join("tests/jobs.rs"), include_str!("fixture/tests.rs")).unwrap();
            fs::copy(repository().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
            let first = program(&folder, &results, &["test", "--deviations", "1"]).output().unwrap().into();
            Self { folder, results, first }
        })
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        program(&self.folder, &self.results, arguments).output().unwrap().into()
    }

    /// Runs the program with other results than those of the first run.
    fn apart(&self, name: &str, arguments: &[&str]) -> Ran {
        program(&self.folder, &folder(name), arguments).output().unwrap().into()
    }
}

/// The list without times, which differ in each run, by name.
fn without_times(list: &str) -> String {
    let mut lines: Vec<String> = list
        .lines()
        .filter(|line| line.contains(" runs  ") || line.contains(" checks, "))
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let time = words.iter().position(|word| *word == "ms" || *word == "s").map(|at| at - 1..=at);
            let is_time = |at: &usize| time.as_ref().is_some_and(|time| time.contains(at));
            let kept: Vec<_> = (0..words.len()).filter(|at| !is_time(at)).map(|at| words[at]).collect();
            kept.join(" ")
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

const LIST: expect_test::Expect = expect![[r#"
    4 checks, 3 failed
    <b>&amp;\u{202e}</b> 13 runs violated RP0002
    has_a_ratchet 13 runs violated RP0002
    pays_once 13 runs retry-proof
    pays_twice 13 runs violated RP0002"#]];

#[test]
fn a_run_ends_with_the_list_of_its_checks() {
    let fixture = Fixture::get();
    assert_eq!(fixture.first.code, Some(1), "{}{}", fixture.first.out, fixture.first.err);
    LIST.assert_eq(&without_times(&fixture.first.out));
    let listed = fixture.run(&["list"]).with(0);
    assert_eq!(without_times(&listed.out), without_times(&fixture.first.out));
}

#[test]
fn the_json_is_as_its_schema_says() {
    let json = Fixture::get().run(&["list", "--message-format", "json"]).with(0).json();
    let schema = fs::read_to_string(repository().join("docs/cargo-retryproof.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    fits(&json, &schema, "$").unwrap();
    assert_eq!(json["failed"], 3);
    let mut other = json.clone();
    other["checks"][0]["runs"] = "many".into();
    assert_eq!(fits(&other, &schema, "$").unwrap_err(), "$.checks.0.runs is no integer");
    other.as_object_mut().unwrap().remove("failed");
    assert_eq!(fits(&other, &schema, "$").unwrap_err(), "$ has no failed");
}

/// Checks a value against what the schema uses of JSON Schema: `type`, `required`, `properties` and `items`.
fn fits(value: &Value, schema: &Value, at: &str) -> Result<(), String> {
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    let is = |name: &Value| match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{at}: {other}"),
    };
    if !types.iter().any(is) {
        return Err(format!("{at} is no {}", types[0].as_str().unwrap()));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() && value.is_object() {
            return Err(format!("{at} has no {name}"));
        }
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let Some(schema) = schema["properties"].get(name) else {
            return Err(format!("{at}.{name} is not in the schema"));
        };
        fits(value, schema, &format!("{at}.{name}"))?;
    }
    for (n, value) in value.as_array().into_iter().flatten().enumerate() {
        fits(value, &schema["items"], &format!("{at}.{n}"))?;
    }
    Ok(())
}

#[test]
fn a_replay_finds_its_test() {
    let fixture = Fixture::get();
    let scenario = "pays_twice job#1.1/payments.charge:call=reply-lost";
    // Each replay has results of its own, so that the last run stays the last one.
    let ran = fixture.apart("replay", &["replay", scenario]).with(1);
    assert!(ran.out.ends_with("RP0002: payments.charge happened twice, expected once\n"), "{}", ran.out);
    let good =
        fixture.apart("replay-good", &["replay", "pays_once", "job#1.1/payments.charge:call=reply-lost"]);
    assert!(good.with(0).out.ends_with("nothing is wrong in this scenario\n"));
    let none = fixture.apart("replay-none", &["replay", "no_such_test job#1.1:end=crash"]).with(4);
    let line = none.err.lines().last().unwrap();
    expect!["error: there is nothing to show: no check is called `no_such_test`, so nothing was replayed; `cargo retryproof list` shows the names"].assert_eq(line);
    fixture.apart("replay-half", &["replay", "job#1.1:end=crash"]).with(2);
}

#[test]
fn a_replay_goes_step_by_step() {
    let fixture = Fixture::get();
    let scenario = "pays_twice job#1.1/payments.charge:call=reply-lost";
    let mut command = program(&fixture.folder, &folder("step"), &["replay", "--step", scenario]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\na\n").unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap()).with(1);
    let steps: Vec<_> = ran.out.lines().filter(|line| line.contains('/')).collect();
    assert!(steps.len() > 5, "{}", ran.out);
    assert_eq!(steps.iter().filter(|line| line.starts_with('✗')).count(), 1, "{}", ran.out);
}

#[test]
fn other_tools_get_their_formats() {
    let fixture = Fixture::get();
    let sarif = fixture.run(&["export", "--format", "sarif"]).with(0).json();
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "retryproof");
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert!(results.len() >= 3, "{sarif}");
    for result in results {
        let rule = &rules[result["ruleIndex"].as_u64().unwrap() as usize];
        assert_eq!(rule["id"], result["ruleId"]);
        assert!(result["message"]["text"].is_string() && result["partialFingerprints"].is_object());
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "tests/jobs.rs", "{result}");
        assert!(place["region"]["startLine"].as_u64().unwrap() > 1);
    }
    let gitlab = fixture.run(&["export", "--format", "gitlab"]).with(0).json();
    let entries = gitlab.as_array().unwrap();
    assert_eq!(entries.len(), results.len());
    for entry in entries {
        for field in ["description", "check_name", "fingerprint", "severity"] {
            assert!(entry[field].is_string(), "{entry}");
        }
        assert_eq!(entry["location"]["path"], "tests/jobs.rs");
        assert!(entry["location"]["lines"]["begin"].is_u64());
    }
    let prints: std::collections::BTreeSet<_> =
        entries.iter().map(|entry| entry["fingerprint"].to_string()).collect();
    assert_eq!(prints.len(), entries.len(), "two findings have one fingerprint");
    let junit = fixture.run(&["export", "--format", "junit"]).with(0).out;
    assert!(
        junit.contains(r#"<testsuites name="retryproof" tests="4" failures="3" errors="0" time=""#),
        "{junit}"
    );
    assert!(junit.contains(r#"<testcase name="&lt;b&gt;&amp;amp;"#), "{junit}");
    assert_eq!(junit.matches("<failure ").count(), 3);
    assert_eq!(junit.matches("<testcase ").count(), 4);
}

#[test]
fn a_name_is_no_command_of_the_terminal() {
    let list = Fixture::get().run(&["list"]).with(0).out;
    assert!(list.contains("<b>&amp;\\u{202e}</b>"), "{list}");
}

#[test]
fn the_page_is_named_if_there_is_no_browser() {
    let fixture = Fixture::get();
    let page = fixture.run(&["report"]).with(0).out;
    assert_eq!(Path::new(page.trim_end()), fixture.results.join("report.html"));
    assert!(Path::new(page.trim_end()).is_file());
    fixture.apart("no-page", &["report"]).with(4);
}

#[test]
fn what_is_accepted_is_recorded() {
    let fixture = Fixture::get();
    let results = folder("review");
    let test = ["test", "--", "--test", "jobs", "--", "--exact", "has_a_ratchet"];
    let run = |arguments: &[&str], input: &[u8]| {
        let mut command = program(&fixture.folder, &results, arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        Ran::from(child.wait_with_output().unwrap())
    };
    let file = fixture.folder.join("tests/retryproof-baseline.json");
    run(&test, b"").with(1);
    let skipped = run(&["review"], b"s\nq\n").with(0);
    assert!(skipped.out.ends_with("0 accepted, 1 skipped\n"), "{}", skipped.out);
    assert!(!file.exists(), "nothing was accepted");
    let accepted = run(&["review"], "a\n".repeat(20).as_bytes()).with(0);
    assert!(accepted.out.ends_with(" accepted, 0 skipped\n"), "{}", accepted.out);
    let green = run(&test, b"").with(0);
    assert!(green.out.contains("  violated RP0002 (recorded)\n"), "{}", green.out);
    assert!(fs::read_to_string(&file).unwrap().contains("\"coverage\""));
    let nothing = run(&["review"], b"").with(0).out;
    assert_eq!(nothing, "nothing to review: no test with a ratchet has a new finding in the last run\n");
    fs::remove_file(file).unwrap();
}

#[test]
fn a_build_that_fails_has_its_own_exit_code() {
    let fixture = Fixture::get();
    fixture.apart("broken", &["test", "--", "--features", "broken"]).with(3);
}

#[test]
fn bad_input_is_told() {
    let fixture = Fixture::get();
    let last = |ran: &Ran| ran.err.lines().last().unwrap_or_default().to_owned();
    let none = fixture.apart("none", &["list"]).with(4);
    assert!(last(&none).ends_with("; run `cargo retryproof test` first"), "{}", none.err);
    fixture.run(&["test", "--shard", "6/5"]).with(2);
    fixture.run(&["no-such-command"]).with(2);
    fixture.run(&["explain", "RP0016"]).with(2);
    // Outside of this workspace, whose manifest cargo would find.
    let nowhere = std::env::temp_dir();
    let mut command = program(&nowhere, &nowhere.join("no-results"), &["list"]);
    let ran = Ran::from(command.output().unwrap()).with(2);
    assert!(ran.err.starts_with("error: cargo cannot describe the package of this folder:\n"), "{}", ran.err);
    let results = folder("versions");
    fs::write(results.join("a.json"), r#"{"format":2,"version":"9.0\u001b"}"#).unwrap();
    fs::write(results.join("b.json"), "half of a fi").unwrap();
    let ran = Ran::from(program(&fixture.folder, &results, &["list"]).output().unwrap()).with(4);
    let lines: Vec<_> =
        ran.err.lines().map(|line| line.replace(results.to_str().unwrap(), "RESULTS")).collect();
    expect![[r#"
        warning: RESULTS/a.json: retryproof 9.0\u{1b} wrote this result in format 2, but this cargo-retryproof reads format 1; install the cargo-retryproof of that version
        warning: RESULTS/b.json: this is not a result of a check: expected value at line 1 column 1
        error: there is nothing to show: no check has left a result in RESULTS; run `cargo retryproof test` first"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn results_that_cannot_be_written_do_not_fail_a_test() {
    let fixture = Fixture::get();
    let file = folder("unwritable").join("file");
    fs::write(&file, "").unwrap();
    let test = ["test", "--", "--test", "jobs", "--", "--exact", "pays_once"];
    let ran = Ran::from(program(&fixture.folder, &file, &test).output().unwrap()).with(0);
    assert!(ran.err.contains("cannot write the result of the test for `cargo retryproof`"), "{}", ran.err);
    assert!(ran.err.contains("warning: no check has left a result in"), "{}", ran.err);
}

#[test]
fn a_first_test_is_written_once() {
    let fixture = Fixture::get();
    let ran = fixture.run(&["init", "--path", "first/orders.rs"]).with(0);
    assert!(ran.out.ends_with("  cargo add --dev retryproof\n  cargo retryproof test\n"), "{}", ran.out);
    let file = fixture.folder.join("first/orders.rs");
    assert_eq!(fs::read_to_string(&file).unwrap(), include_str!("../templates/plain.rs"));
    fixture.run(&["init", "--stack", "lettre", "--path", "first/orders.rs"]).with(2);
    assert_eq!(fs::read_to_string(&file).unwrap(), include_str!("../templates/plain.rs"));
}

#[test]
fn the_self_test_works_here() {
    let ran = Fixture::get().run(&["self-test"]).with(0);
    expect![[r#"
        ✓ works:     a lost reply is found
        ✓ works:     a crash at a line is found
        ✓ works:     the clock is virtual
        ✓ works:     a correct job is green
    "#]]
    .assert_eq(&ran.out);
}
