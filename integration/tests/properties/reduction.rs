//! Different orders of independent steps are explored once, and no outcome is lost.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use expect_test::expect;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use retryproof::job::NewJob;
use retryproof::{
    Clock, Conflict, Durable, Explore, JobQueue, Process, Report, Store, StoreError, Verdict, World,
};

use crate::support::assert_green;
use crate::support::has_line;

/// One call of a task.
#[derive(Clone, Copy, Debug)]
enum Op {
    Get(usize),
    /// Writes the value that was read last, plus one.
    Put(usize),
    Incr(usize),
    Read,
    Update,
    Yield,
    Sleep,
    Enqueue,
    /// Enqueues under a key that the other tasks have, too: alone, or as a batch.
    Once(bool),
}

const KEYS: [&str; 3] = ["x", "y", "z"];

type Programs = Vec<Vec<Op>>;

/// The handles of the tasks of a process.
#[derive(Clone)]
struct Desk {
    programs: Programs,
    shared: Durable<i64>,
    logs: Vec<Durable<Vec<i64>>>,
}

#[derive(Clone)]
struct Tools {
    store: Store,
    clock: Clock,
    queue: JobQueue,
}

impl Desk {
    async fn run(&self, tools: &Tools, task: usize) -> Result<(), StoreError> {
        let mut last = 0;
        for op in &self.programs[task] {
            match *op {
                Op::Get(key) => last = tools.store.get::<i64>(KEYS[key]).await?.map_or(0, |row| row.value),
                Op::Put(key) => tools.store.put(KEYS[key], &(last + 1)).await?,
                Op::Incr(key) => last = tools.store.incr(KEYS[key], 1).await?,
                Op::Read => last = self.shared.get(),
                Op::Update => self.shared.update(|shared| *shared = 2 * *shared + task as i64 + 1),
                Op::Yield => tools.clock.yield_now().await,
                Op::Sleep => tools.clock.sleep(Duration::from_secs(1)).await,
                Op::Enqueue => {
                    let _ = tools.queue.enqueue(format!("child of {task}")).await;
                }
                Op::Once(in_a_batch) => {
                    let child = serde_json::to_string(&format!("child of {task}")).unwrap();
                    let child = NewJob::encoded::<String>(child).deduplicate("key", Conflict::Raise);
                    let refused = match in_a_batch {
                        true => tools.queue.enqueue_new_bulk::<String>([child]).await.is_err(),
                        false => tools.queue.enqueue_new(child).await.is_err(),
                    };
                    last = i64::from(refused);
                }
            }
            self.logs[task].update(|log| log.push(last));
        }
        Ok(())
    }

    fn boot(&self, p: &Process, as_jobs: bool) {
        let tools = Tools { store: p.store(), clock: p.clock(), queue: p.queue() };
        let shared = self.shared.clone();
        p.handle(async move |_child: String| shared.update(|shared| *shared += 10));
        if as_jobs {
            let desk = self.clone();
            p.handle(async move |task: usize| desk.run(&tools, task).await);
            return;
        }
        for task in 0..self.programs.len() {
            let (desk, tools) = (self.clone(), tools.clone());
            p.spawn(format!("task {task}"), async move { desk.run(&tools, task).await });
        }
    }
}

/// Runs programs, one per task. Returns how they ended in all of the runs, and the report.
fn outcomes(settings: &Explore, programs: &Programs, as_jobs: bool) -> (BTreeSet<String>, Report) {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let report = settings.run(async |world: &World| {
        let shared = world.durable("shared", 0_i64);
        let logs = (0..programs.len()).map(|task| world.durable(format!("log {task}"), Vec::new()));
        let desk = Desk { programs: programs.clone(), shared, logs: logs.collect() };
        let own = desk.clone();
        world.process("worker", move |p| own.boot(p, as_jobs));
        if as_jobs {
            world.enqueue_bulk(0..programs.len());
        }
        world.settle().await;
        let mut end = format!("shared {}", desk.shared.get());
        for key in KEYS {
            let row = world.store().get::<i64>(key).await.unwrap();
            end += &format!(", {key} {:?}", row.map(|row| row.value));
        }
        for log in &desk.logs {
            end += &format!(", {:?}", log.get());
        }
        seen.lock().unwrap().insert(end);
    });
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    (seen, report)
}

/// Explores everything, even after a finding, because what is skipped after a finding could not be compared.
fn preemptions(bound: usize) -> Explore {
    Explore::new().name("test").deviations(bound).crashes(0).faults(0).deliveries(0).keep_going()
}

/// Checks that both ways of exploring have the same outcomes. Returns how many runs each took.
fn compare(settings: &Explore, programs: &Programs, as_jobs: bool) -> Result<(u64, u64), TestCaseError> {
    let (all, full) = outcomes(settings, programs, as_jobs);
    let (kept, reduced) = outcomes(&settings.clone().reduce(true), programs, as_jobs);
    prop_assert_eq!(&all, &kept, "{:?}\n{}\n{}", programs, full, reduced);
    prop_assert_eq!(full.reduced(), 0);
    prop_assert_eq!(full.verdict(), reduced.verdict());
    let violations = |report: &Report| {
        // The position in an array depends on which of the equivalent runs comes first.
        let summary = |summary: &str| summary.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        report.violations().iter().map(|violation| summary(&violation.summary)).collect::<BTreeSet<_>>()
    };
    prop_assert_eq!(violations(&full), violations(&reduced));
    Ok((full.runs(), reduced.runs()))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..3_usize).prop_map(Op::Get),
        3 => (0..3_usize).prop_map(Op::Put),
        1 => (0..3_usize).prop_map(Op::Incr),
        1 => Just(Op::Read),
        1 => Just(Op::Update),
        1 => Just(Op::Yield),
        1 => Just(Op::Sleep),
        1 => Just(Op::Enqueue),
        1 => any::<bool>().prop_map(Op::Once),
    ]
}

fn programs(tasks: std::ops::RangeInclusive<usize>, most: usize) -> impl Strategy<Value = Programs> {
    prop::collection::vec(prop::collection::vec(op(), 1..=most), tasks)
}

fn for_each(
    cases: u32,
    strategy: impl Strategy<Value = Programs>,
    test: impl Fn(Programs) -> Result<(u64, u64), TestCaseError>,
) -> f64 {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let total = std::cell::Cell::new((0, 0));
    runner
        .run(&strategy, |programs| {
            let (full, reduced) = test(programs)?;
            total.set((total.get().0 + full, total.get().1 + reduced));
            Ok(())
        })
        .unwrap();
    total.get().0 as f64 / total.get().1 as f64
}

fn two_tasks(cases: u32) {
    let shorter = for_each(cases, programs(2..=2, 3), |programs| {
        let first = compare(&preemptions(1), &programs, false)?;
        let second = compare(&preemptions(2), &programs, false)?;
        Ok((first.0 + second.0, first.1 + second.1))
    });
    assert!(shorter > 1.1, "{shorter}");
}

#[test]
fn no_outcome_of_two_tasks_is_lost() {
    two_tasks(500);
}

#[test]
#[ignore = "nightly: takes minutes"]
fn no_outcome_of_two_tasks_is_lost_in_many_programs() {
    two_tasks(5_000);
}

#[test]
fn no_outcome_of_three_tasks_is_lost() {
    let shorter = for_each(300, programs(3..=3, 2), |programs| compare(&preemptions(2), &programs, false));
    assert!(shorter > 1.1, "{shorter}");
}

#[test]
fn no_outcome_of_four_tasks_is_lost() {
    // Which task runs next depends on the order in which they wait.
    let shorter = for_each(150, programs(4..=4, 2), |programs| compare(&preemptions(2), &programs, false));
    assert!(shorter > 1.1, "{shorter}");
}

#[test]
fn no_outcome_of_deeper_searches_is_lost() {
    let shorter = for_each(150, programs(2..=2, 2), |programs| compare(&preemptions(4), &programs, false));
    assert!(shorter > 1.0, "{shorter}");
}

#[test]
fn no_outcome_of_jobs_is_lost_where_anything_may_go_wrong() {
    let everything = Explore::new().name("test").deviations(2);
    for_each(60, programs(2..=2, 2), |programs| compare(&everything, &programs, true));
    // Preemptions and crashes only.
    let some = Explore::new().name("test").deviations(2).faults(0);
    for_each(60, programs(2..=2, 3), |programs| compare(&some, &programs, true));
}

#[test]
fn the_smallest_case_in_which_sleep_sets_lose() {
    let programs = vec![vec![Op::Get(0), Op::Put(1)], vec![Op::Get(1), Op::Put(1)]];
    compare(&preemptions(1), &programs, false).unwrap();
}

#[test]
fn who_was_first_under_a_key_is_no_matter_of_taste() {
    for in_a_batch in [false, true] {
        let programs = vec![vec![Op::Get(0), Op::Once(in_a_batch)], vec![Op::Put(0), Op::Once(in_a_batch)]];
        compare(&preemptions(2), &programs, false).unwrap();
    }
}

/// Explores three jobs with a row each.
fn apart(settings: &Explore) -> Report {
    settings.run(async |world: &World| {
        world.process("worker", |p| {
            let store = p.store();
            p.handle(async move |job: u32| {
                store.put(format!("a{job}"), &1).await?;
                store.put(format!("b{job}"), &1).await
            });
        });
        world.enqueue_bulk([1_u32, 2, 3]);
        world.settle().await;
    })
}

#[test]
fn what_is_left_out_is_told() {
    let (all, reduced) = (apart(&preemptions(2)), apart(&preemptions(2).reduce(true)));
    assert_green(&all);
    assert_green(&reduced);
    assert!(reduced.runs() * 4 < all.runs() * 3, "{} and {}", reduced.runs(), all.runs());
    let told = format!("; {} more were skipped, because each differs from one", reduced.reduced());
    assert!(reduced.to_string().contains(&told), "{reduced}");
    assert!(!all.to_string().contains("skipped"), "{all}");
    // The same on several threads.
    assert_eq!(apart(&preemptions(2).reduce(true).threads(3)).to_string(), reduced.to_string());
}

#[test]
fn whoever_looks_on_sees_every_order() {
    let looked = |reduce| {
        preemptions(2).reduce(reduce).run(async |world: &World| {
            world.invariant("nothing", |_| {});
            world.process("worker", |p| {
                let store = p.store();
                p.handle(async move |job: u32| store.put(format!("a{job}"), &1).await);
            });
            world.enqueue_bulk([1_u32, 2]);
            world.settle().await;
        })
    };
    assert_eq!(looked(true).runs(), looked(false).runs());
}

#[test]
fn it_is_not_to_be_had_together_with_merging() {
    let report = apart(&preemptions(1).reduce(true).merge(true));
    assert_eq!(report.verdict(), Verdict::Incomplete, "{report}");
    has_line(
        report.reason().unwrap(),
        expect![
            "`Explore::merge` and `Explore::reduce` cannot be combined, because each counts on runs that the other may skip; use `merge` if crashes make up most runs, and `reduce` if preemptions do"
        ],
    );
}
