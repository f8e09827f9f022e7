//! Measures crashes at lines: `cargo bench -p retryproof-benches --bench lines`, or quickly with `-- --test`.
#![expect(clippy::disallowed_methods, reason = "what is measured is real time")]
#![expect(clippy::print_stdout, reason = "a table on stdout is half of what this program is for")]
#![allow(missing_docs, reason = "a program without an interface")]

#[path = "job/annotated.rs"]
mod annotated;
mod job;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crash_points::crash_points;
use criterion::{Criterion, criterion_group, criterion_main};
use retryproof::{Explore, Report, Verdict, World};

/// Explores all of up to two deviations, and returns the time.
fn explored(merge: bool, body: impl AsyncFn(&World) + Sync) -> (Report, Duration) {
    let start = Instant::now();
    let report = Explore::new().merge(merge).name("bench").run(body);
    let time = start.elapsed();
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    (report, time)
}

/// Returns the time of `wanted` runs: that of whole explorations, divided by the runs that they judged.
fn amortised(wanted: u64, body: impl AsyncFn(&World) + Sync) -> Duration {
    let (mut runs, mut time) = (0, Duration::ZERO);
    while runs < wanted {
        let (report, took) = explored(false, &body);
        time += took;
        runs += report.runs();
    }
    time.mul_f64(wanted as f64 / runs as f64)
}

/// The number of consecutive points.
const ROW: u64 = 10;

#[crash_points]
fn row(passed: &mut u64) {
    *black_box(&mut *passed) += 1;
    *black_box(&mut *passed) += 1;
    *black_box(&mut *passed) += 1;
    *black_box(&mut *passed) += 1;
    *black_box(&mut *passed) += 1;
    *black_box(&mut *passed) += 1;
    *black_box(&mut *passed) += 1;
    *black_box(&mut *passed) += 1;
    *black_box(&mut *passed) += 1;
    *black_box(&mut *passed) += 1;
}

/// The same without points.
fn bare_row(passed: &mut u64) {
    *black_box(&mut *passed) += 1;
    *black_box(&mut *passed) += 1;
    *black_box(&mut *passed) += 1;
    *black_box(&mut *passed) += 1;
    *black_box(&mut *passed) += 1;
    *black_box(&mut *passed) += 1;
    *black_box(&mut *passed) += 1;
    *black_box(&mut *passed) += 1;
    *black_box(&mut *passed) += 1;
    *black_box(&mut *passed) += 1;
}

/// Returns the nanoseconds per point of a row that is passed many times outside of a run. The row is called through a
/// pointer, so that it is not optimized away.
fn outside(row: fn(&mut u64)) -> f64 {
    const TIMES: u64 = 200_000;
    let (row, mut passed) = (black_box(row), 0);
    let start = Instant::now();
    for _ in 0..TIMES {
        row(&mut passed);
    }
    let time = start.elapsed();
    assert_eq!(passed, TIMES * ROW);
    time.as_secs_f64() * 1e9 / passed as f64
}

/// Returns the nanoseconds per point of two rows that jobs pass in runs, if they pass them to the end.
fn inside(row: fn(&mut u64)) -> f64 {
    let (nanos, times) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let report = Explore::new().crashes(0).name("bench").run(async |world: &World| {
        let (seen, nanos, times) = (world.durable("seen", 0_u64), nanos.clone(), times.clone());
        world.process("worker", move |p| {
            let (payments, seen) = (p.payments(), seen.clone());
            let (nanos, times) = (nanos.clone(), times.clone());
            p.handle(async move |order: u32| {
                let (start, mut passed) = (Instant::now(), 0);
                row(&mut passed);
                row(&mut passed);
                nanos.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
                times.fetch_add(1, Ordering::Relaxed);
                let found = payments.charges(order).await;
                seen.set(passed);
                found.map(drop)
            });
        });
        world.enqueue(6_u32);
        world.settle().await;
    });
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    nanos.load(Ordering::Relaxed) as f64 / (times.load(Ordering::Relaxed) * 2 * ROW) as f64
}

fn runs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a run, amortised over all of up to 2 deviations");
    group.bench_function("crashes at lines", |bencher| {
        bencher.iter_custom(|wanted| amortised(wanted, annotated::ten_awaits));
    });
    group.bench_function("the same job without lines", |bencher| {
        bencher.iter_custom(|wanted| amortised(wanted, job::ten_awaits));
    });
    group.finish();
}

/// Measures the points of a row.
type Measure = fn(fn(&mut u64)) -> f64;

/// Measures a point: the median difference between rows with and without points, measured one after the other.
fn points(_: &mut Criterion) {
    println!("a point          | ns (median)");
    let places: [(&str, Measure); 2] = [("outside of a run", outside), ("inside a run", inside)];
    for (place, measure) in places {
        let mut differences: Vec<f64> =
            (0..if is_quick() { 1 } else { 401 }).map(|_| measure(row) - measure(bare_row)).collect();
        differences.sort_by(f64::total_cmp);
        println!("{place:<16} | {:>7.2}", differences[differences.len() / 2]);
    }
}

fn is_quick() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// Compares explorations with and without merging.
fn merging(_: &mut Criterion) {
    println!("merging |   runs | merged | time (median)");
    for merge in [false, true] {
        let mut times = Vec::new();
        let mut report = None;
        for _ in 0..if is_quick() { 1 } else { 21 } {
            let (explored, time) = explored(merge, annotated::ten_awaits);
            times.push(time);
            report = Some(explored);
        }
        times.sort();
        let (report, time) = (report.expect("at least one exploration"), times[times.len() / 2]);
        let millis = time.as_secs_f64() * 1e3;
        println!("{merge:>7} | {:>6} | {:>6} | {millis:>10.2} ms", report.runs(), report.merged());
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(40)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4));
    targets = merging, runs, points
}
criterion_main!(benches);
