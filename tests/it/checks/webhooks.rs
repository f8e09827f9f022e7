//! Services that call back: before their reply, late, twice, and nobody.

use super::{assert_green, assert_violated, one_deviation};
use crate::support::{has_line, scenarios};
use expect_test::expect;
use retryproof::service::{ServiceContext, function};
use retryproof::{Explore, Process, Report, Verdict, World};
use serde::{Deserialize, Serialize};

type Done = Result<(), Box<dyn std::error::Error>>;

/// The bank has booked a transfer.
#[derive(Serialize, Deserialize)]
struct Booked {
    order: String,
}

/// Explores a job that transfers, and a handler of the webhook that follows.
fn transferring(explore: &Explore, handler: fn(&Process)) -> Report {
    explore.run(async move |world: &World| {
        let book = |order: String, cx: &mut ServiceContext<'_>| {
            cx.webhook(&Booked { order: order.clone() });
            cx.effect("book", Some(&order), &order, "tx_")
        };
        let bank = world.service("bank", function("book", book).honors_keys(|order| Some(order)));
        world.process("worker", move |p| {
            let (bank, store) = (p.client(&bank), p.store());
            p.handle(async move |order: String| -> Done {
                bank.call(order.clone()).await?;
                store.set_if_absent(order, &"booking", None).await?;
                Ok(())
            });
            handler(p);
        });
        world.enqueue("order-6".to_owned());
        world.settle().await;
    })
}

/// Ignores a transfer that it does not know.
fn ignoring(p: &Process) {
    let store = p.store();
    p.handle(async move |booked: Booked| -> Done {
        if store.get::<String>(booked.order.clone()).await?.is_some() {
            store.put(booked.order, &"booked").await?;
        }
        Ok(())
    });
}

/// Lets the bank send the webhook again, if it does not know the transfer yet.
fn refusing(p: &Process) {
    let store = p.store();
    p.handle(async move |booked: Booked| -> Done {
        match store.get::<String>(booked.order.clone()).await? {
            Some(_) => store.put(booked.order, &"booked").await?,
            None => return Err("it is not known yet".into()),
        }
        Ok(())
    });
}

#[test]
fn a_webhook_before_the_reply() {
    let report = transferring(&one_deviation(), ignoring);
    let scenario = "test job#1.1/bank.book:webhook=before-reply";
    assert!(scenarios(&report).contains(&scenario.to_owned()), "{report}");
    let shown = transferring(&one_deviation().replay(scenario), ignoring);
    has_line(&shown, expect!["✗ bank.book calls back before its reply"]);
    assert_green(&transferring(&Explore::new().name("test"), refusing));
}

/// Counts the webhooks.
fn counting(p: &Process) {
    let store = p.store();
    p.handle(async move |_: Booked| store.incr("booked", 1).await.map(drop));
}

#[test]
fn a_webhook_that_comes_twice() {
    let report = transferring(&one_deviation(), counting);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(scenarios(&report).contains(&"test job#2.1:ack=again".to_owned()), "{report}");
}

/// Cancels the order if no webhook has come within ten minutes.
fn impatient(p: &Process) {
    let store = p.store();
    p.handle(async move |booked: Booked| -> Done {
        store.set_if_absent(format!("end of {}", booked.order), &"booked", None).await?;
        Ok(())
    });
    let (clock, store) = (p.clock(), p.store());
    p.handle(async move |order: u32| -> Done {
        clock.sleep(std::time::Duration::from_secs(600)).await;
        store.set_if_absent(format!("end of order-{order}"), &"canceled", None).await?;
        Ok(())
    });
}

#[test]
fn a_webhook_that_comes_an_hour_late() {
    let report = one_deviation().run(async |world: &World| {
        let book = |order: String, cx: &mut ServiceContext<'_>| {
            cx.webhook(&Booked { order: order.clone() });
            cx.effect("book", Some(&order), &order, "tx_")
        };
        let bank = world.service("bank", function("book", book).honors_keys(|order| Some(order)));
        world.process("worker", move |p| {
            let (bank, queue) = (p.client(&bank), p.queue());
            p.handle(async move |order: String| -> Done {
                queue.enqueue(6_u32).await?;
                bank.call(order).await?;
                Ok(())
            });
            impatient(p);
        });
        world.enqueue("order-6".to_owned());
        world.settle().await;
        let end = world.store().get::<String>("end of order-6").await.unwrap().unwrap();
        assert_eq!(end.value, "booked");
    });
    assert!(scenarios(&report).contains(&"test job#1.1/bank.book:webhook=late".to_owned()), "{report}");
    has_line(&report, expect!["✗ bank.book calls back an hour late"]);
}

/// Without an explicit wish, a webhook always comes; a report names the wish.
#[test]
fn a_webhook_that_never_comes() {
    let report = transferring(&one_deviation(), refusing);
    has_line(&report, expect!["not explored: webhooks that never come (`world.explore_lost_jobs()`)"]);
    let report = one_deviation().run(async |world: &World| {
        world.explore_lost_jobs();
        let book = |order: u32, cx: &mut ServiceContext<'_>| {
            cx.webhook(&Booked { order: order.to_string() });
            cx.id("book", &order, "tx_")
        };
        let bank = world.service("bank", function("book", book));
        world.process("worker", move |p| {
            let bank = p.client(&bank);
            p.handle(async move |order: u32| bank.call(order).await.map(drop));
            let store = p.store();
            p.handle(async move |booked: Booked| store.put(booked.order, &"booked").await);
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert!(scenarios(&report).contains(&"test job#1.1/bank.book:webhook=never".to_owned()), "{report}");
    has_line(&report, expect!["✗ bank.book never calls back"]);
}

#[test]
fn a_webhook_to_nobody() {
    let report = transferring(&one_deviation(), |_| {});
    assert_violated(
        &report,
        "a job could not be run: the webhook it::checks::webhooks::Booked of the service `bank` (job#2) has no handler; register one with `p.handle(async |webhook: Booked| …)` in a process",
        "test",
    );
}
