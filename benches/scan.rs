//! What it costs to find the frames of a buffer: `cargo bench --bench scan`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pgweir::wire::{back, encode, frame};

/// A relay's buffer.
const BUFFER: usize = 16 << 10;

/// A batch as drivers send it: Bind, Describe, Execute, Sync.
fn batches() -> Vec<u8> {
    filled(|out| {
        encode::bind_head(out, b"", b"pgweir_17", 6);
        out.extend([0; 6]);
        encode::raw(out, b'D', b"P\0");
        encode::raw(out, b'E', b"\0\0\0\0\0");
        encode::sync(out);
    })
}

/// An answer of many short rows.
fn rows() -> Vec<u8> {
    filled(|out| encode::raw(out, back::DATA_ROW, &[7; 60]))
}

/// An answer of few long rows.
fn long_rows() -> Vec<u8> {
    filled(|out| encode::raw(out, back::DATA_ROW, &[7; 2000]))
}

fn filled(mut with: impl FnMut(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 * BUFFER);
    while out.len() < BUFFER {
        with(&mut out);
    }
    out
}

/// How many frames there are.
fn count(bytes: &[u8]) -> usize {
    let (mut rest, mut frames) = (bytes, 0);
    while let Ok(Some(header)) = frame::scan(rest, frame::MESSAGE_LIMIT) {
        rest = rest.get(header.len..).unwrap_or_default();
        frames += 1;
    }
    frames
}

fn scans(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("scan");
    for (name, bytes) in [("batches", batches()), ("rows", rows()), ("long_rows", long_rows())] {
        group.throughput(Throughput::Elements(count(&bytes) as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &bytes, |bencher, bytes| {
            bencher.iter(|| count(black_box(bytes)));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = scans
}
criterion_main!(benches);
