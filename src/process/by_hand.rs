//! Tests that poll one attempt by hand from wait to wait (`tokio_test::task`), and inject a failure into each poll.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio_test::task::{self, Spawn};

use super::{Attempt, Process};
use crate::engine::life::{self, Life};
use crate::engine::state::{Mode, Shared, State};
use crate::search::choice::{Actor, Chooser, Plan};
use crate::system::job::JobFailure;
use crate::system::job::kind_of;
use crate::system::service::payments::Charge;
use crate::system::timeline::Timeline;

/// An attempt of `job#1`, as the executor holds it.
struct ByHand {
    shared: Arc<Shared>,
    life: Arc<Life>,
    attempt: Spawn<Attempt>,
    /// The number of choices that earlier polls met.
    seen: usize,
}

/// Begins an attempt that charges, waits a second, and charges again.
fn begin(scenario: &str) -> ByHand {
    let plan = match scenario {
        "" => Plan::ordinary(),
        deviation => {
            let scenario: crate::Scenario = format!("test {deviation}").parse().unwrap();
            Plan::Wanted(scenario.wanted().to_vec())
        }
    };
    let state = State::new(Chooser::new(plan), Mode::Explore, Timeline::default(), 0, 1_000);
    let shared = Shared::new(state);
    let life = Life::new(shared.clone(), "worker".into(), 0, 1);
    let process = Process::new(life.clone());
    let (payments, clock) = (process.payments(), process.clock());
    process.handle(async move |order: u32| {
        payments.charge(Charge::of_order(order, 500).key("k")).await?;
        clock.sleep(Duration::from_secs(1)).await;
        payments.charge(Charge::of_order(order, 700).key("l")).await.map(drop)
    });
    shared.state().set_actor(Actor::Attempt { job: 1, attempt: 1 });
    let begun = life::run_as(&life, || process.start(1, kind_of::<u32>(), "6"));
    let attempt = task::spawn(begun.expect("there is a handler").0.expect("the payload decodes"));
    // The first poll gets the choices that were met while the attempt began.
    ByHand { shared, life, attempt, seen: 0 }
}

impl ByHand {
    /// Polls once. Returns the result, and the points of the choices that were met. To a handle, a test that polls by
    /// hand is like blocking code, so the poll unwinds when its process crashes.
    fn poll(&mut self) -> (Poll<Result<(), JobFailure>>, Vec<String>) {
        let poll = AssertUnwindSafe(|| life::run_as_crashable(&self.life, || self.attempt.poll()));
        let polled = catch_unwind(poll).unwrap_or_else(|payload| {
            assert!(
                payload.is::<life::ProcessDeath>() && self.life.is_dead(),
                "a panic of the attempt's own"
            );
            Poll::Pending
        });
        let state = self.shared.state();
        let met = state.search.choices()[self.seen..].iter();
        let met: Vec<_> = met.map(|choice| choice.label.to_string().replace("job#1.1/", "")).collect();
        self.seen += met.len();
        (polled, met)
    }

    fn effects(&self) -> usize {
        self.shared.state().ledger.effects().len()
    }
}

#[test]
fn each_poll_goes_from_one_wait_to_the_next_and_meets_its_crash_points() {
    let mut hand = begin("");
    let (polled, met) = hand.poll();
    assert!(polled.is_pending() && hand.attempt.is_woken(), "a call waits at least once, and wakes itself");
    assert_eq!(met, ["payments.charge:before", "payments.charge:call"]);
    assert_eq!(hand.effects(), 1, "it has happened, and its reply is on its way");

    let (polled, met) = hand.poll();
    assert!(polled.is_pending());
    assert_eq!(met, ["payments.charge:happened", "payments.charge:replied", "sleep:before"]);
    assert!(!hand.attempt.is_woken(), "it sleeps, and nothing wakes it but time");

    hand.shared.advance(Duration::from_secs(1));
    assert!(hand.attempt.is_woken());
    let (polled, met) = hand.poll();
    assert!(polled.is_pending() && hand.attempt.is_woken());
    assert_eq!(met, ["payments.charge:before", "payments.charge:call"]);

    let (polled, met) = hand.poll();
    assert!(matches!(polled, Poll::Ready(Ok(()))), "{polled:?}");
    assert_eq!(met, ["payments.charge:happened", "payments.charge:replied"]);
    assert_eq!(hand.effects(), 2);
}

#[test]
fn a_crash_ends_it_at_the_poll_that_meets_its_point() {
    for (point, polls, effects) in [
        ("payments.charge:before", 1, 0),
        ("payments.charge:happened", 2, 1),
        ("payments.charge:replied", 2, 1),
        ("sleep:before", 2, 1),
        ("payments.charge:before~2", 3, 1),
        ("payments.charge:happened~2", 4, 2),
        ("payments.charge:replied~2", 4, 2),
    ] {
        let mut hand = begin(&format!("job#1.1/{point}=crash"));
        for poll in 1..=polls {
            assert!(!hand.life.is_dead(), "{point}: dead before poll {poll}");
            hand.shared.advance(Duration::from_secs(poll));
            let (polled, _) = hand.poll();
            assert!(polled.is_pending(), "{point}");
        }
        assert!(hand.life.is_dead(), "{point}: alive after {polls} polls");
        assert_eq!(hand.effects(), effects, "{point}");
        // A dead process does nothing more.
        let ByHand { shared, attempt, .. } = hand;
        drop(attempt);
        assert_eq!(shared.state().ledger.effects().len(), effects, "{point}");
    }
}

#[test]
fn a_fault_shows_at_the_next_poll() {
    for (option, effects) in [("unavailable", 0), ("reply-lost", 1)] {
        let mut hand = begin(&format!("job#1.1/payments.charge:call={option}"));
        assert!(hand.poll().0.is_pending());
        assert_eq!(hand.effects(), effects, "{option}");
        let (polled, met) = hand.poll();
        assert!(matches!(polled, Poll::Ready(Err(_))), "{option}: {polled:?}");
        assert_eq!(met, ["payments.charge:happened", "payments.charge:replied"], "{option}");
    }
}
