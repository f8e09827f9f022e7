//! The language: two or three jobs, each a list of steps on one store, two services and one queue.
//!
//! It has two readers, which must not know about each other: [`crate::harness`] turns a program into the body of a
//! retryproof test, and [`crate::machine`] runs it without retryproof.

use std::fmt;

/// A row of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// Holds any value.
    A,
    /// Holds any value.
    B,
    /// Holds a plain number: only [`Step::Increment`] and constants are written to it.
    Count,
}

impl Row {
    /// Returns its key in the store.
    pub fn key(self) -> &'static str {
        match self {
            Row::A => "a",
            Row::B => "b",
            Row::Count => "count",
        }
    }
}

/// A value that is written to a row, or sent in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// A constant, which differs between jobs only if the program says so.
    Number(u64),
    /// The content of the register, or 0 if it is empty.
    Register,
    /// The register plus one. A generated value stays as it is, because ids cannot be counted.
    RegisterPlusOne,
}

/// The idempotency key of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// None.
    None,
    /// Derived from the order of the job and the place of the step, so it is the same on every attempt.
    Job,
    /// The content of the register: a value that was drawn or read.
    Register,
}

/// An external service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Honors keys.
    Payments(Key),
    /// Takes no keys.
    Email,
}

/// How a job handles an error of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Returns it, so the attempt fails.
    Return,
    /// Continues as if nothing had happened.
    Swallow,
    /// Writes a mark to the row, then returns the error.
    Note(Row),
}

/// The value that [`OnError::Note`] writes.
pub const MARK: u64 = 66;

/// Which changes of other transactions a transaction sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Each statement sees what is committed by then.
    ReadCommitted,
    /// As if transactions ran one after another.
    Serializable,
}

/// A statement inside of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Reads a row into the register.
    Get(Row),
    /// Writes a row.
    Put(Row, Term),
    /// Adds one to [`Row::Count`].
    Increment,
    /// Ends the job without a commit if the register holds a value.
    ReturnIfPresent,
}

/// A step of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Calls a service with `body`. If `keep`, the register gets the id that the service returns.
    Call { service: Service, body: Term, on_error: OnError, keep: bool },
    /// Draws a value into the register.
    Draw,
    /// Draws a value, stores it if the row is empty, and reads the row into the register.
    DrawStored(Row),
    /// Reads a row into the register.
    Get(Row),
    /// Writes a row.
    Put(Row, Term),
    /// Writes a row if it is empty. Otherwise the job ends well.
    Claim(Row, Term),
    /// Adds one to [`Row::Count`], atomically.
    Increment,
    /// Ends the job well if the register holds a value.
    ReturnIfPresent,
    /// Ends the job well if the register is empty.
    ReturnIfAbsent,
    /// Fails the attempt if the register is empty.
    FailIfAbsent,
    /// A transaction, committed at its end.
    Transaction(Isolation, Vec<Statement>),
    /// Enqueues a job of the program, given its place, with the term as its payload. An error is returned or swallowed.
    Enqueue { child: usize, payload: Term, swallow: bool },
}

/// How a job is enqueued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The test body enqueues it, ready at once.
    Now,
    /// The test body enqueues it, due in an hour.
    InAnHour,
    /// Another job enqueues it.
    Child,
}

/// The fate of a job whose attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It is retried up to [`RETRIES`] times, and then dead.
    Retry,
    /// It is dead at once: `max_retries(0)`.
    Die,
    /// It is discarded at once.
    Discard,
}

/// More than the deviations of an exploration, so that faults alone kill no job that is retried.
pub const RETRIES: u32 = 3;
/// Seconds between a failure and the next attempt.
pub const BACKOFF: u64 = 20;

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub arrival: Arrival,
    pub policy: Policy,
    /// The order of the job. Jobs of one order make the same effects with the same keys.
    pub order: u64,
    pub steps: Vec<Step>,
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub jobs: Vec<Job>,
}

impl Program {
    /// Returns the number of steps, including statements.
    pub fn size(&self) -> usize {
        let size = |step: &Step| match step {
            Step::Transaction(_, statements) => 1 + statements.len(),
            _ => 1,
        };
        self.jobs.iter().map(|job| 1 + job.steps.iter().map(size).sum::<usize>()).sum()
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::Number(number) => write!(f, "{number}"),
            Term::Register => f.write_str("r"),
            Term::RegisterPlusOne => f.write_str("r+1"),
        }
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Statement::Get(row) => write!(f, "r = tx.get({})", row.key()),
            Statement::Put(row, term) => write!(f, "tx.put({}, {term})", row.key()),
            Statement::Increment => f.write_str("tx.incr(count)"),
            Statement::ReturnIfPresent => f.write_str("if r: return Ok"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Call { service, body, on_error, keep } => {
                f.write_str(if *keep { "r = " } else { "" })?;
                match service {
                    Service::Payments(Key::None) => write!(f, "charge({body})")?,
                    Service::Payments(Key::Job) => write!(f, "charge({body}, key of the job)")?,
                    Service::Payments(Key::Register) => write!(f, "charge({body}, key r)")?,
                    Service::Email => write!(f, "mail({body})")?,
                }
                match on_error {
                    OnError::Return => f.write_str("?"),
                    OnError::Swallow => f.write_str(", error swallowed"),
                    OnError::Note(row) => write!(f, ", on error put({}, {MARK})? and return it", row.key()),
                }
            }
            Step::Draw => f.write_str("r = draw()"),
            Step::DrawStored(row) => {
                write!(f, "set_if_absent({0}, draw())?; r = get({0})?", row.key())
            }
            Step::Get(row) => write!(f, "r = get({})?", row.key()),
            Step::Put(row, term) => write!(f, "put({}, {term})?", row.key()),
            Step::Claim(row, term) => write!(f, "if !set_if_absent({}, {term})? return Ok", row.key()),
            Step::Increment => f.write_str("incr(count)?"),
            Step::ReturnIfPresent => f.write_str("if r: return Ok"),
            Step::ReturnIfAbsent => f.write_str("if !r: return Ok"),
            Step::FailIfAbsent => f.write_str("if !r: return Err"),
            Step::Transaction(isolation, statements) => {
                write!(f, "transaction({isolation:?}) {{")?;
                statements.iter().try_for_each(|statement| write!(f, " {statement}?;"))?;
                f.write_str(" commit? }")
            }
            Step::Enqueue { child, payload, swallow } => {
                let end = if *swallow { ", error swallowed" } else { "?" };
                write!(f, "enqueue(Job{child}({payload})){end}")
            }
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, Job { arrival, policy, order, steps }) in self.jobs.iter().enumerate() {
            writeln!(f, "Job{place} {arrival:?} {policy:?} order {order}:")?;
            steps.iter().try_for_each(|step| writeln!(f, "    {step}"))?;
        }
        Ok(())
    }
}
