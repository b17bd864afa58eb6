//! What lending costs, without the connections: `cargo bench --bench pool`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use pgweir::pool::core::{Core, Limits, Put, Serving};
use pgweir::pool::home::Home;

/// Connections of the pool, and clients that wait where some do.
const SIZE: u64 = 20;
const WAITING: u64 = 100;

/// A pool whose connections all stand idle.
/// One worker.
const HOME: Home = Home(0);

fn idle(now: Instant) -> Core<u64, u64> {
    let limits = Limits {
        size: SIZE as usize,
        min_size: 0,
        reserve: 0,
        reserve_after: Duration::from_secs(5),
        round_robin: false,
        lifetime: Duration::from_secs(3600),
        idle_timeout: Some(Duration::from_secs(600)),
        check_after: Some(Duration::from_secs(30)),
        retry_cap: Duration::from_secs(1),
    };
    let mut core = Core::new(1, Serving::One(0), limits);
    for it in 0..SIZE {
        core.join(it, HOME, now);
        assert_eq!(core.next_dial(now), Some(0));
        core.dialled(0);
        assert_eq!(core.put(0, 0, it, HOME, now, now), Put::Hand(it, it));
    }
    (0..SIZE).for_each(|it| assert_eq!(core.put(0, 0, it, HOME, now, now), Put::Kept));
    core
}

/// The same with every connection lent and a queue.
fn busy(now: Instant) -> Core<u64, u64> {
    let mut core = idle(now);
    (0..SIZE).for_each(|_| assert!(core.take(HOME).is_some()));
    (0..WAITING).for_each(|who| _ = core.join(who, HOME, now));
    core
}

fn lending(bench: &mut Criterion) {
    let now = Instant::now();
    let mut group = bench.benchmark_group("pool");
    let mut core = idle(now);
    group.bench_function("take_put", |bencher| {
        bencher.iter(|| {
            let (node, it) = core.take(HOME).expect("one stands idle");
            assert_eq!(core.put(node, 0, black_box(it), HOME, now, now), Put::Kept);
        });
    });
    let mut core = busy(now);
    // Whoever is served comes back for more, as under a steady overload.
    group.bench_function("put_hand_join", |bencher| {
        bencher.iter(|| match core.put(0, 0, black_box(1), HOME, now, now) {
            Put::Hand(who, it) => {
                assert!(core.take(HOME).is_none(), "nobody jumps the queue");
                core.join(who, HOME, now);
                it
            }
            other => panic!("{other:?} while {WAITING} wait"),
        });
    });
    // Those in the middle give up.
    group.bench_function("leave", |bencher| {
        let queue = || (busy(now), SIZE + WAITING / 2);
        bencher.iter_batched(queue, |(mut core, ticket)| (core.leave(black_box(ticket)), core), BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = lending
}
criterion_main!(benches);
