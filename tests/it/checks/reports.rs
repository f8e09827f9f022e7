//! The report is the same in every run, for people and for programs.

use super::{Order, assert_green, explore, keyed, one_deviation, own_test, paying, unkeyed};
use crate::support::has_line;
use expect_test::expect;
use retryproof::service::email::Email;
use retryproof::{Code, Explore, Guarantee, Report, ServiceError, World};

fn naive() -> Report {
    one_deviation().run(async |world: &World| {
        let orders = world.durable("orders", vec!["new"]);
        world.process("worker", move |p| {
            let (payments, email, orders) = (p.payments(), p.email(), orders.clone());
            p.handle(async move |order: Order| {
                payments.charge(unkeyed(order.id)).await?;
                email.send(Email::new("ada@example.com", "receipt")).await?;
                orders.set(vec!["paid"]);
                Ok::<(), ServiceError>(())
            });
        });
        world.enqueue(Order { id: 6 });
        world.settle().await;
    })
}

#[test]
fn a_report_is_the_same_each_time() {
    assert_eq!(naive().to_string(), naive().to_string());
    assert_eq!(serde_json::to_string(&naive()).unwrap(), serde_json::to_string(&naive()).unwrap());
    // Also on another thread.
    let there = std::thread::spawn(|| naive().to_string()).join().unwrap();
    assert_eq!(there, naive().to_string());
}

#[test]
fn a_report_shows_the_line_the_timeline_and_the_difference() {
    let text = naive().to_string();
    for part in [
        "test is NOT retry-proof",
        "error[RP0002]: payments.charge happened twice, expected once",
        "--> tests/it/checks/reports.rs:",
        "payments.charge(unkeyed(order.id)).await?",
        "attempt 1: payments.charge happens, but its reply is lost",
        "attempt 2: payments.charge happens again",
        "what happened\n  t+0s      enqueued job#1 Order {\"id\":6}",
        "  ← again",
        "expected (the fault-free run)\n  1 × payments.charge {",
        "actual\n  2 × payments.charge {",
        "RETRYPROOF_REPLAY='test job#1.1/payments.charge:call=reply-lost' cargo test",
        "email.send happened twice, expected once",
        "runs, all scenarios of up to 1 deviation",
        " runs failed\n",
    ] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    assert!(!text.contains('\x1b'), "no colour unless asked for");
    assert!(naive().to_ansi().contains("\x1b[31m"));
}

#[test]
fn a_report_is_data_too() {
    let json = serde_json::to_value(naive()).unwrap();
    assert_eq!(json["verdict"], "Violated");
    assert_eq!(json["exhausted"], true);
    assert_eq!(json["violations"][0]["oracle"], "guarantee");
    assert_eq!(json["violations"][0]["effect"], "payments.charge");
    assert_eq!(json["violations"][0]["scenario"], "test job#1.1/payments.charge:call=reply-lost");
}

#[test]
fn explored_panics_do_not_reach_the_terminal() {
    let output = own_test(module_path!(), "panics_often").arg("--nocapture").output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
#[ignore = "run by the test above"]
fn panics_often() {
    let report = explore(
        &Explore::new().name("test"),
        paying(async |payments, id| {
            payments.charge(keyed(id)).await.unwrap();
        }),
    );
    super::assert_green(&report);
    // Also on a tokio thread.
    #[cfg(feature = "tokio")]
    super::assert_green(&explore(
        &one_deviation(),
        paying(async |payments, id| {
            tokio::task::spawn_blocking(|| panic!("over there")).await.unwrap_err();
            payments.charge(keyed(id)).await.map(drop)
        }),
    ));
}

#[test]
fn what_the_test_allows_is_said() {
    let report = one_deviation().run(async |world: &World| {
        world.allow("payments.charge", Guarantee::AtLeastOnce);
        world.process("worker", paying(async |payments, id| payments.charge(unkeyed(id)).await.map(drop)));
        world.enqueue(Order { id: 1 });
        world.settle().await;
    });
    assert_green(&report);
    let note = "\nnote: payments.charge may be repeated: the test allows `AtLeastOnce`\n";
    assert!(report.to_string().contains(note), "{report}");
    let strict =
        explore(&one_deviation(), paying(async |payments, id| payments.charge(keyed(id)).await.map(drop)));
    assert!(!strict.to_string().contains("note:"), "{strict}");
}

#[test]
fn bounds_that_let_nothing_go_wrong_are_noted() {
    let note = "note: no failure was injected";
    let charging = |settings: &Explore| {
        let job = paying(async |payments, id| payments.charge(unkeyed(id)).await.map(drop));
        explore(settings, job).to_string()
    };
    assert!(charging(&Explore::new().deviations(0)).contains(note));
    assert!(charging(&Explore::new().crashes(0).faults(0).deliveries(0)).contains(note));
    assert!(!charging(&one_deviation()).contains(note));
}

#[test]
fn only_what_happens_oftener_than_expected_is_marked() {
    let report = explore(
        &one_deviation().replay("test job#1.1/payments.charge:call~2=reply-lost"),
        paying(async |payments, id| {
            payments.charge(keyed(id)).await?;
            payments.charge(unkeyed(id)).await.map(drop)
        }),
    );
    assert_eq!(report.to_string().matches("← again").count(), 1, "{report}");
}

/// Returns the help lines and the link.
fn help(report: &Report) -> Vec<String> {
    let text = report.to_string();
    let lines = text.lines().skip_while(|line| !line.starts_with("help: "));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_report_ends_with_help_and_a_link() {
    let report = naive();
    assert_eq!(report.code(), Some(Code::RepeatedAfterError));
    assert_eq!(
        help(&report),
        [
            "help: use an idempotency key that is the same on every attempt, or check for the effect first",
            "help: if the service takes no key, allow it: world.allow(\"payments.charge\", Guarantee::AtLeastOnce)",
            "see: https://docs.rs/retryproof/latest/retryproof/violations/index.html#rp0002"
        ]
    );
    // Each way has its own code: the same charge after a crash, and in two concurrent deliveries.
    let codes: Vec<_> = report.violations()[0].paths.iter().map(|path| path.code.as_str()).collect();
    assert!(["RP0001", "RP0002", "RP0004"].iter().all(|code| codes.contains(code)), "{codes:?}");
    let text = report.to_string();
    let (also, _) = text.split_once("\nalso\n").unwrap().1.split_once("\nexplored\n").unwrap();
    let lines: Vec<_> = also.lines().collect();
    assert_eq!(lines.len(), 2, "one line a cause, and how to see more: {also}");
    assert!(lines[0].starts_with("  RP0002: email.send happened twice, expected once (tests/"), "{also}");
    assert_eq!(lines[1], "  RETRYPROOF_VERBOSE=1 prints the replay lines of these");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["violations"][0]["code"], "RP0002");
}

#[test]
fn a_violation_by_itself_is_told_in_five_lines() {
    let body = r#"payments.charge {"customer_id":"cu_1","payment_method_id":"pm_1","amount_cents":500,"metadata":{"order_id":"6"}}"#;
    let expected = format!(
        "RP0002: payments.charge happened twice, expected once\n  attempt 1: payments.charge happens, but its reply is \
         lost\n  expected: 1 × {body}\n  actual: 2 × {body}\n  \
         RETRYPROOF_REPLAY='test job#1.1/payments.charge:call=reply-lost'"
    );
    assert_eq!(naive().violations()[0].to_string(), expected);
}

#[test]
fn no_advice_where_there_is_nothing_to_mend() {
    let paid = |settings: &Explore| {
        explore(settings, paying(async |payments, id| payments.charge(keyed(id)).await.map(drop)))
    };
    let green = paid(&one_deviation());
    assert_eq!((green.code(), help(&green).len()), (None, 0));
    has_line(&green, expect![[r#"13 runs, all scenarios of up to 1 deviation"#]]);
    // A replay that finds nothing wrong, and one that no longer fits the code.
    assert_eq!(paid(&one_deviation().replay("test job#1.1:end=crash")).code(), None);
    assert_eq!(paid(&one_deviation().replay("test job#9.1:end=crash")).code(), None);
    assert_eq!(paid(&one_deviation().replay("no scenario")).code(), None);
    // An exploration that was stopped needs other bounds.
    let stopped = paid(&one_deviation().max_runs(5));
    assert_eq!(stopped.code(), Some(Code::Incomplete));
    assert!(help(&stopped)[0].starts_with("help: check fewer jobs"), "{stopped}");
}
