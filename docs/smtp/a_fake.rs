use lettre::{Message, SmtpTransport, Transport};
use retryproof::World;

let world = World::fake();
let mailer = SmtpTransport::builder_dangerous("127.0.0.1").port(world.smtp().address().port()).build();
let email = Message::builder()
    .from("shop@example.com".parse().unwrap())
    .to("ada@example.com".parse().unwrap())
    .subject("Your order has shipped")
    .body("It arrives tomorrow.".to_owned())
    .unwrap();
mailer.send(&email).unwrap();

let sent = &world.email().records()[0].email;
assert_eq!((&*sent.to, &*sent.template_id), ("ada@example.com", "Your order has shipped"));
assert_eq!(sent.body, "It arrives tomorrow.");
