//! Nothing is left behind: no file descriptor, port, task or thread. This is a separate program, because it counts
//! what all of its threads have.
#![cfg(target_os = "linux")]

use std::fs::read_dir;
use std::sync::Mutex;

use retryproof::{Explore, World};
use serde_json::json;

/// Counts the open files, including sockets and listening ports, and the threads of this process.
fn left() -> [usize; 2] {
    ["/proc/self/fd", "/proc/self/task"].map(|folder| read_dir(folder).unwrap().count())
}

fn explore(explore: &Explore) -> u64 {
    let report = explore.run(async |world: &World| {
        world.process("async", |p| {
            let (uri, client) = (p.http().uri(), reqwest::Client::new());
            p.handle(async move |order: u32| {
                let metadata = json!({ "order_id": order.to_string(), "idempotency_key": "k" });
                let charge = json!({
                    "customer_id": "cu_2", "payment_method_id": "pm_2", "amount_cents": 500, "metadata": metadata,
                });
                let sent = client.post(format!("{uri}/payments/charge")).json(&charge);
                sent.send().await?.error_for_status().map(drop)
            });
        });
        world.process("blocking", |p| {
            let uri = format!("{}/error-tracker/status", p.http().uri());
            p.handle_blocking(move |_: String| ureq::get(&uri).call().map(drop));
        });
        world.enqueue(6_u32);
        world.enqueue("status".to_owned());
        world.settle().await;
        let email = json!({ "to": "ada@example.com", "template_id": "hello" });
        ureq::post(format!("{}/email/send", world.http().uri())).send_json(email).unwrap();
    });
    assert!(report.violations().is_empty(), "{report}");
    report.runs()
}

/// Runs one test at a time.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn nothing_is_left_after_an_exploration() {
    let _turn = TURN.lock();
    // The first exploration creates what exists once per process, which does not belong to the harness.
    explore(&Explore::new().deviations(0));
    let before = left();
    assert!(explore(&Explore::new().deviations(1)) > 15);
    assert_eq!(left(), before, "files and threads");
}

fn nothing_is_left_after(most: u64) {
    let _turn = TURN.lock();
    explore(&Explore::new().deviations(0));
    let (before, mut runs) = (left(), 0_u64);
    while runs < most {
        runs += explore(&Explore::new().deviations(if most < 1_000 { 1 } else { 2 }));
    }
    assert_eq!(left(), before, "files and threads");
}

#[test]
fn nothing_is_left_after_three_hundred_runs() {
    nothing_is_left_after(300);
}

#[test]
#[ignore = "nightly: takes a minute"]
fn nothing_is_left_after_ten_thousand_runs() {
    nothing_is_left_after(10_000);
}
