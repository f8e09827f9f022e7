//! What a test accepts: of effects, of jobs, of processes, and what always holds.

use std::fmt;
use std::ops::Deref;

use super::{Guarantee, World};
use crate::search::choice::Name;
use crate::system::effect::{Effect, Reuse};
use crate::system::job::{JobState, JobView, kind_of};
use crate::system::json_path::JsonPath;

/// What the test has said about the comparison of outcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// `service` or `service.operation`, and its guarantee.
    pub(crate) allowed: Vec<(String, Guarantee)>,
    /// Effects that are sets: `service` or `service.operation`, and where their items are.
    pub(crate) items: Vec<(String, JsonPath)>,
    /// Parts of observed states that are not compared: the name of the state, a path.
    pub(crate) ignored: Vec<(Name, JsonPath)>,
    /// The same for bodies of effects.
    pub(crate) ignored_effects: Vec<(String, JsonPath)>,
    /// The same for payloads of a kind of jobs.
    pub(crate) ignored_payloads: Vec<(&'static str, JsonPath)>,
    /// What jobs of a kind may do.
    pub(crate) jobs: Vec<(&'static str, JobTerm)>,
    /// Processes in which nothing goes wrong.
    pub(crate) reliable: Vec<Name>,
    /// Operations that each job does in this order.
    pub(crate) in_order: Vec<Vec<String>>,
    /// What always holds, by name.
    pub(crate) invariants: Vec<Name>,
    /// Whether what is asking for trouble is a violation.
    pub(crate) warnings_denied: bool,
}

/// Something that jobs of a kind may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobTerm {
    /// Be lost with its worker.
    Lost,
    /// End well without having done anything.
    Skipped,
    /// Give up, however often it has failed.
    End(JobState),
    /// Give up when it has done a part of what it does.
    HalfWay,
}

impl Terms {
    /// Leaves out of effects what is ignored in them. A request that is the same but for that is no reuse of its key.
    pub(crate) fn leave_out(&self, effects: &mut [Effect], reused: &mut Vec<Reuse>) {
        if self.ignored_effects.is_empty() {
            return;
        }
        let without = |service: Name, operation: Name, body: &str| {
            let paths = self.ignored_effects.iter().filter(|(name, _)| names(name, service, operation));
            let mut paths = paths.map(|(_, path)| path).peekable();
            paths.peek().is_some().then(|| JsonPath::blank_text(paths, body)).flatten()
        };
        for effect in effects {
            if let Some(body) = without(effect.service, effect.operation, &effect.body) {
                effect.body = body;
            }
        }
        for reuse in &mut *reused {
            let [first, second] =
                [&reuse.first, &reuse.second].map(|body| without(reuse.service, reuse.operation, body));
            if let (Some(first), Some(second)) = (first, second) {
                (reuse.first, reuse.second) = (first, second);
            }
        }
        reused.retain(|reuse| reuse.first != reuse.second);
    }

    pub(crate) fn accepts(&self, kind: &str, term: JobTerm) -> bool {
        self.jobs.iter().any(|(known, accepted)| *known == kind && *accepted == term)
    }
}

/// Whether a text, `service` or `service.operation`, names an effect.
pub(crate) fn names(text: &str, service: Name, operation: Name) -> bool {
    let of_service = text.strip_prefix(service.as_str());
    of_service.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('.') == Some(operation.as_str()))
}

/// An effect for which the test states a guarantee: what else is to be said of it.
#[derive(Debug)]
pub struct Allowed<'w> {
    world: &'w World,
    effect: String,
}

impl Allowed<'_> {
    /// The effect is a set: its body has an array at this path, and what counts is each item. So a batch of `[a, b]`
    /// stands for one of `[a]` and one of `[b]`, whichever job makes it, and whatever key it bears. With
    /// [`Guarantee::AtLeastOnce`] an item may be in several batches where something went wrong or jobs overlapped.
    ///
    /// ```
    /// use retryproof::service::{Cx, Function, function};
    /// use retryproof::{Explore, Guarantee, World};
    ///
    /// let report = Explore::new().deviations(1).run(async |world: &World| {
    ///     world.service("cdn", function("invalidate", |paths: Vec<String>, cx: &mut Cx<'_>| cx.effect("invalidate", None, &paths, "in_")));
    ///     world.allow("cdn.invalidate", Guarantee::AtLeastOnce).as_items("$");
    ///     world.process("worker", |p| {
    ///         let cdn = p.service::<Function<Vec<String>, String>>("cdn");
    ///         let store = p.store();
    ///         p.handle(async move |path: String| {
    ///             store.put(format!("dirty:{path}"), &path).await?;
    ///             let dirty: Vec<String> = store.scan("dirty:").await?.into_iter().map(|(_, row)| row.value).collect();
    ///             cdn.call(dirty.clone()).await?;
    ///             for path in dirty {
    ///                 store.delete(format!("dirty:{path}")).await?;
    ///             }
    ///             Ok::<(), Box<dyn std::error::Error>>(())
    ///         });
    ///     });
    ///     world.enqueue("/".to_owned());
    ///     world.settle().await;
    /// });
    /// assert!(report.is_retryproof(), "{report}");
    /// ```
    ///
    /// # Panics
    /// If the path does not parse.
    #[track_caller]
    pub fn as_items(self, path: &str) -> Self {
        let path = parsed(path);
        self.world.terms.borrow_mut().items.push((self.effect.clone(), path));
        self
    }
}

/// The jobs of one kind that wait or run ([`World::jobs`]), and what the test accepts of this kind.
///
/// It is a slice of [`JobView`]s. The terms hold for all jobs of the kind, whenever they come.
pub struct Jobs<'w> {
    world: &'w World,
    kind: &'static str,
    views: Vec<JobView>,
}

impl fmt::Debug for Jobs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Jobs").field(&self.views).finish()
    }
}

impl Deref for Jobs<'_> {
    type Target = [JobView];

    fn deref(&self) -> &[JobView] {
        &self.views
    }
}

impl IntoIterator for Jobs<'_> {
    type Item = JobView;
    type IntoIter = std::vec::IntoIter<JobView>;

    fn into_iter(self) -> Self::IntoIter {
        self.views.into_iter()
    }
}

impl Jobs<'_> {
    fn accept(self, term: JobTerm) -> Self {
        self.world.terms.borrow_mut().jobs.push((self.kind, term));
        self
    }

    /// Lets such a job be lost with its worker: at-most-once delivery ([`Delivery::AtMostOnce`](crate::Delivery)), for
    /// telemetry, say. Either all that it does has happened, or none of it.
    ///
    /// ```
    /// use retryproof::service::payments::Charge;
    /// use retryproof::{Delivery, Explore, World};
    ///
    /// let explore = |may_be_lost: bool| {
    ///     Explore::new().deviations(1).faults(0).run(async move |world: &World| {
    ///         if may_be_lost {
    ///             world.jobs::<u32>().may_be_lost();
    ///         }
    ///         world.process("worker", |p| {
    ///             let payments = p.payments();
    ///             p.handle(async move |order: u32| payments.charge(Charge::of_order(order, 1)).await)
    ///                 .delivery(Delivery::AtMostOnce);
    ///         });
    ///         world.enqueue(6_u32);
    ///         world.settle().await;
    ///     })
    /// };
    /// assert!(!explore(false).is_retryproof());
    /// assert!(explore(true).is_retryproof());
    /// ```
    pub fn may_be_lost(self) -> Self {
        self.accept(JobTerm::Lost)
    }

    /// Lets such a job end well without having done anything: a duplicate that a lock of the code's own drops. Either all
    /// that it does has happened, or none of it.
    ///
    /// It is a duplicate if a job with the same payload (but for what is [ignored](Self::ignore)) came before it was over,
    /// and acted. One that does nothing because its own call failed is none.
    pub fn may_be_skipped(self) -> Self {
        self.accept(JobTerm::Skipped)
    }

    /// Lets such a job end dead or discarded, however often something went wrong in it. Either all that it does has
    /// happened, or none of it.
    ///
    /// # Panics
    /// If the state is neither [`JobState::Dead`] nor [`JobState::Discarded`].
    #[track_caller]
    pub fn may_end(self, state: JobState) -> Self {
        assert!(
            matches!(state, JobState::Dead | JobState::Discarded),
            "`may_end({state:?})`: a job gives up as `JobState::Dead` or `JobState::Discarded`; it may be lost with `may_be_lost()`, and do nothing with `may_be_skipped()`"
        );
        self.accept(JobTerm::End(state))
    }

    /// Lets such a job give up half-way: when it ends dead or discarded, some of what it does may have happened and
    /// some not. By default it must be all or nothing.
    ///
    /// Only the effects and the state of that job are excused, and only if it gives up.
    pub fn may_stop_half_way(self) -> Self {
        self.accept(JobTerm::HalfWay)
    }

    /// Leaves a part of the payloads out of the comparison, by a path as in [`World::ignore`].
    ///
    /// # Panics
    /// If the path does not parse.
    #[track_caller]
    pub fn ignore(self, path: &str) -> Self {
        let path = parsed(path);
        self.world.shared.state().generated.ignore(self.kind, path.clone());
        self.world.terms.borrow_mut().ignored_payloads.push((self.kind, path));
        self
    }
}

/// A process that was added ([`World::process`]): what is to be said of it.
#[derive(Debug)]
pub struct Hosted<'w> {
    world: &'w World,
    name: Name,
}

impl Hosted<'_> {
    /// Nothing goes wrong in this process: it is neither crashed nor failed nor paused, and its jobs are not delivered
    /// again. It takes part in schedules. For what belongs to the test and not to the code under test: a clock that
    /// enqueues jobs, a server that is only simulated.
    ///
    /// ```
    /// use retryproof::service::email::Email;
    /// use retryproof::{Explore, World};
    ///
    /// let explore = |reliable: bool| {
    ///     Explore::new().deviations(1).run(async move |world: &World| {
    ///         let process = world.process("cron", |p| {
    ///             let email = p.email();
    ///             p.handle(async move |to: String| email.send(Email::new(to, "report")).await);
    ///         });
    ///         if reliable {
    ///             process.reliable();
    ///         }
    ///         world.enqueue("ada@example.com".to_owned());
    ///         world.settle().await;
    ///     })
    /// };
    /// assert!(!explore(false).is_retryproof());
    /// assert!(explore(true).is_retryproof());
    /// ```
    pub fn reliable(self) -> Self {
        self.world.shared.state().reliable.add(self.name);
        self.world.terms.borrow_mut().reliable.push(self.name);
        self
    }
}

impl World {
    pub(super) fn hosted(&self, name: Name) -> Hosted<'_> {
        Hosted { world: self, name }
    }

    /// The jobs of one kind that wait or run, in the order in which they came, and what the test accepts of this kind.
    pub fn jobs<J: 'static>(&self) -> Jobs<'_> {
        let kind = kind_of::<J>();
        let here = |state: JobState| state.is_waiting() || state == JobState::Running;
        let state = self.shared.state();
        let jobs = state.queue.jobs().iter().filter(|job| job.kind == kind && here(job.state));
        Jobs { world: self, kind, views: jobs.map(JobView::from).collect() }
    }

    /// States a guarantee for an effect, `service.operation` or all those of a `service`. Defaults to exactly once.
    pub fn allow(&self, effect: impl Into<String>, guarantee: Guarantee) -> Allowed<'_> {
        let effect = effect.into();
        self.terms.borrow_mut().allowed.push((effect.clone(), guarantee));
        Allowed { world: self, effect }
    }

    /// Leaves a part of the bodies of an effect out of the comparison, `service.operation` or all those of a `service`: an
    /// encrypted blob, a time. The path is as in [`World::ignore`].
    ///
    /// A part that is ignored does not make a request another one, either: the same idempotency key with another value
    /// there is no reuse of the key.
    ///
    /// ```
    /// use retryproof::service::payments::Charge;
    /// use retryproof::{Explore, World};
    ///
    /// let explore = |ignore: bool| {
    ///     Explore::new().deviations(1).run(async move |world: &World| {
    ///         if ignore {
    ///             world.ignore_effect("payments.charge", "$.customer_id");
    ///         }
    ///         world.process("worker", |p| {
    ///             let (payments, clock) = (p.payments(), p.clock());
    ///             p.handle(async move |order: u32| {
    ///                 // Another one in each attempt.
    ///                 let customer = format!("cu_{}", clock.now().as_secs());
    ///                 payments.charge(Charge::of_order(order, 500).customer(customer).key("order-6")).await
    ///             });
    ///         });
    ///         world.enqueue(6_u32);
    ///         world.settle().await;
    ///     })
    /// };
    /// assert!(!explore(false).is_retryproof());
    /// assert!(explore(true).is_retryproof());
    /// ```
    ///
    /// # Panics
    /// If the path does not parse. If no fault-free run has such an effect, the verdict is
    /// [`Verdict::Incomplete`](crate::Verdict::Incomplete).
    #[track_caller]
    pub fn ignore_effect(&self, effect: impl Into<String>, path: &str) {
        let path = parsed(path);
        self.terms.borrow_mut().ignored_effects.push((effect.into(), path));
    }

    /// Requires that each job which does these operations does them in this order: before one of them, the one that stands
    /// before it in the list has happened.
    ///
    /// ```
    /// use retryproof::service::fulfillment::Shipment;
    /// use retryproof::service::payments::Charge;
    /// use retryproof::{Code, Explore, World};
    ///
    /// let report = Explore::new().deviations(0).run(async |world: &World| {
    ///     world.effects_in_order(["payments.charge", "fulfillment.request"]);
    ///     world.process("worker", |p| {
    ///         let (payments, parcels) = (p.payments(), p.fulfillment());
    ///         p.handle(async move |order: u32| {
    ///             parcels.request(Shipment::of_order(order, "pr_3", 1).address("1 Main St").key("k")).await?;
    ///             payments.charge(Charge::of_order(order, 500).key("k")).await
    ///         });
    ///     });
    ///     world.enqueue(6_u32);
    ///     world.settle().await;
    /// });
    /// assert_eq!(report.code(), Some(Code::OutOfOrder));
    /// ```
    ///
    /// # Panics
    /// If the list has fewer than two operations.
    #[track_caller]
    pub fn effects_in_order<E: Into<String>>(&self, effects: impl IntoIterator<Item = E>) {
        let effects: Vec<String> = effects.into_iter().map(Into::into).collect();
        assert!(
            effects.len() > 1,
            "`effects_in_order` needs at least two operations, as in `[\"payments.charge\", \"fulfillment.request\"]`"
        );
        self.terms.borrow_mut().in_order.push(effects);
    }

    /// Has `check` called after every step of every job. A panic in it is a violation, and the report names the invariant.
    ///
    /// ```
    /// use retryproof::{Explore, Oracle, World};
    ///
    /// let report = Explore::new().run(async |world: &World| {
    ///     let (from, to) = (world.durable("from", 100_u32), world.durable("to", 0_u32));
    ///     world.invariant("money is conserved", {
    ///         let (from, to) = (from.clone(), to.clone());
    ///         move |_: &World| assert_eq!(from.get() + to.get(), 100)
    ///     });
    ///     world.process("worker", move |p| {
    ///         let (from, to, clock) = (from.clone(), to.clone(), p.clock());
    ///         p.handle(async move |cents: u32| {
    ///             from.update(|from| *from -= cents);
    ///             clock.yield_now().await;
    ///             to.update(|to| *to += cents);
    ///         });
    ///     });
    ///     world.enqueue(30_u32);
    ///     world.settle().await;
    /// });
    /// assert_eq!(report.violations()[0].oracle, Oracle::Body);
    /// assert!(report.violations()[0].summary.contains("invariant `money is conserved`"), "{report}");
    /// ```
    ///
    /// # Panics
    /// If there is an invariant of that name already.
    #[track_caller]
    pub fn invariant(&self, name: impl Into<Name>, check: impl Fn(&World) + 'static) {
        let name = name.into();
        let is_new = self.executor.borrow().invariants.iter().all(|(known, _)| *known != name);
        assert!(is_new, "the invariant `{name}` was stated twice; give each invariant a name of its own");
        let view = self.view();
        self.terms.borrow_mut().invariants.push(name);
        self.executor.borrow_mut().invariants.push((name, Box::new(move || check(&view))));
    }
}

#[track_caller]
fn parsed(path: &str) -> JsonPath {
    match path.parse() {
        Ok(path) => path,
        Err(error) => panic!("{error}"),
    }
}
