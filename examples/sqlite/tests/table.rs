//! A worker's own loop on its own table of jobs, in SQLite, with crashes, preemptions and failing statements.

use std::rc::Rc;

use retryproof::service::payments::Charge;
use retryproof::{Explore, Report, Verdict, World};
use retryproof_sqlite::memory::{self, Memory};
use retryproof_sqlite::table::{Care, TABLES, work};
use retryproof_sqlx::Pool;

/// Two jobs, and as many processes that take them.
fn explored(care: Care, processes: usize, deviations: usize) -> Report {
    Explore::new().name("table").deviations(deviations).run(async move |world: &World| {
        let database = Rc::new(Memory::new(TABLES));
        database.connection.execute_batch("INSERT INTO jobs (id, amount) VALUES (1, 500), (2, 700)").unwrap();
        for worker in 0..processes {
            let name = database.name().to_owned();
            world.process(format!("worker-{worker}"), move |p| {
                let (payments, clock) = (p.payments(), p.clock());
                let pool = Pool::new(memory::pool(&name), p.external("db"));
                let now = move || clock.now().as_secs() as i64;
                p.spawn(
                    "loop",
                    work(pool, care, now, async move |job, key| {
                        let charge = Charge::of_order(job.id as u64, job.cents);
                        let charge = match key {
                            Some(key) => charge.key(key),
                            None => charge,
                        };
                        payments.charge(charge).await.map(|_| ())
                    }),
                );
            });
        }
        let seen = database.clone();
        world.observe("jobs", move || seen.rows("SELECT id, state FROM jobs"));
        let all_done =
            |_: &World| database.rows("SELECT id, state FROM jobs WHERE state <> 'done'").is_empty();
        assert!(world.settle_until(all_done).await, "a job was never done");
    })
}

fn scenarios(report: &Report) -> Vec<String> {
    report.violations().iter().map(|found| found.scenario.to_string()).collect()
}

#[test]
fn two_workers_that_look_before_they_take_have_a_job_paid_twice() {
    let report = explored(Care::LooksThenTakes, 2, 1);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    // No failures and no crashes: one worker is only slower than the other.
    let found = scenarios(&report);
    assert!(
        found.iter().any(|scenario| scenario == "table worker-0/loop/db.select-jobs:next=other"),
        "{report}"
    );
}

#[test]
fn a_worker_that_takes_at_once_dies_between_the_payment_and_its_own_note_of_it() {
    for processes in [1, 2] {
        let report = explored(Care::TakesAtOnce, processes, 1);
        assert_eq!(report.verdict(), Verdict::Violated, "{report}");
        let found = scenarios(&report);
        assert!(found.iter().all(|scenario| scenario.contains("/payments.charge:")), "{found:?}");
    }
}

#[test]
fn a_worker_that_takes_at_once_and_pays_under_a_key_is_retry_proof() {
    for processes in [1, 2] {
        let report = explored(Care::WithKey, processes, 1);
        assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
        // Each worker has died, was overtaken and has lost a reply.
        assert!(report.runs() > 40, "{report}");
    }
}

#[test]
fn the_same_scenario_is_the_same_report() {
    let [one, other] = [(); 2].map(|()| explored(Care::LooksThenTakes, 2, 1));
    assert_eq!(one.to_string(), other.to_string());
}
