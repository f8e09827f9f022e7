//! `GITHUB_STEP_SUMMARY` and `GITHUB_ACTIONS`.

use crate::support::line_of;
use crate::{Folder, play, scene};

#[test]
fn what_came_of_each_test_is_appended() {
    let folder = Folder::new();
    folder.write("summary.md", "# Before\n");
    let summary = folder.join("summary.md");
    play(scene("charges").env("GITHUB_STEP_SUMMARY", &summary).env("SCENE", "keyed")).green();
    play(scene("charges").env("GITHUB_STEP_SUMMARY", &summary)).red();
    let text = folder.read("summary.md");
    let begins = "# Before\n\
        - ✅ `scenes::charges`: retry-proof (13 runs, all scenarios of up to 1 deviation)\n\
        - ❌ `scenes::charges` is **not retry-proof** (13 runs, all scenarios of up to 1 deviation; ";
    assert!(text.starts_with(begins), "{text}");
    for part in [
        "  - payments.charge happened twice, expected once: attempt 1: payments.charge happens, but its reply is lost (`tests/process/scenes.rs:",
        "    `RETRYPROOF_REPLAY='scenes::charges job#1.1/payments.charge:call=reply-lost'`\n",
        "\n  <details><summary>report</summary>\n\n  ```text\n  scenes::charges is NOT retry-proof\n",
        "\n  ```\n\n  </details>\n",
    ] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

#[test]
fn many_tests_append_at_once() {
    let folder = Folder::new();
    let summary = folder.join("summary.md");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let summary = &summary;
            scope.spawn(move || {
                play(scene("charges").env("GITHUB_STEP_SUMMARY", summary).env("SCENE", "keyed")).green()
            });
        }
    });
    let text = folder.read("summary.md");
    assert_eq!(text.lines().count(), 8, "{text}");
    assert!(text.lines().all(|line| line == text.lines().next().unwrap()), "{text}");
}

#[test]
fn without_it_or_where_it_cannot_be_written_the_verdict_is_the_same() {
    let folder = Folder::new();
    let warning = "retryproof: GITHUB_STEP_SUMMARY: cannot append a summary to ";
    let nowhere = folder.join("no/such/folder/summary.md");
    let text = play(scene("charges").env("GITHUB_STEP_SUMMARY", &nowhere).env("SCENE", "keyed")).green();
    assert!(text.contains(warning), "{text}");
    assert!(play(scene("charges").env("GITHUB_STEP_SUMMARY", &nowhere)).red().contains(warning));
    let text = play(scene("charges").env("GITHUB_STEP_SUMMARY", "").env("SCENE", "keyed")).green();
    assert!(!text.contains("GITHUB_STEP_SUMMARY"), "{text}");
}

#[test]
fn in_github_actions_each_violation_is_an_annotation_of_its_line() {
    let text = play(scene("charges").env("GITHUB_ACTIONS", "true")).red();
    let line = line_of(&text, "::error ");
    let (file, rest) = line.split_once(",line=").expect("an annotation has a line");
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    assert_eq!(file, "::error file=tests/process/scenes.rs");
    let said = ",title=RP0002%3A payments.charge happened twice%2C expected once::scenes::charges%0A\
        attempt 1: payments.charge happens, but its reply is lost%0A\
        RETRYPROOF_REPLAY='scenes::charges job#1.1/payments.charge:call=reply-lost' cargo test";
    assert_eq!(rest, said);
    let is_annotation = |line: &&str| line.starts_with("::error ");
    let passes = play(scene("charges").env("GITHUB_ACTIONS", "true").env("SCENE", "keyed")).green();
    let is_off =
        play(scene("charges").env("GITHUB_ACTIONS", "true").env("RETRYPROOF_ANNOTATIONS", "off")).red();
    let is_elsewhere = play(&mut scene("charges")).red();
    for text in [passes, is_off, is_elsewhere] {
        assert_eq!(text.lines().filter(is_annotation).count(), 0, "{text}");
    }
}
