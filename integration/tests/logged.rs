//! Feature `tracing`: the timeline has the log events of the failing scenario, and no events of other runs.
//!
//! A part: the output of a process has paths, seeds and times that differ in each run.

#[path = "../../tests/support/mod.rs"]
mod support;

use expect_test::expect;
use retryproof::service::payments::Charge;
use retryproof::service::{Function, ServiceContext, function};
use retryproof::{Explore, ServiceError, World};
use tracing::{Instrument, info, info_span, warn};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::support::has_line;

/// Installs a subscriber that prints, inside or outside of the layer under test.
fn log(inner: bool) {
    let ours = retryproof::tracing::ScenarioLayer::new();
    let (begins, stderr) = (tracing_subscriber::registry(), std::io::stderr);
    let begun = match inner {
        true => begins.with(ours).with(fmt::layer().without_time().with_writer(stderr)).try_init(),
        false => begins.with(fmt::layer().without_time().with_writer(stderr)).with(ours).try_init(),
    };
    begun.expect("each scene has a process of its own");
}

/// A job that logs in all places in which it can.
async fn order(world: &World) {
    info!("the body begins");
    let answer = |text: String, cx: &mut ServiceContext<'_>| {
        info!(%text, "the service answers");
        cx.effect("send", Some(&text), &text, "sm_")
    };
    world.service("sms", function("send", answer));
    world.process("worker", |p| {
        info!("the worker boots");
        let (payments, sms) = (p.payments(), p.service::<Function<String, String>>("sms"));
        p.handle(async move |order: u32| {
            let work = async {
                info!(order, "charging");
                let charged = payments.charge(Charge::of_order(order, 500)).await;
                if let Err(error) = &charged {
                    warn!(%error, "two\nlines");
                }
                charged?;
                sms.call("paid".to_owned()).await?;
                tokio::task::spawn_blocking(|| info!("over there")).await.unwrap();
                Ok::<(), ServiceError>(())
            };
            work.instrument(info_span!("order", id = order, colour = "red")).await
        });
    });
    world.enqueue(6_u32);
    world.settle().await;
}

#[test]
#[ignore = "run by the tests beside it"]
fn logs_inside() {
    info!("before");
    log(true);
    info!("in between");
    Explore::new().deviations(1).check(order);
}

#[test]
#[ignore = "run by the tests beside it"]
fn logs_outside() {
    log(false);
    info!("in between");
    Explore::new().deviations(1).threads(3).check(order);
}

#[test]
#[ignore = "run by the tests beside it"]
fn logs_while_blocking() {
    log(false);
    Explore::new().deviations(1).check(async |world: &World| {
        world.process("worker", |p| {
            let payments = p.payments();
            p.handle_blocking(move |order: u32| {
                let _order = info_span!("order", order).entered();
                info!("charging");
                payments.charge_blocking(Charge::of_order(order, 500)).map(drop)
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
}

#[test]
#[ignore = "run by the tests beside it"]
fn logs_in_an_ordinary_world() {
    log(true);
    let world = World::fake();
    world.process("worker", |p| {
        p.handle(async |order: u32| info!(order, "an ordinary job"));
    });
    world.enqueue(6_u32);
    world.drain_all().run().unwrap();
    info!("after");
}

#[test]
#[ignore = "run by the tests beside it"]
fn logs_what_is_filtered() {
    let layer = retryproof::tracing::ScenarioLayer::new();
    tracing_subscriber::registry().with(LevelFilter::WARN).with(layer.boxed()).init();
    Explore::new().deviations(1).check(order);
}

fn run(test: &str, replay: Option<&str>) -> (bool, String) {
    let output = support::own_test(module_path!(), test)
        .env_remove("RETRYPROOF_REPLAY")
        .env("RETRYPROOF_KEEP", "off")
        .env("NO_COLOR", "1")
        .env("RUST_BACKTRACE", "0")
        .envs(replay.map(|replay| ("RETRYPROOF_REPLAY", replay)))
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.success(), text)
}

/// Returns the lines of a timeline.
fn timeline(text: &str) -> Vec<&str> {
    let from = text.find("\nwhat happened\n").unwrap_or_else(|| panic!("no report: {text}"));
    text[from + 15..].lines().take_while(|line| !line.is_empty()).collect()
}

#[test]
fn events_stand_under_the_attempt_that_made_them() {
    let (passed, text) = run("logs_inside", None);
    assert!(!passed && text.contains("logs_inside is NOT retry-proof"), "{text}");
    let lines: Vec<_> = timeline(&text).iter().map(|line| line.get(12..).unwrap_or(line)).collect();
    let said: Vec<_> = lines.iter().enumerate().filter(|(_, line)| line.contains('»')).collect();
    let span = "order{id=6 colour=\"red\"}";
    let expected = [
        "» INFO the body begins".to_owned(),
        "  » INFO the worker boots".to_owned(),
        format!("  » INFO {span}: charging order=6"),
        format!("  » WARN {span}: two\\nlines error=payments.charge: 503 service"),
        format!("  » INFO {span}: charging order=6"),
        format!("  » INFO {span}: the service answers text=paid"),
        "  » INFO over there".to_owned(),
    ];
    let texts: Vec<_> = said.iter().map(|(_, line)| line.trim_end()).collect();
    assert_eq!(texts, expected, "{text}");
    // Between the lines that they belong to.
    let at = |wanted: &str| lines.iter().position(|line| line.contains(wanted)).unwrap();
    assert!(at("attempt 1 on worker") < said[2].0 && said[2].0 < at("✗ payments.charge happens"), "{text}");
    assert!(
        said[3].0 < at("failed: payments.charge: 503") && at("attempt 2 on worker") < said[4].0,
        "{text}"
    );
}

#[test]
fn nothing_of_the_other_runs_reaches_the_terminal() {
    for test in ["logs_inside", "logs_outside"] {
        let (_, text) = run(test, None);
        let printed: Vec<_> =
            text.lines().filter(|line| line.starts_with(" INFO") || line.starts_with(" WARN")).collect();
        assert_eq!(printed, [" INFO logged: in between"], "{text}");
        assert_eq!(text.matches("charging").count(), 2, "those of the timeline: {text}");
        assert_eq!(text.matches("the body begins").count(), 1, "{text}");
    }
}

#[test]
fn a_replay_shows_what_its_scenario_logs() {
    let scenario = "logs_inside job#1.1:start=crash";
    let (passed, text) = run("logs_inside", Some(scenario));
    assert!(passed, "{text}");
    assert_eq!(timeline(&text).iter().filter(|line| line.contains("charging order=6")).count(), 1, "{text}");
    assert_eq!(
        timeline(&text).iter().filter(|line| line.contains("» INFO the worker boots")).count(),
        2,
        "{text}"
    );
}

#[test]
fn blocking_handlers_log_like_others() {
    let (_, text) = run("logs_while_blocking", None);
    let said: Vec<_> = timeline(&text).into_iter().filter(|line| line.contains('»')).collect();
    assert_eq!(said.len(), 2, "{text}");
    assert!(said.iter().all(|line| line.trim() == "» INFO order{order=6}: charging"), "{text}");
    assert!(!text.contains(" INFO logged"), "{text}");
}

#[test]
fn an_ordinary_world_logs_as_any_program() {
    let (passed, text) = run("logs_in_an_ordinary_world", None);
    assert!(passed, "{text}");
    has_line(&text, expect![[r#"INFO logged: an ordinary job order=6"#]]);
    has_line(&text, expect![[r#"INFO logged: after"#]]);
}

#[test]
fn a_filter_for_all_is_one_for_the_timeline() {
    let (_, text) = run("logs_what_is_filtered", None);
    let said: Vec<_> = timeline(&text).into_iter().filter(|line| line.contains('»')).collect();
    assert_eq!(said.len(), 1, "{text}");
    assert!(said[0].contains("» WARN two\\nlines error="), "the span is below the level: {text}");
}
