//! Calls over sockets are points at which other workers may run first, and at which a worker may stall past its lease.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::{assert_green, found};
use retryproof::service::{Operation, Refusal, Service, ServiceContext};
use retryproof::{Explore, Process, Report, Verdict, World};
use serde::{Deserialize, Serialize};

/// A number behind HTTP, which jobs read and write, or add to. It has no effects, only state.
#[derive(Clone)]
struct Stock(Arc<Mutex<i64>>);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Ask {
    Read,
    Write(i64),
    Add(i64),
}

impl Service for Stock {
    type Request = Ask;
    type Reply = i64;

    fn operation(&self, ask: &Ask) -> Operation {
        match ask {
            Ask::Read => Operation::read("read".into()),
            Ask::Write(_) => Operation::write("write".into()),
            Ask::Add(_) => Operation::write("add".into()),
        }
    }

    fn answer(&mut self, ask: Ask, _: &mut ServiceContext<'_>) -> Result<i64, Refusal> {
        let mut stock = self.0.lock().unwrap();
        match ask {
            Ask::Read => {}
            Ask::Write(value) => *stock = value,
            Ask::Add(value) => *stock += value,
        }
        Ok(*stock)
    }
}

async fn ask(uri: &str, client: &reqwest::Client, operation: &str, ask: Ask) -> Result<i64, reqwest::Error> {
    let sent = client.post(format!("{uri}/stock/{operation}")).json(&ask).send().await?;
    sent.error_for_status()?.json().await
}

fn ask_blocking(uri: &str, operation: &str, ask: &Ask) -> Result<i64, ureq::Error> {
    ureq::post(format!("{uri}/stock/{operation}")).send_json(ask)?.body_mut().read_json()
}

/// Explores two jobs in two processes, or in one, that use the same stock.
fn exploring(
    explore: &Explore,
    workers: u32,
    handle: impl Fn(&Process, String) + Clone + Sync + 'static,
) -> Report {
    explore.run(async |world: &World| {
        let stock = Arc::new(Mutex::new(0));
        let seen = stock.clone();
        world.observe("stock", move || *seen.lock().unwrap());
        world.service("stock", Stock(stock)).over_http();
        for worker in ["one", "two"].into_iter().take(workers as usize) {
            let handle = handle.clone();
            world.process(worker, move |p| {
                p.slots(1);
                handle(p, p.http().uri());
            });
        }
        world.enqueue(1_i64);
        world.enqueue(2_i64);
        world.settle().await;
    })
}

/// Allows preemptions only.
fn preemptions(most: usize) -> Explore {
    Explore::new().name("test").deviations(most).crashes(0).faults(0).deliveries(0).delays(0)
}

fn reads_and_writes(p: &Process, uri: String) {
    let client = reqwest::Client::new();
    p.handle(async move |more: i64| {
        let stock = ask(&uri, &client, "read", Ask::Read).await?;
        ask(&uri, &client, "write", Ask::Write(stock + more)).await.map(drop)
    });
}

fn reads_and_writes_blocking(p: &Process, uri: String) {
    p.handle_blocking(move |more: i64| {
        let stock = ask_blocking(&uri, "read", &Ask::Read)?;
        ask_blocking(&uri, "write", &Ask::Write(stock + more)).map(drop)
    });
}

fn adds(p: &Process, uri: String) {
    let client = reqwest::Client::new();
    p.handle(async move |more: i64| ask(&uri, &client, "add", Ask::Add(more)).await.map(drop));
}

fn adds_blocking(p: &Process, uri: String) {
    p.handle_blocking(move |more: i64| ask_blocking(&uri, "add", &Ask::Add(more)).map(drop));
}

#[test]
fn a_lost_update_between_two_workers_is_found() {
    for handle in [reads_and_writes, reads_and_writes_blocking] {
        let report = exploring(&preemptions(1), 2, handle);
        assert_eq!(report.verdict(), Verdict::Violated, "{report}");
        let lost = found(&report).join("\n");
        assert!(lost.contains("job#1.1/stock.read:next="), "{lost}");
    }
}

#[test]
fn one_that_adds_is_green() {
    for handle in [adds, adds_blocking] {
        assert_green(&exploring(&preemptions(2), 2, handle));
    }
}

/// Counted by hand. The numbers are the same as in process.
#[test]
fn as_many_runs_as_choices() {
    for handle in [adds, adds_blocking] {
        let report = exploring(&preemptions(1), 2, handle);
        // Job 1 first, or job 2 (1). After the call of the first job, the other one may begin (1). After the call of
        // the second, the first one may continue, but it has ended unless it was preempted. Each job may go to the other
        // process (2).
        assert_eq!(report.runs(), 1 + 2 + 2, "{report}");
    }
    for handle in [reads_and_writes, reads_and_writes_blocking] {
        // The same if the first job makes two calls: 1 + 1 + 1, and 2.
        let report = exploring(&preemptions(1), 2, handle);
        assert_eq!(report.runs(), 1 + 3 + 2, "{report}");
    }
}

fn the_same_report(times: u32) {
    for handle in [reads_and_writes, reads_and_writes_blocking] {
        let explore = Explore::new().name("test").deviations(1).faults(0);
        let first = exploring(&explore, 2, handle).to_string();
        for _ in 1..times {
            assert_eq!(exploring(&explore, 2, handle).to_string(), first);
        }
    }
}

#[test]
fn the_same_report_twenty_times() {
    the_same_report(20);
}

#[test]
#[ignore = "nightly: takes minutes"]
fn the_same_report_a_thousand_times() {
    the_same_report(1_000);
}

/// A worker stalls at a call past its lease, and the job is redelivered while its first attempt is still running.
#[test]
fn a_worker_that_stalls_past_its_lease_is_overtaken_by_its_own_job() {
    for handle in [reads_and_writes, reads_and_writes_blocking] {
        let scenario = "test job#1.1/stock.read:pause=past-lease";
        let report = exploring(&Explore::new().name("test").replay(scenario), 2, handle);
        assert_eq!(report.verdict(), Verdict::Violated, "{report}");
        let timeline = report.timeline();
        let mut by = timeline.events().iter().map(|event| event.by.as_str());
        assert!(by.any(|by| by == "job#1.2"), "{report}");
        assert!(by.any(|by| by == "job#1.1"), "the first attempt goes on after that: {report}");
    }
}

/// Attempts that wait for time between their calls keep their order.
#[test]
fn timers_and_calls_do_not_mix() {
    let report = exploring(&preemptions(1), 2, |p, uri| {
        let client = reqwest::Client::new();
        p.handle(async move |more: i64| {
            ask(&uri, &client, "add", Ask::Add(more)).await?;
            tokio::time::sleep(Duration::from_secs(3)).await;
            ask(&uri, &client, "add", Ask::Add(-more)).await.map(drop)
        });
    });
    assert_green(&report);
}
