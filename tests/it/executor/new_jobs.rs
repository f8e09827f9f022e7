//! Requests that are enqueued unchanged: with a delay, with context, or under a key.

use std::time::Duration;

use expect_test::expect;
use retryproof::job::{EnqueueError, JobState, JobView, NewJob};
use retryproof::service::payments::Charge;
use retryproof::{Conflict, Explore, Report, Verdict, World};

use super::{S, assert_green};
use crate::support::has_line;

/// Makes a world whose one job enqueues requests, and returns the resulting jobs.
fn putting(requests: impl Fn() -> Vec<NewJob> + 'static, bulk: bool) -> (World, Vec<JobView>) {
    let world = World::fake();
    world.process("worker", move |p| {
        let (queue, requests) = (p.queue(), requests());
        p.handle(async move |_: u32| {
            if bulk {
                queue.enqueue_new_bulk::<String>(requests.clone()).await?;
            } else {
                for request in &requests {
                    queue.enqueue_new(request.clone()).await?;
                }
            }
            Ok::<_, EnqueueError>(())
        });
        p.handle(async |_: String| ());
    });
    world.enqueue(1_u32);
    world.perform_one::<u32>().ok();
    let jobs = world.all_jobs().into_iter().filter(|job| job.number > 1).collect();
    (world, jobs)
}

fn text(text: &str) -> NewJob {
    NewJob::encoded::<String>(format!("{text:?}"))
}

#[test]
fn delay_and_context_go_into_the_queue_alone_and_in_bulk() {
    let requests = || {
        let mut late = text("late");
        late.delay = Duration::from_millis(1_500);
        late.context.insert("tenant".to_owned(), "acme".into());
        vec![text("now"), late]
    };
    for bulk in [false, true] {
        let (_, jobs) = putting(requests, bulk);
        let seen: Vec<_> = jobs.iter().map(|job| (&*job.payload, job.due, job.context.as_deref())).collect();
        let late = ("\"late\"", Some(1_500 * S / 1_000), Some(r#"{"tenant":"acme"}"#));
        assert_eq!(seen, [("\"now\"", None, None), late], "bulk: {bulk}");
    }
}

#[test]
fn context_and_key_outlive_the_layers_around_a_bulk() {
    let world = World::fake();
    world.process("worker", |p| {
        p.enqueue_layer(tower::layer::util::Identity::new());
        let queue = p.queue();
        p.handle(async move |_: u32| {
            let mut request = text("mail").deduplicate("mail-6", Conflict::Drop);
            request.context.insert("tenant".to_owned(), "acme".into());
            queue.enqueue_new_bulk::<String>([request.clone(), request.clone()]).await?;
            queue.enqueue_new(request).await
        });
    });
    world.enqueue(1_u32);
    world.perform_one::<u32>().unwrap();
    let jobs = world.jobs::<String>();
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].context.as_deref(), Some(r#"{"tenant":"acme"}"#));
}

#[test]
fn a_second_job_under_a_key_is_dropped_even_if_the_first_is_over() {
    let (world, jobs) = putting(|| vec![text("mail").deduplicate("a", Conflict::Drop)], false);
    assert_eq!(jobs.len(), 1);
    world.enqueue(2_u32);
    world.drain_all().run().unwrap();
    let states: Vec<_> = world.all_jobs().iter().map(|job| (job.number, job.state)).collect();
    assert_eq!(states, [(1, JobState::Done), (2, JobState::Done), (3, JobState::Done)]);
}

#[test]
fn keys_of_different_jobs_and_kinds_are_different() {
    let requests = || {
        let number = NewJob::encoded::<u64>("7".to_owned()).deduplicate("a", Conflict::Raise);
        let texts = ["a", "b"].map(|key| text("mail").deduplicate(key, Conflict::Raise));
        texts.into_iter().chain([number]).collect()
    };
    assert_eq!(putting(requests, false).1.len(), 3);
}

#[test]
fn a_second_job_under_a_key_is_refused_if_it_is_to_be_and_its_bulk_with_it() {
    let requests = || {
        vec![
            text("mail").deduplicate("a", Conflict::Raise),
            text("other"),
            text("mail").deduplicate("a", Conflict::Raise),
        ]
    };
    let (world, jobs) = putting(requests, false);
    assert_eq!(jobs.len(), 2);
    let error = world.all_jobs()[0].error.clone().unwrap();
    has_line(
        &error,
        expect!["the job was not enqueued: a alloc::string::String holds the lock a already: job#2"],
    );
    let (world, jobs) = putting(requests, true);
    assert!(jobs.is_empty(), "{jobs:?}");
    let error = world.all_jobs()[0].error.clone().unwrap();
    has_line(
        &error,
        expect![
            "the job was not enqueued: a alloc::string::String holds the lock a already: an earlier job in the same batch"
        ],
    );
}

#[test]
fn a_bulk_is_refused_for_a_key_that_was_taken_before() {
    let world = World::fake();
    world.process("worker", |p| {
        let queue = p.queue();
        p.handle(async move |_: u32| {
            let (first, again) = (
                text("first").deduplicate("a", Conflict::Raise),
                text("again").deduplicate("a", Conflict::Raise),
            );
            queue.enqueue_new(first).await?;
            queue.enqueue_new_bulk::<String>([text("other"), again]).await
        });
    });
    world.enqueue(1_u32);
    let error = world.perform_one::<u32>().unwrap_err().to_string();
    has_line(
        &error,
        expect![
            "job#1 u32 failed: the job was not enqueued: a alloc::string::String holds the lock a already: job#2"
        ],
    );
    assert_eq!(world.all_enqueued::<String>(), ["first"]);
}

#[test]
#[should_panic(expected = "use `Conflict::Drop` or `Conflict::Raise`")]
fn a_key_does_not_wait() {
    let _ = text("mail").deduplicate("a", Conflict::Wait);
}

#[test]
fn a_job_is_known_by_the_same_id_at_each_delivery() {
    let world = World::fake();
    world.process("worker", |p| _ = p.handle(async |_: u32| Err::<(), _>("no")).max_retries(2));
    let ids = world.enqueue_bulk([6_u32, 6]);
    assert_eq!(world.all_jobs().iter().map(|job| job.id).collect::<Vec<_>>(), ids);
    world.settle().run();
    assert_eq!(world.dead().iter().map(|job| job.id).collect::<Vec<_>>(), ids);
}

#[test]
fn a_test_puts_requests_with_and_without_layers() {
    for layered in [false, true] {
        let world = World::fake();
        if layered {
            world.enqueue_layer(tower::layer::util::Identity::new());
        }
        let mut request = text("mail").deduplicate("a", Conflict::Drop);
        request.delay = 5 * S;
        request.context.insert("tenant".to_owned(), "acme".into());
        let ids = [
            world.enqueue_new(request.clone()),
            world.enqueue_new(request),
            world.enqueue("mail".to_owned()),
        ];
        let jobs = world.jobs::<String>();
        assert_eq!(ids, [jobs[0].id, jobs[0].id, jobs[1].id], "layered: {layered}");
        assert_eq!((jobs[0].due, jobs[0].context.as_deref()), (Some(5 * S), Some(r#"{"tenant":"acme"}"#)));
    }
}

/// Explores a job that enqueues a charge, with or without a key.
fn charging(key: Option<&'static str>) -> Report {
    Explore::new().deviations(2).run(async move |world: &World| {
        world.process("worker", move |p| {
            let (queue, payments) = (p.queue(), p.payments());
            p.handle(async move |_: u32| {
                let charge = text("charge");
                queue
                    .enqueue_new(match key {
                        Some(key) => charge.deduplicate(key, Conflict::Drop),
                        None => charge,
                    })
                    .await
                    .map(drop)
            });
            p.handle(async move |_: String| {
                payments.charge(Charge::of_order(6, 500).key("order-6")).await.map(drop)
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
        assert_eq!(world.all_jobs().len(), 2, "one job more");
    })
}

#[test]
fn a_put_is_crashed_and_refused_and_loses_its_reply_and_a_key_makes_it_once() {
    let report = charging(None);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    assert!(report.to_string().contains("queue.enqueue:happened=crash"), "{report}");
    assert_green(&charging(Some("charge-6")));
}
