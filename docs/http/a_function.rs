use retryproof::World;
use retryproof::service::{ServiceContext, function};

let world = World::fake();
let send = |text: String, cx: &mut ServiceContext<'_>| cx.effect("send", None, &text, "sm_");
world.service("sms", function("send", send)).over_http();
let uri = format!("{}/sms/send", world.http().uri());
let id: String = ureq::post(uri).send_json("Hello").unwrap().body_mut().read_json().unwrap();
assert!(id.starts_with("sm_"));
