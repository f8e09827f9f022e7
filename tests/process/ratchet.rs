//! What was wrong when it was recorded is no reason to fail; what is new is.

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
    assert!(text.contains("tests/retryproof-baseline.json has nothing of this test; `RETRYPROOF_BASELINE=record cargo test` records it as it is"), "{text}");
    assert!(!package.join(FILE).exists(), "only who is told to records");
    let text = record(&package, "").green();
    assert!(
        text.contains(
            "retryproof: scenes::ratcheted: tests/retryproof-baseline.json: recorded, with 3 violations"
        ),
        "{text}"
    );
    let recorded = package.read(FILE);
    let json: serde_json::Value = serde_json::from_str(&recorded).unwrap();
    let entry = &json["tests"]["process scenes::ratcheted"];
    assert_eq!(json["format"], 1);
    assert_eq!(entry["violations"][0]["what"], "repeated payments.charge");
    assert_eq!(entry["violations"][0]["by"], serde_json::json!(["fault"]));
    assert_eq!(entry["coverage"]["bounds"]["deviations"], 1);
    let points = entry["coverage"]["points"].as_array().unwrap();
    assert!(points.contains(&"u32/payments.charge:call".into()), "{points:?}");

    // As it was: it passes, whatever had been kept before.
    let text = compare(&package, "").green();
    assert!(!text.contains("retryproof:"), "{text}");
    // A new one: it fails, and says which is new.
    let text = compare(&package, "mails").red();
    let new =
        "new since tests/retryproof-baseline.json was recorded: email.send happened twice, expected once\n";
    assert_eq!(text.matches(new).count(), 3, "by a fault, a crash, a delivery: {text}");
    assert!(!text.contains("recorded: payments.charge"), "{text}");
    // The report leads with it, and not with what is known: its place, its course, its advice.
    assert!(text.contains("\nerror[RP0002]: email.send happened twice, expected once\n"), "{text}");
    assert!(text.contains("/email.send:call=reply-lost' cargo test"), "{text}");
    let also = text.split("\nalso\n").nth(1).unwrap();
    assert!(also.contains("payments.charge happened twice, expected once"), "the known ones stay: {text}");
    // What is new is kept, and tried first; what is known is not.
    let kept = package.read("keep/retryproof-process/scenes.ratcheted.txt");
    assert_eq!(kept.lines().count(), 1 + 3, "{kept}");
    assert!(!kept.contains("/payments.charge:call") && !kept.contains("/payments.charge:happened"), "{kept}");
    let text = compare(&package, "mails").red();
    assert!(text.contains("3 scenarios kept from former runs") && text.contains(new), "{text}");
    // Known by then: what is kept is no reason to fail, either.
    record(&package, "mails").green();
    compare(&package, "mails").green();
}

#[test]
fn what_is_gone_is_told_until_it_is_recorded() {
    let package = Folder::new();
    record(&package, "").green();
    let text = compare(&package, "keyed").green();
    let gone = "gone since tests/retryproof-baseline.json was recorded: payments.charge happened twice, expected once; \
        RETRYPROOF_BASELINE=record keeps it from coming back";
    assert_eq!(text.matches(gone).count(), 3, "{text}");
    let text = record(&package, "keyed").green();
    assert!(text.contains("recorded, with 0 violations"), "{text}");
    assert!(!compare(&package, "keyed").green().contains("retryproof:"));
    // It is back, and the ratchet holds.
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
    let less = "covered less than tests/retryproof-baseline.json has recorded: `u32/payments.charges:call` is no longer met\n";
    assert!(text.contains(less), "{text}");
    let how = "or, if it is meant to be gone, record it anew: `RETRYPROOF_BASELINE=record cargo test`\n";
    assert!(text.contains(how), "{text}");
    record(&package, "keyed").green();
    compare(&package, "keyed asks").green();
    // Lower bounds.
    let name = "ratcheted_to_nothing";
    run(&package, name, "keyed", &[("RETRYPROOF_BASELINE", "record")]).green();
    let recorded = package.read(FILE);
    assert!(recorded.contains("\"process scenes::ratcheted\""), "the others are left: {recorded}");
    run(&package, name, "keyed", &[]).green();
    package.write(FILE, &recorded.replace("\"deviations\": 0", "\"deviations\": 2"));
    let text = run(&package, name, "keyed", &[]).red();
    assert!(text.contains("recorded: deviations = 2 is now 0\n"), "{text}");
}

#[test]
fn nothing_is_recorded_in_ci() {
    let package = Folder::new();
    let in_ci = [("RETRYPROOF_BASELINE", "record"), ("CI", "true")];
    let text = run(&package, "ratcheted", "", &in_ci).red();
    assert!(text.contains("not recorded: CI is set"), "{text}");
    assert!(!package.join(FILE).exists());
    // Whoever passes, passes.
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
            "{ \"format\": 1, \"tests\": {",
            "it is no baseline: EOF while parsing an object at line 1 column 25",
        ),
        ("[]", "it is no baseline: invalid length 0, expected struct Baseline with 2 elements"),
        ("{ \"format\": 1, \"tests\": { \"t\": 3 } }", "it is no baseline: invalid type: integer `3`"),
        ("{ \"format\": 2, \"all\": [] }", "its format is 2, and this version knows 1"),
        ("", "it is no baseline: EOF while parsing a value"),
    ] {
        package.write(FILE, text);
        let green = compare(&package, "keyed").green();
        assert!(green.contains(error), "{green}");
        let red = compare(&package, "").red();
        assert!(red.contains(error) && red.contains("payments.charge happened twice"), "{red}");
        // What others have recorded in it may still be saved.
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
    assert!(text.contains("it cannot be "), "{text}");
    record(&package, "keyed").green();
    // Somebody died while recording.
    let package = Folder::new();
    package.write("tests/retryproof-baseline.json.lock", "");
    let text = record(&package, "keyed").green();
    assert!(text.contains("if nobody is recording, delete it"), "{text}");
}

#[test]
fn a_variable_that_says_something_else_is_told() {
    let package = Folder::new();
    let text = run(&package, "ratcheted", "keyed", &[("RETRYPROOF_BASELINE", "yes")]).green();
    assert!(text.contains("RETRYPROOF_BASELINE=yes: it is `record` or not set"), "{text}");
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
