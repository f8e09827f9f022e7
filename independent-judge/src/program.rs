//! The language of programs: two or three jobs, each a list of steps that use one store, two services and one queue.
//!
//! Two independent modules read it: [`crate::harness`] turns a program into the body of a retryproof test, and
//! [`crate::machine`] runs it without retryproof.

use std::fmt;

/// A row of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// Holds any value.
    A,
    /// Holds any value.
    B,
    /// Holds a plain number: only [`Step::Increment`] and constants go here.
    Count,
}

impl Row {
    /// Its key in the store.
    pub fn key(self) -> &'static str {
        match self {
            Row::A => "a",
            Row::B => "b",
            Row::Count => "count",
        }
    }
}

/// The value of a write or a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// A constant. It differs from job to job only if the program says so.
    Number(u64),
    /// The value of the register, or 0 if it is empty.
    Register,
    /// The register plus one. A generated value stays the same, because programs do not compute with ids.
    RegisterPlusOne,
}

/// The idempotency key of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// None.
    None,
    /// Derives from the order of the job and the index of the step, so it is the same on every attempt.
    Job,
    /// The value of the register, which was drawn or read.
    Register,
}

/// An external service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Honors keys.
    Payments(Key),
    /// Ignores keys.
    Email,
}

/// The reaction of a job to an error of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Returns the error, so the attempt fails.
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
    /// Each statement sees the rows that are committed by then.
    ReadCommitted,
    /// Equivalent to running the transactions one after the other.
    Serializable,
}

/// A statement inside a transaction.
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
    /// Calls a service with a body. If `keep`, the id in the answer goes into the register.
    Call { service: Service, body: Term, on_error: OnError, keep: bool },
    /// Draws a value into the register.
    Draw,
    /// Draws a value, stores it if the row is free, and reads the row into the register.
    DrawStored(Row),
    /// Reads a row into the register.
    Get(Row),
    /// Writes a row.
    Put(Row, Term),
    /// Writes a row if it is free. Otherwise the job ends successfully.
    Claim(Row, Term),
    /// Adds one to [`Row::Count`], atomically.
    Increment,
    /// Ends the job successfully if the register holds a value.
    ReturnIfPresent,
    /// Ends the job successfully if the register is empty.
    ReturnIfAbsent,
    /// Fails the attempt if the register is empty.
    FailIfAbsent,
    /// A transaction, committed at its end.
    Transaction(Isolation, Vec<Statement>),
    /// Enqueues the job with this index; the term is its payload. An error is returned or swallowed.
    Enqueue { child: usize, payload: Term, swallow: bool },
}

/// The way in which a job enters the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The test body enqueues it, ready immediately.
    Now,
    /// The test body enqueues it, due in an hour.
    InAnHour,
    /// Another job enqueues it.
    Child,
}

/// The fate of a job whose attempt has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It is retried up to [`RETRIES`] times. After that it is dead.
    Retry,
    /// It is dead immediately: `max_retries(0)`.
    Die,
    /// It is discarded immediately.
    Discard,
}

/// More than the deviations of an exploration, so that faults alone do not kill a job that retries.
pub const RETRIES: u32 = 3;
/// Seconds between a failure and the next attempt.
pub const BACKOFF: u64 = 20;

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub arrival: Arrival,
    pub policy: Policy,
    /// The subject of the job. Jobs with the same order request the same effects with the same keys.
    pub order: u64,
    pub steps: Vec<Step>,
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub jobs: Vec<Job>,
}

impl Program {
    /// The number of steps. Each statement of a transaction counts.
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
