//! The suite for protocols: the toy passes it, and for each of its assertions there is a protocol that fails it.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};

use retryproof::World;
use retryproof::wire::{
    Caller, DecodeOutcome, Nonconformance, Protocol, Repetitions, Reply, Sample, ServeOutcome, conformance,
    conformance_repeating,
};
use retryproof_integration::key_value::{Command, Counters, KeyValue};

const SAMPLE: Sample = Sample {
    write: b"INCR visits\n",
    is_whole: |reply| reply.ends_with(b"\n"),
    is_error: |reply| reply.starts_with(b"ERR"),
};

fn counters(world: &World) {
    world.service("counters", Counters::default());
}

/// At its end, the suite counts the files and threads of the whole program, so it must run alone by then.
static TURN: RwLock<()> = RwLock::new(());

#[test]
fn the_toy_conforms() {
    let _turn = TURN.write();
    conformance_repeating(Repetitions::FEW, || KeyValue, counters, SAMPLE)
        .unwrap_or_else(|failures| panic!("{failures}"));
}

#[test]
#[ignore = "nightly: takes half a minute"]
fn the_toy_conforms_with_all_repetitions() {
    let _turn = TURN.write();
    conformance(|| KeyValue, counters, SAMPLE).unwrap_or_else(|failures| panic!("{failures}"));
}

/// Returns the failures of a protocol that does one thing differently than the toy.
#[track_caller]
fn failures<P: Protocol>(protocol: impl Fn() -> P + Sync) -> Vec<Nonconformance> {
    let _turn = TURN.read();
    let failures = conformance_repeating(Repetitions::FEW, protocol, counters, SAMPLE);
    let failures = failures.expect_err("it does not conform");
    failures.iter().cloned().collect()
}

/// Defines a protocol like the toy, with its own `serve`.
macro_rules! double {
    ($name:ident, |$this:ident, $request:ident, $caller:ident| $serve:expr) => {
        impl Protocol for $name {
            type Session = ();
            type Request = Command;

            fn greeting(&self) -> Vec<u8> {
                Protocol::greeting(&KeyValue)
            }

            fn decode(&self, bytes: &mut Vec<u8>, session: &mut ()) -> DecodeOutcome<Command> {
                KeyValue.decode(bytes, session)
            }

            fn serve(&self, $request: Command, (): &mut (), $caller: &Caller<'_>) -> ServeOutcome {
                let $this = self;
                $serve
            }
        }
    };
}

/// Never answers.
struct Mute;
double!(Mute, |_this, _request, _caller| ServeOutcome::reply(Reply::reset()));

#[test]
fn a_protocol_that_does_not_answer_is_found() {
    assert_eq!(failures(|| Mute), [Nonconformance::Unanswered { effects: 0 }]);
}

/// Answers a repeated request from its own memory, instead of from the service.
#[derive(Default)]
struct Remembers(Mutex<Vec<Command>>);
double!(Remembers, |this, request, caller| {
    let mut known = this.0.lock().unwrap();
    if known.contains(&request) {
        return ServeOutcome::reply(Reply::new("VALUE 1\n"));
    }
    known.push(request.clone());
    drop(known);
    KeyValue.serve(request, &mut (), caller)
});

#[test]
fn a_protocol_that_answers_by_itself_is_found() {
    let failures = failures(Remembers::default);
    let lost = |point: &str| Nonconformance::Effects { point: point.to_owned(), expected: 2, actual: 1 };
    for point in
        ["happened=crash", "replied=crash", "call=reply-lost", "call=reset-but-done", "call=half-a-reply"]
    {
        assert!(failures.contains(&lost(point)), "{point}: {failures:?}");
    }
}

/// Retries a refused call by itself, so that a call that the caller considers refused has happened.
struct TriesAgain;
double!(TriesAgain, |_this, request, caller| {
    caller.call::<Counters>("counters", request.clone(), |_| Reply::new(""));
    KeyValue.serve(request, &mut (), caller)
});

#[test]
fn a_protocol_that_calls_twice_is_found() {
    assert_eq!(failures(|| TriesAgain), [Nonconformance::Unanswered { effects: 2 }]);
}

/// Makes the effect although the service refused it.
struct Insists;
double!(Insists, |_this, request, caller| {
    let Command::Incr { key, .. } = request else { return ServeOutcome::reply(Reply::reset()) };
    let token = Some("the same".to_owned());
    // Twice with one token: it happens if either call is not refused, and once if neither is.
    caller.call::<Counters>("counters", Command::Incr { key: key.clone(), token: token.clone() }, |_| {
        Reply::new("")
    });
    KeyValue.serve(Command::Incr { key, token }, &mut (), caller)
});

#[test]
fn a_protocol_that_hides_what_happened_is_found() {
    let failures = failures(|| Insists);
    assert!(failures.iter().any(|failure| matches!(failure, Nonconformance::Effects { .. })), "{failures:?}");
}

/// Answers every request without a call.
struct Alone;
impl Protocol for Alone {
    type Session = ();
    type Request = Command;

    fn decode(&self, bytes: &mut Vec<u8>, session: &mut ()) -> DecodeOutcome<Command> {
        KeyValue.decode(bytes, session)
    }

    fn serve(&self, _: Command, (): &mut (), _: &Caller<'_>) -> ServeOutcome {
        ServeOutcome::reply(Reply::new("VALUE 1\n"))
    }
}

#[test]
fn a_protocol_without_calls_is_found() {
    assert_eq!(failures(|| Alone), [Nonconformance::Unanswered { effects: 0 }]);
}

/// Counts over all runs, and refuses every hundredth request.
static ASKED: AtomicU64 = AtomicU64::new(0);
struct Moody;
double!(Moody, |_this, request, caller| {
    match ASKED.fetch_add(1, Ordering::SeqCst) % 101 {
        100 => ServeOutcome::reply(Reply::new("ERR not today\n")),
        _ => KeyValue.serve(request, &mut (), caller),
    }
});

#[test]
fn a_protocol_that_remembers_other_runs_is_found() {
    let failures = failures(|| Moody);
    assert!(
        failures.iter().any(|failure| matches!(failure, Nonconformance::Nondeterministic { .. })),
        "{failures:?}"
    );
}

/// Leaks a file at every fourth request, because at every request the process might run out of files.
struct Leaks;
double!(Leaks, |_this, request, caller| {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    if ASKED.fetch_add(1, Ordering::SeqCst) % 4 == 0 {
        std::mem::forget(File::open("/dev/null"));
    }
    KeyValue.serve(request, &mut (), caller)
});

#[test]
#[cfg(target_os = "linux")]
fn a_protocol_that_leaks_files_is_found() {
    let _turn = TURN.write();
    let failures = conformance_repeating(Repetitions::FEW, || Leaks, counters, SAMPLE);
    let failures: Vec<_> = failures.expect_err("it does not conform").iter().cloned().collect();
    assert!(matches!(failures[..], [Nonconformance::Leaks { threads: 0, .. }]), "{failures:?}");
}

/// Accepts anything as a request.
struct Gullible;
impl Protocol for Gullible {
    type Session = ();
    type Request = Command;

    fn decode(&self, bytes: &mut Vec<u8>, (): &mut ()) -> DecodeOutcome<Command> {
        bytes.clear();
        DecodeOutcome::Request(Command::Incr { key: "visits".to_owned(), token: None })
    }

    fn serve(&self, request: Command, session: &mut (), caller: &Caller<'_>) -> ServeOutcome {
        KeyValue.serve(request, session, caller)
    }
}

#[test]
fn a_protocol_that_acts_on_garbage_is_found() {
    let failures = failures(|| Gullible);
    assert!(failures.iter().any(|failure| matches!(failure, Nonconformance::Acts { .. })), "{failures:?}");
}

/// Never closes a connection: it answers everything, byte by byte.
struct Patient;
impl Protocol for Patient {
    type Session = ();
    type Request = Command;

    fn decode(&self, bytes: &mut Vec<u8>, session: &mut ()) -> DecodeOutcome<Command> {
        if bytes.contains(&b'\n') {
            return KeyValue.decode(bytes, session);
        }
        bytes.clear();
        DecodeOutcome::Aside(Vec::new())
    }

    fn serve(&self, request: Command, session: &mut (), caller: &Caller<'_>) -> ServeOutcome {
        KeyValue.serve(request, session, caller)
    }
}

#[test]
fn a_protocol_that_lets_a_peer_drip_forever_is_found() {
    let failures = failures(|| Patient);
    let hangs = Nonconformance::Hangs { sent: "a byte now and then".to_owned() };
    assert!(failures.contains(&hangs), "{failures:?}");
}
