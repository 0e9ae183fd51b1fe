// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From a line to INTR, through the acknowledge cycle, to the EOI.

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, Criterion};
use legacy_pic::PicPair;

/// One operation, in a function of its own so that callgrind can count just its instructions
/// (docs/benchmarks.md).
#[inline(never)]
fn measured<R>(operation: impl FnOnce() -> R) -> R {
    operation()
}

fn initialized() -> PicPair {
    let mut pic = PicPair::new();
    let writes = [
        (0x20, 0x11),
        (0x21, 0x30),
        (0x21, 0x04),
        (0x21, 0x01),
        (0xa0, 0x11),
        (0xa1, 0x38),
        (0xa1, 0x02),
        (0xa1, 0x01),
    ];
    for (port, byte) in writes {
        pic.write(port, &[byte]).unwrap();
    }
    pic
}

fn edge(pic: &mut PicPair, pin: u8) {
    let _ = pic.set_irq(pin, true);
    let _ = pic.set_irq(pin, false);
}

/// Pulse, INTR, acknowledge, EOI at each chip that has it in service.
fn interrupt(pic: &mut PicPair, pin: u8) -> Option<u8> {
    edge(pic, pin);
    let vector = if pic.intr() { pic.inta() } else { None };
    if pin >= 8 {
        let _ = pic.write(0xa0, &[0x20]);
    }
    let _ = pic.write(0x20, &[0x20]);
    vector
}

fn bench(c: &mut Criterion) {
    let mut pic = initialized();
    c.bench_function("pic/intr", |b| b.iter(|| measured(|| black_box(&pic).intr())));
    c.bench_function("pic/interrupt/master", |b| {
        b.iter(|| measured(|| interrupt(black_box(&mut pic), 4)))
    });
    c.bench_function("pic/interrupt/slave", |b| {
        b.iter(|| measured(|| interrupt(black_box(&mut pic), 12)))
    });
    c.bench_function("pic/pulse_on_pending", |b| {
        let mut pic = initialized();
        edge(&mut pic, 4);
        b.iter(|| measured(|| edge(black_box(&mut pic), 4)))
    });
    c.bench_function("pic/acknowledge", |b| {
        let mut pic = initialized();
        edge(&mut pic, 12);
        // Copying 30-odd bytes is part of what is timed, not of what callgrind counts.
        b.iter(|| {
            let mut pic = black_box(pic.clone());
            measured(|| pic.inta())
        })
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
