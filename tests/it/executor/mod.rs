//! The executor, row by row as `docs/spec/executor.md` specifies it. Each test is named after its row.

mod bad_input;
mod limits;
mod bulk;
mod by_hand;
mod context;
mod failures;
mod iterable;
mod middleware;
mod modes;
mod ordering;
mod priorities;
mod new_jobs;
mod adapters;
mod retries;
mod coverage_table;
mod shutdown;
mod sidekiq_parity;
mod unique;
mod unique_checked;

use retryproof::World;
use retryproof::job::JobView;

use crate::support::{DAY, Log, S, assert_green, assert_violated, log, one_deviation, panic_of, worker};

/// A second kind of job, beside `u32`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Mail {
    to: u32,
}

/// Adds a worker that records each job, of two kinds. A `u32` of 13 fails.
fn noting(world: &World, log: &Log) {
    worker(world, log, |p, log| {
        let noted = log.clone();
        p.handle(async move |job: u32| {
            noted.update(|log| log.push(format!("u32 {job}")));
            if job == 13 { Err("unlucky") } else { Ok(()) }
        });
        let noted = log.clone();
        p.handle(async move |mail: Mail| noted.update(|log| log.push(format!("Mail {}", mail.to))));
    });
}

fn numbers(jobs: &[JobView]) -> Vec<u32> {
    jobs.iter().map(|job| job.number).collect()
}
