//! Unmodified clients, with a proxy between them and a real Redis: bad jobs are found, good twins pass, and whatever a client
//! sends, nothing hangs and the next scenario starts clean.

mod bad_input;
mod clients;
mod locks;
mod messages;
mod queues;
mod rates;
mod repeats;
mod state;

use retryproof::{Explore, Report, Verdict, World};
use retryproof_redis::{WorldExt, is_available};

type Error = Box<dyn std::error::Error + Send + Sync>;

fn one_deviation(name: &str) -> Explore {
    Explore::new().name(name).deviations(1)
}

/// Reports whether the server was started here, and has the world's clock.
fn is_own_server() -> bool {
    is_available() && std::env::var_os("REDIS_URL").is_none_or(|url| url.is_empty())
}

/// These jobs, in one process, each of which gets the URL.
fn with_url<const N: usize>(
    explore: &Explore,
    jobs: [u32; N],
    job: impl AsyncFn(String, u32) -> Result<(), Error> + Clone + Sync + 'static,
) -> Report {
    explore.run(async |world: &World| {
        let redis = world.redis();
        let job = job.clone();
        world.process("worker", move |p| {
            let (url, job) = (redis.url(p), job.clone());
            p.slots(2);
            p.handle(async move |number: u32| job(url.clone(), number).await);
        });
        for number in jobs {
            world.enqueue(number);
        }
        world.settle().await;
    })
}

#[track_caller]
fn assert_red(report: &Report, texts: &[&str]) {
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let found: Vec<_> =
        report.violations().iter().map(|v| format!("{}: {}", v.summary, v.scenario)).collect();
    for text in texts {
        assert!(found.iter().any(|found| found.contains(text)), "no `{text}` in {found:#?}\n{report}");
    }
}

#[track_caller]
fn assert_green(report: &Report) {
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(report.runs() > 5, "{report}");
}
