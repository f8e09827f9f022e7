//! The output of a passing test.

use expect_test::expect;

use crate::{play, scene};

fn said(text: &str) -> String {
    text.lines().filter(|line| line.contains("retryproof: ")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn with_nocapture_it_says_how_much_was_explored_and_what_was_not() {
    let text = play(scene("charges").env("SCENE", "keyed").arg("--nocapture")).green();
    expect![[r#"
        retryproof: scenes::charges is retry-proof: 13 runs, all scenarios of up to 1 deviation; not explored: outages (`explore_outages` of the service), jobs that crash every worker (`world.explore_poison_jobs()`), deploys (`world.explore_deploys()`)
    "#]].assert_eq(&said(&text));
    let text = play(scene("charges_without_faults").env("SCENE", "keyed").arg("--nocapture")).green();
    expect![[r#"
        retryproof: scenes::charges_without_faults is retry-proof: 8 runs, all scenarios of up to 1 deviation; not explored: failed calls: `faults` is 0, outages (`explore_outages` of the service), jobs that crash every worker (`world.explore_poison_jobs()`), deploys (`world.explore_deploys()`)
    "#]].assert_eq(&said(&text));
}

#[test]
fn otherwise_it_says_nothing_and_a_test_that_fails_has_its_report() {
    let text = play(scene("charges").env("SCENE", "keyed")).green();
    assert_eq!(said(&text), "");
    let text = play(scene("charges").arg("--nocapture")).red();
    assert_eq!(said(&text), "");
}
