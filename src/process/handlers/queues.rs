//! The queues that a process serves, and their order.

use std::rc::Rc;

use crate::process::Process;
use crate::search::choice::Name;

/// The queues that a process serves.
#[derive(Clone, Debug, Default)]
pub(crate) enum QueueSelection {
    /// All queues, in the order in which their jobs became ready.
    #[default]
    Every,
    /// These queues. A job of a later one runs only if no earlier one has a ready job.
    Strict(Rc<[Name]>),
    /// These queues. Which one comes first is drawn each time.
    Weighted(Rc<[(Name, u32)]>),
}

/// The order in which a process checks its queues this time.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// All queues are equal.
    Any,
    /// These queues, in this order.
    Of(Rc<[Name]>),
}

impl Process {
    /// Serves only these queues, with strict priority: a job of a later queue runs only if no earlier queue has a
    /// ready job. By default, a process serves every queue, and takes jobs in the order in which they became ready.
    ///
    /// ```
    /// use retryproof::World;
    ///
    /// let world = World::fake();
    /// let done = world.durable("done", Vec::<&str>::new());
    /// world.process("worker", |p| {
    ///     p.slots(1).queues(["high", "default"]);
    ///     let (mails, reports) = (p.durable::<Vec<&str>>("done"), p.durable::<Vec<&str>>("done"));
    ///     p.handle(async move |_mail: String| mails.update(|done| done.push("mail"))).queue("high");
    ///     p.handle(async move |_report: u32| reports.update(|done| done.push("report")));
    /// });
    /// world.enqueue(1_u32);
    /// world.enqueue("ada@example.com".to_owned());
    /// world.drain_all().run().unwrap();
    /// assert_eq!(done.get(), ["mail", "report"]);
    /// ```
    ///
    /// # Panics
    /// Panics if there are no queues, or if one is named twice.
    pub fn queues<N: Into<Name>>(&self, queues: impl IntoIterator<Item = N>) -> &Self {
        let queues: Rc<[Name]> = queues.into_iter().map(Into::into).collect();
        self.check_queues(&queues);
        *self.queues.borrow_mut() = QueueSelection::Strict(queues);
        self
    }

    /// Serves only these queues. Which one is checked first is drawn each time from the seed of the run: a queue of
    /// weight 3 comes first three times as often as one of weight 1.
    ///
    /// # Panics
    /// Panics if there are no queues, if one is named twice, or if one has weight 0.
    pub fn weighted_queues<N: Into<Name>>(&self, queues: impl IntoIterator<Item = (N, u32)>) -> &Self {
        let queues: Rc<[(Name, u32)]> =
            queues.into_iter().map(|(queue, weight)| (queue.into(), weight)).collect();
        self.check_queues(&queues.iter().map(|&(queue, _)| queue).collect::<Vec<_>>());
        if let Some((queue, _)) = queues.iter().find(|(_, weight)| *weight == 0) {
            panic!(
                "process `{}` gives the queue `{queue}` the weight 0, so it would never be served; remove the queue, or give it a weight of at least 1",
                self.name()
            );
        }
        *self.queues.borrow_mut() = QueueSelection::Weighted(queues);
        self
    }

    fn check_queues(&self, queues: &[Name]) {
        let name = self.name();
        assert!(!queues.is_empty(), "process `{name}` serves no queue; name at least one");
        if let Some(twice) = (1..queues.len()).find(|&at| queues[..at].contains(&queues[at])) {
            panic!("process `{name}` serves the queue `{}` twice; name each queue once", queues[twice]);
        }
    }

    pub(crate) fn serves(&self, queue: Name) -> bool {
        match &*self.queues.borrow() {
            QueueSelection::Every => true,
            QueueSelection::Strict(queues) => queues.contains(&queue),
            QueueSelection::Weighted(queues) => queues.iter().any(|&(served, _)| served == queue),
        }
    }

    /// Returns the order in which this process checks its queues now. `draw` draws a random number.
    pub(crate) fn order(&self, draw: &mut dyn FnMut() -> u64) -> Order {
        match &*self.queues.borrow() {
            QueueSelection::Every => Order::Any,
            QueueSelection::Strict(queues) => Order::Of(queues.clone()),
            QueueSelection::Weighted(queues) => {
                let mut left = queues.to_vec();
                let mut order = Vec::with_capacity(left.len());
                while !left.is_empty() {
                    let all: u64 = left.iter().map(|&(_, weight)| u64::from(weight)).sum();
                    let mut drawn = draw() % all;
                    let at = left.iter().position(|&(_, weight)| {
                        let here = drawn < u64::from(weight);
                        drawn = drawn.saturating_sub(u64::from(weight));
                        here
                    });
                    order
                        .push(left.remove(at.expect("a number below the sum falls into one of the parts")).0);
                }
                Order::Of(order.into())
            }
        }
    }
}
