//! Compares a whole shop with a small model: orders are placed, canceled and returned, its worker crashes, the bank is
//! down, and time passes. Each of these is a step. The invariants must hold after each step, and in the end all
//! customers must have what belongs to them.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use expect_test::expect;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use retryproof::job::JobState;
use retryproof::service::{Function, ServiceContext, function};
use retryproof::{Durable, World};
use serde::{Deserialize, Serialize};

use crate::support::has_line;

/// An operation on the shop.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Place,
    Cancel(u32),
    /// The customer returns the order.
    Refund(u32),
    /// The worker runs until this number of further attempts has ended.
    Work(u8),
    /// The worker runs until the bank has done something, and crashes before it gets the answer.
    DieAtTheBank,
    Crash,
    Outage,
    Recover,
    Pass(u16),
}

/// The expected result, order by order: whether it must be paid in the end.
#[derive(Clone, Debug, Default)]
struct Model {
    orders: BTreeMap<u32, bool>,
    is_down: bool,
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(model: &Self) -> BoxedStrategy<Step> {
        let any = prop_oneof![
            3 => Just(Step::Place),
            3 => (0..4_u8).prop_map(Step::Work),
            2 => Just(Step::DieAtTheBank),
            1 => Just(Step::Crash),
            1 => Just(Step::Outage),
            1 => Just(Step::Recover),
            1 => (0..600_u16).prop_map(Step::Pass),
        ];
        if model.orders.is_empty() {
            return any.boxed();
        }
        let orders: Vec<_> = model.orders.keys().copied().collect();
        let order = proptest::sample::select(orders);
        prop_oneof![4 => any, 2 => order.clone().prop_map(Step::Cancel), 1 => order.prop_map(Step::Refund)]
            .boxed()
    }

    fn preconditions(model: &Self, step: &Step) -> bool {
        match step {
            Step::Cancel(order) | Step::Refund(order) => model.orders.contains_key(order),
            _ => true,
        }
    }

    fn apply(mut model: Self, step: &Step) -> Self {
        match step {
            Step::Place => _ = model.orders.insert(1 + model.orders.len() as u32, true),
            Step::Cancel(order) | Step::Refund(order) => _ = model.orders.insert(*order, false),
            Step::Outage => model.is_down = true,
            Step::Recover => model.is_down = false,
            _ => {}
        }
        model
    }
}

#[derive(Serialize, Deserialize)]
struct PlaceOrder(u32);
#[derive(Serialize, Deserialize)]
struct CancelOrder(u32);
#[derive(Serialize, Deserialize)]
struct RefundOrder(u32);

/// Requests to the bank, by order. A repeated request does nothing, and only a payment can be refunded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Ask {
    Charge(u32),
    Refund(u32),
}

type Bank = Function<Ask, bool>;

fn bank(is_down: Arc<AtomicBool>) -> Bank {
    let mut done = BTreeSet::new();
    function("ask", move |ask: Ask, cx: &mut ServiceContext<'_>| {
        if is_down.load(Ordering::Relaxed) {
            return false;
        }
        let is_due = match ask {
            Ask::Charge(_) => true,
            Ask::Refund(order) => done.contains(&Ask::Charge(order)),
        };
        if is_due && done.insert(ask.clone()) {
            let name = match ask {
                Ask::Charge(_) => "charge",
                Ask::Refund(_) => "refund",
            };
            let _ = cx.effect(name, None, &ask, "bk_");
        }
        true
    })
}

/// The shop. A shop that is not careful forgets that an order may be paid without its knowledge.
struct Shop<Care> {
    world: World,
    is_down: Arc<AtomicBool>,
    care: PhantomData<Care>,
}

trait Care {
    const IS_CAREFUL: bool;
}

struct Careful;
struct Careless;

impl Care for Careful {
    const IS_CAREFUL: bool = true;
}

impl Care for Careless {
    const IS_CAREFUL: bool = false;
}

#[derive(Clone, Default, Serialize)]
struct Books {
    paid: BTreeSet<u32>,
    given_back: BTreeSet<u32>,
}

fn open<C: Care>(world: &World, is_down: Arc<AtomicBool>) {
    world.service("bank", bank(is_down));
    let books = world.durable("books", Books::default());
    world.process("worker", move |p| {
        let ask = {
            let (bank, clock) = (p.service::<Bank>("bank"), p.clock());
            async move |ask: Ask| {
                let answer = bank.call(ask).await.map_err(|error| error.to_string())?;
                // The answer takes a while to arrive.
                clock.sleep(Duration::from_secs(1)).await;
                if answer { Ok(()) } else { Err("the bank is down".to_owned()) }
            }
        };
        let (placing, queue, books_here) = (ask.clone(), p.queue(), books.clone());
        p.handle(async move |PlaceOrder(order): PlaceOrder| {
            if !books_here.get().given_back.contains(&order) {
                placing(Ask::Charge(order)).await?;
                books_here.update(|books| _ = books.paid.insert(order));
            } else if !C::IS_CAREFUL {
                return Ok::<(), String>(());
            }
            // The order may have been canceled meanwhile, or an earlier attempt may have crashed at the bank.
            if books_here.get().given_back.contains(&order) {
                queue.enqueue(RefundOrder(order)).await.map_err(|error| error.to_string())?;
            }
            Ok(())
        });
        let (queue, books_here) = (p.queue(), books.clone());
        p.handle(async move |CancelOrder(order): CancelOrder| {
            books_here.update(|books| _ = books.given_back.insert(order));
            if C::IS_CAREFUL || books_here.get().paid.contains(&order) {
                queue.enqueue(RefundOrder(order)).await.map_err(|error| error.to_string())?;
            }
            Ok::<(), String>(())
        });
        let books_here: Durable<Books> = books.clone();
        p.handle(async move |RefundOrder(order): RefundOrder| {
            books_here.update(|books| _ = books.given_back.insert(order));
            ask(Ask::Refund(order)).await
        });
    });
}

impl<C: Care> Shop<C> {
    fn did(&self, what: &str, order: u32) -> usize {
        let effects = self.world.effects().of(&format!("bank.{what}"));
        effects.iter().filter(|effect| effect.body.contains(&format!(":{order}}}"))).count()
    }

    fn until(&self, enough: impl Fn(&World) -> bool) {
        let begun = self.world.stats().processed;
        // No job is retried forever, no matter how long the bank is down.
        self.world.settle_until(|world| enough(world) || world.stats().processed >= begun + 5).run();
    }
}

impl<C: Care> StateMachineTest for Shop<C> {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(_: &Model) -> Self {
        let (world, is_down) = (World::fake(), Arc::new(AtomicBool::new(false)));
        open::<C>(&world, is_down.clone());
        Self { world, is_down, care: PhantomData }
    }

    fn apply(shop: Self, model: &Model, step: Step) -> Self {
        let world = &shop.world;
        match step {
            Step::Place => _ = world.enqueue(PlaceOrder(model.orders.len() as u32)),
            Step::Cancel(order) => _ = world.enqueue(CancelOrder(order)),
            Step::Refund(order) => _ = world.enqueue(RefundOrder(order)),
            Step::Work(attempts) => {
                let enough = world.stats().processed + u64::from(attempts);
                shop.until(|world| world.stats().processed >= enough);
            }
            Step::DieAtTheBank => {
                let before = world.effects().count();
                shop.until(|world| world.effects().count() > before);
                world.crash("worker");
            }
            Step::Crash => world.crash("worker"),
            Step::Outage | Step::Recover => shop.is_down.store(model.is_down, Ordering::Relaxed),
            Step::Pass(seconds) => world.advance(Duration::from_secs(seconds.into())),
        }
        shop
    }

    fn check_invariants(shop: &Self, model: &Model) {
        for &order in model.orders.keys() {
            let (charged, refunded) = (shop.did("charge", order), shop.did("refund", order));
            assert!(charged <= 1, "order {order} was charged {charged} times");
            assert!(
                refunded <= charged,
                "order {order} was refunded {refunded} times, and charged {charged} times"
            );
        }
        let jobs = shop.world.all_jobs();
        assert!(jobs.iter().all(|job| !matches!(job.state, JobState::Lost | JobState::Dead)), "{jobs:?}");
    }

    fn teardown(shop: Self, model: Model) {
        shop.is_down.store(false, Ordering::Relaxed);
        shop.world.settle().run();
        Self::check_invariants(&shop, &model);
        let jobs = shop.world.all_jobs();
        assert!(jobs.iter().all(|job| job.state == JobState::Done), "{jobs:?}");
        for (&order, &is_paid) in &model.orders {
            let kept = shop.did("charge", order) - shop.did("refund", order);
            assert_eq!(kept, usize::from(is_paid), "order {order}: what the shop has kept");
        }
    }
}

prop_state_machine! {
    #![proptest_config(Config { cases: 150, failure_persistence: None, ..Config::default() })]

    #[test]
    fn everybody_has_what_is_theirs(sequential 1..25 => Shop<Careful>);
}

#[test]
fn a_careless_shop_is_found_out_in_a_few_steps() {
    let config = Config { cases: 500, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(
        config.clone(),
        proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm),
    );
    let result = runner.run(&Model::sequential_strategy(1..25), |(model, steps, seen)| {
        Shop::<Careless>::test_sequential(config.clone(), model, steps, seen);
        Ok(())
    });
    let Err(TestError::Fail(why, (_, steps, _))) = result else { panic!("it passes: {result:?}") };
    has_line(why.message(), expect!["assertion `left == right` failed: order 1: what the shop has kept"]);
    // The worker crashes when an order is paid, and the order is canceled before a retry.
    let has = |wanted: fn(&Step) -> bool| steps.iter().any(wanted);
    assert!(has(|s| *s == Step::Place) && has(|s| *s == Step::DieAtTheBank), "{steps:?}");
    assert!(has(|s| matches!(s, Step::Cancel(_) | Step::Refund(_))) && steps.len() <= 8, "{steps:?}");
}
