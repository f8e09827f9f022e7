//! Jobs that enqueue many jobs, or jobs for a certain time.

use std::collections::BTreeSet;

use retryproof::job::{EnqueueError, JobId, JobState};
use retryproof::{Explore, Report, Verdict, World};
use serde::{Deserialize, Serialize};

use super::{Mail, S, assert_green, log, one_deviation};

/// Enqueues a number of jobs, from async or from blocking code.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Nightly {
    jobs: u32,
    blocking: bool,
}

fn nightly(world: &World, batch: Option<usize>) -> retryproof::Durable<Vec<JobId>> {
    let ids = world.durable("ids", Vec::new());
    world.process("worker", {
        let ids = ids.clone();
        move |p| {
            let (queue, blocking) = (p.queue(), p.queue());
            let queue = batch.map_or(queue.clone(), |jobs| queue.batches_of(jobs));
            let blocking = batch.map_or(blocking.clone(), |jobs| blocking.batches_of(jobs));
            let ids = ids.clone();
            p.handle(async move |nightly: Nightly| {
                let new = match nightly.blocking {
                    true => blocking.enqueue_bulk_blocking(0..nightly.jobs)?,
                    false => queue.enqueue_bulk(0..nightly.jobs).await?,
                };
                ids.set(new);
                Ok::<(), EnqueueError>(())
            });
            p.handle(async |_: u32| ());
            p.slots(1);
        }
    });
    ids
}

#[test]
fn bulk_from_a_job_is_taken_in_and_its_ids_come_back_in_order() {
    for blocking in [false, true] {
        let (world, one_by_one) = (World::fake(), World::fake());
        let ids = nightly(&world, None);
        world.enqueue(Nightly { jobs: 2_500, blocking });
        world.drain::<Nightly>().run().unwrap();
        let expected: Vec<_> = (0..2_500_u32).map(|job| one_by_one.enqueue(job)).collect();
        assert_eq!(ids.get(), expected);
        assert_eq!(world.all_enqueued::<u32>(), (0..2_500).collect::<Vec<_>>());
    }
}

/// Returns how many jobs were in the queue after the first attempt of a nightly job: all numbers that occur in the
/// scenarios of one crash.
fn taken_in(jobs: u32, batch: usize, blocking: bool) -> BTreeSet<usize> {
    let seen = std::sync::Mutex::new(BTreeSet::new());
    let report = one_deviation().deliveries(0).run(async |world: &World| {
        let _ids = nightly(world, Some(batch));
        world.enqueue(Nightly { jobs, blocking });
        let attempted = |world: &World| {
            let first = &world.all_jobs()[0];
            first.attempts == 1 && first.state != JobState::Running
        };
        assert!(world.settle_until(attempted).await);
        seen.lock().unwrap().insert(world.all_jobs().len() - 1);
        world.clear_all();
    });
    assert_ne!(report.verdict(), Verdict::Nondeterministic, "{report}");
    seen.into_inner().unwrap()
}

#[test]
fn a_crash_between_two_batches_leaves_the_earlier_ones_and_none_falls_inside_of_one() {
    for blocking in [false, true] {
        let taken = taken_in(5, 2, blocking);
        // Batches of 2, 2 and 1.
        assert_eq!(taken.into_iter().collect::<Vec<_>>(), [0, 2, 4, 5]);
    }
}

#[test]
fn each_batch_of_a_bulk_has_the_choices_of_one_enqueue() {
    let runs = |jobs: u32| {
        let report = one_deviation().run(async move |world: &World| {
            let ids = nightly(world, Some(2));
            world.ignore("ids", "$");
            let _ = ids;
            world.enqueue(Nightly { jobs, blocking: false });
            let enqueued = |world: &World| world.all_jobs()[0].state == JobState::Done;
            world.settle_until(enqueued).await;
            world.clear_all();
        });
        report.runs()
    };
    // start, end, ack: 3. A batch: before 1, refused, reply lost and two sorts of silence 4, happened 1, replied 1, and a stall.
    assert_eq!([runs(0), runs(1), runs(2), runs(3), runs(4)], [1, 2, 2, 3, 3].map(|n| 1 + 3 + (n - 1) * 8));
}

/// Explores a nightly job that enqueues a job for each of three orders, in batches of two. With the order's key, the
/// job charges once no matter how often it was enqueued.
fn charging_nightly(explore: &Explore, keyed: bool) -> Report {
    explore.run(async move |world: &World| {
        world.process("worker", move |p| {
            let (queue, payments) = (p.queue().batches_of(2), p.payments());
            p.handle(async move |_: Mail| queue.enqueue_bulk(1..=3_u32).await.map(drop));
            p.handle(async move |order: u32| {
                let charge = retryproof::service::payments::Charge::of_order(order, 500);
                let charge = if keyed { charge.key(format!("order-{order}")) } else { charge };
                // This test is not about charges, so a charge is only repeated because its job is.
                while payments.charge(charge.clone()).await.is_err() {}
            });
        });
        world.enqueue(Mail { to: 0 });
        world.settle().await;
    })
}

#[test]
fn nightly_bulk_dies_in_the_middle_and_runs_again_some_orders_twice() {
    let report = charging_nightly(&one_deviation().faults(0), false);
    let scenarios = crate::support::scenarios(&report);
    assert!(scenarios.contains(&"test job#1.1/queue.enqueue_bulk:happened=crash".to_owned()), "{report}");
    assert_green(&charging_nightly(&one_deviation().faults(0), true));
}

#[test]
fn a_bulk_in_inline_mode_runs_its_jobs_where_they_are_enqueued() {
    let world = World::inline();
    let log = log(&world);
    super::worker(&world, &log, |p, log| {
        let (queue, noted) = (p.queue().batches_of(2), log.clone());
        p.handle(async move |_: Mail| {
            let ids = queue.enqueue_bulk([1_u32, 2, 13, 3]).await;
            noted.update(|log| log.push(format!("{}", ids.unwrap_err())));
        });
        let (queue, noted) = (p.queue(), log.clone());
        p.handle(async move |_: u64| {
            noted.update(|log| log.push(format!("{}", queue.enqueue_bulk_blocking([1_u32]).unwrap_err())));
        });
        let noted = log.clone();
        p.handle(async move |job: u32| {
            noted.update(|log| log.push(format!("{job}")));
            if job == 13 { Err("unlucky") } else { Ok(()) }
        });
    });
    world.enqueue(Mail { to: 1 });
    assert_eq!(log.get(), ["1", "2", "13", "job#4 u32, run where it was enqueued, failed: unlucky"]);
    // The job after it in its batch is in the queue, and waits.
    assert_eq!(world.all_enqueued::<u32>(), [3]);
    log.set(Vec::new());
    world.enqueue(1_u64);
    assert_eq!(
        log.get(),
        ["u32 cannot run where it is enqueued, because the job that enqueues it blocks; enqueue it with \
          `enqueue(…).await`, or use `World::fake()`"]
    );
}

#[test]
fn a_bulk_with_a_job_that_cannot_be_written_enqueues_nothing() {
    /// Ten of these jobs cannot be serialized.
    #[derive(Deserialize)]
    struct Picky(u32);
    impl Serialize for Picky {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                10 => Err(serde::ser::Error::custom("ten")),
                number => serializer.serialize_u32(number),
            }
        }
    }
    let world = World::fake();
    world.process("worker", |p| {
        let queue = p.queue().batches_of(1);
        p.handle(async move |_: u32| queue.enqueue_bulk([Picky(9), Picky(10)]).await.map(drop));
    });
    world.enqueue(1_u32);
    let error = world.drain::<u32>().run().unwrap_err().to_string();
    assert!(error.ends_with("Picky cannot be enqueued: ten"), "{error}");
    assert!(world.jobs::<Picky>().is_empty());
}

#[test]
fn layers_go_around_each_job_of_a_bulk_and_its_batches_stay_whole() {
    let run = |layered: bool| {
        let world = World::fake();
        let (ids, told) = (world.durable("ids", Vec::new()), world.durable("told", Vec::new()));
        world.process("worker", {
            let (ids, told) = (ids.clone(), told.clone());
            move |p| {
                if layered {
                    let told = told.clone();
                    p.enqueue_layer(tower::util::MapResponseLayer::new(move |id: retryproof::job::JobId| {
                        told.update(|told| told.push(id));
                        id
                    }));
                    p.enqueue_layer(tower::limit::ConcurrencyLimitLayer::new(1));
                    p.enqueue_layer(tower::util::MapRequestLayer::new(
                        |mut request: retryproof::job::NewJob| {
                            request.context.insert("of".to_owned(), request.payload.clone().into());
                            request
                        },
                    ));
                }
                let (queue, ids) = (p.queue().batches_of(2), ids.clone());
                p.handle(async move |_: Mail| {
                    ids.set(queue.enqueue_bulk([7_u32, 7, 8]).await?);
                    Ok::<(), EnqueueError>(())
                });
            }
        });
        world.enqueue(Mail { to: 1 });
        world.drain::<Mail>().run().unwrap();
        let jobs: Vec<_> = world.jobs::<u32>().into_iter().map(|job| (job.payload, job.context)).collect();
        (ids.get(), told.get(), jobs)
    };
    let ((plain, _, _), (layered, told, jobs)) = (run(false), run(true));
    assert_eq!((&plain, &layered), (&layered, &told), "the layers hear of the same ids");
    let of = |job: &str| (job.to_owned(), Some(format!("{{\"of\":\"{job}\"}}")));
    assert_eq!(jobs, [of("7"), of("7"), of("8")]);
}

#[test]
fn a_job_enqueues_for_a_certain_time() {
    let world = World::fake();
    world.process("worker", |p| {
        let queue = p.queue();
        p.handle(async move |_: u32| {
            queue.enqueue_at(160 * S, Mail { to: 1 }).await?;
            queue.enqueue_at(40 * S, Mail { to: 2 }).await?;
            queue.enqueue_in(5 * S, Mail { to: 3 }).await?;
            queue.enqueue_at_blocking(170 * S, Mail { to: 4 })?;
            queue.enqueue_in_blocking(6 * S, Mail { to: 5 }).map(drop)
        });
    });
    world.advance(100 * S);
    world.enqueue(1_u32);
    world.drain::<u32>().run().unwrap();
    let due: Vec<_> = world.jobs::<Mail>().iter().map(|job| job.due).collect();
    assert_eq!(due, [Some(160 * S), None, Some(105 * S), Some(170 * S), Some(106 * S)]);
}

/// For any crash and any size of the batches, the queue holds a whole number of batches, from the first one on.
#[test]
fn a_crash_leaves_whole_batches() {
    for (jobs, batch, blocking) in (0_u32..7)
        .flat_map(|jobs| (1_usize..4).flat_map(move |b| [false, true].map(|blocking| (jobs, b, blocking))))
    {
        for taken in taken_in(jobs, batch, blocking) {
            assert!(taken == jobs as usize || taken % batch == 0, "{taken} of {jobs} in batches of {batch}");
        }
    }
}
