//! Reports, timelines, ledgers and queues as snapshots of insta, without redactions: the same on every machine, with
//! any number of threads, in any folder. `INSTA_UPDATE=always cargo test --test it snapshots` writes them anew.

use std::process::Command;
use std::time::Duration;

use insta::{Settings, assert_json_snapshot, assert_snapshot};
use retryproof::service::email::Email;
use retryproof::service::payments::Charge;
use retryproof::{Explore, Report, ServiceError, World};

/// An order job that charges with a key and mails without one.
async fn orders(world: &World) {
    let paid = world.durable("paid", Vec::<u32>::new());
    world.process("worker", move |p| {
        let (payments, email, paid) = (p.payments(), p.email(), paid.clone());
        p.handle(async move |order: u32| {
            payments.charge(Charge::of_order(order, 2_598).key(format!("order-{order}"))).await?;
            paid.update(|paid| {
                if !paid.contains(&order) {
                    paid.push(order);
                }
            });
            email.send(Email::new("ada@example.com", "receipt").data("order", order)).await?;
            Ok::<(), ServiceError>(())
        });
    });
    world.enqueue(6_u32);
    world.settle().await;
}

fn report(threads: usize) -> Report {
    Explore::new().name("orders").deviations(1).threads(threads).run(orders)
}

/// Makes the snapshots use exactly the given names, next to this file.
fn plainly(check: impl FnOnce()) {
    let mut settings = Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(check);
}

#[test]
fn a_report_is_a_snapshot_as_text_and_as_data_with_any_number_of_threads() {
    plainly(|| {
        for threads in [1, 3] {
            let report = report(threads);
            assert_snapshot!("report", report);
            assert_json_snapshot!("report.json", report);
        }
    });
}

#[test]
fn a_timeline_is_a_snapshot() {
    plainly(|| {
        let timeline = report(1).timeline();
        assert_snapshot!("timeline", timeline);
        assert_json_snapshot!("timeline.json", timeline);
    });
    // As in the report, which cuts its lines.
    let text = report(1).to_string();
    let begins = |line: &str| text.contains(&format!("\n  {}", line.chars().take(79).collect::<String>()));
    assert!(report(1).timeline().to_string().lines().all(begins), "{text}");
    let good = Explore::new().name("orders").deviations(0).run(orders).timeline();
    assert_eq!((good.to_string(), good.events().len()), (String::new(), 0), "nothing is shown");
}

/// Makes a world with some jobs done, some waiting for a retry, and some scheduled.
fn in_between() -> World {
    let world = World::fake();
    world.process("worker", |p| {
        let payments = p.payments();
        p.handle(async move |order: u32| {
            payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await?;
            if order == 7 { Err("no parcel\nfor 7".into()) } else { Ok::<(), Box<dyn std::error::Error>>(()) }
        });
    });
    world.enqueue(6_u32);
    world.enqueue(7_u32);
    world.enqueue_in(Duration::from_secs(60), 8_u32);
    world.settle_until(|world| world.stats().processed == 2).run();
    world.enqueue(9_u32);
    world
}

#[test]
fn a_queue_and_a_ledger_are_snapshots() {
    // Short snapshots may be inline.
    let world = in_between();
    assert_snapshot!(world.queue(), @r"
    job#1 u32 6: done, attempt 1
    job#2 u32 7: retrying, due t+22s, attempt 1, failed 1 ×: no parcel\nfor 7
    job#3 u32 8: scheduled, due t+60s
    job#4 u32 9: ready
    ");
    assert_snapshot!(world.effects(), @r#"
    payments.charge {"customer_id":"","payment_method_id":"","amount_cents":500,"metadata":{"order_id":"6"}} key "order-6"
    payments.charge {"customer_id":"","payment_method_id":"","amount_cents":500,"metadata":{"order_id":"7"}} key "order-7"
    "#);
    plainly(|| {
        assert_json_snapshot!("queue.json", world.queue());
        assert_json_snapshot!("effects.json", world.effects());
    });
}

/// Returns all snapshots as one text.
fn everything() -> String {
    let (report, world) = (report(2), in_between());
    let json = |value: serde_json::Result<String>| value.unwrap();
    [
        report.to_string(),
        json(serde_json::to_string(&report)),
        report.timeline().to_string(),
        json(serde_json::to_string(&report.timeline())),
        world.queue().to_string(),
        json(serde_json::to_string(&world.queue())),
        world.effects().to_string(),
        json(serde_json::to_string(&world.effects())),
    ]
    .join("\n")
}

#[test]
#[ignore = "run by the test beside it"]
#[expect(clippy::print_stdout, reason = "read by the test beside it")]
fn prints_everything() {
    println!("<<<{}>>>", everything());
}

#[test]
fn wherever_the_program_lies_and_is_started_they_are_the_same() {
    let program = std::env::current_exe().unwrap();
    let elsewhere =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("snapshots-{}", std::process::id()));
    std::fs::create_dir_all(&elsewhere).unwrap();
    let copy = elsewhere.join(program.file_name().unwrap());
    std::fs::copy(&program, &copy).unwrap();
    for (program, folder, threads) in
        [(&program, None, "1"), (&program, Some(&elsewhere), "4"), (&copy, Some(&elsewhere), "1")]
    {
        let mut command = Command::new(program);
        command.args([
            "--ignored",
            "--exact",
            &crate::support::own_path(module_path!(), "prints_everything"),
        ]);
        command.args(["--nocapture", "--test-threads", threads]);
        command.env("TZ", "Asia/Tokyo").env("LANG", "tr_TR.UTF-8").env("HOME", &elsewhere);
        folder.map(|folder| command.current_dir(folder));
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let printed = text.split("<<<").nth(1).and_then(|text| text.split(">>>").next());
        assert_eq!(printed, Some(&*everything()), "{} in {folder:?}", program.display());
    }
    std::fs::remove_dir_all(elsewhere).unwrap();
}
