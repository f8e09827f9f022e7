//! Guarantees are per job.

use super::*;
use retryproof::{Guarantee, StoreError};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct SignUp(u32);
#[derive(Serialize, Deserialize)]
struct SendMail(u32);

/// Input 33: a parent enqueues the job that mails, and may do so twice.
fn mailing(once: bool) -> Report {
    judged(
        move |p| {
            let queue = p.queue();
            p.handle(async move |user: SignUp| {
                let mail = retryproof::job::NewJob::encoded::<SendMail>(user.0.to_string());
                let mail = if once { mail.deduplicate("mail", retryproof::Conflict::Drop) } else { mail };
                queue.enqueue_new(mail).await.map(drop)
            });
            let email = p.email();
            p.handle(async move |_: SendMail| email.send(mail("u@example.com")).await.map(drop));
        },
        |world| {
            world.allow("email.send", Guarantee::AtLeastOnce);
            world.enqueue(SignUp(1));
        },
    )
}

#[test]
fn input_33_a_second_job_that_sends_the_same_mail_is_no_repetition() {
    let report = mailing(false);
    assert_red(&report, Code::RepeatedAfterCrash, "email.send happened twice, expected once");
    assert_green(&mailing(true));
}

/// Explores two jobs that mail the same person if neither has recorded it. Only a race makes both of them mail.
fn noting(transaction: bool) -> Report {
    with(
        &Explore::new().name("test").deviations(1).crashes(0).faults(0).deliveries(0),
        move |p| {
            let (email, store) = (p.email(), p.store());
            p.handle(async move |_: u32| {
                let is_first = match transaction {
                    true => store.set_if_absent("mailed", &true, None).await?,
                    false => {
                        let is_first = store.get::<bool>("mailed").await?.is_none();
                        store.put("mailed", &true).await?;
                        is_first
                    }
                };
                if is_first {
                    email.send(mail("u@example.com")).await.expect("nothing goes wrong");
                }
                Ok::<_, StoreError>(())
            });
            p.slots(2);
        },
        |world| {
            world.allow("email.send", Guarantee::AtLeastOnce);
            world.enqueue_bulk([1_u32, 2]);
        },
    )
}

#[test]
fn what_another_job_does_in_a_race_is_no_repetition_either() {
    assert_red(&noting(false), Code::RepeatedByAnotherJob, "email.send happened twice, expected once");
    assert_green(&noting(true));
}

/// A job mails again because it was retried.
#[test]
fn what_a_job_repeats_because_something_went_wrong_in_it_is_one() {
    assert_green(&judged(
        |p| {
            let email = p.email();
            p.handle(async move |_: u32| email.send(mail("u@example.com")).await.map(drop));
        },
        |world| {
            world.allow("email.send", Guarantee::AtLeastOnce);
            world.enqueue_bulk([1_u32, 2]);
        },
    ));
}

/// At least once does not allow two letters instead of one for other reasons than a retry.
#[test]
fn a_job_that_mails_twice_when_another_one_came_first_is_told() {
    let report = with(
        &Explore::new().name("test").deviations(1).crashes(0).faults(0).deliveries(0),
        |p| {
            let (email, store) = (p.email(), p.store());
            p.handle(async move |number: u32| {
                if number == 1 {
                    store.put("a", &1).await?;
                    return store.put("b", &1).await;
                }
                let (a, b) = (store.get::<u32>("a").await?, store.get::<u32>("b").await?);
                let letters = if a.is_some() == b.is_some() { 1 } else { 2 };
                for _ in 0..letters {
                    email.send(mail("u@example.com")).await.expect("nothing goes wrong");
                }
                Ok(())
            });
            p.slots(2);
        },
        |world| {
            world.allow("email.send", Guarantee::AtLeastOnce);
            world.enqueue_bulk([1_u32, 2]);
        },
    );
    assert_red(&report, Code::RepeatedByAnotherJob, "email.send happened twice, expected once");
}
