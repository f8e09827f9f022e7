//! A call by a client, such as a browser: nobody hands it out again, and it must not be half done.

use retryproof::report::Oracle;
use retryproof::service::payments::Charge;
use retryproof::{Explore, Report, World};

use crate::{Done, Family, bad, because, good};

pub(crate) fn family() -> Family {
    let half = "job `u32` gave up halfway: payments.charge happened, but store.paid:6 is missing";
    let half =
        because(Oracle::Accounted, half, "job#1.1/payments.charge:call=reply-lost", "payments.charge(");
    let again = because(
        Oracle::Guarantee,
        "payments.charge happened twice, expected once",
        "job#1.1/payments.charge:call=reply-lost",
        "payments.charge(",
    );
    Family::new(
        "web request",
        [
            bad("charges, then notes it", [half], |explore| checkout(explore, Checkout::InTwoSteps)),
            bad("sent again, charged again", [again], |explore| checkout(explore, Checkout::Anew)),
            good("the rest is the affair of a job", |explore| checkout(explore, Checkout::ByJob)),
            good("sent again under the order's key", |explore| checkout(explore, Checkout::UnderKey)),
        ],
    )
}

#[derive(Clone, Copy, PartialEq)]
enum Checkout {
    InTwoSteps,
    /// The client sends it up to three times.
    Anew,
    UnderKey,
    ByJob,
}

fn checkout(explore: &Explore, how: Checkout) -> Report {
    explore.run(async move |world: &World| {
        world.process("web", move |p| {
            let (payments, store, queue) = (p.payments(), p.store(), p.queue());
            p.handle(async move |order: u32| -> Done {
                let charge = Charge::of_order(order, 500);
                match how {
                    Checkout::InTwoSteps => {
                        payments.charge(charge).await?;
                        store.put(format!("paid:{order}"), &true).await?;
                    }
                    Checkout::Anew => {
                        payments.charge(charge).await?;
                    }
                    Checkout::UnderKey => {
                        payments.charge(charge.key(format!("order-{order}"))).await?;
                    }
                    Checkout::ByJob => {
                        queue.enqueue(format!("order-{order}")).await?;
                    }
                }
                Ok(())
            });
            let (payments, store) = (p.payments(), p.store());
            p.handle(async move |key: String| -> Done {
                payments.charge(Charge::of_order(6, 500).key(key)).await?;
                store.put("paid:6", &true).await?;
                Ok(())
            });
        });
        let request = world.request(6_u32);
        if matches!(how, Checkout::Anew | Checkout::UnderKey) {
            request.client_retries(2);
        }
        world.settle().await;
    })
}
