//! What a replay prints, and what a report says of how it came about.

use retryproof::service::payments::Charge;
use retryproof::{Explore, Guarantee, Report, Verdict, World};

async fn charge_with_key(world: &World) {
    world.process("worker", |p| {
        let payments = p.payments();
        let charge = |order: u32| Charge::of_order(order, 500).key(format!("order-{order}"));
        p.handle(async move |order: u32| payments.charge(charge(order)).await.map(drop));
    });
    world.enqueue(6_u32);
    world.settle().await;
}

async fn charge_without_key(world: &World) {
    world.process("worker", |p| {
        let payments = p.payments();
        p.handle(async move |order: u32| payments.charge(Charge::of_order(order, 500)).await.map(drop));
    });
    world.enqueue(6_u32);
    world.settle().await;
}

fn lines_with<'r>(report: &'r str, word: &str) -> Vec<&'r str> {
    report.lines().filter(|line| line.contains(word)).collect()
}

#[test]
fn the_report_names_the_command_that_replays_it() {
    let explore = Explore::new().name("shop").deviations(1);
    let replay = |report: &Report| lines_with(&report.to_string(), " cargo ")[0].trim().to_owned();
    assert_eq!(
        replay(&explore.run(charge_without_key)),
        "RETRYPROOF_REPLAY='shop job#1.1/payments.charge:call=reply-lost' cargo test"
    );
    assert_eq!(
        replay(&explore.replay_command("cargo run --example shop").run(charge_without_key)),
        "RETRYPROOF_REPLAY='shop job#1.1/payments.charge:call=reply-lost' cargo run --example shop"
    );
}

#[test]
fn a_replay_that_shows_nothing_wrong_does_not_look_like_an_error() {
    let explore = Explore::new().name("shop").replay("shop job#1.1/payments.charge:call=reply-lost");
    let report = explore.run(charge_with_key);
    assert_eq!((report.verdict(), report.reason()), (Verdict::Incomplete, None));
    let text = report.to_string();
    assert_eq!(text.lines().next(), Some("shop: this scenario ends as if nothing had gone wrong"));
    assert!(text.contains("note: what was put in the way"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("error")), "{text}");
}

#[test]
fn the_report_says_what_the_test_allows() {
    let report = Explore::new().name("shop").run(async |world: &World| {
        world.allow("payments.charge", Guarantee::AtLeastOnce);
        charge_without_key(world).await;
    });
    assert_eq!(report.verdict(), Verdict::RetryProof);
    let note = "note: payments.charge may be repeated: the test allows `AtLeastOnce`";
    assert_eq!(lines_with(&report.to_string(), "note:"), [note]);
    let strict = Explore::new().name("shop").run(charge_with_key);
    assert_eq!(lines_with(&strict.to_string(), "note:"), [""; 0]);
}
