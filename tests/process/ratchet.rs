//! Recorded violations do not fail the test, but new ones do.
//!
//! A part: the output of a process has paths, seeds and times that differ in each run.

use expect_test::expect;

use crate::support::has_line;
use crate::{Folder, Played, play, scene};

const FILE: &str = "tests/retryproof-baseline.json";

fn run(package: &Folder, scene_name: &str, version: &str, variables: &[(&str, &str)]) -> Played {
    let mut scene = scene(scene_name);
    scene.env("CARGO_MANIFEST_DIR", package.text()).env("RETRYPROOF_KEEP", package.join("keep"));
    play(scene.env("SCENE", version).envs(variables.iter().copied()))
}

fn compare(package: &Folder, version: &str) -> Played {
    run(package, "ratcheted", version, &[])
}

fn record(package: &Folder, version: &str) -> Played {
    run(package, "ratcheted", version, &[("RETRYPROOF_BASELINE", "record")])
}

#[test]
fn what_was_recorded_passes_and_what_is_new_fails() {
    let package = Folder::new();
    let text = compare(&package, "").red();
    has_line(
        &text,
        expect![[
            r#"tests/retryproof-baseline.json has no entry for this test; `RETRYPROOF_BASELINE=record cargo test` records the present state"#
        ]],
    );
    assert!(!package.join(FILE).exists(), "only who is told to records");
    let text = record(&package, "").green();
    has_line(
        &text,
        expect![[
            r#"retryproof: scenes::ratcheted: tests/retryproof-baseline.json: recorded, with 1 violation"#
        ]],
    );
    let recorded = package.read(FILE);
    let json: serde_json::Value = serde_json::from_str(&recorded).unwrap();
    let entry = &json["tests"]["process scenes::ratcheted"];
    assert_eq!(json["format"], 2);
    assert_eq!(entry["violations"][0]["what"], "repeated payments.charge");
    assert_eq!(entry["violations"][0]["after"], serde_json::json!(["fault after u32/payments.charge"]));
    assert_eq!(entry["coverage"]["bounds"]["deviations"], 1);
    let point = &entry["coverage"]["points"]["u32/payments.charge:call"];
    assert!(point.as_array().unwrap().contains(&"reply-lost".into()), "{point:?}");

    // Unchanged: the test passes, no matter what was stored before.
    let text = compare(&package, "").green();
    assert!(!text.contains("retryproof:"), "{text}");
    // A new violation: the test fails, and names the new one.
    let text = compare(&package, "mails").red();
    let new = "new since tests/retryproof-baseline.json was recorded: email.send happened twice, expected once, by a ";
    for by in
        ["fault after u32/email.send\n", "crash after u32/email.send\n", "delivery after u32/email.send\n"]
    {
        assert!(text.contains(&format!("{new}{by}")), "{by}: {text}");
    }
    assert!(!text.contains("recorded: payments.charge"), "{text}");
    // The report leads with the new violation: its place, its timeline, its help.
    has_line(&text, expect![[r#"error[RP0002]: email.send happened twice, expected once"#]]);
    has_line(
        &text,
        expect!["RETRYPROOF_REPLAY='scenes::ratcheted job#1.1/email.send:call=reply-lost' cargo test"],
    );
    let also = text.split("\nalso\n").nth(1).unwrap();
    has_line(
        also,
        expect!["RP0002: payments.charge happened twice, expected once (tests/process/scenes.rs:…)"],
    );
    // The new scenario is stored, and runs first. The known one is not stored.
    let kept = package.read("keep/retryproof-process/scenes.ratcheted.txt");
    assert!(kept.lines().count() > 3, "{kept}");
    assert!(!kept.contains("/payments.charge:call") && !kept.contains("/payments.charge:happened"), "{kept}");
    let text = compare(&package, "mails").red();
    assert!(text.contains(" scenarios kept from earlier runs") && text.contains(new), "{text}");
    // Recorded by now, so the stored scenario does not fail the test either.
    record(&package, "mails").green();
    compare(&package, "mails").green();
}

#[test]
fn what_is_gone_is_told_until_it_is_recorded() {
    let package = Folder::new();
    record(&package, "").green();
    let text = compare(&package, "keyed").green();
    let gone = "gone since tests/retryproof-baseline.json was recorded: payments.charge happened twice, expected once, by a \
        fault after u32/payments.charge; RETRYPROOF_BASELINE=record keeps it from coming back";
    assert_eq!(text.matches(gone).count(), 1, "{text}");
    let text = record(&package, "keyed").green();
    has_line(
        &text,
        expect!["retryproof: scenes::ratcheted: tests/retryproof-baseline.json: recorded, with 0 violations"],
    );
    assert!(!compare(&package, "keyed").green().contains("retryproof:"));
    // The violation is back, and the ratchet finds it.
    assert!(
        compare(&package, "")
            .red()
            .contains("new since tests/retryproof-baseline.json was recorded: payments.charge")
    );
}

#[test]
fn less_coverage_fails_and_more_does_not() {
    let package = Folder::new();
    record(&package, "keyed asks").green();
    let text = compare(&package, "keyed").red();
    let less = "the exploration covers less than recorded in tests/retryproof-baseline.json: `u32/payments.charges:call` is no longer reached\n";
    assert!(text.contains(less), "{text}");
    let how = "or, if the change is intended, record again: `RETRYPROOF_BASELINE=record cargo test`\n";
    assert!(text.contains(how), "{text}");
    record(&package, "keyed").green();
    compare(&package, "keyed asks").green();
    // Lower bounds.
    let name = "ratcheted_to_nothing";
    run(&package, name, "keyed", &[("RETRYPROOF_BASELINE", "record")]).green();
    let recorded = package.read(FILE);
    has_line(&recorded, expect![[r#""process scenes::ratcheted": {"#]]);
    run(&package, name, "keyed", &[]).green();
    package.write(FILE, &recorded.replace("\"deviations\": 0", "\"deviations\": 2"));
    let text = run(&package, name, "keyed", &[]).red();
    has_line(
        &text,
        expect![
            "the exploration covers less than recorded in tests/retryproof-baseline.json: deviations = 2 is now 0"
        ],
    );
}

#[test]
fn nothing_is_recorded_in_ci() {
    let package = Folder::new();
    let in_ci = [("RETRYPROOF_BASELINE", "record"), ("CI", "true")];
    let text = run(&package, "ratcheted", "", &in_ci).red();
    has_line(
        &text,
        expect![
            "tests/retryproof-baseline.json: not recorded: CI is set, and a baseline must be reviewed before it is committed"
        ],
    );
    assert!(!package.join(FILE).exists());
    // A passing test passes.
    run(&package, "ratcheted", "keyed", &in_ci).green();
    assert!(!package.join(FILE).exists());
    record(&package, "keyed").green();
    let recorded = package.read(FILE);
    run(&package, "ratcheted", "", &in_ci).red();
    assert_eq!(package.read(FILE), recorded);
}

#[test]
fn a_corrupt_baseline_is_told_and_the_test_judged_by_itself() {
    let package = Folder::new();
    for (text, error) in [
        (
            "{ \"format\": 2, \"tests\": {",
            "this is not a baseline file: EOF while parsing an object at line 1 column 25",
        ),
        ("[]", "this is not a baseline file: invalid length 0, expected struct Baseline with 2 elements"),
        (
            "{ \"format\": 2, \"tests\": { \"t\": 3 } }",
            "this is not a baseline file: invalid type: integer `3`",
        ),
        (
            "{ \"format\": 3, \"all\": [] }",
            "the file has format 3, but this version of retryproof reads format 2",
        ),
        ("", "this is not a baseline file: EOF while parsing a value"),
    ] {
        package.write(FILE, text);
        let green = compare(&package, "keyed").green();
        assert!(green.contains(error), "{green}");
        let red = compare(&package, "").red();
        assert!(red.contains(error) && red.contains("payments.charge happened twice"), "{red}");
        // Entries of other tests in the file may still be recovered.
        record(&package, "keyed").green();
        assert_eq!(package.read(FILE), text);
    }
    std::fs::write(package.join(FILE), [0xff, 0xfe]).unwrap();
    assert!(compare(&package, "keyed").green().contains("it cannot be read: "));
}

#[test]
fn where_it_cannot_be_written_it_is_told() {
    let package = Folder::new();
    package.write("tests", "a file where a folder should be");
    let text = record(&package, "").red();
    has_line(
        text.replace(package.text(), "PACKAGE"),
        expect!["PACKAGE/tests/retryproof-baseline.json: it cannot be read: Not a directory (os error 20)"],
    );
    record(&package, "keyed").green();
    // A process crashed while recording.
    let package = Folder::new();
    package.write("tests/retryproof-baseline.json.lock", "");
    let text = record(&package, "keyed").green();
    has_line(
        text.replace(package.text(), "PACKAGE"),
        expect![
            "retryproof: scenes::ratcheted: PACKAGE/tests/retryproof-baseline.json: it cannot be written: PACKAGE/tests/retryproof-baseline.json.lock has existed for 3s; if no other test run is recording, delete it"
        ],
    );
}

#[test]
fn a_variable_that_says_something_else_is_told() {
    let package = Folder::new();
    let text = run(&package, "ratcheted", "keyed", &[("RETRYPROOF_BASELINE", "yes")]).green();
    has_line(&text, expect!["retryproof: RETRYPROOF_BASELINE=yes: it is `record` or not set"]);
    assert!(!package.join(FILE).exists());
}

#[test]
fn several_processes_record_at_once() {
    let package = Folder::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| record(&package, "").green());
            scope.spawn(|| {
                run(&package, "ratcheted_to_nothing", "keyed", &[("RETRYPROOF_BASELINE", "record")]).green()
            });
        }
    });
    let json: serde_json::Value = serde_json::from_str(&package.read(FILE)).unwrap();
    assert_eq!(json["tests"].as_object().unwrap().len(), 2);
    let beside = std::fs::read_dir(package.join("tests")).unwrap().count();
    assert_eq!(beside, 1, "nothing is left beside it");
}

fn recording<'v>() -> [(&'v str, &'v str); 1] {
    [("RETRYPROOF_BASELINE", "record")]
}

/// Returns the messages of a failing test with this scene about what is new.
fn news(package: &Folder, scene: &str, version: &str) -> Vec<String> {
    let text = run(package, scene, version, &[]).red();
    let new = "new since tests/retryproof-baseline.json was recorded: ";
    text.lines().filter_map(|line| line.strip_prefix(new)).map(str::to_owned).collect()
}

#[test]
fn a_known_fault_hides_no_deadlock() {
    let package = Folder::new();
    run(&package, "mails_twice", "", &recording()).green();
    run(&package, "mails_twice", "", &[]).green();
    let new = news(&package, "mails_twice", "waits");
    assert!(!new.is_empty() && new.iter().all(|line| line.starts_with("stuck: ")), "{new:#?}");
}

#[test]
fn an_assertion_that_is_known_to_fail_hides_no_effect() {
    let package = Folder::new();
    run(&package, "asserts", "", &recording()).green();
    run(&package, "asserts", "", &[]).green();
    let new = news(&package, "asserts", "unkeyed");
    assert!(!new.is_empty(), "the charge is repeated");
    assert!(new.iter().all(|line| line.starts_with("payments.charge happened twice")), "{new:#?}");
}

#[test]
fn an_assertion_that_is_known_to_fail_hides_no_other_one() {
    let package = Folder::new();
    run(&package, "asserts", "", &recording()).green();
    run(&package, "asserts", "mended", &[]).green();
    let new = news(&package, "asserts", "other");
    assert!(!new.is_empty() && new.iter().all(|line| line.contains("the test body panicked")), "{new:#?}");
}

#[test]
fn a_residual_at_one_call_hides_no_fault_at_another() {
    let package = Folder::new();
    run(&package, "claims", "", &recording()).green();
    run(&package, "claims", "", &[]).green();
    let new = news(&package, "claims", "keeps");
    assert_eq!(new, ["payments.charge never happened, expected once, by a fault at u32/payments.charge"]);
    // The report leads with the new violation: the charge, and not the claim.
    let text = run(&package, "claims", "keeps", &[]).red();
    assert!(text.contains("/payments.charge:call="), "{text}");
    // The other way round: the recorded violation is gone, which does not fail the test.
    let package = Folder::new();
    run(&package, "claims", "keeps", &recording()).green();
    let text = run(&package, "claims", "", &[]).green();
    has_line(
        &text,
        expect![
            "retryproof: scenes::claims: gone since tests/retryproof-baseline.json was recorded: payments.charge never happened, expected once, by a fault at u32/payments.charge; RETRYPROOF_BASELINE=record keeps it from coming back"
        ],
    );
}

#[test]
fn a_known_fault_in_one_branch_of_a_handler_hides_none_in_another() {
    let package = Folder::new();
    run(&package, "branches", "", &recording()).green();
    run(&package, "branches", "", &[]).green();
    // The same line, more often.
    run(&package, "branches", "loops", &[]).green();
    let new = news(&package, "branches", "both");
    let of_the_fee =
        "payments.charge happened twice, expected once, by a fault after Event/payments.charge#2";
    assert!(new.iter().any(|line| line == of_the_fee), "{new:#?}");
    assert!(new.iter().all(|line| line.contains("payments.charge#2")), "{new:#?}");
}

#[test]
fn what_a_test_no_longer_asks_for_or_newly_excuses_is_less_coverage() {
    let package = Folder::new();
    run(&package, "asks_for_much", "", &recording()).green();
    run(&package, "asks_for_much", "", &[]).green();
    for (version, less) in [
        ("punctual", "`u32/sleep:timer` is no longer reached"),
        ("undeployed", "=stop` is no longer explored"),
        ("available", "`u32/payments.charge:call=outage` is no longer explored"),
        ("unwarned", "`deny_warnings` is no longer checked"),
        ("lenient", "`allow(\"payments.charge\", AtLeastOnce)` is new"),
        ("blind", "`ignore(\"paid\", \"$\")` is new"),
        ("unobserved", "`state twice the sum` is no longer checked"),
        ("variable", "`invariant(\"paid is 0 or 1\")` is no longer checked"),
        (
            "unordered",
            "`effects_in_order([\"payments.charge\", \"fulfillment.request\"])` is no longer checked",
        ),
        ("reliable", "`process(\"worker\") is reliable` is new"),
        ("requested", "`request u32` is new"),
    ] {
        for shard in ["", "1/2", "2/2"] {
            let text = run(&package, "asks_for_much", version, &[("RETRYPROOF_SHARD", shard)]).red();
            let line = text.lines().find(|line| line.contains(less));
            let begins = "the exploration covers less than recorded in tests/retryproof-baseline.json: ";
            assert!(line.is_some_and(|line| line.starts_with(begins)), "{version}, shard {shard}: {text}");
        }
    }
    for shard in ["1/2", "2/2"] {
        run(&package, "asks_for_much", "", &[("RETRYPROOF_SHARD", shard)]).green();
    }
}

#[test]
fn what_only_runs_with_failures_meet_is_covered_too() {
    let package = Folder::new();
    run(&package, "compensates", "compensates", &recording()).green();
    let text = run(&package, "compensates", "", &[]).red();
    has_line(
        &text,
        expect![
            "the exploration covers less than recorded in tests/retryproof-baseline.json: `u32/email.send:call` is no longer reached after a failure"
        ],
    );
    run(&package, "compensates", "compensates", &[]).green();
}

#[test]
fn a_baseline_of_the_old_format_says_what_to_do() {
    let package = Folder::new();
    package.write(FILE, "{ \"format\": 1, \"tests\": {} }");
    let text = compare(&package, "").red();
    let what = "the file has format 1, but this version of retryproof reads format 2; delete it and record it again with \
        `RETRYPROOF_BASELINE=record cargo test`";
    assert!(text.contains(what), "{text}");
}

/// They are one entry of the report, and two violations of the baseline.
#[test]
fn a_known_fault_hides_nothing_that_the_same_failures_leave_undone() {
    let package = Folder::new();
    run(&package, "claims_all", "", &recording()).green();
    run(&package, "claims_all", "", &[]).green();
    let new = news(&package, "claims_all", "ships");
    let is_parcel = |line: &String| line.starts_with("fulfillment.request never happened, expected once");
    assert!(new.iter().any(is_parcel), "{new:#?}");
}
