//! Turns a program into the body of a retryproof test, with only the public interface.

use std::sync::Arc;
use std::time::Duration;

use retryproof::service::email::{Email, EmailService, SendOutcome};
use retryproof::service::payments::{Charge, ChargeOutcome, Payments};
use retryproof::store::Isolation as StoreIsolation;
use retryproof::store::Transaction;
use retryproof::{Backoff, Client, Decision, Explore, JobQueue, Process, Report, Rng, Store, World};
use serde::{Deserialize, Serialize};

use crate::machine::SLOTS;
use crate::program::{
    Arrival, BACKOFF, Isolation, Job, Key, MARK, OnError, Policy, Program, RETRIES, Row, Service, Statement,
    Step, Term,
};

/// The job at a place of the program. Each place is a separate kind.
#[derive(Serialize, Deserialize)]
struct Parcel<const PLACE: usize> {
    payload: Option<Held>,
}

/// The content of a row or of the register: a number, or an id that a service returned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Held {
    Number(u64),
    Id(String),
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The handles of the jobs of a process.
#[derive(Clone)]
struct Tools {
    program: Arc<Program>,
    payments: Client<Payments>,
    email: Client<EmailService>,
    store: Store,
    queue: JobQueue,
    rng: Rng,
}

/// Explores a program with these settings.
pub fn explore(program: &Program, settings: &Explore) -> Report {
    let program = Arc::new(program.clone());
    settings.run(async move |world: &World| {
        let worker = program.clone();
        world.process("worker", move |p| boot(p, &worker));
        for (place, job) in program.jobs.iter().enumerate() {
            let delay = match job.arrival {
                Arrival::Now => Duration::ZERO,
                Arrival::InAnHour => Duration::from_secs(3_600),
                Arrival::Child => continue,
            };
            match place {
                0 => world.enqueue_in(delay, Parcel::<0> { payload: None }),
                1 => world.enqueue_in(delay, Parcel::<1> { payload: None }),
                2 => world.enqueue_in(delay, Parcel::<2> { payload: None }),
                place => panic!("a program has at most three jobs, not {place}"),
            };
        }
        world.settle().await;
    })
}

fn boot(p: &Process, program: &Arc<Program>) {
    p.slots(SLOTS);
    let tools = Tools {
        program: program.clone(),
        payments: p.payments(),
        email: p.email(),
        store: p.store(),
        queue: p.queue(),
        rng: p.rng(),
    };
    handle::<0>(p, &tools);
    handle::<1>(p, &tools);
    handle::<2>(p, &tools);
}

fn handle<const PLACE: usize>(p: &Process, tools: &Tools) {
    let Some(job) = tools.program.jobs.get(PLACE).cloned() else { return };
    let (policy, tools) = (job.policy, tools.clone());
    let options = p
        .handle(async move |parcel: Parcel<PLACE>| tools.run(&job, parcel.payload).await)
        .max_retries(if policy == Policy::Die { 0 } else { RETRIES })
        .backoff(Backoff::Constant(Duration::from_secs(BACKOFF)));
    if policy == Policy::Discard {
        options.decide(|_| Decision::Discard);
    }
}

/// Whether a number was drawn. Constants, and numbers counted from them, are small.
fn is_drawn(number: u64) -> bool {
    number > u64::from(u32::MAX)
}

fn value(register: Option<&Held>, term: Term) -> Held {
    let held = register.cloned().unwrap_or(Held::Number(0));
    match (term, held) {
        (Term::Number(number), _) => Held::Number(number),
        (Term::RegisterPlusOne, Held::Number(number)) if !is_drawn(number) => Held::Number(number + 1),
        (Term::Register | Term::RegisterPlusOne, held) => held,
    }
}

impl Held {
    fn text(self) -> String {
        match self {
            Held::Number(number) => number.to_string(),
            Held::Id(id) => id,
        }
    }
}

impl Tools {
    async fn run(&self, job: &Job, payload: Option<Held>) -> Result<(), Error> {
        let mut register = payload;
        for (place, step) in job.steps.iter().enumerate() {
            match step {
                Step::Call { service, body, on_error, keep } => {
                    let body = value(register.as_ref(), *body);
                    match (self.call(job.order, place, *service, body, register.clone()).await, on_error) {
                        (Ok(id), _) if *keep => register = Some(Held::Id(id)),
                        (Ok(_), _) | (Err(_), OnError::Swallow) => {}
                        (Err(error), OnError::Return) => return Err(error),
                        (Err(error), OnError::Note(row)) => {
                            self.store.put(row.key(), &MARK).await?;
                            return Err(error);
                        }
                    }
                }
                Step::Draw => register = Some(Held::Number(self.rng.next_u64())),
                Step::DrawStored(row) => {
                    let drawn = self.rng.next_u64();
                    self.store.set_if_absent(row.key(), &drawn, None).await?;
                    register = self.get(*row).await?;
                }
                Step::Get(row) => register = self.get(*row).await?,
                Step::Put(row, term) => self.store.put(row.key(), &value(register.as_ref(), *term)).await?,
                Step::Claim(row, term) => {
                    if !self.store.set_if_absent(row.key(), &value(register.as_ref(), *term), None).await? {
                        return Ok(());
                    }
                }
                Step::Increment => _ = self.store.incr(Row::Count.key(), 1).await?,
                Step::ReturnIfPresent if register.is_some() => return Ok(()),
                Step::ReturnIfAbsent if register.is_none() => return Ok(()),
                Step::FailIfAbsent if register.is_none() => return Err("not there yet".into()),
                Step::ReturnIfPresent | Step::ReturnIfAbsent | Step::FailIfAbsent => {}
                Step::Transaction(isolation, statements) => {
                    let isolation = match isolation {
                        Isolation::ReadCommitted => StoreIsolation::ReadCommitted,
                        Isolation::Serializable => StoreIsolation::Serializable,
                    };
                    let mut tx = self.store.transaction(isolation).await;
                    if transact(&mut tx, statements, &mut register).await? {
                        return Ok(());
                    }
                    tx.commit().await?;
                }
                Step::Enqueue { child, payload, swallow } => {
                    let enqueued = self.enqueue(*child, value(register.as_ref(), *payload)).await;
                    if !swallow {
                        enqueued?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn get(&self, row: Row) -> Result<Option<Held>, Error> {
        Ok(self.store.get::<Held>(row.key()).await?.map(|row| row.value))
    }

    async fn call(
        &self,
        order: u64,
        place: usize,
        service: Service,
        body: Held,
        register: Option<Held>,
    ) -> Result<String, Error> {
        let key = match service {
            Service::Email => {
                let email = Email::new(format!("customer-{order}@example.com"), "news");
                let email = match body {
                    Held::Number(number) => email.data("about", number),
                    Held::Id(id) => email.data("about", id),
                };
                return match self.email.send(email).await? {
                    SendOutcome::Queued { email_id } => Ok(email_id),
                    SendOutcome::NotQueued { error_message } => Err(error_message.into()),
                };
            }
            Service::Payments(Key::None) => None,
            Service::Payments(Key::Job) => Some(format!("order-{order}-step-{place}")),
            Service::Payments(Key::Register) => Some(value(register.as_ref(), Term::Register).text()),
        };
        let charge = match body {
            Held::Number(cents) => Charge::of_order(order, cents),
            Held::Id(id) => Charge::of_order(order, 500).customer(id),
        };
        let charge = match key {
            Some(key) => charge.key(key),
            None => charge,
        };
        match self.payments.charge(charge).await? {
            ChargeOutcome::Success { charge_id } => Ok(charge_id),
            ChargeOutcome::Declined { explanation } => Err(explanation.into()),
        }
    }

    async fn enqueue(&self, child: usize, payload: Held) -> Result<(), Error> {
        let payload = Some(payload);
        match child {
            1 => self.queue.enqueue(Parcel::<1> { payload }).await?,
            2 => self.queue.enqueue(Parcel::<2> { payload }).await?,
            child => panic!("a job enqueues a later one, not {child}"),
        };
        Ok(())
    }
}

/// Runs the statements of a transaction. Returns true if the job should end without a commit.
async fn transact(
    tx: &mut Transaction,
    statements: &[Statement],
    register: &mut Option<Held>,
) -> Result<bool, Error> {
    for statement in statements {
        match statement {
            Statement::Get(row) => *register = tx.get::<Held>(row.key()).await?.map(|row| row.value),
            Statement::Put(row, term) => tx.put(row.key(), &value(register.as_ref(), *term)).await?,
            Statement::Increment => _ = tx.incr(Row::Count.key(), 1).await?,
            Statement::ReturnIfPresent if register.is_some() => return Ok(true),
            Statement::ReturnIfPresent => {}
        }
    }
    Ok(false)
}
