//! A custom service has the same faults, ledger and crash points as the built-in ones.

use super::{assert_green, assert_violated, one_deviation};
use retryproof::future::TypedCall;
use retryproof::service::email::Email;
use retryproof::service::{Function, Keys, Operation, Refusal, Service, ServiceContext, function};
use retryproof::{Client, Code, Explore, Process, Report, ServiceError, Verdict, World};
use serde::Serialize;

type Texts = Function<String, String>;

fn send(text: String, cx: &mut ServiceContext<'_>) -> String {
    cx.effect("send", None, &text, "sm_")
}

fn texting(explore: &Explore, boot: impl Fn(&Process) + Clone + Sync + 'static) -> Report {
    explore.run(async |world: &World| {
        world.service("sms", function("send", send));
        world.process("worker", boot.clone());
        world.enqueue("Ada".to_owned());
        world.settle().await;
    })
}

#[test]
fn a_function_has_every_fault_and_crash_point() {
    let report = texting(&one_deviation(), |p| {
        let sms = p.service::<Texts>("sms");
        p.handle(async move |name: String| sms.call(name).await.map(drop));
    });
    for scenario in [
        "test job#1.1/sms.send:call=reply-lost",
        "test job#1.1/sms.send:happened=crash",
        "test job#1.1/sms.send:pause=past-lease",
    ] {
        assert_violated(&report, "sms.send happened twice, expected once", scenario);
    }
    // As many as for a charge: start 1, before 1, call 5, pause 1, happened 1, replied 1, end 1, ack 1.
    assert_eq!(report.runs(), 1 + 12, "{report}");
}

#[test]
fn a_function_that_only_reads_has_a_reads_faults() {
    let report = one_deviation().run(async |world: &World| {
        world.durable("nothing", ());
        world.service(
            "prices",
            function("price", |product: String, _: &mut ServiceContext<'_>| product.len()).read_only(),
        );
        world.process("worker", |p| {
            let prices = p.service::<Function<String, usize>>("prices");
            p.handle(async move |product: String| prices.call(product).await.map(drop));
        });
        world.enqueue("pr_1".to_owned());
        world.settle().await;
    });
    assert_green(&report);
    assert_eq!(report.runs(), 1 + 9, "{report}");
}

#[derive(Debug, Serialize, serde::Deserialize)]
struct Mail {
    key: Option<&'static str>,
    to: u32,
}

/// Sends a mail for each job, under the key that it is given.
fn mailing(key: fn(u32) -> Option<&'static str>, jobs: &'static [u32]) -> Report {
    one_deviation().run(async move |world: &World| {
        let send = function("send", |mail: Mail, cx: &mut ServiceContext<'_>| {
            cx.effect("send", mail.key, &mail, "em_")
        });
        world.service("mail", send.honors_keys(|mail| mail.key));
        world.process("worker", move |p| {
            let mail = p.service::<Function<Mail, String>>("mail");
            p.handle(async move |to: u32| mail.call(Mail { key: key(to), to }).await.map(drop));
        });
        world.enqueue_bulk(jobs.iter().copied());
        world.settle().await;
    })
}

#[test]
fn a_function_honors_keys_where_it_is_said_to() {
    let by_recipient = |to| Some(if to == 1 { "to-1" } else { "to-2" });
    assert_green(&mailing(by_recipient, &[1, 2]));
    // A request without a key is done again.
    let report = mailing(|_| None, &[1]);
    assert_violated(
        &report,
        "mail.send happened twice, expected once",
        "test job#1.1/mail.send:call=reply-lost",
    );
    // The key of another request.
    let report = mailing(|_| Some("mail"), &[1, 2]);
    assert_eq!(report.code(), Some(Code::KeyReused), "{report}");
}

#[test]
fn a_function_answers_from_code_that_blocks() {
    let report = texting(&one_deviation(), |p| {
        let sms = p.service::<Texts>("sms");
        p.handle_blocking(move |name: String| sms.call_blocking(name).map(drop));
    });
    assert_violated(
        &report,
        "sms.send happened twice, expected once",
        "test job#1.1/sms.send:happened=crash",
    );
}

#[test]
fn what_a_function_holds_outlives_a_crash_and_is_not_changed_by_a_destructor() {
    struct Farewell(Client<Function<u32, u32>>);
    impl Drop for Farewell {
        fn drop(&mut self) {
            // During teardown, a throw-away copy answers.
            let _ = self.0.call_blocking(100);
        }
    }
    let report = one_deviation().faults(0).deliveries(0).run(async |world: &World| {
        let mut sum = 0;
        let counter = world.service(
            "counter",
            function("add", move |more: u32, cx: &mut ServiceContext<'_>| {
                sum += more;
                if more == 1 {
                    cx.effect("add", None, &more, "");
                }
                sum
            }),
        );
        world.allow("counter.add", retryproof::Guarantee::AtLeastOnce);
        world.process("worker", |p| {
            let counter = p.service::<Function<u32, u32>>("counter");
            p.handle(async move |_: u8| {
                let farewell = Farewell(counter.clone());
                counter.call(1).await?;
                std::mem::forget(farewell);
                Ok::<_, ServiceError>(())
            });
        });
        world.enqueue(1_u8);
        world.settle().await;
        let added = world.effects().of("counter.add").count() as u32;
        assert_eq!(counter.call(0).await.unwrap(), added);
    });
    assert_green(&report);
}

/// A gateway with keys, lookups and refusals, like the built-in services.
#[derive(Clone, Default, Serialize)]
struct Gateway {
    sent: Vec<String>,
    keys: Keys<String>,
}

#[derive(Clone, Debug, Serialize)]
enum Ask {
    Send { key: Option<String>, text: String },
    Count,
}

#[derive(Debug, Serialize)]
enum Answer {
    Sent(String),
    Counted(usize),
}

impl Service for Gateway {
    type Request = Ask;
    type Reply = Answer;

    fn operation(&self, request: &Ask) -> Operation {
        match request {
            Ask::Send { .. } => Operation::write("send".into()),
            Ask::Count => Operation::read("count".into()),
        }
    }

    fn answer(&mut self, request: Ask, cx: &mut ServiceContext<'_>) -> Result<Answer, Refusal> {
        let (key, text) = match request {
            Ask::Count => return Ok(Answer::Counted(self.sent.len())),
            Ask::Send { text, .. } if text.len() > 160 => {
                return Err(Refusal { status: 413, reason: "160 characters at most".to_owned() });
            }
            Ask::Send { key, text } => (key, text),
        };
        if let Some(known) = self.keys.known("send", key.as_deref(), &text, cx)? {
            return Ok(Answer::Sent(known));
        }
        let id = cx.effect("send", key.as_deref(), &text, "sm_");
        self.sent.push(text);
        if let Some(key) = key {
            self.keys.store(key, id.clone(), cx);
        }
        Ok(Answer::Sent(id))
    }

    fn key<'r>(&self, request: &'r Ask) -> Option<&'r str> {
        match request {
            Ask::Send { key, .. } => key.as_deref(),
            Ask::Count => None,
        }
    }

    fn state(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

/// Calls by name, like those of the built-in services.
trait Sms {
    fn text(&self, key: Option<&str>, text: &str) -> TypedCall<Gateway, String>;
}

impl Sms for Client<Gateway> {
    #[track_caller]
    fn text(&self, key: Option<&str>, text: &str) -> TypedCall<Gateway, String> {
        self.call(Ask::Send { key: key.map(str::to_owned), text: text.to_owned() }).map(|answer| match answer
        {
            Answer::Sent(id) => id,
            Answer::Counted(_) => unreachable!("a text is answered by its id"),
        })
    }
}

fn gateway(explore: &Explore, keyed: bool) -> Report {
    explore.run(async move |world: &World| {
        world.service("sms", Gateway::default());
        world.process("worker", move |p| {
            let sms = p.service::<Gateway>("sms");
            p.handle(async move |name: String| {
                let key = keyed.then(|| format!("greet-{name}"));
                sms.text(key.as_deref(), "Hello").await.map(drop)
            });
        });
        world.enqueue("Ada".to_owned());
        world.settle().await;
    })
}

#[test]
fn a_state_machine_with_keys_makes_a_text_repeatable() {
    assert_green(&gateway(&Explore::new(), true));
    assert_violated(
        &gateway(&one_deviation(), false),
        "sms.send happened twice, expected once",
        "test job#1.1/sms.send:call=reply-lost",
    );
}

#[test]
fn runs_are_merged_where_a_service_tells_its_state_and_not_where_it_does_not() {
    let merged = |report: Report| {
        assert_green(&report);
        report.merged()
    };
    assert!(merged(gateway(&Explore::new().merge(true), true)) > 0);
    let held = Explore::new().merge(true).run(async |world: &World| {
        let mut keys = Keys::<String>::default();
        world.service(
            "sms",
            function("send", move |text: String, cx: &mut ServiceContext<'_>| {
                match keys.known("send", Some(&text), &text, cx) {
                    Ok(Some(id)) => id,
                    _ => {
                        let id = cx.effect("send", Some(&text), &text, "sm_");
                        keys.store(&text, id.clone(), cx);
                        id
                    }
                }
            }),
        );
        world.process("worker", |p| {
            let sms = p.service::<Texts>("sms");
            p.handle(async move |name: String| sms.call(name).await.map(drop));
        });
        world.enqueue("Ada".to_owned());
        world.settle().await;
    });
    assert_eq!(merged(held), 0, "what a closure holds cannot be told");
}

#[test]
fn a_process_reaches_what_the_test_holds_by_its_name() {
    let held = |look: fn(&Process)| {
        let report = one_deviation().run(async move |world: &World| {
            world.durable("stock", 10_u32);
            world.process("worker", look);
            world.settle().await;
        });
        report.violations().first().map(|violation| violation.summary.clone())
    };
    assert_eq!(held(|p| assert_eq!(p.durable::<u32>("stock").get(), 10)), None);
    // A part: the text of a panic ends in its place, which moves with each edit.
    let unknown = held(|p| drop(p.durable::<u32>("paid"))).expect("it is not there");
    assert!(
        unknown.contains("the test holds no value `paid`; add it by `world.durable(\"paid\", …)`"),
        "{unknown}"
    );
    let other = held(|p| drop(p.durable::<u64>("stock"))).expect("it is another one");
    assert!(other.contains("the value `stock` is a u32, and was asked for as a u64"), "{other}");
}

#[test]
fn a_value_that_is_reached_by_its_name_outlives_a_crash() {
    one_deviation().check(async |world: &World| {
        let done = world.durable("done", std::collections::BTreeSet::<u32>::new());
        world.process("worker", |p| {
            let done = p.durable::<std::collections::BTreeSet<u32>>("done");
            p.handle(async move |order: u32| _ = done.update(|done| done.insert(order)));
        });
        world.enqueue(6_u32);
        world.settle().await;
        assert_eq!(done.get().into_iter().collect::<Vec<_>>(), [6]);
    });
}

#[test]
fn a_client_of_another_world_is_refused() {
    let (one, other) = (World::fake(), World::fake());
    let sms = one.service("sms", function("send", send));
    let message = crate::support::panic_of(|| {
        other.process("worker", move |p| drop(p.client(&sms)));
    });
    assert_eq!(
        message,
        "the service `sms` belongs to another world; pass the client that `world.service(…)` of this world returned"
    );
}

#[test]
fn an_email_with_a_key_is_sent_once() {
    let sending = |keyed: bool| {
        one_deviation().run(async move |world: &World| {
            world.process("worker", move |p| {
                let email = p.email();
                p.handle(async move |order: u32| {
                    let mail = Email::text("ada@example.com", format!("Your order {order} has shipped."));
                    email
                        .send(if keyed { mail.key(format!("shipped-{order}")) } else { mail })
                        .await
                        .map(drop)
                });
            });
            world.enqueue(6_u32);
            world.settle().await;
            let records = world.email().records();
            assert_eq!(records[0].email.idempotency_key.is_some(), keyed);
        })
    };
    assert_violated(
        &sending(false),
        "email.send happened twice, expected once",
        "test job#1.1/email.send:happened=crash",
    );
    assert_green(&sending(true));
}

#[retryproof::test(deviations = 1)]
async fn the_body_of_a_test_may_return_a_result(world: &World) -> Result<(), ServiceError> {
    let sms = world.service("sms", function("send", |_: String, _: &mut ServiceContext<'_>| ()).read_only());
    world.durable("nothing", ());
    world.process("worker", |p| {
        p.handle(async |_: u8| ());
    });
    world.enqueue(1_u8);
    world.settle().await;
    sms.call("Hello".to_owned()).await
}

#[retryproof::test]
#[should_panic(expected = "the test body returned an error: \"no order\"")]
async fn a_body_that_returns_an_error_fails(_world: &World) -> Result<(), &'static str> {
    Err("no order")
}

#[test]
fn a_refusal_is_seen_as_what_it_is() {
    one_deviation().check(async |world: &World| {
        let seen = world.durable("seen", String::new());
        world.service("sms", Gateway::default());
        world.process("worker", move |p| {
            let (sms, seen) = (p.service::<Gateway>("sms"), seen.clone());
            p.handle(async move |_: u8| match sms.text(None, &"x".repeat(161)).await {
                Err(error @ ServiceError::Refused { status: 413, .. }) => {
                    seen.set(error.to_string());
                    Ok(())
                }
                Err(error) => Err(error),
                Ok(id) => panic!("{id} was sent"),
            });
        });
        world.enqueue(1_u8);
        world.settle().await;
        assert_eq!(world.effects().count(), 0);
    });
}

#[test]
fn a_given_of_the_tests_own_is_part_of_the_state_and_no_effect_of_the_jobs() {
    one_deviation().check(async |world: &World| {
        let sms = world.service("sms", Gateway::default());
        sms.text(Some("greet-Ada"), "Hello").await.unwrap();
        world.durable("nothing", ());
        world.process("worker", |p| {
            let sms = p.service::<Gateway>("sms");
            p.handle(async move |_: u8| match sms.call(Ask::Count).await? {
                Answer::Counted(0) => sms.text(Some("greet-Ada"), "Hello").await.map(drop),
                _ => Ok(()),
            });
        });
        world.enqueue(1_u8);
        world.settle().await;
        assert_eq!(sms.inspect(|gateway| gateway.sent.len()), 1);
        assert!(world.effects().of("sms").iter().all(|effect| effect.given));
    });
}

#[test]
fn two_gateways_of_one_type_are_told_apart_by_name() {
    one_deviation().check(async |world: &World| {
        world.service("sms", Gateway::default());
        world.service("pager", Gateway::default());
        world.process("worker", |p| {
            let (sms, pager) = (p.service::<Gateway>("sms"), p.service::<Gateway>("pager"));
            p.handle(async move |_: u8| {
                sms.text(Some("k"), "Hello").await?;
                pager.text(Some("k"), "Hello").await.map(drop)
            });
        });
        world.enqueue(1_u8);
        world.settle().await;
        assert_eq!(world.effects().of("sms.send").count(), 1);
        assert_eq!(world.effects().of("pager.send").count(), 1);
    });
}

#[test]
fn a_service_that_is_not_there_or_another_or_there_already() {
    let says = |report: Report, message: &str| {
        assert_eq!(report.verdict(), Verdict::Violated, "{report}");
        assert!(report.violations()[0].summary.contains(message), "{report}");
    };
    says(
        one_deviation().run(async |world: &World| {
            world.process("worker", |p| drop(p.service::<Gateway>("sms")));
        }),
        "there is no service `sms`; register it with `world.service(\"sms\", …)`, before `world.process(…)`",
    );
    says(
        texting(&one_deviation(), |p| drop(p.service::<Gateway>("sms"))),
        "the service `sms` is retryproof::system::service::function::Function<alloc::string::String, alloc::string::String>, \
         but the code asks for it::services::custom_services::Gateway",
    );
    for name in ["sms", "payments", "queue"] {
        says(
            one_deviation().run(async move |world: &World| {
                world.service("sms", Gateway::default());
                world.service(name, Gateway::default());
            }),
            &format!("the service `{name}` already exists; give each service its own name"),
        );
    }
}
