// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From a pin to a message and, for levels, back through the EOI.

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, Criterion};
use ioapic::{spec, Config, IoApic, PinSet, Rte};
use irq_routing::{Delivery, InterruptMessage, SourceId};

/// One operation, in a function of its own so that callgrind can count just its instructions
/// (docs/benchmarks.md).
#[inline(never)]
fn measured<R>(operation: impl FnOnce() -> R) -> R {
    operation()
}

const PIN: u8 = 9;
const VECTOR: u8 = 0x59;
const SOURCE: SourceId = SourceId::FIRST;

fn sink(message: InterruptMessage) -> Delivery {
    black_box(message);
    Delivery::Delivered(1)
}

fn programmed(level: bool, pins: u8) -> IoApic {
    let mut ioapic = IoApic::new(Config { pins, ..Config::default() }).unwrap();
    let entry = Rte::new().with_vector(VECTOR).with_level(level).into_bits() as u32;
    let index = u32::from(spec::INDEX_REDIRECTION_TABLE) + 2 * u32::from(PIN);
    let _ = ioapic.write(spec::IOREGSEL, &index.to_le_bytes(), &mut sink);
    let _ = ioapic.write(spec::IOWIN, &entry.to_le_bytes(), &mut sink);
    ioapic
}

fn edge(ioapic: &mut IoApic) -> Delivery {
    let sent = ioapic.set_irq(PIN, SOURCE, true, &mut sink);
    let _ = ioapic.set_irq(PIN, SOURCE, false, &mut sink);
    sent.unwrap_or(Delivery::Ignored)
}

/// Assert, deassert as the handler serves the device, EOI in its two steps.
fn level(ioapic: &mut IoApic) -> Delivery {
    let sent = edge(ioapic);
    let ended = ioapic.eoi(VECTOR, &mut sink);
    sent + ioapic.service(ended, 0, &mut sink)
}

fn bench(c: &mut Criterion) {
    c.bench_function("ioapic/edge", |b| {
        let mut ioapic = programmed(false, 24);
        b.iter(|| measured(|| edge(black_box(&mut ioapic))))
    });
    for pins in [24, 240] {
        c.bench_function(&format!("ioapic/level_with_eoi/{pins}_pins"), |b| {
            let mut ioapic = programmed(true, pins);
            b.iter(|| measured(|| level(black_box(&mut ioapic))))
        });
    }
    c.bench_function("ioapic/eoi_of_nobody", |b| {
        let mut ioapic = programmed(true, 24);
        b.iter(|| measured(|| black_box(&mut ioapic).eoi(0x77, &mut sink)))
    });
    c.bench_function("ioapic/level_again_after_eoi", |b| {
        let mut ioapic = programmed(true, 24);
        let _ = ioapic.set_irq(PIN, SOURCE, true, &mut sink);
        b.iter(|| {
            measured(|| {
                let ended = black_box(&mut ioapic).eoi(VECTOR, &mut sink);
                ioapic.service(ended, 0, &mut sink)
            })
        })
    });
    c.bench_function("ioapic/level_vectors", |b| {
        let ioapic = programmed(true, 24);
        b.iter(|| measured(|| black_box(&ioapic).level_vectors()))
    });
    c.bench_function("ioapic/service_all", |b| {
        let mut ioapic = programmed(true, 24);
        b.iter(|| measured(|| black_box(&mut ioapic).service(PinSet::ALL, 0, &mut sink)))
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
