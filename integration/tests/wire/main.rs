//! A protocol from outside of the crate: the toy of `docs/adding-a-protocol.md`, with its production client.

mod suite;

use retryproof::{Explore, Report, Verdict, World};
use retryproof_integration::key_value::{Client, Counters, KeyValue};

/// Explores a worker that counts a visit in each job, with this request.
fn counting(explore: &Explore, request: &'static str) -> Report {
    explore.run(async move |world: &World| {
        world.service("counters", Counters::default());
        world.wire("kv", KeyValue);
        world.process("worker", move |p| {
            let address = p.wire("kv").address();
            p.handle_blocking(move |_visit: u32| Client::connect(address)?.ask(request).map(drop));
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

#[test]
fn a_visit_without_a_token_is_counted_twice() {
    let report = counting(&Explore::new().name("test").deviations(1), "INCR visits");
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert_eq!(report.violations()[0].summary, "counters.incr happened twice, expected once");
    // start 1, before 1, call 9, pause 1, happened 1, replied 1, end 1, ack 1.
    assert_eq!(report.runs(), 1 + 16);
}

#[test]
fn a_visit_with_a_token_is_counted_once() {
    let report = counting(&Explore::new().name("test").deviations(2), "INCR visits ONCE visit-6");
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(report.exhausted());
}

/// The test's own address: its calls are setup without choices. Messages that are not calls have none either.
#[test]
fn what_is_no_call_is_answered_all_the_same() {
    let world = World::fake();
    world.service("counters", Counters::default());
    let wire = world.wire("kv", KeyValue);
    let mut client = Client::connect(wire.address()).unwrap();
    assert_eq!(client.ask("PING").unwrap(), "PONG");
    assert_eq!(client.ask("GET visits").unwrap(), "NONE");
    assert_eq!(client.ask("SET visits 41").unwrap(), "OK");
    assert_eq!(client.ask("INCR visits").unwrap(), "VALUE 42");
    assert_eq!(client.ask("SET visits many").unwrap_err().to_string(), "not a number");
    assert_eq!(client.ask("QUIT").unwrap(), "BYE");
    assert!(client.ask("PING").is_err());
}

#[test]
#[should_panic(expected = "no protocol is called `kv`")]
fn a_protocol_that_nobody_added_is_named() {
    let world = World::fake();
    world.process("worker", |p| {
        p.wire("kv");
        p.handle(async |_: u32| ());
    });
}
