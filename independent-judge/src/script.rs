//! The code of an attempt: from the reply to one call to the next call.

use crate::program::{Job, Key, MARK, OnError, Service, Statement, Step, Term};
use crate::store::{Answer, Ask, Store, TxId};
use crate::value::{KeyText, Value};

/// A call that an attempt makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Service { name: &'static str, key: Option<KeyText>, order: u64, body: Value },
    Store { ask: Ask, tx: Option<TxId> },
    Enqueue { child: usize, step: usize, payload: Value },
}

/// The reply to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The id of the effect.
    Service(Value),
    Store(Answer),
    Enqueued,
    /// The call failed from the caller's point of view.
    Error,
}

/// The next action of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Call(Call),
    /// It ends, well or not.
    End(bool),
}

/// An attempt between two calls.
#[derive(Clone, Debug)]
pub struct Script {
    register: Option<Value>,
    step: usize,
    /// The position inside the step.
    inside: usize,
    pub tx: Option<TxId>,
}

/// The values that an attempt uses between its calls, without taking time.
#[derive(Debug)]
pub struct Desk<'a> {
    pub store: &'a mut Store,
    pub drawn: &'a mut u32,
}

impl Desk<'_> {
    fn draw(&mut self) -> Value {
        *self.drawn += 1;
        Value::Generated(*self.drawn)
    }
}

impl Script {
    pub fn new(payload: Option<Value>) -> Self {
        Self { register: payload, step: 0, inside: 0, tx: None }
    }

    fn value(&self, term: Term) -> Value {
        let register = self.register.unwrap_or(Value::Number(0));
        match (term, register) {
            (Term::Number(number), _) => Value::Number(number),
            (Term::RegisterPlusOne, Value::Number(number)) => Value::Number(number + 1),
            (Term::Register | Term::RegisterPlusOne, register) => register,
        }
    }

    fn advance(&mut self) {
        (self.step, self.inside) = (self.step + 1, 0);
    }

    /// Continues to the next call, or to the end.
    pub fn resume(&mut self, job: &Job, mut reply: Option<Reply>, desk: &mut Desk<'_>) -> Next {
        loop {
            let Some(step) = job.steps.get(self.step) else { return Next::End(true) };
            let next = match step {
                Step::Call { service, body, on_error, keep } => {
                    let reply = reply.take();
                    let next = self.call(job.order, *service, *body, *on_error, reply);
                    if let (Some(Reply::Service(id)), true) = (reply, keep) {
                        self.register = Some(id);
                    }
                    next
                }
                Step::Transaction(isolation, statements) => {
                    if self.inside == 0 {
                        (self.tx, self.inside) = (Some(desk.store.begin(*isolation)), 1);
                    }
                    self.transaction(statements, reply.take())
                }
                Step::Enqueue { child, payload, swallow } => match reply.take() {
                    None => {
                        let (child, step, payload) = (*child, self.step, self.value(*payload));
                        Some(Next::Call(Call::Enqueue { child, step, payload }))
                    }
                    Some(Reply::Error) if !swallow => Some(Next::End(false)),
                    Some(_) => None,
                },
                step => self.plain(step, reply.take(), desk),
            };
            match next {
                Some(next) => return next,
                None => self.advance(),
            }
        }
    }

    /// Returns `None` if the step is over.
    fn call(
        &mut self,
        order: u64,
        service: Service,
        body: Term,
        on_error: OnError,
        reply: Option<Reply>,
    ) -> Option<Next> {
        let body = self.value(body);
        match (reply, on_error) {
            (None, _) => {
                let (name, key) = match service {
                    Service::Email => ("email.send", None),
                    Service::Payments(key) => (
                        "payments.charge",
                        match key {
                            Key::None => None,
                            Key::Job => Some(KeyText::Job { order, step: self.step }),
                            Key::Register => Some(KeyText::Value(self.value(Term::Register))),
                        },
                    ),
                };
                Some(Next::Call(Call::Service { name, key, order, body }))
            }
            // The mark was written or not. In both cases the error is returned.
            _ if self.inside == 1 => Some(Next::End(false)),
            (Some(Reply::Error), OnError::Return) => Some(Next::End(false)),
            (Some(Reply::Error), OnError::Note(row)) => {
                self.inside = 1;
                Some(store(Ask::Put(row, Value::Number(MARK))))
            }
            (Some(_), _) => None,
        }
    }

    fn transaction(&mut self, statements: &[Statement], reply: Option<Reply>) -> Option<Next> {
        match reply {
            Some(Reply::Error | Reply::Store(Answer::Conflict)) => return Some(Next::End(false)),
            Some(Reply::Store(Answer::Row(row))) => self.register = row,
            _ => {}
        }
        loop {
            let at = self.inside - 1;
            if at > statements.len() {
                self.tx = None;
                return None;
            }
            self.inside += 1;
            let ask = match statements.get(at) {
                None => Ask::Commit,
                Some(Statement::Get(row)) => Ask::Get(*row),
                Some(Statement::Put(row, term)) => Ask::Put(*row, self.value(*term)),
                Some(Statement::Increment) => Ask::Increment,
                Some(Statement::ReturnIfPresent) => match self.register {
                    Some(_) => return Some(Next::End(true)),
                    None => continue,
                },
            };
            return Some(Next::Call(Call::Store { ask, tx: self.tx }));
        }
    }

    fn plain(&mut self, step: &Step, reply: Option<Reply>, desk: &mut Desk<'_>) -> Option<Next> {
        if reply == Some(Reply::Error) {
            return Some(Next::End(false));
        }
        match (step, reply) {
            (Step::Draw, _) => self.register = Some(desk.draw()),
            (Step::DrawStored(row), None) => return Some(store(Ask::SetIfAbsent(*row, desk.draw()))),
            (Step::DrawStored(row), Some(Reply::Store(Answer::Done(_)))) => {
                return Some(store(Ask::Get(*row)));
            }
            (Step::Get(row), None) => return Some(store(Ask::Get(*row))),
            (Step::DrawStored(_) | Step::Get(_), Some(Reply::Store(Answer::Row(row)))) => self.register = row,
            (Step::Put(row, term), None) => return Some(store(Ask::Put(*row, self.value(*term)))),
            (Step::Claim(row, term), None) => {
                return Some(store(Ask::SetIfAbsent(*row, self.value(*term))));
            }
            (Step::Claim(..), Some(Reply::Store(Answer::Done(false)))) => return Some(Next::End(true)),
            (Step::Increment, None) => return Some(store(Ask::Increment)),
            (Step::ReturnIfPresent, _) if self.register.is_some() => return Some(Next::End(true)),
            (Step::ReturnIfAbsent, _) if self.register.is_none() => return Some(Next::End(true)),
            (Step::FailIfAbsent, _) if self.register.is_none() => return Some(Next::End(false)),
            _ => {}
        }
        None
    }
}

/// Returns a call to the store outside of any transaction.
fn store(ask: Ask) -> Next {
    Next::Call(Call::Store { ask, tx: None })
}

impl Call {
    /// Returns the site of the call in the name of a choice.
    pub fn site(&self) -> &'static str {
        match self {
            Call::Service { name, .. } => name,
            Call::Enqueue { .. } => "queue.enqueue",
            Call::Store { ask, .. } => match ask {
                Ask::Get(_) => "store.get",
                Ask::Put(..) => "store.put",
                Ask::SetIfAbsent(..) => "store.set_if_absent",
                Ask::Increment => "store.incr",
                Ask::Commit => "store.commit",
            },
        }
    }
}
