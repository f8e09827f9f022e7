use retryproof::World;

let world = World::fake();
let page = format!("{}/payments/ui", world.http().uri());
assert!(ureq::get(page).call().unwrap().body_mut().read_to_string().unwrap().contains("NONE YET"));
