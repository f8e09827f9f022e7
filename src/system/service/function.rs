//! A service that is one function.

use std::fmt;

use serde::Serialize;

use super::{Operation, Refusal, Service, ServiceContext};
use crate::search::choice::Name;

/// A service that is one function from request to reply, made by [`function`].
pub struct Function<Q, R> {
    operation: Operation,
    answer: Box<dyn Answers<Q, R>>,
}

/// Makes a service out of a function. The captured variables of the function are the state of the service.
///
/// ```
/// use retryproof::service::{ServiceContext, Function, function};
/// use retryproof::{Explore, Verdict, World};
///
/// let report = Explore::new().deviations(1).run(async |world: &World| {
///     world.service("sms", function("send", |text: String, cx: &mut ServiceContext<'_>| cx.effect("send", None, &text, "sm_")));
///     world.process("worker", |p| {
///         let sms = p.service::<Function<String, String>>("sms");
///         p.handle(async move |name: String| sms.call(format!("Hello {name}")).await.map(drop));
///     });
///     world.enqueue("Ada".to_owned());
///     world.settle().await;
/// });
/// assert_eq!(report.violations()[0].summary, "sms.send happened twice, expected once");
/// # assert_eq!(report.verdict(), Verdict::Violated);
/// ```
pub fn function<Q, R, F>(operation: impl Into<Name>, answer: F) -> Function<Q, R>
where
    F: FnMut(Q, &mut ServiceContext<'_>) -> R + Clone + Send + 'static,
{
    Function { operation: Operation::write(operation.into()), answer: Box::new(answer) }
}

impl<Q, R> Function<Q, R> {
    /// Declares that the function is a read: it has no effect.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { operation: Operation::read(self.operation.name), ..self }
    }
}

trait Answers<Q, R>: Send {
    fn answer(&mut self, request: Q, cx: &mut ServiceContext<'_>) -> R;
    fn boxed(&self) -> Box<dyn Answers<Q, R>>;
    fn holds_nothing(&self) -> bool;
}

impl<Q, R, F: FnMut(Q, &mut ServiceContext<'_>) -> R + Clone + Send + 'static> Answers<Q, R> for F {
    fn answer(&mut self, request: Q, cx: &mut ServiceContext<'_>) -> R {
        self(request, cx)
    }

    fn boxed(&self) -> Box<dyn Answers<Q, R>> {
        Box::new(self.clone())
    }

    fn holds_nothing(&self) -> bool {
        size_of::<F>() == 0
    }
}

impl<Q, R> Clone for Function<Q, R> {
    fn clone(&self) -> Self {
        Self { operation: self.operation, answer: self.answer.boxed() }
    }
}

impl<Q, R> fmt::Debug for Function<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").field("operation", &self.operation).finish_non_exhaustive()
    }
}

impl<Q, R> Service for Function<Q, R>
where
    Q: Serialize + fmt::Debug + Send + Unpin + 'static,
    R: Serialize + fmt::Debug + Send + Unpin + 'static,
{
    type Request = Q;
    type Reply = R;

    fn operation(&self, _: &Q) -> Operation {
        self.operation
    }

    fn answer(&mut self, request: Q, cx: &mut ServiceContext<'_>) -> Result<R, Refusal> {
        Ok(self.answer.answer(request, cx))
    }

    /// The state is empty if the function captures nothing. Otherwise it is unknown.
    fn state(&self) -> Option<String> {
        self.answer.holds_nothing().then(String::new)
    }
}
