// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From a message to the vCPU that takes it: lookup, posting, acceptance, EOI; and the legacy
//! paths through PIC and IOAPIC next to it.

mod machine;

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, BatchSize, Criterion};
use irq_routing::{Delivery, DeliveryMode, DestinationMode, InterruptMessage, TriggerMode};
use lapic_emulation::spec::reg;
use lapic_emulation::{
    deliver, deliver_ipi, ApicMode, DestinationMap, Ipi, LvtIndex, PostedInterrupts, Shorthand,
};

use machine::{fixed, Board, Machine, NOW};

/// One operation, in a function of its own so that callgrind can count just its instructions
/// (docs/benchmarks.md).
#[inline(never)]
fn measured<R>(operation: impl FnOnce() -> R) -> R {
    operation()
}

const SIZES: [usize; 4] = [4, 32, 255, 4096];

/// What the owner does with an edge-triggered interrupt.
fn bench_owner(c: &mut Criterion) {
    let mut machine = Machine::new(1, ApicMode::Xapic);
    c.bench_function("owner/idle_turn", |b| {
        let (lapic, posted) = (&mut machine.lapics[0], &machine.posted[0]);
        b.iter(|| {
            measured(|| {
                let _ = lapic.sync(black_box(posted));
                lapic.pending()
            })
        })
    });
    c.bench_function("owner/post", |b| {
        b.iter_batched(
            PostedInterrupts::new,
            |posted| measured(|| black_box(&posted).post_vector(0x41, TriggerMode::Edge)),
            BatchSize::SmallInput,
        )
    });
    c.bench_function("owner/post_already_there", |b| {
        let posted = PostedInterrupts::new();
        let _ = posted.post_vector(0x41, TriggerMode::Edge);
        b.iter(|| measured(|| black_box(&posted).post_vector(0x41, TriggerMode::Edge)))
    });
    for (name, trigger) in [("edge", TriggerMode::Edge), ("level", TriggerMode::Level)] {
        c.bench_function(&format!("owner/post_to_eoi/{name}"), |b| {
            b.iter(|| {
                measured(|| {
                    let _ = black_box(&machine.posted[0]).post_vector(0x41, trigger);
                    machine.take_and_end(0)
                })
            })
        });
    }
    c.bench_function("owner/timer_period", |b| {
        let lapic = &mut machine.lapics[0];
        for (register, value) in
            [(LvtIndex::Timer.offset(), 0x2_00e0_u32), (reg::TDCR, 0b1011), (reg::TMICT, 1000)]
        {
            lapic.mmio_write(register.into(), &value.to_le_bytes(), NOW, &mut ());
        }
        let mut now = NOW;
        b.iter(|| {
            now.ns += 1000;
            measured(|| {
                let periods = lapic.advance(black_box(now));
                let vector = lapic.pending();
                lapic.accept(vector.unwrap_or(0));
                (periods, lapic.eoi(&mut ()), lapic.next_deadline())
            })
        })
    });
}

/// One message to one CPU of n, by each way of addressing it (LAP-16).
fn bench_lookup(c: &mut Criterion) {
    let message = |destination, destination_mode, delivery_mode| InterruptMessage {
        destination,
        destination_mode,
        delivery_mode,
        trigger_mode: TriggerMode::Edge,
        vector: 0x41,
    };
    use DeliveryMode::{Fixed, LowestPriority};
    use DestinationMode::{Logical, Physical};
    for vcpus in SIZES {
        let machine = Machine::new(vcpus, ApicMode::X2apic);
        let last = vcpus as u32 - 1;
        let cluster = last >> 4 << 16;
        for (name, message) in [
            ("physical", message(last, Physical, Fixed)),
            ("x2apic_logical_1", message(cluster | 1, Logical, Fixed)),
            ("x2apic_logical_all_of_cluster", message(cluster | 0xffff, Logical, Fixed)),
            ("x2apic_lowest_priority_of_4", message(0xf, Logical, LowestPriority)),
        ] {
            c.bench_function(&format!("lookup/{name}/{vcpus}"), |b| {
                b.iter(|| measured(|| black_box(&machine).map.targets(black_box(&message)).count()))
            });
        }
        c.bench_function(&format!("deliver/physical/{vcpus}"), |b| {
            let message = message(last, Physical, Fixed);
            b.iter_batched_ref(
                || empty(vcpus),
                |posted| measured(|| send(&machine.map, posted, black_box(&message))),
                BatchSize::LargeInput,
            );
        });
        c.bench_function(&format!("deliver/lowest_priority_of_4/{vcpus}"), |b| {
            let message = message(0xf, Logical, LowestPriority);
            b.iter_batched_ref(
                || empty(vcpus),
                |posted| measured(|| send(&machine.map, posted, black_box(&message))),
                BatchSize::LargeInput,
            );
        });
    }
    let machine = Machine::new(8, ApicMode::Xapic);
    for (name, destination) in [("1", 0x80), ("8", 0xff)] {
        c.bench_function(&format!("lookup/xapic_flat/{name}_of_8"), |b| {
            // 0xff of an 8-bit sender would be BROADCAST; the bare bitmap takes the flat way.
            let message = message(destination, Logical, Fixed);
            b.iter(|| measured(|| black_box(&machine).map.targets(black_box(&message)).count()))
        });
    }
}

/// An IPI to all but self, from the ICR write to the last descriptor.
fn bench_broadcast(c: &mut Criterion) {
    for vcpus in SIZES {
        let machine = Machine::new(vcpus, ApicMode::X2apic);
        c.bench_function(&format!("broadcast/all_but_self/{vcpus}"), |b| {
            let ipi = Ipi { shorthand: Shorthand::AllExcludingSelf, message: fixed(0, 0xf1) };
            b.iter_batched_ref(
                || empty(vcpus),
                |posted| {
                    measured(|| {
                        let mut notified = 0u32;
                        let ipi = black_box(&ipi);
                        let sent = deliver_ipi(&machine.map, posted, 0, ipi, |_| notified += 1);
                        (sent, notified)
                    })
                },
                BatchSize::LargeInput,
            );
        });
    }
}

/// The same interrupt by three ways, from the device to the guest's EOI.
fn bench_paths(c: &mut Criterion) {
    c.bench_function("path/msi", |b| {
        let mut machine = Machine::new(4, ApicMode::Xapic);
        let msi = irq_routing::Msi { address: 0xfee0_0000, data: 0x41 };
        b.iter(|| {
            measured(|| {
                let message = black_box(msi).decode(irq_routing::MsiFormat::Xapic);
                let sent = message.map(|message| send(&machine.map, &machine.posted, &message));
                (sent, machine.take_and_end(0))
            })
        })
    });
    for (name, level) in [("ioapic_edge", false), ("ioapic_level", true)] {
        c.bench_function(&format!("path/{name}"), |b| {
            let mut board = Board::new(level);
            b.iter(|| measured(|| black_box(&mut board).interrupt()))
        });
    }
    c.bench_function("path/pic", |b| {
        let mut board = Board::new(false);
        b.iter(|| measured(|| black_box(&mut board).pic_interrupt()))
    });
}

fn bench_map(c: &mut Criterion) {
    for vcpus in SIZES {
        let machine = Machine::new(vcpus, ApicMode::X2apic);
        let entries: Vec<_> = machine.lapics.iter().map(|l| l.destination_entry()).collect();
        c.bench_function(&format!("map/build/{vcpus}"), |b| {
            b.iter(|| measured(|| DestinationMap::new(black_box(&entries))))
        });
    }
}

/// Descriptors that nobody has posted to: a second message to a busy one costs less.
fn empty(vcpus: usize) -> Vec<PostedInterrupts> {
    (0..vcpus).map(|_| PostedInterrupts::new()).collect()
}

fn send(map: &DestinationMap, posted: &[PostedInterrupts], message: &InterruptMessage) -> Delivery {
    deliver(map, posted, message, |vcpu| {
        black_box(vcpu);
    })
}

criterion_group!(benches, bench_owner, bench_lookup, bench_broadcast, bench_paths, bench_map);
criterion_main!(benches);
