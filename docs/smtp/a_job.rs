use lettre::{Message, SmtpTransport, Transport};
use retryproof::{Explore, World};

let report = Explore::new().deviations(1).run(async |world: &World| {
    world.process("worker", |p| {
        let mailer = SmtpTransport::builder_dangerous("127.0.0.1").port(p.smtp().address().port()).build();
        p.handle_blocking(move |order: u32| {
            let email = Message::builder()
                .from("shop@example.com".parse().unwrap())
                .to("ada@example.com".parse().unwrap())
                .subject(format!("Your order {order} has shipped"))
                .body("It arrives tomorrow.".to_owned())
                .unwrap();
            mailer.send(&email).map(drop)
        });
    });
    world.enqueue(6_u32);
    world.settle().await;
});
assert_eq!(report.violations()[0].summary, "email.send happened twice, expected once");
