//! Pasting a line of the report shows that run again.

use super::{Order, explore, keyed, one_deviation, own_test, paying, unkeyed};
use crate::support::{has_line, line_of};
use expect_test::expect;
use retryproof::{Explore, Verdict, World};

/// The test that the replays belong to. By itself it fails, because it charges without a key.
#[retryproof::test]
#[ignore = "red on purpose; run by the tests beside it"]
async fn charges_without_a_key(world: &World) {
    world.process("worker", paying(async |payments, id| payments.charge(unkeyed(id)).await.map(drop)));
    world.enqueue(Order { id: 1 });
    world.settle().await;
}

#[retryproof::test(deviations = 1, max_runs = 1_000)]
#[ignore = "run by the tests beside it"]
async fn charges_with_a_key(world: &World) {
    world.process("worker", paying(async |payments, id| payments.charge(keyed(id)).await.map(drop)));
    world.enqueue(Order { id: 1 });
    world.settle().await;
}

/// Runs the two tests above in a separate process, and returns whether they passed and what they printed.
fn run(test: &str, replay: Option<&str>) -> (bool, String) {
    let mut command = own_test(module_path!(), test);
    command.env_remove("RETRYPROOF_REPLAY");
    command.env("RUST_BACKTRACE", "0").env("RETRYPROOF_KEEP", "off");
    if let Some(replay) = replay {
        command.env("RETRYPROOF_REPLAY", replay);
    }
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.success(), text)
}

/// Returns the scenario in the replay line of a report.
fn pasted(text: &str) -> &str {
    text.split("RETRYPROOF_REPLAY='").nth(1).unwrap().split('\'').next().unwrap()
}

#[test]
fn the_line_of_a_report_shows_that_run_again() {
    let (passed, text) = run("charges_without_a_key", None);
    assert!(!passed, "{text}");
    let scenario = pasted(&text);
    assert_eq!(scenario, "checks::replays::charges_without_a_key job#1.1/payments.charge:call=reply-lost");
    let (passed, replayed) = run("charges_without_a_key", Some(scenario));
    assert!(!passed, "{replayed}");
    assert_eq!(pasted(&replayed), scenario);
    has_line(&replayed, expect![[r#"2 runs: the reference run and the replayed scenario"#]]);
    has_line(&replayed, expect!["● payments.charge ch_ffd20082"]);
}

#[test]
fn a_replay_is_for_the_test_that_it_names() {
    let scenario = "checks::replays::charges_without_a_key job#1.1:end=crash";
    let (passed, text) = run("charges_with_a_key", Some(scenario));
    assert!(passed, "{text}");
    assert!(!text.contains(": replay of one scenario, which"), "{text}");
    // The message matters, because a replay that no test recognizes would pass silently.
    let says = "retryproof: RETRYPROOF_REPLAY is for the test `checks::replays::charges_without_a_key`; \
                `checks::replays::charges_with_a_key` and all other tests are explored as usual";
    assert_eq!(text.matches(says).count(), 1, "{text}");
    let (_, text) = run("charges_with_a_key", None);
    assert!(!text.contains("RETRYPROOF_REPLAY is for"), "{text}");
}

/// Two explorations in one test.
#[test]
#[ignore = "red on purpose; run by the test beside it"]
fn two_at_once() {
    let explore = |key: Option<&'static str>| {
        let boot = paying(async move |payments, id| {
            let charge = unkeyed(id);
            payments.charge(key.map_or(charge.clone(), |key| charge.key(key))).await.map(drop)
        });
        explore(&Explore::new().deviations(1), boot)
    };
    assert_eq!(explore(Some("k")).test(), "checks::replays::two_at_once");
    let report = explore(None);
    assert!(report.is_retryproof(), "{report}");
}

#[test]
fn of_two_explorations_in_one_test_a_replay_is_for_one() {
    let (_, text) = run("two_at_once", None);
    let scenario = pasted(&text);
    assert_eq!(scenario, "checks::replays::two_at_once#2 job#1.1/payments.charge:call=reply-lost");
    let (_, text) = run("two_at_once", Some(scenario));
    has_line(
        &text,
        expect![
            "retryproof: RETRYPROOF_REPLAY is for the test `checks::replays::two_at_once#2`; `checks::replays::two_at_once` and all other tests are explored as usual. If no report says `checks::replays::two_at_once#2: replay of one scenario`, no test of that name ran"
        ],
    );
    has_line(&text, expect![[r#"checks::replays::two_at_once#2 is NOT retry-proof"#]]);
    has_line(&text, expect![[r#"2 runs: the reference run and the replayed scenario"#]]);
}

#[test]
fn a_scenario_that_is_fine_is_shown_and_passes() {
    let scenario = "checks::replays::charges_with_a_key job#1.1/payments.charge:happened=crash";
    let (passed, text) = run("charges_with_a_key", Some(scenario));
    assert!(passed, "{text}");
    has_line(
        &text,
        expect![
            "checks::replays::charges_with_a_key: replay of one scenario, which passes now: it ends like the fault-free run"
        ],
    );
    has_line(
        &text,
        expect!["✗ the process crashes here, after payments.charge happened, before its reply arrives"],
    );
    has_line(&text, expect!["t+1s      worker restarts"]);
    // A replay that passes does not look like an error.
    has_line(&text, expect!["note: what was injected"]);
    assert!(!text.contains("error[RP"), "{text}");
}

#[test]
fn garbage_in_the_variable_is_told_by_every_test() {
    let (passed, text) = run("charges_with_a_key", Some("garbage in"));
    assert!(!passed, "{text}");
    has_line(
        &text,
        expect![
            "the scenario to replay cannot be read: `in` (word 2 of the scenario) is not `choice=option`, as in `job#1.1:end=crash`; paste the whole line that the report prints"
        ],
    );
}

#[test]
fn every_violation_can_be_replayed_by_its_scenario() {
    let boot = || paying(async |payments, id| payments.charge(unkeyed(id)).await.map(drop));
    let report = explore(&Explore::new().name("test"), boot());
    assert!(report.violations()[0].paths.len() > 2, "{report}");
    for (violation, path) in
        report.violations().iter().flat_map(|v| v.paths.iter().map(move |path| (v, path)))
    {
        let replay = explore(&one_deviation().replay(path.scenario.to_string()), boot());
        assert_eq!(replay.verdict(), Verdict::Violated, "{replay}");
        let same = replay.violations().iter().any(|v| v.summary == violation.summary);
        assert!(same, "{}\n{replay}", violation.summary);
        assert_eq!(replay.violations()[0].scenario.to_string(), path.scenario.to_string());
    }
}

#[test]
fn the_report_names_the_command_that_replays_it() {
    let boot = || paying(async |payments, id| payments.charge(unkeyed(id)).await.map(drop));
    let line = "RETRYPROOF_REPLAY='test job#1.1/payments.charge:call=reply-lost'";
    let report = explore(&one_deviation(), boot()).to_string();
    assert_eq!(line_of(&report, "RETRYPROOF_REPLAY="), format!("  {line} cargo test"));
    let told = one_deviation().replay_command("cargo run --example shop");
    let report = explore(&told, boot()).to_string();
    assert_eq!(line_of(&report, "RETRYPROOF_REPLAY="), format!("  {line} cargo run --example shop"));
}

#[test]
fn a_scenario_of_another_test_is_replayed_with_a_note() {
    let boot = || paying(async |payments, id| payments.charge(unkeyed(id)).await.map(drop));
    let replay = |name: &str| {
        let scenario = format!("{name} job#1.1/payments.charge:call=reply-lost");
        explore(&one_deviation().replay(scenario), boot()).to_string()
    };
    let note =
        "note: the scenario was recorded by `another`, and this test replays it as far as its choices match";
    assert!(replay("another").contains(note), "{}", replay("another"));
    assert!(!replay("test").contains("note: the scenario was recorded by"), "{}", replay("test"));
    expect!["error[RP0002]: payments.charge happened twice, expected once"]
        .assert_eq(line_of(&replay("another"), "error["));
}
