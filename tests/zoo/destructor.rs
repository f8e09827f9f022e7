//! The effects of a destructor when its job fails, and what a real crash leaves of them.

use retryproof::report::Oracle;
use retryproof::service::fulfillment::{Shipment, ShipmentOutcome};
use retryproof::service::payments::Charge;
use retryproof::service::{Function, Keys, ServiceContext, function};
use retryproof::{Client, Explore, External, Report, Store, World};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex};

use crate::{Done, Family, S, bad, because, good};

pub(crate) fn family() -> Family {
    let dead = "job `u32` ended dead: it failed 4 times, with only …";
    let never = "payments.charge never happened, expected once";
    let left = "store.running …";
    let crash = "job#1.1/payments.charge:before=crash";
    let locked = [
        because(Oracle::Accounted, dead, crash, "payments.charge("),
        because(Oracle::Guarantee, never, crash, "payments.charge("),
        because(Oracle::Reference, left, crash, "payments.charge("),
    ];
    let dies = "job#1.1/db.lock:happened=crash";
    let taken = [
        because(Oracle::Accounted, dead, dies, "db.call("),
        because(Oracle::Guarantee, never, dies, "db.call("),
        because(Oracle::Reference, "lock …", dies, "db.call("),
    ];
    let unpaid = "bank.refund never happened, expected once";
    let swallowed =
        [because(Oracle::Guarantee, unpaid, "job#1.1/bank.refund:call=unavailable", "refund_blocking")];
    Family::new(
        "drop saves the day",
        [
            bad("it unlocks", locked, |explore| exclusively(explore, false)),
            good("the lock expires", |explore| exclusively(explore, true)),
            bad("it unlocks in a database", taken, |explore| exclusively_outside(explore, false)),
            good("the lock there knows its owner", |explore| exclusively_outside(explore, true)),
            bad("it refunds", swallowed, |explore| refunding(explore, false)),
            good("the refund is a job", |explore| refunding(explore, true)),
        ],
    )
}

/// Releases in its destructor what it holds.
struct Locked(Store);

impl Drop for Locked {
    fn drop(&mut self) {
        _ = self.0.delete_blocking("running");
    }
}

fn exclusively(explore: &Explore, expires: bool) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            let (store, payments) = (p.store(), p.payments());
            p.handle(async move |order: u32| -> Done {
                let ttl = expires.then_some(30 * S);
                if !store.set_if_absent("running", &order, ttl).await? {
                    return Err("somebody else is at it".into());
                }
                let _locked = Locked(store.clone());
                payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await?;
                Ok(())
            })
            .max_retries(3);
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

/// The holder of a lock in the user's own database.
type Holder = Arc<Mutex<Option<u32>>>;

/// Releases the lock in its destructor. The call states no failure, so it has no effect when the process dies.
struct LockedOutside {
    db: External,
    holder: Holder,
}

impl Drop for LockedOutside {
    fn drop(&mut self) {
        self.db.call_blocking("unlock", || *self.holder.lock().unwrap() = None).run();
    }
}

fn exclusively_outside(explore: &Explore, knows_its_owner: bool) -> Report {
    explore.run(async move |world: &World| {
        let holder = Holder::default();
        let seen = holder.clone();
        world.observe("lock", move || *seen.lock().unwrap());
        world.process("worker", move |p| {
            let (db, payments, holder) = (p.external("db"), p.payments(), holder.clone());
            p.handle(async move |order: u32| -> Done {
                let lock = async {
                    let mut holder = holder.lock().unwrap();
                    let is_to_be_had = holder.is_none() || knows_its_owner && *holder == Some(order);
                    *holder = holder.or(Some(order));
                    is_to_be_had
                };
                if !db.call("lock", lock).await {
                    return Err("somebody else is at it".into());
                }
                let _locked = LockedOutside { db: db.clone(), holder: holder.clone() };
                payments.charge(Charge::of_order(order, 500).key(format!("order-{order}"))).await?;
                Ok(())
            })
            .max_retries(3);
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}

/// A refund.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Refund {
    order: u32,
}

/// Refunds in its destructor, unless the job reports success.
struct RefundUnless {
    shipped: bool,
    order: u32,
    bank: Client<Bank>,
}

type Bank = Function<Refund, String>;

impl Drop for RefundUnless {
    fn drop(&mut self) {
        if !self.shipped {
            _ = self.bank.call_blocking(Refund { order: self.order }); // refund_blocking
        }
    }
}

/// Explores an order without an address: the parcel is rejected, and the charge must be refunded.
fn refunding(explore: &Explore, by_a_job: bool) -> Report {
    explore.run(async move |world: &World| {
        let mut keys = Keys::<String>::default();
        world.service(
            "bank",
            function("refund", move |refund: Refund, cx: &mut ServiceContext<'_>| {
                let key = format!("order-{}", refund.order);
                if let Ok(Some(known)) = keys.known("refund", Some(&key), &refund, cx) {
                    return known;
                }
                let id = cx.effect("refund", Some(&key), &refund, "rf_");
                keys.store(&key, id.clone(), cx);
                id
            }),
        );
        world.process("worker", move |p| {
            let (payments, parcels, queue) = (p.payments(), p.fulfillment(), p.queue());
            let bank: Client<Bank> = p.service("bank");
            p.handle(async move |order: u32| -> Done {
                let key = format!("order-{order}");
                payments.charge(Charge::of_order(order, 500).key(&key)).await?;
                let mut guard =
                    (!by_a_job).then(|| RefundUnless { shipped: true, order, bank: bank.clone() });
                let answer = parcels.request(Shipment::of_order(order, "pr_3", 1).key(&key)).await?;
                if let ShipmentOutcome::Rejected { .. } = answer {
                    match &mut guard {
                        Some(guard) => guard.shipped = false,
                        None => _ = queue.enqueue(Refund { order }).await?,
                    }
                }
                Ok(())
            });
            let bank: Client<Bank> = p.service("bank");
            p.handle(async move |refund: Refund| bank.call(refund).await);
        });
        world.enqueue(6_u32);
        world.settle().await;
    })
}
