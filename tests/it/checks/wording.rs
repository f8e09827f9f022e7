//! How findings are reported: one entry per cause, the worst first, and help that fits what happened.

use std::future::Future;
use std::time::Duration;

use expect_test::expect;
use retryproof::service::email::{Email, EmailService};
use retryproof::service::payments::Charge;
use retryproof::store::Isolation;
use retryproof::{
    Client, Code, Explore, Guarantee, Process, Report, ServiceError, StoreError, Verdict, World,
};
use serde::{Deserialize, Serialize};

use super::{Order, explore, keyed, paying, send_by_adapter, unkeyed};
use crate::support::{line_of, lines_of, one_deviation};

#[derive(Serialize, Deserialize)]
struct Welcome(u32);

#[derive(Serialize, Deserialize)]
struct Remind(u32);

fn mail(subject: &str) -> Email {
    Email::new("ada@example.com", subject)
}

fn source_line(place: &str) -> String {
    let (file, line) = place.rsplit_once(':').expect("a place ends in a line");
    let source =
        std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    source.lines().nth(line.parse::<usize>().unwrap() - 1).unwrap().trim().to_owned()
}

/// Returns the lines of code that the entries of a report name.
fn lines(report: &Report) -> Vec<String> {
    report.violations().iter().map(|violation| source_line(violation.place.as_deref().unwrap())).collect()
}

#[test]
fn one_bug_is_one_entry_with_all_its_ways() {
    let charging = paying(async |payments, order| payments.charge(unkeyed(order)).await.map(drop));
    let report = explore(&one_deviation(), charging);
    let [violation] = report.violations() else { panic!("one entry expected:\n{report}") };
    assert_eq!(violation.runs, violation.paths.iter().map(|path| path.runs).sum::<u64>());
    let mut codes: Vec<_> = violation.paths.iter().map(|path| path.code).collect();
    codes.sort();
    codes.dedup();
    let expected =
        [Code::RepeatedAfterCrash, Code::RepeatedAfterError, Code::RepeatedByDelivery, Code::RepeatedAtOnce];
    assert_eq!(codes, expected, "{report}");
    let text = report.to_string();
    expect!["in 7 runs, after a lost reply, a crash, a stalled worker or a second delivery"]
        .assert_eq(line_of(&text, " or a second delivery"));
    assert!(!text.contains("\nalso\n"), "{text}");
}

/// Both jobs have the same bug, each at its own call.
#[test]
fn of_two_jobs_with_the_same_bug_both_lines_are_named() {
    let report = one_deviation().run(async |world: &World| {
        world.process("worker", |p| {
            let (welcome, remind) = (p.email(), p.email());
            p.handle(async move |Welcome(_): Welcome| welcome.send(mail("welcome")).await);
            p.handle(async move |Remind(_): Remind| remind.send(mail("remind")).await);
        });
        world.enqueue(Welcome(1));
        world.enqueue(Remind(1));
        world.settle().await;
    });
    let lines = lines(&report);
    assert_eq!(lines.len(), 2, "{report}");
    assert!(lines[0].contains("welcome.send(") && lines[1].contains("remind.send("), "{lines:?}");
}

/// The claim is recorded before the charge. If the charge fails, the job gives the claim up, or not.
fn claiming(gives_up: bool) -> impl Fn(&Process) + Clone {
    move |p: &Process| {
        let (store, payments) = (p.store(), p.payments());
        p.handle(async move |order: Order| {
            let claim = format!("claim:{}", order.id);
            if !store.set_if_absent(&claim, &true, None).await? {
                return Ok(());
            }
            let charged = payments.charge(keyed(order.id)).await;
            if gives_up && charged.is_err() {
                store.delete(&claim).await?;
            }
            charged?;
            Ok::<(), Box<dyn std::error::Error>>(())
        });
    }
}

#[test]
fn a_residual_at_one_call_does_not_hide_a_fault_at_another() {
    let explore_one = |gives_up| explore(&one_deviation().crashes(0).deliveries(0), claiming(gives_up));
    let (mended, bug) = (explore_one(true), explore_one(false));
    let scenarios = |report: &Report| -> Vec<String> {
        let paths = report.violations().iter().flat_map(|violation| &violation.paths);
        paths.map(|path| path.scenario.to_string()).collect()
    };
    let of_the_charge = |report: &Report| {
        scenarios(report).iter().filter(|scenario| scenario.contains("payments.charge:call")).count()
    };
    assert!(!scenarios(&mended).is_empty(), "the claim whose reply is lost is left:\n{mended}");
    assert_eq!(of_the_charge(&mended), 0, "{mended}");
    assert!(of_the_charge(&bug) > 0, "{bug}");
}

/// It takes two deviations to break the mail, and one to break the state.
#[test]
fn what_somebody_notices_comes_first() {
    let report = explore(&one_deviation().keep_going(), |p: &Process| {
        let (store, email) = (p.store(), p.email());
        p.handle(async move |_: Order| {
            store.incr("orders", 1).await?;
            email.send(mail("receipt")).await?;
            Ok::<(), Box<dyn std::error::Error>>(())
        });
    });
    let codes: Vec<_> = report.violations().iter().map(|violation| violation.code).collect();
    assert_eq!(codes[0], Code::RepeatedAfterError, "{report}");
    assert!(report.violations()[1].summary.starts_with("store."), "{report}");
    assert_eq!(codes.len(), 2, "{report}");
}

fn two_mails(explore_it: &Explore) -> Report {
    explore(explore_it, |p: &Process| {
        let email = p.email();
        p.handle(async move |_: Order| {
            email.send(mail("one")).await?;
            email.send(mail("two")).await
        });
    })
}

#[test]
fn an_exploration_that_found_something_finishes_its_level() {
    let two = || Explore::new().name("test");
    let (level, one) = (two_mails(&two()), two_mails(&one_deviation()));
    assert_eq!(level.runs(), one.runs());
    assert!(!level.exhausted() && one.exhausted());
    let text = level.to_string();
    expect!["  stopped after the runs with one deviation; `keep_going()` explores the rest, too"]
        .assert_eq(line_of(&text, "stopped"));
    let all = two_mails(&two().keep_going());
    assert!(all.exhausted() && all.runs() > level.runs());
    let summaries = |report: &Report| -> Vec<String> {
        report.violations().iter().map(|violation| violation.summary.clone()).collect()
    };
    assert_eq!(summaries(&level), summaries(&all), "the same causes");
    let first = two_mails(&two().stop_at_first());
    assert_eq!((first.violations().len(), first.exhausted()), (1, false));
    expect!["  stopped at the first run that failed; `keep_going()` explores the rest, too"]
        .assert_eq(line_of(&first.to_string(), "stopped"));
    assert!(first.runs() < level.runs());
}

#[test]
fn nothing_stops_where_nothing_is_found() {
    let charging = paying(async |payments, order| payments.charge(keyed(order)).await.map(drop));
    let run = |explore_it: &Explore| explore(explore_it, charging.clone());
    let (all, first) = (run(&Explore::new()), run(&Explore::new().stop_at_first()));
    assert_eq!((all.runs(), all.verdict()), (first.runs(), first.verdict()));
    assert!(all.is_retryproof() && all.exhausted());
}

#[test]
fn where_it_stops_does_not_depend_on_the_number_of_threads() {
    for explore_it in [Explore::new(), Explore::new().stop_at_first(), Explore::new().keep_going()] {
        let explore_it = explore_it.name("test");
        let one = two_mails(&explore_it).to_string();
        for threads in [2, 3] {
            assert_eq!(two_mails(&explore_it.clone().threads(threads)).to_string(), one, "{threads} threads");
        }
    }
}

#[test]
fn each_shard_stops_after_its_own_level() {
    let runs = |number| two_mails(&Explore::new().name("test").shard(number, 2)).runs();
    // Each includes the reference run.
    assert_eq!(runs(1) + runs(2) - 1, two_mails(&one_deviation()).runs());
}

#[test]
fn a_ratchet_that_stops_at_the_first_is_refused() {
    let report = two_mails(&Explore::new().ratchet().stop_at_first());
    assert_eq!(report.verdict(), Verdict::Incomplete);
    expect!["`Explore::ratchet` and `Explore::stop_at_first` cannot be combined, because the ratchet must find all violations to compare them with the recorded ones; remove `stop_at_first`"].assert_eq(report.reason().unwrap());
}

/// The job returns its error. The retry sees that the mail is recorded as sent, and sends nothing.
#[test]
fn a_retry_that_found_its_own_trace_is_not_told_to_return_the_error() {
    let report = explore(&one_deviation().crashes(0).deliveries(0), |p: &Process| {
        let (store, email) = (p.store(), p.email());
        p.handle(async move |_: Order| {
            if store.set_if_absent("sent", &true, None).await? {
                email.send(mail("receipt")).await?;
            }
            Ok::<(), Box<dyn std::error::Error>>(())
        });
    });
    let help = &report.violations()[0].help;
    assert_eq!(report.code(), Some(Code::MissingAfterError), "{report}");
    expect!["record that work is done only after doing it: the retry found the failed attempt's record, and did nothing"].assert_eq(help);
}

#[test]
fn a_job_that_swallows_its_error_is_told_to_return_it() {
    let report = explore(&one_deviation().crashes(0).deliveries(0), |p: &Process| {
        let email = p.email();
        p.handle(async move |_: Order| drop(email.send(mail("receipt")).await));
    });
    assert_eq!(report.code(), Some(Code::MissingAfterError), "{report}");
    expect!["return the error so that the job is retried, and record that work is done only after doing it"]
        .assert_eq(&report.violations()[0].help);
    expect![
        "help: return the error so that the job is retried, and record that work is done only after doing it"
    ]
    .assert_eq(line_of(&report.to_string(), "help: "));
}

/// Stands for a service in someone else's crate.
trait Mailer {
    async fn deliver(&self, subject: &str) -> Result<(), ServiceError>;
}

impl Mailer for Client<EmailService> {
    async fn deliver(&self, subject: &str) -> Result<(), ServiceError> {
        self.send(mail(subject)).await.map(drop)
    }
}

async fn notify(mailer: &impl Mailer) -> Result<(), ServiceError> {
    mailer.deliver("paid").await?; // the first call
    mailer.deliver("sent").await // the second call
}

#[test]
fn calls_through_an_adapter_are_told_apart_by_the_lines_of_the_job() {
    let report = explore(&one_deviation().crashes(0).deliveries(0), |p: &Process| {
        let email = p.email();
        p.handle(async move |_: Order| notify(&email).await);
    });
    let lines = lines(&report);
    assert_eq!(lines.len(), 2, "{report}");
    assert!(lines[0].ends_with("// the first call") && lines[1].ends_with("// the second call"), "{lines:?}");
}

#[test]
fn keys_are_shown() {
    let charging = paying(async |payments, order| {
        payments.charge(keyed(order)).await?;
        payments.charge(Charge::of_order(order, 100)).await.map(drop)
    });
    let report = explore(&one_deviation().crashes(0).deliveries(0), charging);
    let text = report.to_string();
    expect![[r#"                ● payments.charge ch_95acb3a5 key "order-1""#]]
        .assert_eq(line_of(&text, "order-1"));
}

#[test]
fn attempts_that_fail_alike_are_told_once() {
    let report = explore(&one_deviation().crashes(0).faults(0), |p: &Process| {
        let (store, email) = (p.store(), p.email());
        p.handle(async move |_: Order| {
            if !store.set_if_absent("running", &true, None).await? {
                return Err(Box::from("it runs already"));
            }
            email.send(mail("receipt")).await?;
            Ok::<(), Box<dyn std::error::Error>>(())
        });
    });
    let text = report.to_string();
    // The attempt during the stall of the first one, the first attempt after it, and the attempt that kills the job.
    assert_eq!(text.matches("failed: it runs already").count(), 3, "{text}");
    expect!["            … attempts 4 to 26 of job#1 fail the same way"]
        .assert_eq(line_of(&text, "same way"));
    let scenario = report.violations()[0].scenario.to_string();
    let replay = explore(&one_deviation().replay(scenario), |p: &Process| {
        let (store, email) = (p.store(), p.email());
        p.handle(async move |_: Order| {
            if !store.set_if_absent("running", &true, None).await? {
                return Err(Box::from("it runs already"));
            }
            email.send(mail("receipt")).await?;
            Ok::<(), Box<dyn std::error::Error>>(())
        });
    });
    assert!(replay.to_string().matches("failed: it runs already").count() > 3, "a replay has all: {replay}");
}

#[test]
fn what_was_not_explored_is_listed() {
    let charging = paying(async |payments, order| payments.charge(unkeyed(order)).await.map(drop));
    let text = explore(&one_deviation(), charging.clone()).to_string();
    expect![[r#"
          not explored: outages (`explore_outages` of the service)
          not explored: jobs that crash every worker (`world.explore_poison_jobs()`)
          not explored: deploys (`world.explore_deploys()`)
    "#]]
    .assert_eq(&lines_of(&text, "not explored"));
    let text = explore(&one_deviation().crashes(0), charging).to_string();
    expect![[r#"
          not explored: crashes: `crashes` is 0
          not explored: outages (`explore_outages` of the service)
          not explored: jobs that crash every worker (`world.explore_poison_jobs()`)
          not explored: deploys (`world.explore_deploys()`)
    "#]]
    .assert_eq(&lines_of(&text, "not explored"));
}

#[test]
fn what_a_job_says_does_not_steer_the_terminal() {
    let report = explore(&one_deviation(), |p: &Process| {
        let email = p.email();
        p.handle(async move |_: Order| {
            let sent = email.send(mail("receipt\u{1b}[2J")).await;
            sent.map_err(|error| format!("\u{1b}]0;gone\u{7}\r{error}"))
        });
    });
    let text = report.to_string();
    assert!(text.contains("\\u{1b}]0;gone\\u{7}\\r"), "{text}");
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    let ansi = report.to_ansi();
    assert!(!ansi.contains("\u{1b}]0") && !ansi.contains('\u{7}') && !ansi.contains('\r'), "{ansi:?}");
    let violation = report.violations()[0].to_string();
    assert!(!violation.contains(|c: char| c.is_control() && c != '\n'), "{violation:?}");
}

#[test]
fn a_replay_that_passes_says_so() {
    let mut explore_it = one_deviation().replay("test job#1.1/payments.charge:call=reply-lost");
    let charging = |payments: Client<_>, order| async move { payments.charge(keyed(order)).await.map(drop) };
    let report = explore(&explore_it, paying(charging));
    assert_eq!(report.verdict(), Verdict::RetryProof);
    let first = "test: replay of one scenario, which passes now: it ends like the fault-free run\n";
    assert!(report.to_string().starts_with(first), "{report}");
    explore_it = one_deviation().replay("test job#1.1/payments.charge:call=reply-lost");
    let charging =
        |payments: Client<_>, order| async move { payments.charge(unkeyed(order)).await.map(drop) };
    assert_eq!(explore(&explore_it, paying(charging)).verdict(), Verdict::Violated);
}

#[test]
fn a_job_that_is_a_tuple_is_named_in_full() {
    let report = one_deviation().run(async |world: &World| {
        world.process("worker", |p| {
            let email = p.email();
            p.handle(async move |(_, _): (Welcome, u32)| email.send(mail("receipt")).await);
        });
        world.enqueue((Welcome(1), 6_u32));
        world.settle().await;
    });
    expect!["            job#1 (it::checks::wording::Welcome, u32) [1,6] · attempt 1 on worker"]
        .assert_eq(line_of(&report.to_string(), "[1,6] · attempt 1"));
}

/// A timeout drops a call before its answer arrives.
#[test]
fn a_dropped_call_is_not_told_to_use_an_atomic_update() {
    let report = explore(&one_deviation().crashes(0).deliveries(0), |p: &Process| {
        let (store, clock) = (p.store(), p.clock());
        p.handle(async move |_: Order| {
            let put = std::pin::pin!(store.put("paid", &true));
            let late = std::pin::pin!(clock.sleep(Duration::from_secs(5)));
            match first_of(put, late).await {
                Some(put) => put,
                None => Ok(()),
            }
        });
    });
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let help = &report.violations()[0].help;
    expect!["wait for the answer, or treat the call as one whose reply was lost: a call was dropped before its answer came (`select!`, a timeout or `drop`), and it may still happen"].assert_eq(help);
}

/// Returns the output of the first future, or nothing once the second one completes.
async fn first_of<A: Future + Unpin, B: Future + Unpin>(mut one: A, mut other: B) -> Option<A::Output> {
    std::future::poll_fn(move |cx| {
        use std::task::Poll;
        if let Poll::Ready(output) = std::pin::Pin::new(&mut one).poll(cx) {
            return Poll::Ready(Some(output));
        }
        std::pin::Pin::new(&mut other).poll(cx).map(|_| None)
    })
    .await
}

/// Explores two jobs that mail through an adapter, each at its own line: while a transaction is open, or after the
/// commit.
fn mailing(inside: bool) -> Report {
    one_deviation().run(async move |world: &World| {
        world.deny_warnings();
        world.allow("email.send", Guarantee::AtLeastOnce);
        world.process("worker", move |p| {
            let (store, email) = (p.store(), p.email());
            p.handle(async move |order: Order| {
                let mut tx = store.transaction(Isolation::ReadCommitted).await;
                tx.put("order", &order.id).await?;
                if inside {
                    send_by_adapter(&email, "paid").await?; // the first adapter call
                    send_by_adapter(&email, "sent").await?; // the second adapter call
                    tx.commit().await
                } else {
                    tx.commit().await?;
                    send_by_adapter(&email, "paid").await?;
                    send_by_adapter(&email, "sent").await.map_err(StoreError::from)
                }
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    })
}

#[test]
fn what_is_denied_in_an_adapter_of_another_file_is_told_at_the_lines_of_the_job() {
    let report = mailing(true);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let lines = lines(&report);
    assert_eq!(lines.len(), 2, "{report}");
    assert!(lines[0].ends_with("// the first adapter call"), "{lines:?}");
    assert!(lines[1].ends_with("// the second adapter call"), "{lines:?}");
    assert_eq!(mailing(false).verdict(), Verdict::RetryProof, "{}", mailing(false));
}

/// In addition to the charge, the job makes a lookup, and does not wait for the answer.
#[test]
fn a_call_that_is_always_dropped_is_not_what_a_missing_key_is_told_to_mend() {
    let report = explore(&one_deviation().crashes(0).deliveries(0), |p: &Process| {
        let (store, payments) = (p.store(), p.payments());
        p.handle(async move |order: Order| {
            let charge = std::pin::pin!(payments.charge(unkeyed(order.id)));
            let beat = std::pin::pin!(store.get::<bool>("beat"));
            match first_of(charge, beat).await {
                Some(charged) => charged.map(drop),
                None => Ok(()),
            }
        });
    });
    assert_eq!(report.code(), Some(Code::RepeatedAfterError), "{report}");
    assert!(report.violations()[0].help.starts_with("use an idempotency key"), "{report}");
}

/// Each attempt draws its own key.
#[test]
fn keys_that_are_drawn_anew_are_not_said_to_be_the_same() {
    let report = explore(&one_deviation().crashes(0).deliveries(0), |p: &Process| {
        let (rng, payments) = (p.rng(), p.payments());
        p.handle(async move |order: Order| {
            let key = rng.next_u64().to_string();
            payments.charge(unkeyed(order.id).key(key)).await.map(drop)
        });
    });
    let help = &report.violations()[0].help;
    expect!["use an idempotency key that is the same on every attempt, or check for the effect first"]
        .assert_eq(help);
}

/// A claim without an owner: a job that fails after it leaves three effects and a row undone. The totals are raised in a
/// loop, one row each.
fn after_a_claim(claims: bool) -> Report {
    one_deviation().run(async move |world: &World| {
        world.process("worker", move |p| {
            let (store, payments, email) = (p.store(), p.payments(), p.email());
            p.handle(async move |_: Order| {
                if claims {
                    if !store.set_if_absent("claim", &true, None).await? {
                        return Ok(());
                    }
                    payments.charge(Charge::of_order(1, 500).key("first")).await?;
                    email.send(mail("thanks").key("thanks")).await?;
                    return store.put("done", &true).await.map_err(Into::into);
                }
                for total in ["asia", "europe", "us"] {
                    store.incr(total, 1).await?;
                }
                Ok::<(), Box<dyn std::error::Error>>(())
            });
        });
        world.enqueue(Order { id: 1 });
        world.settle().await;
    })
}

#[test]
fn failures_at_one_place_that_leave_several_things_undone_are_one_entry() {
    let report = after_a_claim(true);
    let [effects, state] = report.violations() else { panic!("two entries expected:\n{report}") };
    assert_eq!(effects.code, Code::MissingAfterError, "{report}");
    let mut undone = effects.likewise.clone();
    undone.extend(effects.effect.clone());
    undone.sort();
    assert_eq!(undone, ["email.send", "payments.charge"], "{report}");
    assert_eq!((state.code, state.likewise.len()), (Code::StateAfterError, 0), "{report}");
    let text = report.to_string();
    expect!["the same failures also affect: payments.charge"].assert_eq(line_of(&text, "also affect"));
    // Several parts of one state.
    let report = after_a_claim(false);
    let [violation] = report.violations() else { panic!("one entry expected:\n{report}") };
    assert_eq!(violation.likewise, ["$.europe", "$.us"], "{report}");
}
