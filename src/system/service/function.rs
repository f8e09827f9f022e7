//! A service that is one function.

use std::fmt;

use serde::Serialize;

use super::keys::{Keys, written};
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
/// use retryproof::service::{ServiceContext, function};
/// use retryproof::{Explore, Verdict, World};
///
/// let report = Explore::new().deviations(1).run(async |world: &World| {
///     let sms = world.service("sms", function("send", |text: String, cx: &mut ServiceContext<'_>| cx.effect("send", None, &text, "sm_")));
///     world.process("worker", move |p| {
///         let sms = p.client(&sms);
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

impl<Q, R> Function<Q, R>
where
    Q: Serialize + Send + 'static,
    R: Clone + Send + 'static,
{
    /// The service honors idempotency keys: a request whose key is known does nothing, and has the answer of the first one.
    /// `key` finds the key in a request. A known key in a request with other contents is a violation, as it is of the
    /// built-in services.
    ///
    /// ```
    /// use retryproof::service::{ServiceContext, function};
    /// use retryproof::{Explore, Verdict, World};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Debug, Serialize, Deserialize)]
    /// struct Text {
    ///     key: String,
    ///     text: String,
    /// }
    ///
    /// let report = Explore::new().run(async |world: &World| {
    ///     let send = function("send", |text: Text, cx: &mut ServiceContext<'_>| cx.effect("send", Some(&text.key), &text.text, "sm_"));
    ///     let sms = world.service("sms", send.honors_keys(|text| Some(&text.key)));
    ///     world.process("worker", move |p| {
    ///         let sms = p.client(&sms);
    ///         p.handle(async move |order: u32| {
    ///             sms.call(Text { key: format!("order-{order}"), text: "It is here".to_owned() }).await.map(drop)
    ///         });
    ///     });
    ///     world.enqueue(6_u32);
    ///     world.settle().await;
    /// });
    /// assert_eq!(report.verdict(), Verdict::RetryProof);
    /// ```
    #[must_use]
    pub fn honors_keys(self, key: impl Fn(&Q) -> Option<&str> + Clone + Send + 'static) -> Self {
        let Self { operation, answer } = self;
        Self {
            operation,
            answer: Box::new(Keyed { operation: operation.name, answer, keys: Keys::default(), key }),
        }
    }
}

/// A function that is asked only if the key of the request is not known.
struct Keyed<Q, R, K> {
    operation: Name,
    answer: Box<dyn Answers<Q, R>>,
    keys: Keys<R>,
    key: K,
}

impl<Q, R, K> Answers<Q, R> for Keyed<Q, R, K>
where
    Q: Serialize + 'static,
    R: Clone + Send + 'static,
    K: Fn(&Q) -> Option<&str> + Clone + Send + 'static,
{
    fn answer(&mut self, request: Q, cx: &mut ServiceContext<'_>) -> R {
        let Some(key) = (self.key)(&request).map(str::to_owned) else {
            return self.answer.answer(request, cx);
        };
        let known = self.keys.known(self.operation, Some(&key), &request, cx);
        if let Some(known) = known.expect("these keys refuse nothing") {
            return known;
        }
        let asked = written(&request);
        let reply = self.answer.answer(request, cx);
        self.keys.store_request(key, asked, reply.clone(), cx);
        reply
    }

    fn boxed(&self) -> Box<dyn Answers<Q, R>> {
        let Self { operation, answer, keys, key } = self;
        Box::new(Self { operation: *operation, answer: answer.boxed(), keys: keys.clone(), key: key.clone() })
    }

    fn holds_nothing(&self) -> bool {
        false
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
