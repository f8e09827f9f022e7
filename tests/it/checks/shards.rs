//! An exploration that is split over machines.
//!
//! A part: the output of a process has paths, seeds and times that differ in each run.

use expect_test::expect;
use retryproof::{Explore, Report, Verdict, World};

use super::{Order, explore, keyed, own_test, paying, unkeyed};
use crate::support::has_line;

fn two() -> Explore {
    Explore::new().name("test").deviations(2).keep_going()
}

fn good(settings: &Explore) -> Report {
    explore(settings, paying(async |payments, id| payments.charge(keyed(id)).await.map(drop)))
}

fn bad(settings: &Explore) -> Report {
    explore(settings, paying(async |payments, id| payments.charge(unkeyed(id)).await.map(drop)))
}

/// Returns what the reports of all shards have together, without the reference runs.
fn together(of: u64, explore: impl Fn(&Explore) -> Report) -> (u64, Vec<String>) {
    let (mut runs, mut found) = (0, Vec::new());
    for number in 1..=of {
        let report = explore(&two().shard(number, of));
        runs += report.runs() - 1;
        found.extend(report.violations().iter().map(|violation| violation.summary.clone()));
    }
    found.sort();
    found.dedup();
    (runs, found)
}

#[test]
fn together_they_have_all_runs_and_find_all_there_is() {
    let all = |report: &Report| {
        let mut found: Vec<_> = report.violations().iter().map(|v| v.summary.clone()).collect();
        found.sort();
        found.dedup();
        (report.runs() - 1, found)
    };
    for of in [1, 2, 3, 5, 11, 40] {
        assert_eq!(together(of, good), all(&good(&two())), "{of} shards");
        assert_eq!(together(of, bad), all(&bad(&two())), "{of} shards");
        assert_eq!(
            together(of, |settings| bad(&settings.clone().threads(3))),
            all(&bad(&two())),
            "{of} shards"
        );
    }
}

#[test]
fn a_report_says_which_shard_it_is_of() {
    let report = good(&two().shard(2, 5));
    assert_eq!((report.verdict(), report.exhausted()), (Verdict::RetryProof, true));
    let text = report.to_string();
    assert!(text.starts_with("test: shard 2 of 5 found nothing wrong\n"), "{text}");
    let runs = report.runs();
    assert!(
        text.contains(&format!("  {runs} runs, shard 2 of 5 of all scenarios of up to 2 deviations\n")),
        "{text}"
    );
    assert!(serde_json::to_string(&report).unwrap().contains(r#""share":"2 of 5""#));
    let stopped = good(&two().shard(2, 5).max_runs(3)).to_string();
    has_line(&stopped, expect!["3 runs of at least 6 in shard 2 of 5"]);
    has_line(&stopped, expect!["3 runs of at least 6 in shard 2 of 5"]);
    // One shard of one is the whole exploration.
    assert_eq!(good(&two().shard(1, 1)).to_string(), good(&two()).to_string());
}

#[test]
fn a_shard_without_any_scenario_passes() {
    let report = good(&two().shard(40, 40));
    assert_eq!((report.verdict(), report.runs()), (Verdict::RetryProof, 1), "{report}");
}

#[test]
fn a_shard_that_there_is_not_passes_nowhere() {
    for (number, of) in [(0, 5), (6, 5), (1, 0)] {
        let report = good(&two().shard(number, of).allow_incomplete());
        assert_eq!(report.verdict(), Verdict::Incomplete);
        let reason = format!(
            "`Explore::shard`: there is no shard {number} of {of}; shards count from 1 up to their number"
        );
        assert_eq!(report.reason(), Some(&*reason));
    }
}

#[test]
fn samples_are_split_by_their_number() {
    let runs = |number, of| good(&two().random(100).shard(number, of)).sampled();
    assert_eq!((runs(1, 3), runs(2, 3), runs(3, 3)), (34, 33, 33));
}

#[test]
fn a_replay_is_of_no_shard() {
    let settings = two().replay("test job#1.1/payments.charge:call=reply-lost");
    assert_eq!(bad(&settings.clone().shard(2, 5)).to_string(), bad(&settings).to_string());
}

#[retryproof::test(keep_going)]
#[ignore = "run by the tests beside it"]
async fn is_split_by_the_environment(world: &World) {
    world.process("worker", paying(async |payments, id| payments.charge(unkeyed(id)).await.map(drop)));
    world.enqueue(Order { id: 1 });
    world.settle().await;
}

/// Returns the report of the test above, run in a separate process with these variables.
fn report(variables: &[(&str, &str)]) -> String {
    let mut command = own_test(module_path!(), "is_split_by_the_environment");
    command.env("RUST_BACKTRACE", "0").env_remove("RETRYPROOF_REPLAY").env_remove("RETRYPROOF_SHARD");
    command.env("RETRYPROOF_KEEP", "off");
    let output = command.envs(variables.iter().copied()).output().unwrap();
    assert!(!output.status.success());
    [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat()
}

#[test]
fn the_environment_splits_every_exploration() {
    assert!(report(&[]).contains(" runs, all scenarios of up to 2 deviations"));
    assert!(report(&[("RETRYPROOF_SHARD", "2/3")]).contains(" runs, shard 2 of 3 of all scenarios"));
    assert!(report(&[("RETRYPROOF_SHARD", "4/3")]).contains("RETRYPROOF_SHARD: there is no shard 4 of 3"));
    // Bazel splits by test, and splits a single test only if asked to.
    let status = std::env::temp_dir().join(format!("retryproof-bazel-{}", std::process::id()));
    let bazel = [
        ("TEST_TOTAL_SHARDS", "3"),
        ("TEST_SHARD_INDEX", "1"),
        ("TEST_SHARD_STATUS_FILE", status.to_str().unwrap()),
        ("RETRYPROOF_SHARD", "bazel"),
    ];
    assert!(report(&bazel[..3]).contains(" runs, all scenarios of up to 2 deviations"));
    assert!(!status.exists());
    assert!(report(&bazel).contains(" runs, shard 2 of 3 of all scenarios"));
    assert!(status.exists(), "Bazel is told that this test splits itself");
    std::fs::remove_file(status).unwrap();
}
