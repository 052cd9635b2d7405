//! The codec alone: octets to messages and back, by size of the body.

use std::hint::black_box;

use bytes::BufMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use majordomo::wire::Limits;
use majordomo::wire::codec::{Decoder, Encoder, Item};
use majordomo::wire::message::Message;

/// Octets of a body: 32 B to 1 MiB.
const SIZES: [usize; 7] = [32, 256, 1 << 10, 4 << 10, 16 << 10, 128 << 10, 1 << 20];
/// Octets of one read.
const BATCH: usize = 64 << 10;

fn request(size: usize) -> Message {
    Message::new([vec![], b"MDPC01".to_vec(), b"service".to_vec(), vec![0xa5; size]])
}

/// As many messages as one read gives, one at least.
fn count(size: usize) -> usize {
    (BATCH / size).max(1)
}

fn throughput(size: usize) -> Throughput {
    let count = count(size) as u64;
    Throughput::ElementsAndBytes { elements: count, bytes: count * size as u64 }
}

fn octets_of(message: &Message, count: usize) -> Vec<u8> {
    let mut encoder = Encoder::default();
    let mut octets = Vec::new();
    for _ in 0..count {
        encoder.frames(&message.frames());
        write_out(&mut encoder, &mut octets);
    }
    octets
}

/// What a vectored write takes away, but into memory.
fn write_out(encoder: &mut Encoder, octets: &mut Vec<u8>) {
    while !encoder.is_empty() {
        let mut slices = [std::io::IoSlice::new(&[]); 64];
        let filled = encoder.chunks(&mut slices);
        let mut written = 0;
        for slice in &slices[..filled] {
            octets.extend_from_slice(slice);
            written += slice.len();
        }
        encoder.advance(written);
    }
}

/// Reads as the broker does: 64 KiB at a time, and of a large body straight into its buffer.
fn decode(decoder: &mut Decoder, mut octets: &[u8]) -> usize {
    let mut messages = 0;
    while !octets.is_empty() {
        if let Some(large) = decoder.large_body() {
            let mut spare = large.spare();
            let (now, later) = octets.split_at(octets.len().min(spare.remaining_mut()));
            spare.put_slice(now);
            octets = later;
        }
        let (mut now, later) = octets.split_at(octets.len().min(BATCH));
        octets = later;
        while let Some(item) = decoder.next(&mut now).expect("it is well formed") {
            messages += usize::from(matches!(black_box(item), Item::Message(_)));
        }
    }
    // A body that ended with the octets is complete, but was not handed out yet.
    while let Some(item) = decoder.next(&mut &[][..]).expect("it is well formed") {
        messages += usize::from(matches!(black_box(item), Item::Message(_)));
    }
    messages
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for size in SIZES {
        let octets = octets_of(&request(size), count(size));
        let mut decoder = Decoder::new(Limits::default());
        group.throughput(throughput(size));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                assert_eq!(decode(&mut decoder, black_box(&octets)), count(size));
            });
        });
    }
    group.finish();
}

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for size in SIZES {
        let message = request(size);
        let mut encoder = Encoder::default();
        group.throughput(throughput(size));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                for _ in 0..count(size) {
                    encoder.frames(&black_box(&message).frames());
                }
                // As after a write that took everything.
                encoder.advance(black_box(encoder.len()));
                encoder = Encoder::with_buffer(encoder.take_buffer());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decoding, encoding);
criterion_main!(benches);
