//! Tests the call protocol for every kind of call: which choices it meets and in which order, when it has happened, and
//! when its caller has the reply. Each call is polled by hand, as the executor or a destructor would poll it.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use super::{Attempt, External, ExternalFault, Process, Store};
use crate::engine::life::{self, Life, ProcessDeath};
use crate::engine::link::Link;
use crate::engine::state::{IncomingJob, Mode, Shared, State, Stuck, lock};
use crate::search::choice::{Actor, Chooser, Plan};
use crate::system::clock::TaskId;
use crate::system::job::{Unique, kind_of};
use crate::system::service::payments::Charge;
use crate::system::timeline::Timeline;

/// A kind of call: how to make it, and what the protocol requires of it.
struct Row {
    name: &'static str,
    /// Registers a handler that makes one call and records its reply.
    register: fn(&Process, Noted),
    /// The label of the call, followed by the points before and after it has happened.
    call: &'static str,
    before: &'static [&'static str],
    after: &'static [&'static str],
    /// Counts how many times the call has happened, if that can be observed.
    happened: Option<fn(&Hand) -> usize>,
    /// A fault after which the call has not happened, and one after which it has.
    refused: Option<&'static str>,
    lost: Option<&'static str>,
    form: Form,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Async,
    /// The call blocks the executor's thread, so no other task runs meanwhile.
    Blocking,
    /// A wire calls the two halves, and checks before each whether the process is alive.
    #[cfg(feature = "wire")]
    Wire,
}

const ATTEMPT: Actor = Actor::Attempt { job: 1, attempt: 1 };

/// The observation of the caller: whether the call succeeded.
#[derive(Clone, Default)]
struct Noted {
    reply: Arc<Mutex<Option<bool>>>,
    /// How many times the external system acted.
    real: Arc<AtomicUsize>,
}

impl Noted {
    async fn hear(&self, went_well: bool) {
        *lock(&self.reply) = Some(went_well);
        pending::<()>().await;
    }

    fn act(&self) -> Result<(), ExternalFault> {
        self.real.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

const CALL: &[&str] = &["before", "call"];
const WRITE: &[&str] = &["happened", "replied"];
const READ: &[&str] = &["replied"];

fn rows() -> Vec<Row> {
    let effects: Option<fn(&Hand) -> usize> = Some(|hand| hand.shared.state().ledger.effects().len());
    let jobs: Option<fn(&Hand) -> usize> = Some(|hand| hand.shared.state().queue.jobs().len() - 1);
    let real: Option<fn(&Hand) -> usize> = Some(|hand| hand.noted.real.load(Ordering::Relaxed));
    let row = |name, call, after, register| {
        let (before, happened, form) = (CALL, None, Form::Async);
        let (refused, lost) = (Some("unavailable"), Some("reply-lost"));
        Row { name, register, call, before, after, happened, refused, lost, form }
    };
    let queue = |name, call, register| Row {
        happened: jobs,
        refused: Some("refused"),
        ..row(name, call, WRITE, register)
    };
    let external = |name, after, register, form| Row {
        happened: real,
        refused: Some("unreachable"),
        lost: Some("reply-lost").filter(|_| after == WRITE),
        form,
        ..row(name, "db.call", after, register)
    };
    let faultless = |name, call, after, register| Row {
        before: &["before"],
        refused: None,
        lost: None,
        ..row(name, call, after, register)
    };
    vec![
        Row { happened: effects, ..row("service, write", "payments.charge", WRITE, charge) },
        Row { lost: None, ..row("service, read", "payments.charges", READ, look_up) },
        Row {
            happened: effects,
            form: Form::Blocking,
            ..row("service, blocking", "payments.charge", WRITE, charge_blocking)
        },
        Row { happened: Some(|hand| hand.is_in_store()), ..row("store", "store.put", WRITE, put) },
        queue("enqueue", "queue.enqueue", enqueue),
        Row { form: Form::Blocking, ..queue("enqueue, blocking", "queue.enqueue", enqueue_blocking) },
        queue("bulk", "queue.enqueue_bulk", enqueue_bulk),
        Row {
            happened: Some(|hand| usize::from(hand.shared.state().queue.job(1).cursor().is_some())),
            ..faultless("cursor", "queue.save_cursor", &["happened"], save_cursor)
        },
        Row {
            happened: Some(|hand| {
                let state = hand.shared.state();
                state.queue.locks.held(state.clock.now()).count()
            }),
            ..faultless("lock", "locks.acquire", &["after"], acquire)
        },
        external("external, async", WRITE, external_async, Form::Async),
        external("external, async read", READ, external_read, Form::Async),
        external("external, blocking", WRITE, external_blocking, Form::Blocking),
        #[cfg(feature = "wire")]
        Row { happened: effects, form: Form::Wire, ..row("a wire's halves", "payments.charge", WRITE, wire) },
    ]
}

fn charge(p: &Process, noted: Noted) {
    let payments = p.payments();
    p.handle(async move |order: u32| {
        noted.hear(payments.charge(Charge::of_order(order, 500)).await.is_ok()).await
    });
}

fn charge_blocking(p: &Process, noted: Noted) {
    let payments = p.payments();
    p.handle(async move |order: u32| {
        noted.hear(payments.charge_blocking(Charge::of_order(order, 500)).is_ok()).await
    });
}

fn look_up(p: &Process, noted: Noted) {
    let payments = p.payments();
    p.handle(async move |order: u32| noted.hear(payments.charges(order).await.is_ok()).await);
}

fn put(p: &Process, noted: Noted) {
    let store = p.store();
    p.handle(async move |order: u32| noted.hear(store.put("row", &order).await.is_ok()).await);
}

fn enqueue(p: &Process, noted: Noted) {
    let queue = p.queue();
    p.handle(async move |order: u32| noted.hear(queue.enqueue(order).await.is_ok()).await);
}

fn enqueue_blocking(p: &Process, noted: Noted) {
    let queue = p.queue();
    p.handle(async move |order: u32| noted.hear(queue.enqueue_blocking(order).is_ok()).await);
}

fn enqueue_bulk(p: &Process, noted: Noted) {
    let queue = p.queue();
    p.handle(async move |order: u32| noted.hear(queue.enqueue_bulk([order]).await.is_ok()).await);
}

fn save_cursor(p: &Process, noted: Noted) {
    p.handle_iterable(
        async move |_: &u32, cursor: Option<u32>| {
            // The next call of the cursor saves it.
            if cursor.is_some() {
                noted.hear(true).await;
            }
            Ok::<_, String>([(7_u32, ())])
        },
        async |_: &u32, ()| (),
    );
}

fn acquire(p: &Process, noted: Noted) {
    let unique = Unique::while_executing(|order: &u32| Some(*order));
    p.handle(async move |_: u32| noted.hear(true).await).unique(unique);
}

fn external_async(p: &Process, noted: Noted) {
    let db = p.external("db");
    p.handle(async move |_: u32| {
        let done = db.call("call", async { noted.act() }).on_fault(Err).await;
        noted.hear(done.is_ok()).await
    });
}

fn external_read(p: &Process, noted: Noted) {
    let db = p.external("db");
    p.handle(async move |_: u32| {
        let done = db.call("call", async { noted.act() }).on_fault(Err).read_only().await;
        noted.hear(done.is_ok()).await
    });
}

fn external_blocking(p: &Process, noted: Noted) {
    let db = p.external("db");
    p.handle(async move |_: u32| {
        let done = db.call_blocking("call", || noted.act()).on_fault(Err).run();
        noted.hear(done.is_ok()).await
    });
}

#[cfg(feature = "wire")]
fn wire(p: &Process, noted: Noted) {
    use crate::search::choice::Place;
    use crate::system::service::CallOptions;
    use crate::system::service::payments::Request;

    let payments = p.payments();
    p.handle(async move |order: u32| {
        let request = Request::Charge(Charge::of_order(order, 500));
        let carried = payments.carry(request, Place::caller(), CallOptions::default());
        // The reply goes over the wire.
        let mut is_under_way = carried.is_some();
        std::future::poll_fn(|cx| match std::mem::take(&mut is_under_way) {
            true => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            false => Poll::Ready(()),
        })
        .await;
        match carried.and_then(|carried| carried.arrive()) {
            Some(result) => noted.hear(result.is_ok()).await,
            None => pending().await,
        }
    });
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The result of one poll.
#[derive(Debug, PartialEq)]
enum Polled {
    /// The call waits, and may have woken itself.
    Waits { woken: bool },
    /// The call unwound, as code of a dead process does.
    Unwound,
}

/// An attempt of `job#1`, as the executor holds it.
struct Hand {
    shared: Arc<Shared>,
    life: Arc<Life>,
    attempt: Option<Attempt>,
    noted: Noted,
    flag: Arc<Flag>,
    waker: Waker,
    /// The number of choices that earlier polls met.
    seen: usize,
}

impl Hand {
    /// Begins an attempt. `deviation` names a choice of the call, and the option to take.
    fn begin(row: &Row, deviation: Option<(&str, &str)>) -> Self {
        let plan = match deviation {
            None => Plan::ordinary(),
            Some((point, option)) => {
                let text = format!("test job#1.1/{}:{point}={option}", row.call);
                let scenario: crate::Scenario = text.parse().unwrap();
                Plan::Wanted(scenario.wanted().to_vec())
            }
        };
        let state = State::new(Chooser::new(plan), Mode::Explore, Timeline::default(), 0, 1_000);
        let shared = Shared::new(state);
        let life = Life::new(shared.clone(), "worker".into(), 0, 1);
        let (process, noted) = (Process::new(life.clone()), Noted::default());
        (row.register)(&process, noted.clone());
        let kind = kind_of::<u32>();
        let mut state = shared.state();
        state
            .enqueue(IncomingJob { kind, payload: "6".to_owned(), ..IncomingJob::default() }, &mut |_| false);
        state.queue.take(1);
        state.set_actor(ATTEMPT);
        drop(state);
        let begun = life::run_as(&life, || process.start(1, kind, "6"));
        let attempt = Some(begun.expect("there is a handler").0.expect("the payload decodes"));
        let flag = Arc::new(Flag::default());
        let waker = Waker::from(flag.clone());
        Self { shared, life, attempt, noted, flag, waker, seen: 0 }
    }

    /// Polls as the executor does.
    fn poll(&mut self) -> (Polled, Vec<String>) {
        let task = TaskId { slot: 0, turn: 0 };
        self.shared.state().begin_poll(ATTEMPT, task, self.waker.data().addr());
        self.poll_otherwise()
    }

    /// Polls as a `block_on` in a destructor does.
    fn poll_otherwise(&mut self) -> (Polled, Vec<String>) {
        self.flag.0.store(false, Ordering::Relaxed);
        let attempt = self.attempt.as_mut().expect("what has unwound is not polled again");
        let mut cx = Context::from_waker(&self.waker);
        let poll = AssertUnwindSafe(|| life::run_as_crashable(&self.life, || attempt.as_mut().poll(&mut cx)));
        let polled = match catch_unwind(poll) {
            Ok(Poll::Pending) => Polled::Waits { woken: self.flag.0.load(Ordering::Relaxed) },
            Ok(Poll::Ready(ended)) => panic!("the handler waits forever: {ended:?}"),
            Err(payload) => {
                assert!(payload.is::<ProcessDeath>(), "a panic of the call's own");
                self.attempt = None;
                Polled::Unwound
            }
        };
        self.shared.state().set_actor(ATTEMPT);
        (polled, self.met())
    }

    /// Returns the points that were met since the last call.
    fn met(&mut self) -> Vec<String> {
        let state = self.shared.state();
        let met = state.search.choices()[self.seen..].iter();
        let met: Vec<_> = met.map(|choice| choice.label.to_string().replace("job#1.1/", "")).collect();
        self.seen += met.len();
        met
    }

    fn reply(&self) -> Option<bool> {
        *lock(&self.noted.reply)
    }

    fn is_in_store(&self) -> usize {
        let _acting = self.shared.acting(Actor::Test);
        let row = Store::new(Link::Test(self.shared.clone())).get_blocking::<u32>("row");
        row.unwrap().iter().count()
    }

    fn is_stuck(&mut self) {
        self.shared.state().search.get_stuck(Stuck::Deadlock { waiting: Vec::new() });
    }
}

impl Row {
    fn points(&self, points: &[&str]) -> Vec<String> {
        points.iter().map(|point| format!("{}:{point}", self.call)).collect()
    }

    fn has_happened(&self, hand: &Hand, times: usize, when: &str) {
        if let Some(happened) = self.happened {
            assert_eq!(happened(hand), times, "{}, {when}", self.name);
        }
    }
}

#[test]
fn a_call_waits_once_between_the_points_before_it_and_those_after_it() {
    for row in rows() {
        let mut hand = Hand::begin(&row, None);
        let (before, after) = (row.points(row.before), row.points(row.after));
        if row.form == Form::Blocking {
            let (polled, met) = hand.poll();
            assert_eq!(polled, Polled::Waits { woken: false }, "{}", row.name);
            assert_eq!(met, [before, after].concat(), "{}", row.name);
        } else {
            let (polled, met) = hand.poll();
            assert_eq!(polled, Polled::Waits { woken: true }, "{}: it waits once", row.name);
            assert_eq!(met, before, "{}", row.name);
            assert_eq!(hand.reply(), None, "{}: its reply is on its way", row.name);
            row.has_happened(&hand, 1, "while its reply is on its way");
            let (polled, met) = hand.poll();
            assert_eq!(polled, Polled::Waits { woken: false }, "{}: it waits no more than once", row.name);
            assert_eq!(met, after, "{}", row.name);
        }
        assert_eq!(hand.reply(), Some(true), "{}", row.name);
        row.has_happened(&hand, 1, "at its end");
    }
}

#[test]
fn who_dies_at_a_point_hears_nothing_and_does_nothing_more() {
    for row in rows() {
        let crashes = row.before.iter().filter(|point| **point != "call").chain(row.after);
        for &point in crashes {
            let when = format!("{}, dead at {point}", row.name);
            let mut hand = Hand::begin(&row, Some((point, "crash")));
            let mut polls = 0;
            while !hand.life.is_dead() {
                assert!(hand.attempt.is_some() && polls < 3, "{when}: it does not die");
                hand.poll();
                polls += 1;
            }
            assert_eq!(polls, if point == "before" || row.form == Form::Blocking { 1 } else { 2 }, "{when}");
            assert_eq!(
                hand.attempt.is_none(),
                row.form == Form::Blocking,
                "{when}: code that blocks unwinds"
            );
            let happened = usize::from(point != "before");
            row.has_happened(&hand, happened, &when);
            if hand.attempt.is_some() {
                let (polled, met) = hand.poll();
                assert_eq!((polled, met), (Polled::Waits { woken: false }, vec![]), "{when}");
            }
            hand.attempt = None;
            assert_eq!(hand.reply(), None, "{when}");
            row.has_happened(&hand, happened, &when);
        }
    }
}

#[test]
fn a_refused_call_has_not_happened_and_a_lost_reply_has() {
    for row in rows() {
        for (fault, happened) in [(row.refused, 0), (row.lost, 1)] {
            let Some(fault) = fault else { continue };
            let when = format!("{}, {fault}", row.name);
            let mut hand = Hand::begin(&row, Some(("call", fault)));
            let (_, mut met) = hand.poll();
            row.has_happened(&hand, happened, &when);
            if row.form != Form::Blocking {
                assert_eq!(hand.reply(), None, "{when}: also an error takes its time");
                met.extend(hand.poll().1);
            }
            assert_eq!(met, row.points(&[row.before, row.after].concat()), "{when}: the same points");
            assert_eq!(hand.reply(), Some(false), "{when}");
            row.has_happened(&hand, happened, &when);
        }
    }
}

/// Polls a call `polls` times, after which the test does something to its process.
fn interrupted(row: &Row, polls: usize) -> Option<Hand> {
    // A blocking call has completed when it returns.
    if row.form == Form::Blocking && polls > 0 {
        return None;
    }
    let mut hand = Hand::begin(row, None);
    (0..polls).for_each(|_| drop(hand.poll()));
    Some(hand)
}

#[test]
fn a_dead_caller_gets_nothing() {
    for row in rows().iter().filter(|row| matches!(row.form, Form::Async | Form::Blocking)) {
        for polls in [0, 1] {
            let Some(mut hand) = interrupted(row, polls) else { continue };
            hand.life.die();
            let (polled, met) = hand.poll();
            let when = format!("{}, dead after {polls} polls", row.name);
            let waits = Polled::Waits { woken: false };
            assert_eq!(polled, if row.form == Form::Blocking { Polled::Unwound } else { waits }, "{when}");
            assert_eq!((met, hand.reply()), (vec![], None), "{when}");
            row.has_happened(&hand, polls, &when);
            // A `block_on` of a dead process unwinds, because nothing drops it.
            if hand.attempt.is_some() {
                assert_eq!(hand.poll_otherwise(), (Polled::Unwound, vec![]), "{when}");
            }
        }
    }
}

#[test]
fn a_destructor_of_what_has_died_neither_hangs_nor_acts() {
    for row in rows().iter().filter(|row| matches!(row.form, Form::Async | Form::Blocking)) {
        for polls in [0, 1] {
            let Some(mut hand) = interrupted(row, polls) else { continue };
            hand.life.die();
            hand.life.set_tearing_down(true);
            let (polled, met) = hand.poll_otherwise();
            let when = format!("{}, torn down after {polls} polls", row.name);
            assert!(polled == Polled::Unwound || hand.reply().is_some(), "{when}: it hangs");
            assert_eq!(met, [""; 0], "{when}");
            row.has_happened(&hand, polls, &when);
        }
    }
}

#[test]
fn nothing_happens_once_the_run_is_stuck() {
    for row in rows() {
        for polls in [0, 1] {
            let Some(mut hand) = interrupted(&row, polls) else { continue };
            hand.is_stuck();
            let (_, met) = hand.poll();
            let when = format!("{}, stuck after {polls} polls", row.name);
            assert_eq!((met, hand.reply()), (vec![], None), "{when}");
            row.has_happened(&hand, polls, &when);
        }
    }
}

/// Unlocks an external system in its destructor.
struct Guard {
    db: External,
    noted: Noted,
    is_stated: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let unlock = self.db.call_blocking("unlock", || self.noted.act());
        _ = if self.is_stated { unlock.on_fault(Err).run() } else { unlock.run() };
    }
}

/// Returns what a guard did whose process crashed: whether it completed, how often it acted, and why the run is stuck.
fn drop_guard(is_stated: bool, unwinds: bool) -> (bool, usize, Option<Stuck>) {
    let rows = rows();
    let hand = Hand::begin(&rows[0], None);
    let db = External::new(Link::Process(hand.life.clone()), "db".into());
    let guard = Guard { db, noted: hand.noted.clone(), is_stated };
    hand.life.die();
    hand.life.set_tearing_down(!unwinds);
    let dropped = catch_unwind(AssertUnwindSafe(|| {
        life::run_as_crashable(&hand.life, || {
            let _guard = guard;
            if unwinds {
                resume_unwind(Box::new(ProcessDeath));
            }
        });
    }));
    let stuck = hand.shared.state().search.stuck().cloned();
    (dropped.is_ok(), hand.noted.real.load(Ordering::Relaxed), stuck)
}

#[test]
fn a_guard_that_calls_outside_does_nothing_when_its_process_is_dead() {
    assert_eq!(drop_guard(true, false), (true, 0, None), "it is given the failure that it has stated");
    assert_eq!(drop_guard(true, true), (false, 0, None), "the same while its thread unwinds");
    assert_eq!(drop_guard(false, false), (false, 0, None), "nothing can be given to it: it unwinds");
    // A thread that is unwinding cannot unwind again, so the run ends and reports it.
    let (_, _, stuck) = drop_guard(false, true);
    let text = stuck.expect("the run is stuck").to_string();
    assert!(
        text.starts_with("a destructor of job#1.1 calls db.unlock at src/process/call_table.rs:"),
        "{text}"
    );
    assert!(text.ends_with("and has no answer defined: define one with `on_fault`"), "{text}");
}
