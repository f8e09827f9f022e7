//! The terms of a test: exceptions for effects, jobs and processes, and its invariants.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;

use super::{Guarantee, World};
use crate::process::Process;
use crate::search::choice::Name;
use crate::system::effect::{Effect, Reuse};
use crate::system::job::{JobState, JobView, kind_of};
use crate::system::json_path::JsonPath;

/// The test's settings for the comparison of outcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ComparisonRules {
    /// `service` or `service.operation`, and its guarantee.
    pub(crate) allowed: Vec<(String, Guarantee)>,
    /// Effects that are sets: `service` or `service.operation`, and the path of their items.
    pub(crate) items: Vec<(String, JsonPath)>,
    /// Parts of observed states that are not compared: the name of the state, and a path.
    pub(crate) ignored: Vec<(Name, JsonPath)>,
    /// Parts of the bodies of effects that are not compared.
    pub(crate) ignored_effects: Vec<(String, JsonPath)>,
    /// Parts of the payloads of jobs that are not compared, by kind.
    pub(crate) ignored_payloads: Vec<(&'static str, JsonPath)>,
    /// The exceptions for jobs of a kind.
    pub(crate) jobs: Vec<(&'static str, JobTerm)>,
    /// Processes in which nothing goes wrong.
    pub(crate) reliable: Vec<Name>,
    /// Operations that each job must make in this order.
    pub(crate) in_order: Vec<Vec<String>>,
    /// The names of the invariants.
    pub(crate) invariants: Vec<Name>,
    /// Whether warnings are violations.
    pub(crate) warnings_denied: bool,
}

/// Something that jobs of a kind may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobTerm {
    /// The job may be lost with its worker.
    Lost,
    /// The job may end well without doing anything.
    Skipped,
    /// The job may give up in this state, no matter how often it failed.
    End(JobState),
    /// The job may give up halfway.
    HalfWay,
}

impl ComparisonRules {
    /// Removes the ignored parts from effects. A request that only differs in those does not reuse its key. Returns the
    /// positions of the paths in `ignored_effects` that named anything.
    pub(crate) fn leave_out(&self, effects: &mut [Effect], reused: &mut Vec<Reuse>) -> BTreeSet<usize> {
        let mut met = BTreeSet::new();
        if self.ignored_effects.is_empty() {
            return met;
        }
        let mut without = |service: Name, operation: Name, body: &str| {
            let paths = self.ignored_effects.iter().enumerate();
            let paths: Vec<_> = paths.filter(|(_, (name, _))| names(name, service, operation)).collect();
            met.extend(paths.iter().filter(|(_, (_, path))| path.names_in(body)).map(|(at, _)| *at));
            let blanked = || JsonPath::blank_text(paths.iter().map(|(_, (_, path))| path), body);
            if paths.is_empty() { None } else { blanked() }
        };
        for effect in effects {
            if let Some(body) = without(effect.service, effect.operation, &effect.body) {
                effect.body = body;
            }
        }
        for reuse in &mut *reused {
            let first = without(reuse.service, reuse.operation, &reuse.first);
            let second = without(reuse.service, reuse.operation, &reuse.second);
            if let (Some(first), Some(second)) = (first, second) {
                (reuse.first, reuse.second) = (first, second);
            }
        }
        reused.retain(|reuse| reuse.first != reuse.second);
        met
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

/// An effect with a guarantee, for further terms.
#[derive(Debug)]
pub struct EffectRules<'w> {
    world: &'w World,
    effect: String,
}

impl EffectRules<'_> {
    /// Declares the effect as a set: its body has an array at this path, and only the items count. So a batch of `[a,
    /// b]` stands for one of `[a]` and one of `[b]`, no matter which job makes it and which key it has. With
    /// [`Guarantee::AtLeastOnce`], an item may be in several batches if there was a deviation, or if jobs overlapped.
    ///
    /// ```
    /// use retryproof::service::{ServiceContext, function};
    /// use retryproof::{Explore, Guarantee, World};
    ///
    /// let report = Explore::new().deviations(1).run(async |world: &World| {
    ///     let cdn = world.service("cdn", function("invalidate", |paths: Vec<String>, cx: &mut ServiceContext<'_>| cx.effect("invalidate", None, &paths, "in_")));
    ///     world.allow("cdn.invalidate", Guarantee::AtLeastOnce).as_items("$");
    ///     world.process("worker", move |p| {
    ///         let (cdn, store) = (p.client(&cdn), p.store());
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
    /// Panics if the path does not parse.
    #[track_caller]
    pub fn as_items(self, path: &str) -> Self {
        let path = parsed(path);
        self.world.terms.borrow_mut().items.push((self.effect.clone(), path));
        self
    }
}

/// The jobs of one kind that wait or run ([`World::jobs`]), and the terms for this kind.
///
/// It is a slice of [`JobView`]s. The terms apply to all jobs of the kind, whenever they are enqueued.
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

    /// Allows jobs of this kind to be lost with their worker: at-most-once delivery
    /// ([`Delivery::AtMostOnce`](crate::Delivery)), for telemetry, for example. A lost job must have done everything
    /// or nothing.
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

    /// Allows jobs of this kind to end well without doing anything, like a duplicate that the code's own lock drops.
    /// The job must have done everything or nothing.
    ///
    /// A job is a duplicate if another job with the same payload (except for what is [ignored](Self::ignore)) was
    /// enqueued before it ended, and acted. A job that does nothing because its own call failed is not a duplicate.
    pub fn may_be_skipped(self) -> Self {
        self.accept(JobTerm::Skipped)
    }

    /// Allows jobs of this kind to end dead or discarded, no matter how many deviations they had. The job must have
    /// done everything or nothing.
    ///
    /// # Panics
    /// Panics if the state is neither [`JobState::Dead`] nor [`JobState::Discarded`].
    #[track_caller]
    pub fn may_end(self, state: JobState) -> Self {
        assert!(
            matches!(state, JobState::Dead | JobState::Discarded),
            "`may_end({state:?})`: a job gives up as `JobState::Dead` or `JobState::Discarded`; use `may_be_lost()` if it may be lost, and `may_be_skipped()` if it may do nothing"
        );
        self.accept(JobTerm::End(state))
    }

    /// Allows jobs of this kind to give up halfway: if the job ends dead or discarded, some of its effects may have
    /// happened and others not. By default, it must have done everything or nothing.
    ///
    /// This only applies to the effects and the state of that job, and only if it gives up.
    pub fn may_stop_half_way(self) -> Self {
        self.accept(JobTerm::HalfWay)
    }

    /// Excludes a part of the payloads from the comparison. The path is as in [`World::ignore`].
    ///
    /// # Panics
    /// Panics if the path does not parse. If it names nothing in the payloads of any run, the verdict is
    /// [`Verdict::Incomplete`](crate::Verdict::Incomplete).
    #[track_caller]
    pub fn ignore(self, path: &str) -> Self {
        let path = parsed(path);
        self.world.shared.state().generated.ignore(self.kind, path.clone());
        self.world.terms.borrow_mut().ignored_payloads.push((self.kind, path));
        self
    }
}

/// A process that was added ([`World::process`]), for further terms.
#[derive(Debug)]
pub struct ProcessRules<'w> {
    world: &'w World,
    name: Name,
}

impl ProcessRules<'_> {
    /// Excludes this process from failures: it is neither crashed nor failed nor stalled, and its jobs are not
    /// redelivered. It still takes part in preemptions. For processes that belong to the test and not to the code
    /// under test: a clock that enqueues jobs, or a server that is only simulated.
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
        self.world.shared.state().world.reliable.add(self.name);
        self.world.terms.borrow_mut().reliable.push(self.name);
        self
    }
}

impl ProcessRules<'_> {
    /// Replaces this process by a new version of its program, as a deploy does that is under way: both versions run, and
    /// either may take a job. Kinds of jobs are compared by the names of their types, without the modules, so that
    /// `old::Mail` and `new::Mail` are one kind. So a payload that one of the versions cannot read is found.
    ///
    /// The new process has the name of this one and `@new`. Both versions must have the same effects and enqueue the same
    /// jobs, except for the parts that the test ignores ([`World::ignore_effect`], [`Jobs::ignore`]).
    ///
    /// ```
    /// use retryproof::service::email::Email;
    /// use retryproof::{Explore, Process, World};
    ///
    /// mod old {
    ///     #[derive(serde::Serialize, serde::Deserialize)]
    ///     pub struct Mail {
    ///         pub to: String,
    ///     }
    /// }
    /// mod new {
    ///     #[derive(serde::Serialize, serde::Deserialize)]
    ///     pub struct Mail {
    ///         pub to: String,
    ///         pub subject: String, // the bug: an old payload has none
    ///     }
    /// }
    /// let report = Explore::new().deviations(1).crashes(0).faults(0).deliveries(0).run(async |world: &World| {
    ///     let worker = world.process("worker", |p| {
    ///         let email = p.email();
    ///         p.handle(async move |mail: old::Mail| email.send(Email::new(mail.to, "welcome")).await);
    ///     });
    ///     worker.replaced_by(|p| {
    ///         let email = p.email();
    ///         p.handle(async move |mail: new::Mail| email.send(Email::new(mail.to, &mail.subject)).await);
    ///     });
    ///     world.enqueue(old::Mail { to: "ada@example.com".to_owned() });
    ///     world.settle().await;
    /// });
    /// assert!(report.to_string().contains("worker@new takes the job"), "{report}");
    /// assert!(report.to_string().contains("missing field `subject`"), "{report}");
    /// ```
    ///
    /// # Panics
    /// Panics if the two versions handle no kind of job in common.
    #[track_caller]
    pub fn replaced_by(self, boot: impl Fn(&Process) + 'static) -> Self {
        self.world.executor().add_version(self.name, Box::new(boot));
        self
    }
}

impl World {
    pub(super) fn hosted(&self, name: Name) -> ProcessRules<'_> {
        ProcessRules { world: self, name }
    }

    /// Returns the jobs of one kind that wait or run, in order, for assertions and for terms.
    pub fn jobs<J: 'static>(&self) -> Jobs<'_> {
        let kind = kind_of::<J>();
        let here = |state: JobState| state.is_waiting() || state == JobState::Running;
        let state = self.shared.state();
        let jobs = state.queue.jobs().iter().filter(|job| job.kind == kind && here(job.state));
        Jobs { world: self, kind, views: jobs.map(JobView::from).collect() }
    }

    /// Sets the guarantee of an effect, `service.operation` or all effects of a `service`. Defaults to exactly once.
    pub fn allow(&self, effect: impl Into<String>, guarantee: Guarantee) -> EffectRules<'_> {
        let effect = effect.into();
        self.terms.borrow_mut().allowed.push((effect.clone(), guarantee));
        EffectRules { world: self, effect }
    }

    /// Excludes a part of the bodies of an effect, `service.operation` or all effects of a `service`, from the
    /// comparison: an encrypted blob, or a time. The path is as in [`World::ignore`].
    ///
    /// Requests that only differ in an ignored part are the same request, so they may use the same idempotency key.
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
    ///                 // It differs in each attempt.
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
    /// Panics if the path does not parse. If no run has such an effect, or nothing at this path in its body, the verdict
    /// is [`Verdict::Incomplete`](crate::Verdict::Incomplete).
    #[track_caller]
    pub fn ignore_effect(&self, effect: impl Into<String>, path: &str) {
        let path = parsed(path);
        self.terms.borrow_mut().ignored_effects.push((effect.into(), path));
    }

    /// Requires that each job that makes these operations makes them in this order: each one only after its
    /// predecessor in the list has happened.
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
    /// Panics if the list has fewer than two operations.
    #[track_caller]
    pub fn effects_in_order<E: Into<String>>(&self, effects: impl IntoIterator<Item = E>) {
        let effects: Vec<String> = effects.into_iter().map(Into::into).collect();
        assert!(
            effects.len() > 1,
            "`effects_in_order` needs at least two operations, as in `[\"payments.charge\", \"fulfillment.request\"]`"
        );
        self.terms.borrow_mut().in_order.push(effects);
    }

    /// Registers an invariant. `check` is called after every step of every job. If it panics, the report names the
    /// invariant.
    ///
    /// ```
    /// use retryproof::report::Oracle;
    /// use retryproof::{Explore, World};
    ///
    /// let report = Explore::new().run(async |world: &World| {
    ///     let (from, to) = (world.durable("from", 100_u32), world.durable("to", 0_u32));
    ///     world.invariant("money is conserved", move |_: &World| assert_eq!(from.get() + to.get(), 100));
    ///     world.process("worker", |p| {
    ///         let (from, to, clock) = (p.durable::<u32>("from"), p.durable::<u32>("to"), p.clock());
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
    /// Panics if there is already an invariant with this name.
    #[track_caller]
    pub fn invariant(&self, name: impl Into<Name>, check: impl Fn(&World) + 'static) {
        let name = name.into();
        let is_new = self.executor.borrow().invariants.iter().all(|(known, _)| *known != name);
        assert!(is_new, "the invariant `{name}` was registered twice; give each invariant its own name");
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
