//! Measures a run and its parts: `cargo bench -p retryproof-benches --bench run`, or quickly with `-- --test`.
#![expect(clippy::disallowed_methods, reason = "what is measured is real time")]
#![allow(missing_docs, reason = "a program without an interface")]

mod job;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use retryproof::service::payments::Charge;
use retryproof::service::{Function, ServiceContext, function};
use retryproof::{Explore, ServiceError, Verdict, World};

/// Returns the time of `wanted` runs: that of whole explorations, divided by the runs that they judged. Repeated runs
/// (the reference run twice, inner scenarios once) take time but are not counted.
fn amortised(wanted: u64, deviations: usize, body: impl AsyncFn(&World) + Sync) -> Duration {
    let (mut runs, mut time) = (0, Duration::ZERO);
    while runs < wanted {
        let start = Instant::now();
        let report = Explore::new().deviations(deviations).name("bench").run(&body);
        time += start.elapsed();
        assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
        runs += report.runs();
    }
    time.mul_f64(wanted as f64 / runs as f64)
}

/// Returns the time of `wanted` reference runs. An exploration without deviations makes three. The time is that from
/// the start of the second to the start of the third, when the tokio runtime exists already.
fn reference(wanted: u64, body: impl AsyncFn(&World) + Sync) -> Duration {
    let mut time = Duration::ZERO;
    for _ in 0..wanted {
        let starts = Mutex::new(Vec::with_capacity(4));
        let report = Explore::new().deviations(0).name("bench").run(async |world: &World| {
            starts.lock().unwrap().push(Instant::now());
            body(world).await;
        });
        assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
        let starts = starts.into_inner().unwrap();
        time += starts[2] - starts[1];
    }
    time
}

/// Returns the time of the fastest of `runs` reference runs, as on an idle machine.
fn least(runs: u64, body: impl AsyncFn(&World) + Sync) -> Duration {
    (0..runs).map(|_| reference(1, &body)).min().unwrap_or_default()
}

async fn yields(world: &World, count: u32) {
    let seen = world.durable("seen", 0_u32);
    world.process("worker", move |p| {
        let (clock, seen) = (p.clock(), seen.clone());
        p.handle(async move |count: u32| {
            for _ in 0..count {
                clock.yield_now().await;
            }
            seen.set(count);
        });
    });
    world.enqueue(count);
    world.settle().await;
}

async fn charges(world: &World, count: u32) {
    world.process("worker", move |p| {
        let payments = p.payments();
        p.handle(async move |count: u32| {
            for order in 0..count {
                payments
                    .charge(Charge::of_order(order, 2_598).customer("cu_2").key(order.to_string()))
                    .await?;
            }
            Ok::<(), ServiceError>(())
        });
    });
    world.enqueue(count);
    world.settle().await;
}

/// Calls a service that does nothing, so that only the call itself, its four choices and their record remain.
async fn calls(world: &World, count: u32) {
    world.durable("nothing", ());
    world.service("echo", function("say", |number: u32, _: &mut ServiceContext<'_>| number));
    world.process("worker", |p| {
        let echo = p.service::<Function<u32, u32>>("echo");
        p.handle(async move |count: u32| {
            for number in 0..count {
                assert_eq!(echo.call(number).await?, number);
            }
            Ok::<(), ServiceError>(())
        });
    });
    world.enqueue(count);
    world.settle().await;
}

/// Explores a job without awaits up to a number of crashes. Returns the time, the actual number of runs (including
/// repeated ones), and the number of crashes in them.
fn crashes(most: usize) -> (Duration, u64, u64) {
    let (runs, boots) = (AtomicU64::new(0), std::sync::Arc::new(AtomicU64::new(0)));
    let start = Instant::now();
    let report = Explore::new().deviations(most).crashes(most).deliveries(0).name("bench").run(
        async |world: &World| {
            runs.fetch_add(1, Ordering::Relaxed);
            let (boots, seen) = (boots.clone(), world.durable("seen", 0_u32));
            world.process("worker", move |p| {
                boots.fetch_add(1, Ordering::Relaxed);
                let seen = seen.clone();
                p.handle(async move |order: u32| seen.set(order));
            });
            world.enqueue(6_u32);
            world.settle().await;
        },
    );
    let time = start.elapsed();
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    let runs = runs.into_inner();
    (time, runs, boots.load(Ordering::Relaxed) - runs)
}

/// Returns the time of `wanted` crashes: the difference between explorations with few and with many crashes per run, at
/// the same number of runs.
fn crash(wanted: u64) -> Duration {
    let (mut crashed, mut time) = (0.0, 0.0);
    while crashed < wanted as f64 {
        let (few, many) = (crashes(4), crashes(9));
        let scale = many.1 as f64 / few.1 as f64;
        time += many.0.as_secs_f64() - few.0.as_secs_f64() * scale;
        crashed += many.2 as f64 - few.2 as f64 * scale;
    }
    Duration::from_secs_f64((time * wanted as f64 / crashed).max(0.0))
}

/// Returns the cost of the second half of a job with twice as much of something.
fn second_half(once: Duration, twice: Duration, count: u32) -> Duration {
    twice.saturating_sub(once) / count
}

fn runs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ten awaits, three effects");
    group.bench_function("a run, amortised over all of up to 2 deviations", |bencher| {
        bencher.iter_custom(|wanted| amortised(wanted, 2, job::ten_awaits));
    });
    group.bench_function("the reference run alone", |bencher| {
        bencher.iter_custom(|wanted| reference(wanted, job::ten_awaits));
    });
    group.finish();
}

fn parts(criterion: &mut Criterion) {
    const N: u32 = 20;
    // A call is so short that the difference between a few calls is lost in the noise, and the record of many calls no
    // longer fits into what the allocator keeps.
    const CALLS: u32 = 60;
    const TIMES: u64 = 8;
    let mut group = criterion.benchmark_group("parts");
    group.bench_function("a choice (an awaited yield)", |bencher| {
        bencher.iter_custom(|wanted| {
            let once = reference(wanted, async |world: &World| yields(world, N).await);
            second_half(once, reference(wanted, async |world: &World| yields(world, 2 * N).await), N)
        });
    });
    group.bench_function("a call (awaited: three crash points and a fault choice, recorded)", |bencher| {
        bencher.iter_custom(|wanted| {
            let once = least(TIMES * wanted, async |world: &World| calls(world, CALLS).await);
            let twice = least(TIMES * wanted, async |world: &World| calls(world, 2 * CALLS).await);
            second_half(once, twice, CALLS).mul_f64(wanted as f64)
        });
    });
    group.bench_function("a recorded effect (an awaited charge: four choices)", |bencher| {
        bencher.iter_custom(|wanted| {
            let once = reference(wanted, async |world: &World| charges(world, N).await);
            second_half(once, reference(wanted, async |world: &World| charges(world, 2 * N).await), N)
        });
    });
    group.bench_function("a crash (with restart, redelivery and a new attempt)", |bencher| {
        bencher.iter_custom(crash);
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(40)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4));
    targets = runs, parts
}
criterion_main!(benches);
