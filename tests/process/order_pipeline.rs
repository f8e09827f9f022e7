//! The example `order_pipeline` from end to end: its output, its exit codes, and that each scenario that it names
//! shows the same violation again.
//!
//! A part: the output of a process has paths, seeds and times that differ in each run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use expect_test::expect;
use serde_json::Value;

use crate::support::has_line;

/// The example's own parser for orders.
#[path = "../../examples/order_pipeline/order.rs"]
#[expect(dead_code, reason = "the test reads orders, it does not work with them")]
mod order;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Returns the example, which is built once.
fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--example", "order_pipeline", "--message-format", "json"]);
        let built = build.current_dir(ROOT).output().expect("cargo can be run");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let messages = String::from_utf8(built.stdout).unwrap();
        let executable = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|message| message["target"]["name"] == "order_pipeline")
            .find_map(|message| message["executable"].as_str().map(PathBuf::from));
        executable.expect("cargo names the executable")
    })
}

fn run(arguments: &[&str], replay: Option<&str>) -> Output {
    let mut command = Command::new(program());
    // As `cargo run` sets it, because the report looks for the source there.
    command.args(arguments).current_dir(ROOT).env("CARGO_MANIFEST_DIR", ROOT).env_remove("RETRYPROOF_REPLAY");
    command
        .envs(replay.map(|scenario| ("RETRYPROOF_REPLAY", scenario)))
        .output()
        .expect("the example can be run")
}

fn text(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("the example prints UTF-8")
}

fn errors(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("the example prints UTF-8")
}

/// Returns what the example prints. It runs once for all tests, and once for all processes if each test has its own
/// process (nextest, for which `.config/nextest.toml` runs them one after another).
fn printed(name: &str, arguments: &[&str]) -> String {
    let built = std::fs::metadata(program()).and_then(|file| file.modified()).expect("the example was built");
    let built = built.duration_since(std::time::UNIX_EPOCH).expect("it was built after 1970").as_nanos();
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("order_pipeline-{built}.{name}"));
    if let Ok(printed) = std::fs::read_to_string(&kept) {
        return printed;
    }
    let output = run(arguments, None);
    assert_eq!((output.status.code(), errors(&output)), (Some(0), ""));
    // The file is complete or does not exist.
    let new = kept.with_extension(format!("{name}.{}", std::process::id()));
    std::fs::write(&new, &output.stdout).and_then(|()| std::fs::rename(&new, &kept)).expect("it can be kept");
    text(&output).to_owned()
}

/// Returns the output as JSON.
fn json() -> &'static (String, Value) {
    static JSON: OnceLock<(String, Value)> = OnceLock::new();
    JSON.get_or_init(|| {
        let json = printed("json", &["--json"]);
        let value = serde_json::from_str(&json).expect("it prints JSON");
        (json, value)
    })
}

fn report() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| printed("txt", &[]))
}

/// Returns the part of a report that shows a run: from the source to the line to paste.
fn shown(report: &str) -> &str {
    let from = report.find("\nerror[RP").expect("the report shows an error");
    let to = report[from..].find("\nalso\n").or_else(|| report[from..].find("\nexplored\n"));
    &report[from..from + to.expect("the report ends")]
}

#[test]
fn the_verdicts_are_as_they_should_be() {
    let versions = json().1.as_array().expect("an array, an entry for each version");
    let of = |field: &str| versions.iter().map(|version| version[field].clone()).collect::<Vec<_>>();
    assert_eq!(of("name"), ["naive", "chain", "retryproof"]);
    assert_eq!(of("verdict"), ["Violated", "Violated", "RetryProof"]);
    // A violation at one deviation ends the search there.
    assert_eq!(of("exhausted"), [false, false, true]);
    assert_eq!(of("deviations"), [2, 2, 2]);
    assert_eq!(of("orders"), [22, 22, 22]);
    assert!(of("runs").iter().all(|runs| runs.as_u64() > Some(500)), "{:?}", of("runs"));
    assert_eq!(versions[2]["violations"], serde_json::json!([]));
}

#[test]
fn each_effect_of_the_wrong_versions_is_repeated_by_one_thing_going_wrong() {
    for version in &json().1.as_array().unwrap()[..2] {
        let violations = version["violations"].as_array().unwrap();
        let effects: Vec<_> = violations.iter().map(|violation| &violation["effect"]).collect();
        for effect in ["payments.charge", "email.send", "fulfillment.request"] {
            assert!(effects.contains(&&Value::from(effect)), "{}: no {effect}", version["name"]);
        }
        for violation in violations {
            for field in ["oracle", "expected", "actual", "scenario"] {
                assert!(violation[field].is_string(), "{field} of {violation}");
            }
        }
        let sizes: Vec<_> = violations
            .iter()
            .map(|v| v["scenario"].as_str().unwrap().split_whitespace().count() - 1)
            .collect();
        assert!(sizes.is_sorted() && sizes[0] == 1, "the smallest first: {sizes:?}");
    }
}

#[test]
fn the_report_shows_the_line_the_course_of_things_and_the_difference() {
    let sections: Vec<_> = report().split("is NOT retry-proof\n").collect();
    assert_eq!(sections.len(), 3, "{}", report());
    for (section, line) in sections[1..].iter().zip(["naive.rs", "chain.rs"]) {
        let shown = shown(section);
        assert!(
            shown.starts_with("\nerror[RP0002]: payments.charge happened twice, expected once"),
            "{shown}"
        );
        for part in [
            line,
            "shop.payments.charge(order.charge()).await?",
            "\nwhat happened\n",
            "\nexpected (the fault-free run)\n  1 × payments.charge",
            "\nactual\n  2 × payments.charge",
            "\nreplay\n  RETRYPROOF_REPLAY='",
        ] {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
    }
    has_line(
        report(),
        expect!["retry-proof: 44292 runs of 22 orders, and 33089 that were merged with one of them."],
    );
    assert!(!report().contains('\x1b'), "no colour in a pipe");
}

#[test]
fn two_runs_print_the_same_bytes() {
    // The JSON is made of the same reports.
    assert_eq!(text(&run(&[], None)), report());
}

#[test]
fn each_scenario_shows_again_what_it_was_named_for() {
    for violation in json().1.as_array().unwrap().iter().flat_map(|v| v["violations"].as_array().unwrap()) {
        let scenario = violation["scenario"].as_str().unwrap();
        let replayed = run(&["--json"], Some(scenario));
        // In a replay, the panic message of the body is printed, and nothing else.
        let said = errors(&replayed);
        let is_the_bodys =
            said.trim_start().starts_with("thread 'main'") && said.contains("examples/order_pipeline/");
        assert!(said.is_empty() || is_the_bodys, "{scenario}: {said}");
        assert_eq!(replayed.status.code(), Some(1), "{scenario}");
        let replayed: Value = serde_json::from_str(text(&replayed)).unwrap();
        assert_eq!(replayed.as_array().unwrap().len(), 1, "one version is replayed, no other");
        assert!(replayed[0]["violations"].as_array().unwrap().contains(violation), "{replayed}");
    }
}

/// Pastes the lines of the report into a shell, as a reader would.
#[test]
#[cfg(unix)]
fn the_replay_lines_of_the_report_can_be_pasted() {
    // Each is two lines, which the shell joins.
    let joined = report().replace(" \\\n", " ");
    let lines: Vec<_> = joined.lines().filter(|line| line.contains("cargo run --example")).collect();
    assert_eq!(lines.len(), 2);
    let reports = report().split("is NOT retry-proof\n").skip(1);
    for (line, report) in lines.iter().zip(reports) {
        let output = Command::new("sh").args(["-c", line]).current_dir(ROOT).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}\n{}", errors(&output));
        // The replay cuts no line, so the beginning is compared: what is wrong, and where.
        let head = |text: &str| shown(text).split("\nwhat happened\n").next().unwrap().to_owned();
        let replayed = head(text(&output));
        assert!(replayed.starts_with(head(report).split("\n\nin ").next().unwrap()), "{replayed}");
    }
}

#[test]
fn every_scenario_that_the_report_mentions_fails_again() {
    let scenarios: Vec<_> = report()
        .lines()
        .filter_map(|line| line.trim().strip_prefix("RETRYPROOF_REPLAY='")?.split_once('\''))
        .map(|(scenario, _)| scenario)
        .collect();
    assert!(scenarios.len() >= 2, "{scenarios:?}");
    for scenario in scenarios {
        let replayed = run(&[], Some(scenario));
        assert_eq!(replayed.status.code(), Some(1), "{scenario}");
        assert!(text(&replayed).contains(scenario), "{scenario}");
    }
}

#[test]
fn a_replay_with_nothing_wrong_ends_well() {
    let replayed = run(&[], Some("retryproof/order-1001 job#1.1/payments.charge:call=reply-lost"));
    assert_eq!(replayed.status.code(), Some(0));
    assert!(text(&replayed).contains("which passes now"), "{}", text(&replayed));
}

#[test]
fn what_cannot_be_done_is_refused_in_words() {
    let refused = |arguments: &[&str], replay: Option<&str>| {
        let output = run(arguments, replay);
        assert_eq!((output.status.code(), text(&output)), (Some(2), ""));
        errors(&output).to_owned()
    };
    assert_eq!(refused(&["--jsn"], None), "order_pipeline: unexpected argument: --jsn; try --help\n");
    assert_eq!(
        refused(&[], Some("naive/order-7 job#1.1:end=crash")),
        "order_pipeline: RETRYPROOF_REPLAY: there is no check `naive/order-7`; their names are like `naive/order-1001`\n"
    );
    assert!(refused(&[], Some("naive/order-1001 oops")).contains("is not `choice=option`"));
    assert!(text(&run(&["--help"], None)).contains("Usage: cargo run --example order_pipeline"));
}

#[test]
fn the_orders_are_found_from_anywhere() {
    let scenario = "naive/order-1001 job#1.1/payments.charge:call=reply-lost";
    let mut command = Command::new(program());
    command.current_dir(std::env::temp_dir()).env_remove("CARGO_MANIFEST_DIR");
    let output = command.env("RETRYPROOF_REPLAY", scenario).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
}

#[test]
fn the_fixture_is_what_the_example_is_about() {
    let orders = order::load(&Path::new(ROOT).join("fixtures/orders.json")).unwrap();
    let count = |is: &dyn Fn(&order::Order) -> bool| orders.iter().filter(|order| is(order)).count();
    assert!(orders.len() >= 20);
    assert_eq!(count(&|order| order.total_cents == 9_999), 1);
    assert_eq!(count(&|order| order.customer.address.trim().is_empty()), 1);
    let mut customers: Vec<_> = orders.iter().map(|order| &order.customer.id).collect();
    customers.dedup();
    assert_eq!(customers.len(), orders.len() - 1, "one customer has two orders");
}

#[test]
fn orders_that_cannot_be_read_are_refused_with_the_path() {
    let refused = |name: &str, content: Option<&str>| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let error = order::load(&path).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        error
    };
    assert!(refused("none.json", None).starts_with("the orders cannot be read from "));
    assert!(refused("half.json", Some("[{\"id\": 1")).contains("does not hold orders: EOF"));
    assert!(refused("empty.json", Some("[]")).ends_with("there is none"));
    let fixture = std::fs::read_to_string(Path::new(ROOT).join("fixtures/orders.json")).unwrap();
    let sum = refused("sum.json", Some(&fixture.replacen("2598", "2599", 1)));
    assert!(sum.ends_with("order 1001: 2 × 1299 cents is not 2599 cents"), "{sum}");
    let twin = refused("twin.json", Some(&fixture.replacen("1002", "1001", 1)));
    assert!(twin.ends_with("two orders have the id 1001"), "{twin}");
}
