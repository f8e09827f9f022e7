//! Jobs with a name instead of a type, as adapters of other queues enqueue them: keys, retries, and one job at a time.

use std::time::Duration;

use retryproof::adapter::{JobKey, RawAttempt};
use retryproof::job::{JobState, NewJob};
use retryproof::middleware::{ReportFailures, Transient};
use retryproof::service::payments::Charge;
use retryproof::{Explore, Process, Verdict, World};

use super::{Log, S, log, numbers};

const HOUR: Duration = Duration::from_secs(3_600);

fn note(payload: &str) -> NewJob {
    NewJob::named("note", payload)
}

fn after(delay: Duration, mut request: NewJob) -> NewJob {
    request.delay = delay;
    request
}

fn with(n: u32, mut request: NewJob) -> NewJob {
    request.context.insert("n".to_owned(), n.into());
    request
}

/// Records each job with its time. `slow` jobs take ten seconds.
fn noting(p: &Process, log: &Log) {
    for kind in ["note", "slow"] {
        let (clock, log) = (p.clock(), log.clone());
        p.handle_raw(kind, async move |attempt: RawAttempt| {
            let payload = attempt.job.payload;
            log.update(|log| log.push(format!("{payload} begins at {}", clock.now().as_secs())));
            if kind == "slow" {
                clock.sleep(10 * S).await;
                log.update(|log| log.push(format!("{payload} ends at {}", clock.now().as_secs())));
            }
        });
    }
}

/// Makes a world with such a process.
fn noted() -> (World, Log) {
    let world = World::fake();
    let log = log(&world);
    let seen = log.clone();
    world.process("worker", move |p| noting(p, &seen));
    (world, log)
}

fn states(world: &World) -> Vec<JobState> {
    world.all_jobs().iter().map(|job| job.state).collect()
}

#[test]
fn a_job_that_waits_is_turned_into_the_one_that_comes_in() {
    let (world, log) = noted();
    let first = world.enqueue_new(with(1, after(HOUR, note("1"))).key(JobKey::replacing("k")));
    assert_eq!(world.enqueue_new(after(2 * HOUR, note("2")).key(JobKey::keeping_time("k"))), first);
    assert_eq!(world.scheduled()[0].due, Some(HOUR));
    assert_eq!(world.enqueue_new(after(3 * HOUR, note("3")).key(JobKey::leaving("k"))), first);
    let joined = |former: &str, new: &str| format!("{former}+{new}");
    world.enqueue_new(with(4, note("4")).key(JobKey::replacing("k").merging(joined)));
    assert_eq!(world.all_jobs()[0].context.as_deref(), Some(r#"{"n":4}"#));
    // Another key belongs to another job.
    world.enqueue_new(note("5").key(JobKey::leaving("l")));
    world.settle().run();
    assert_eq!(log.get(), ["2+4 begins at 0", "5 begins at 0"]);
    assert_eq!(states(&world), [JobState::Done, JobState::Done]);
}

#[test]
fn a_job_whose_worker_died_is_not_begun_again_when_another_one_has_its_key() {
    let (world, log) = noted();
    world.enqueue_new(NewJob::named("slow", "1").key(JobKey::replacing("k")));
    world.settle_until(|world| world.now() >= 5 * S).run();
    world.crash("worker");
    assert_eq!(states(&world), [JobState::Leased]);
    world.enqueue_new(note("2").key(JobKey::replacing("k")));
    world.settle().run();
    assert_eq!(states(&world), [JobState::Replaced, JobState::Done]);
    assert_eq!(log.get().iter().filter(|line| line.starts_with("1 begins")).count(), 1, "{:?}", log.get());
}

#[test]
fn a_job_that_runs_ends_and_is_not_begun_again_when_another_one_has_its_key() {
    for crashes in [false, true] {
        let (world, log) = noted();
        world.enqueue_new(NewJob::named("slow", "1").key(JobKey::replacing("k")));
        world.settle_until(|world| world.now() >= 5 * S).run();
        world.enqueue_new(note("2").key(JobKey::replacing("k")));
        assert_eq!(states(&world), [JobState::Running, JobState::Ready]);
        if crashes {
            world.crash("worker");
        }
        world.settle().run();
        let first = if crashes { JobState::Replaced } else { JobState::Done };
        assert_eq!(states(&world), [first, JobState::Done]);
        assert_eq!(log.get().iter().any(|line| line == "1 ends at 10"), !crashes, "{:?}", log.get());
    }
}

#[test]
fn a_key_stays_a_dead_jobs_for_those_that_leave_it_and_is_taken_by_those_that_replace() {
    let world = World::fake();
    world.process("worker", |p| {
        p.handle_raw("fail", async |_: RawAttempt| Err::<(), _>("always"));
    });
    let job = |key| NewJob::named("fail", "1").max_retries(0).key(key);
    let first = world.enqueue_new(job(JobKey::leaving("k")));
    world.settle().run();
    assert_eq!(world.enqueue_new(job(JobKey::leaving("k"))), first);
    assert_ne!(world.enqueue_new(job(JobKey::replacing("k"))), first);
    world.settle().run();
    assert_eq!(numbers(&world.dead()), [1, 2]);
}

/// Explores a job that enqueues another one for later.
fn enqueuing(key: Option<JobKey>) -> retryproof::Report {
    Explore::new().deviations(1).faults(0).deliveries(0).run(async move |world: &World| {
        let key = key.clone();
        world.process("worker", move |p| {
            let (queue, payments, key) = (p.queue(), p.payments(), key.clone());
            p.handle_raw("first", async move |_: RawAttempt| {
                let mut later = after(HOUR, NewJob::named("later", "{}"));
                if let Some(key) = key.clone() {
                    later = later.key(key);
                }
                queue.enqueue_new(later).await.map(drop)
            });
            p.handle_raw("later", async move |attempt: RawAttempt| {
                let key = format!("later-{}", attempt.job.id);
                payments.charge(Charge::of_order(6, 500).key(key)).await.map(drop)
            });
        });
        world.enqueue_raw("first", "{}");
        world.settle().await;
    })
}

#[test]
fn a_key_is_taken_and_its_job_enqueued_in_one_step() {
    let (without, with) = (enqueuing(None), enqueuing(Some(JobKey::replacing("k"))));
    assert_eq!(without.verdict(), Verdict::Violated);
    assert!(!with.to_string().contains("locked"), "{with}");
    // It has the same crash points, and not one more.
    assert_eq!(with.runs(), without.runs());
}

#[test]
fn of_those_with_one_name_one_runs_at_a_time_whatever_its_kind() {
    let (world, log) = noted();
    world.enqueue_new(NewJob::named("slow", "1").serial("q"));
    world.enqueue_new(note("2").serial("q"));
    world.enqueue_new(note("3").serial("r"));
    world.enqueue_new(note("4"));
    world.settle().run();
    let lines = ["1 begins at 0", "3 begins at 0", "4 begins at 0", "1 ends at 10", "2 begins at 10"];
    assert_eq!(log.get(), lines);
}

#[test]
fn who_died_keeps_the_others_of_its_name_out_until_its_lease_is_over() {
    let (world, log) = noted();
    world.enqueue_new(NewJob::named("slow", "1").serial("q"));
    world.settle_until(|world| world.now() >= 5 * S).run();
    world.crash("worker");
    world.enqueue_new(note("2").serial("q"));
    world.settle().run();
    let log = log.get();
    assert_eq!(log.len(), 4, "{log:?}");
    assert!(log[1].starts_with("1 begins at ") && log[3].starts_with("2 begins at "), "{log:?}");
}

#[test]
fn a_job_has_retries_of_its_own_and_layers_know_of_them() {
    let world = World::fake();
    world.process("worker", |p| {
        p.layer(ReportFailures::new(p)).layer(Transient::new().text("always"));
        p.handle_raw("fail", async |_: RawAttempt| Err::<(), _>("always")).max_retries(7);
    });
    world.enqueue_new(NewJob::named("fail", "1").max_retries(2));
    world.enqueue_new(NewJob::named("fail", "2"));
    world.settle().run();
    let failures: Vec<_> = world.dead().iter().map(|job| (job.payload.clone(), job.failures)).collect();
    assert_eq!(failures, [("1".to_owned(), 3), ("2".to_owned(), 8)]);
    assert_eq!(world.error_tracker().records().len(), 2, "each is told of when it dies, and not before");
}

#[test]
fn many_are_taken_in_at_once() {
    let report = Explore::new().deviations(1).run(async |world: &World| {
        let log = log(world);
        world.ignore("log", "$");
        world.process("worker", move |p| {
            let queue = p.queue();
            p.handle_raw("all", async move |_: RawAttempt| {
                let job = |n: u32| after(HOUR, note(&n.to_string()));
                queue.batches_of(usize::MAX).enqueue_new_bulk::<()>((0..3).map(job)).await.map(drop)
            });
            noting(p, &log);
        });
        world.enqueue_raw("all", "{}");
        world.settle().await;
        let notes = world.all_jobs().iter().filter(|job| job.kind == "note").count();
        assert!(notes > 0 && notes % 3 == 0, "{notes} of three");
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(report.runs() > 8, "{}", report.runs());
}
