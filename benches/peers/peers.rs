//! Runs the same bodies under retryproof, shuttle, schedwalk and loom, in interleaved rounds: `cargo bench -p
//! retryproof-peers`. With `-- --json` it prints a record per body, with `-- --ours` it leaves out the other tools,
//! and with `-- --test` each runs once and not to the end.
#![expect(clippy::print_stdout, reason = "a table on stdout is what this program is for")]
#![expect(clippy::disallowed_methods, reason = "what is measured is real time")]
#![allow(missing_docs, reason = "a program without an interface")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use retryproof::{Explore, World};
use serde_json::{Map, Value, json};

/// A task, described by what it does between two yields. None of the tools sees its memory.
#[derive(Clone, Copy)]
struct Body {
    name: &'static str,
    tasks: usize,
    steps: u32,
    step: fn(&AtomicU32, &mut u32),
}

const BODIES: [Body; 4] = [
    Body { name: "two tasks, three yields", tasks: 2, steps: 3, step: |_, _| {} },
    Body {
        name: "two tasks, three writes to one key",
        tasks: 2,
        steps: 3,
        step: |key, written| {
            *written += 1;
            key.store(*written, Ordering::Relaxed);
        },
    },
    Body { name: "three tasks, three yields", tasks: 3, steps: 3, step: |_, _| {} },
    Body {
        name: "lost update",
        tasks: 2,
        steps: 1,
        step: |key, read| {
            // Before the yield. What comes after it happens when the task ends.
            *read = key.load(Ordering::Relaxed);
        },
    },
];

impl Body {
    /// Runs one task, with the yield of a tool.
    async fn task<Y: Future<Output = ()>>(self, key: Arc<AtomicU32>, yield_now: impl Fn() -> Y) {
        let mut own = 0;
        for _ in 0..self.steps {
            (self.step)(&key, &mut own);
            yield_now().await;
        }
        key.store(own + 1, Ordering::Relaxed);
    }
}

/// One exploration: the number of runs, and whether it is complete.
struct Explored {
    runs: u64,
    all: bool,
}

type Tool = (&'static str, Box<dyn Fn() -> Explored>);

fn ours(body: Body, threads: usize) -> Explored {
    let settings = Explore::new().deviations(usize::MAX).crashes(0).faults(0).deliveries(0).delays(0);
    let report =
        settings.max_runs(u64::MAX).threads(threads).name("peers").run(async move |world: &World| {
            // A world without any state tests nothing.
            world.durable("nothing", ());
            let key = Arc::new(AtomicU32::new(0));
            world.process("worker", move |p| {
                for name in ["one", "two", "three"].into_iter().take(body.tasks) {
                    let clock = p.clock();
                    p.spawn(name, body.task(key.clone(), move || clock.yield_now()));
                }
            });
            world.settle().await;
        });
    assert!(report.exhausted(), "{report}");
    Explored { runs: report.runs(), all: true }
}

fn shuttle(body: Body, most: usize) -> Explored {
    let runs = Arc::new(AtomicU64::new(0));
    let counted = runs.clone();
    let run = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        shuttle::future::block_on(async move {
            let key = Arc::new(AtomicU32::new(0));
            let task = || shuttle::future::spawn(body.task(key.clone(), shuttle::future::yield_now));
            let tasks: Vec<_> = (0..body.tasks).map(|_| task()).collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    };
    shuttle::check_dfs(run, Some(most));
    let runs = runs.load(Ordering::Relaxed);
    Explored { runs, all: runs < most as u64 }
}

/// Wakes itself and waits once, because schedwalk has no yield.
struct YieldOnce(bool);

impl Future for YieldOnce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn schedwalk(body: Body) -> Explored {
    let mut runs = 0;
    schedwalk::for_all_schedules(|| {
        runs += 1;
        async move {
            let key = Arc::new(AtomicU32::new(0));
            let task = || schedwalk::spawn(body.task(key.clone(), || YieldOnce(false)));
            let tasks: Vec<_> = (0..body.tasks).map(|_| task()).collect();
            for task in tasks {
                let _ = task.await;
            }
        }
    });
    Explored { runs, all: true }
}

/// Two threads of two `fetch_add` each, under loom itself.
fn loom() -> Explored {
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU32;
    let runs = std::sync::Arc::new(AtomicU64::new(0));
    let counted = runs.clone();
    loom::model(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let number = Arc::new(AtomicU32::new(0));
        let twice = |number: Arc<AtomicU32>| {
            loom::thread::spawn(move || {
                number.fetch_add(1, Ordering::SeqCst);
                number.fetch_add(1, Ordering::SeqCst);
            })
        };
        let threads = [twice(number.clone()), twice(number.clone())];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    Explored { runs: runs.load(Ordering::Relaxed), all: true }
}

/// The same under `retryproof::model`, which uses loom and records the operations.
fn our_model() -> Explored {
    use retryproof::sync::Arc;
    use retryproof::sync::atomic::AtomicU32;
    let report = retryproof::model::Model::new().name("peers").run(move || {
        let number = Arc::new(AtomicU32::new(0));
        let twice = |number: Arc<AtomicU32>| {
            retryproof::thread::spawn(move || {
                number.fetch_add(1, Ordering::SeqCst);
                number.fetch_add(1, Ordering::SeqCst);
            })
        };
        let threads = [twice(number.clone()), twice(number.clone())];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert!(report.exhausted(), "{report}");
    Explored { runs: report.executions(), all: true }
}

/// Returns the time of one exploration, averaged over a while so that short ones are measured as well.
fn time(tool: &dyn Fn() -> Explored, at_least: Duration) -> (Duration, Explored) {
    let start = Instant::now();
    let mut times = 1;
    let mut explored = tool();
    while start.elapsed() < at_least {
        explored = tool();
        times += 1;
    }
    (start.elapsed() / times, explored)
}

/// Measures the tools in turn, so that other load affects all of them. Returns medians.
fn measure(name: &str, tools: &[Tool], rounds: usize, at_least: Duration) -> Value {
    let mut times = vec![Vec::new(); tools.len()];
    let mut last: Vec<Option<Explored>> = tools.iter().map(|_| None).collect();
    for _ in 0..rounds {
        for (index, (_, tool)) in tools.iter().enumerate() {
            // A tool that takes longer than all the others together need not be repeated to be distinguished from them.
            if times[index].first().is_some_and(|first| *first > Duration::from_secs(2)) {
                continue;
            }
            let (time, explored) = time(tool, at_least);
            times[index].push(time);
            last[index] = Some(explored);
        }
    }
    let mut record = Map::new();
    record.insert("body".to_owned(), name.into());
    for (((tool, _), mut times), last) in tools.iter().zip(times).zip(last) {
        times.sort();
        let nanos = times[times.len() / 2].as_nanos() as u64;
        let Explored { runs, all } = last.expect("each tool had a turn");
        let each =
            json!({ "runs": runs, "ns_per_run": nanos / runs, "ns_to_exhaust": nanos, "exhausted": all });
        record.insert((*tool).to_owned(), each);
    }
    Value::Object(record)
}

fn show(record: &Value) {
    println!("{}", record["body"].as_str().unwrap_or_default());
    for (tool, figures) in record.as_object().into_iter().flatten().filter(|(_, figures)| figures.is_object())
    {
        let number = |name: &str| figures[name].as_u64().unwrap_or_default();
        let (runs, each, all) = (number("runs"), number("ns_per_run"), number("ns_to_exhaust") as f64 / 1e3);
        let more = if figures["exhausted"] == true { "" } else { ", and more" };
        println!("  {tool:>24} | {runs:>9} runs{more} | {each:>7} ns a run | {all:>12.1} µs");
    }
}

fn main() {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let (quick, as_json) = (has("--test") || has("--quick"), has("--json"));
    let (rounds, at_least) = if quick { (1, Duration::ZERO) } else { (9, Duration::from_millis(30)) };
    let most = if quick { 1_000 } else { 500_000 };
    let mut records = Vec::new();
    for body in BODIES {
        if quick && body.tasks > 2 {
            continue;
        }
        let mut tools: Vec<Tool> = vec![
            ("retryproof", Box::new(move || ours(body, 1))),
            ("schedwalk", Box::new(move || schedwalk(body))),
            ("shuttle", Box::new(move || shuttle(body, most))),
        ];
        if body.tasks > 2 {
            tools.insert(1, ("retryproof, two threads", Box::new(move || ours(body, 2))));
        }
        if has("--ours") {
            tools.truncate(1);
        }
        records.push(measure(body.name, &tools, rounds, at_least));
    }
    let threads: [Tool; 2] = [("retryproof", Box::new(our_model)), ("loom", Box::new(loom))];
    records.push(measure("two threads, two fetch_add", &threads, rounds, at_least));
    for record in &records {
        match as_json {
            true => println!("{record}"),
            false => show(record),
        }
    }
}
