//! The core alone: one operation is a request and its reply, decoded, routed and encoded.

mod fixture;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fixture::Tables;
use majordomo::proto::policy::{ServicePolicy, Settings};

fn routing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request and reply");
    group.throughput(Throughput::Elements(1));
    for workers in [1, 64] {
        let mut tables = Tables::new(Settings::default());
        let client = tables.join();
        for _ in 0..workers {
            tables.worker(0);
        }
        group.bench_function(format!("{workers} idle workers"), |bencher| {
            bencher.iter(|| {
                let (worker, address) = tables.request(client, 0).expect("a worker is free");
                tables.reply(worker, &address);
            });
        });
        assert_eq!(tables.open_requests(), 0);
    }
    for prefetch in [1, 1000] {
        let policy = ServicePolicy { prefetch, ..ServicePolicy::default() };
        let mut tables = Tables::new(Settings { policy, ..Settings::default() });
        let client = tables.join();
        tables.worker(0);
        let mut held: std::collections::VecDeque<_> =
            (0..1000).filter_map(|_| tables.request(client, 0)).collect();
        group.bench_function(format!("1000 open, {prefetch} at the worker"), |bencher| {
            bencher.iter(|| {
                let (worker, address) = held.pop_front().expect("something is at the worker");
                held.extend(tables.reply(worker, &address));
                held.extend(tables.request(client, 0));
            });
        });
        assert_eq!(tables.open_requests(), 1000);
    }
    group.finish();
}

criterion_group!(benches, routing);
criterion_main!(benches);
