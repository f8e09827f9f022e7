//! Measures the executor: `cargo bench -p retryproof-benches --bench drain`, or quickly with `-- --test`.
#![expect(clippy::disallowed_methods, reason = "what is measured is real time")]
#![allow(missing_docs, reason = "a program without an interface")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use retryproof::World;

const SIZES: [u32; 2] = [10_000, 100_000];

/// Makes a world with a worker that does nothing with `u32`s and with strings.
fn world() -> World {
    let world = World::fake();
    world.process("worker", |p| {
        p.handle(async |job: u32| _ = black_box(job));
        p.handle(async |text: String| drop(black_box(text)));
    });
    world
}

/// Returns the total time of `times` measurements, each in its own world, of which `measure` measures a part.
fn timed(times: u64, measure: impl Fn(&World) -> Duration) -> Duration {
    (0..times).map(|_| measure(&world())).sum()
}

fn drain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("drain");
    group.sample_size(20);
    for jobs in SIZES {
        group.throughput(Throughput::Elements(u64::from(jobs)));
        group.bench_function(BenchmarkId::from_parameter(jobs), |bencher| {
            bencher.iter_custom(|times| {
                timed(times, |world| {
                    world.enqueue_bulk(0..jobs);
                    let start = Instant::now();
                    let drained = world.drain_all().run().expect("nothing fails");
                    let time = start.elapsed();
                    assert_eq!(drained.succeeded, jobs as usize);
                    time
                })
            });
        });
    }
    group.throughput(Throughput::Bytes(1 << 20));
    group.bench_function("1 MiB", |bencher| {
        bencher.iter_custom(|times| {
            timed(times, |world| {
                world.enqueue("x".repeat(1 << 20));
                let start = Instant::now();
                world.drain_all().run().expect("nothing fails");
                start.elapsed()
            })
        });
    });
    group.finish();
}

fn enqueue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("enqueue");
    group.sample_size(20);
    for jobs in SIZES {
        group.throughput(Throughput::Elements(u64::from(jobs)));
        group.bench_function(BenchmarkId::from_parameter(jobs), |bencher| {
            bencher.iter_custom(|times| {
                timed(times, |world| {
                    let start = Instant::now();
                    black_box(world.enqueue_bulk(0..jobs));
                    start.elapsed()
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, drain, enqueue);
criterion_main!(benches);
