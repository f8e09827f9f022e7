//! Tests the judge itself, on jobs that are known to be correct or wrong.

use retryproof_independent_judge::judge::{Verdict, judge, judge_run};
use retryproof_independent_judge::program::{
    Arrival, Isolation, Job, Key, OnError, Policy, Program, Row, Service, Statement, Step, Term,
};

fn job(arrival: Arrival, policy: Policy, steps: impl Into<Vec<Step>>) -> Job {
    Job { arrival, policy, order: 1, steps: steps.into() }
}

fn now(steps: impl Into<Vec<Step>>) -> Job {
    job(Arrival::Now, Policy::Retry, steps)
}

fn dies(steps: impl Into<Vec<Step>>) -> Job {
    job(Arrival::Now, Policy::Die, steps)
}

fn call(service: Service, on_error: OnError) -> Step {
    Step::Call { service, body: Term::Number(1), on_error, keep: false }
}

fn charge(key: Key) -> Step {
    call(Service::Payments(key), OnError::Return)
}

fn put(row: Row, number: u64) -> Step {
    Step::Put(row, Term::Number(number))
}

fn keep(row: Row) -> Step {
    Step::Put(row, Term::Register)
}

fn claim(row: Row) -> Step {
    Step::Claim(row, Term::Number(1))
}

fn enqueue(payload: Term) -> Step {
    Step::Enqueue { child: 1, payload, swallow: false }
}

/// Returns the scenario in which a program is wrong.
#[track_caller]
fn red(jobs: impl Into<Vec<Job>>) -> String {
    let program = Program { jobs: jobs.into() };
    match judge(&program, 1) {
        Verdict::Red { scenario, .. } => scenario,
        other => panic!("{other:?}\n{program}"),
    }
}

#[track_caller]
fn red_in(jobs: impl Into<Vec<Job>>, scenario: &str) {
    let program = Program { jobs: jobs.into() };
    let verdict = judge_run(&program, scenario).expect("there is that run");
    assert!(verdict.is_red(), "{verdict:?}\n{program}");
}

#[track_caller]
fn green(jobs: impl Into<Vec<Job>>) {
    let program = Program { jobs: jobs.into() };
    for deviations in [1, 2] {
        let verdict = judge(&program, deviations);
        assert!(matches!(verdict, Verdict::Green { .. }), "{verdict:?}\n{program}");
    }
}

#[test]
fn repetition() {
    assert_eq!(red([now([charge(Key::None)])]), "job#1.1/payments.charge:call=reply-lost");
    green([now([charge(Key::Job)])]);
    // A key that is drawn on every attempt, and one that is stored before it is used.
    assert_eq!(red([now([Step::Draw, charge(Key::Register)])]), "job#1.1/payments.charge:call=reply-lost");
    green([now([Step::DrawStored(Row::A), charge(Key::Register)])]);
    red([now([Step::Increment])]);
    green([now([put(Row::A, 1), put(Row::B, 2)])]);
}

#[test]
fn orders_that_the_run_allows() {
    let welcome = |on_error| {
        now([Step::Get(Row::A), Step::ReturnIfAbsent, claim(Row::B), call(Service::Email, on_error)])
    };
    // The user is created before the mail, so whether the mail is sent does not depend on their order.
    let lost = red([now([put(Row::A, 1)]), welcome(OnError::Swallow)]);
    assert_eq!(lost, "job#2.1/store.set_if_absent:call=reply-lost");
    let later = |steps: [Step; 1]| job(Arrival::InAnHour, Policy::Retry, steps);
    // The later one wins, unless the earlier one is repeated after it, which does not happen.
    green([now([put(Row::A, 1)]), later([put(Row::A, 2)])]);
    red([now([claim(Row::A), charge(Key::Job)]), later([put(Row::A, 1)])]);
    // Two jobs that overlap may come in either order, but not half of each.
    green([now([put(Row::A, 1)]), now([put(Row::A, 2)]), now([put(Row::A, 3)])]);
    let both = |row, other| now([Step::Get(row), Step::Put(other, Term::RegisterPlusOne)]);
    red_in([both(Row::A, Row::B), both(Row::B, Row::A)], "job#1.1/store.get:next=other");
}

#[test]
fn names_of_generated_values() {
    green([now([Step::Draw, keep(Row::A)])]);
    // A stalled attempt writes its own draw to the second row only.
    assert_eq!(red([now([Step::Draw, keep(Row::A), keep(Row::B)])]), "job#1.1/store.put:pause=past-lease");
    // Two draws are not one.
    red([now([
        Step::Draw,
        keep(Row::A),
        Step::Get(Row::B),
        Step::ReturnIfPresent,
        Step::Get(Row::A),
        keep(Row::B),
        charge(Key::Register),
    ])]);
    let id = |key| Step::Call {
        service: Service::Payments(key),
        body: Term::Number(1),
        on_error: OnError::Return,
        keep: true,
    };
    green([now([id(Key::Job), keep(Row::A)])]);
    red([now([id(Key::None), keep(Row::A)])]);
}

#[test]
fn giving_up() {
    assert_eq!(red([dies([put(Row::A, 1), put(Row::B, 1)])]), "job#1.1/store.put:call=reply-lost");
    green([dies([put(Row::A, 1)])]);
    green([job(Arrival::Now, Policy::Discard, [charge(Key::Job)]), now([put(Row::A, 1)])]);
    let transfer = |policy| {
        let both = vec![Statement::Put(Row::A, Term::Number(1)), Statement::Put(Row::B, Term::Number(1))];
        job(Arrival::Now, policy, [Step::Transaction(Isolation::ReadCommitted, both)])
    };
    green([transfer(Policy::Die)]);
    let cancelled = call(Service::Payments(Key::Job), OnError::Note(Row::A));
    red([dies([cancelled])]);
    // A preemption alone is no excuse: of two overlapping transactions one fails.
    let counts = |policy| {
        let add = vec![Statement::Get(Row::A), Statement::Put(Row::A, Term::RegisterPlusOne)];
        job(Arrival::Now, policy, [Step::Transaction(Isolation::Serializable, add)])
    };
    red_in([counts(Policy::Die), counts(Policy::Die)], "job#1.1/store.get:next=other");
}

#[test]
fn children() {
    let child = |steps: [Step; 1]| job(Arrival::Child, Policy::Retry, steps);
    // A job that is enqueued twice mails twice.
    let twice = red([now([enqueue(Term::Number(1))]), child([call(Service::Email, OnError::Return)])]);
    assert_eq!(twice, "job#1.1/queue.enqueue:call=reply-lost");
    green([now([enqueue(Term::Number(1)), put(Row::A, 1)]), child([charge(Key::Job)])]);
    green([now([Step::DrawStored(Row::A), enqueue(Term::Register)]), child([charge(Key::Register)])]);
    red([now([Step::Draw, enqueue(Term::Register)]), child([charge(Key::Register)])]);
    let swallowed = Step::Enqueue { child: 1, payload: Term::Number(1), swallow: true };
    assert_eq!(red([now([swallowed]), child([charge(Key::Job)])]), "job#1.1/queue.enqueue:call=refused");
}
