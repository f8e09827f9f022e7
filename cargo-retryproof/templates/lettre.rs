//! A first test with retryproof and lettre. The job is wrong on purpose: run `cargo retryproof test`, and read the report.

use lettre::{Message, SmtpTransport, Transport};
use retryproof::World;

/// Your job. Only the address of the mail server differs from production.
fn confirm(mailer: &SmtpTransport, order: u32) -> Result<(), lettre::transport::smtp::Error> {
    let message = Message::builder()
        .from("shop@example.com".parse().unwrap())
        .to("ada@example.com".parse().unwrap())
        .subject(format!("Order {order}"))
        .body("Thank you.".to_owned())
        .unwrap();
    // SMTP has no idempotency keys. If a second mail is fine, say so in the test:
    // `world.allow("email.send", retryproof::Guarantee::AtLeastOnce)`.
    mailer.send(&message).map(drop)
}

#[retryproof::test]
async fn orders_are_confirmed_once(world: &World) {
    // What `main` of your worker does: it builds clients, and registers handlers.
    world.process("worker", |p| {
        let mailer = SmtpTransport::builder_dangerous("127.0.0.1").port(p.smtp().address().port()).build();
        p.handle_blocking(move |order: u32| confirm(&mailer, order));
    });
    world.enqueue(6_u32);
    world.settle().await;
}
