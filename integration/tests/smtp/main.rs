//! Jobs that send emails with lettre, which knows nothing about the harness.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;

use expect_test::expect;
use lettre::message::header::ContentType;
use lettre::message::{Attachment, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, SmtpTransport, Tokio1Executor, Transport};
use retryproof::{Explore, Guarantee, Process, Report, World};

use crate::support::{assert_green, assert_violated, lines_of, one_deviation};

const TWICE: &str = "email.send happened twice, expected once";

fn message(order: u32) -> Message {
    let builder = Message::builder().from("Shop <shop@example.com>".parse().unwrap());
    // Without an argument it is drawn, so it differs in each attempt.
    let builder = builder.to("Ada <ada@example.com>".parse().unwrap()).message_id(None);
    builder.subject(format!("Order {order}")).body("It has shipped.".to_owned()).unwrap()
}

fn mailer(p: &Process) -> SmtpTransport {
    SmtpTransport::builder_dangerous("127.0.0.1").port(p.smtp().address().port()).build()
}

/// Explores a job that sends an email, and sets up the world first.
fn blocking(explore: &Explore, set: fn(&World)) -> Report {
    explore.run(async move |world: &World| {
        set(world);
        world.process("worker", |p| {
            let mailer = mailer(p);
            p.handle_blocking(move |order: u32| mailer.send(&message(order)).map(drop));
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

fn concurrent(explore: &Explore, set: fn(&World)) -> Report {
    explore.run(async move |world: &World| {
        set(world);
        world.process("worker", |p| {
            let port = p.smtp().address().port();
            let mailer =
                AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1").port(port).build();
            p.handle(async move |order: u32| mailer.send(message(order)).await.map(drop));
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn an_email_that_is_sent_again_is_found_with_a_blocking_and_an_async_transport() {
    for explore in [blocking, concurrent] {
        let report = explore(&one_deviation(), |_| ());
        assert_violated(&report, TWICE, "test job#1.1/email.send:call=reply-lost");
        // start 1, before 1, call 9, pause 1, happened 1, replied 1, end 1, ack 1, as of any call over a socket.
        assert_eq!(report.runs(), 1 + 16, "{report}");
    }
}

#[test]
fn where_emails_may_be_repeated_every_failure_of_a_mail_server_is_survived() {
    let at_least_once = |world: &World| _ = world.allow("email.send", Guarantee::AtLeastOnce);
    assert_green(&blocking(&one_deviation(), at_least_once));
    assert_green(&concurrent(&one_deviation().deviations(2), at_least_once));
}

/// A job decides by the code in an answer: `4xx` may pass, `5xx` will not.
#[test]
fn a_job_sees_the_codes_of_a_mail_server() {
    let seen = Mutex::new(BTreeSet::new());
    let report = one_deviation().run(async |world: &World| {
        world.allow("email.send", Guarantee::AtLeastOnce);
        world.email().explore_refusals();
        let codes = world.durable("codes", Vec::<String>::new());
        world.ignore("codes", "$");
        let of_process = codes.clone();
        world.process("worker", move |p| {
            let (mailer, codes) = (mailer(p), of_process.clone());
            p.handle_blocking(move |order: u32| match mailer.send(&message(order)) {
                Ok(_) => Ok(()),
                Err(error) => {
                    codes.update(|codes| codes.extend(error.status().map(|code| code.to_string())));
                    if error.is_permanent() { Ok(()) } else { Err(error) }
                }
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
        seen.lock().unwrap().extend(codes.get());
    });
    assert_green(&report);
    let seen: Vec<String> = seen.into_inner().unwrap().into_iter().collect();
    assert_eq!(seen, ["421", "450", "550"]);
}

/// Explores a job that notes whether its email was accepted.
fn rejected() -> Report {
    let report = one_deviation().run(async |world: &World| {
        world.email().explore_refusals();
        world.allow("email.send", Guarantee::AtLeastOnce);
        world.process("worker", |p| {
            let (mailer, store) = (mailer(p), p.store());
            p.handle_blocking(move |order: u32| {
                let sent = match mailer.send(&message(order)) {
                    Ok(_) => true,
                    Err(error) if error.is_permanent() => false,
                    Err(error) => return Err(error.to_string()),
                };
                store.put_blocking(format!("order:{order}"), &sent).map_err(|error| error.to_string())
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_green(&report);
    report
}

#[test]
fn a_rejected_address_is_an_input_and_no_failure() {
    let first = rejected().to_string();
    // What follows a reply on the thread of a blocking job has once raced with the executor.
    for _ in 0..20 {
        assert_eq!(rejected().to_string(), first);
    }
}

#[test]
fn the_fake_reads_messages_with_parts_logins_and_several_recipients() {
    let world = World::fake();
    let address = world.smtp().address();
    let parts = MultiPart::mixed()
        .multipart(MultiPart::alternative_plain_html("Hello".to_owned(), "<b>Hello</b>".to_owned()))
        .singlepart(
            Attachment::new("i.pdf".to_owned())
                .body(b"%PDF".to_vec(), ContentType::parse("application/pdf").unwrap()),
        );
    let builder = Message::builder().from("shop@example.com".parse().unwrap()).subject("Invoice");
    let builder = builder.to("ada@example.com".parse().unwrap()).bcc("audit@example.com".parse().unwrap());
    let mailer = SmtpTransport::builder_dangerous(address.ip().to_string()).port(address.port());
    let mailer = mailer.credentials(Credentials::new("shop".to_owned(), "secret".to_owned()));
    let mailer = mailer.hello_name(ClientId::Domain("shop.example.com".to_owned())).build();
    let invoice = builder.multipart(parts).unwrap();
    mailer.send(&invoice).unwrap();
    mailer.send(&invoice).unwrap();
    assert!(mailer.test_connection().unwrap());

    let sent = world.email().records();
    assert_eq!(sent.len(), 2, "a message is sent each time");
    assert_eq!(sent[0].email, sent[1].email);
    let email = &sent[0].email;
    assert_eq!(
        (&*email.to, &*email.template_id, &*email.body),
        ("ada@example.com, audit@example.com", "Invoice", "Hello")
    );
    assert_eq!(email.template_data["html"], "<b>Hello</b>");
    assert_eq!(email.template_data["attachments"][0]["name"], "i.pdf");
    assert_eq!(email.template_data["attachments"][0]["length"], 4);
}

/// The first bytes of a connection that speaks TLS.
const CLIENT_HELLO: &[u8] = &[0x16, 0x03, 0x01, 0x00, 0x2f, 0x01, 0x00, 0x00, 0x2b, 0x03, 0x03];

#[test]
fn a_client_that_speaks_tls_is_named_in_the_timeline() {
    let report = one_deviation().deviations(0).run(async |world: &World| {
        world.process("worker", |p| {
            let address = p.smtp().address();
            p.handle_blocking(move |_: u32| {
                let mut stream = TcpStream::connect(address)?;
                stream.write_all(CLIENT_HELLO)?;
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer)?;
                assert_eq!(answer.last(), Some(&0x28), "the alert `handshake_failure`");
                Err::<(), io::Error>(io::Error::other("no TLS"))
            })
            .discard_on_failure();
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    expect![[r#"
        job#1 u32 is discarded: no TLS
        note: job#1 u32 fails once even in the fault-free run: no TLS
    "#]]
    .assert_eq(&lines_of(&report.to_string(), "TLS"));
}
