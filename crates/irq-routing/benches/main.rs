// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Lines through the GSI table, messages out of an MSI-X table, and changing the routes.

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, BatchSize, Criterion};
use irq_routing::msix::CONTROL_ENABLE;
use irq_routing::{
    Delivery, Gsi, InterruptSourceGroup, Msi, MsiFormat, MsixGroup, Pin, Resample, RouteTable,
    Router, SendMsi, SourceId, Target, Targets,
};

/// One operation, in a function of its own so that callgrind can count just its instructions
/// (docs/benchmarks.md).
#[inline(never)]
fn measured<R>(operation: impl FnOnce() -> R) -> R {
    operation()
}

/// Chips that take everything.
struct Taken;

impl Targets for Taken {
    fn pic(&mut self, pin: u8, level: bool) -> Delivery {
        black_box((pin, level));
        Delivery::Delivered(1)
    }
    fn ioapic(&mut self, pin: u8, level: bool) -> Delivery {
        black_box((pin, level));
        Delivery::Delivered(1)
    }
    fn msi(&mut self, msi: Msi) -> Delivery {
        black_box(msi);
        Delivery::Delivered(1)
    }
}

/// A table of `routes` GSIs that lead to messages, from GSI 24 on.
fn messages(routes: u32) -> RouteTable {
    let table = RouteTable::legacy(24);
    let mut edit = table.edit();
    for gsi in 24..24 + routes {
        let msi = Msi { address: 0xfee0_0000, data: gsi & 0xff };
        edit.add(Gsi(gsi), Target::Msi(msi)).unwrap();
    }
    edit.build().unwrap()
}

fn connected(table: RouteTable, gsi: Gsi) -> (Router, SourceId) {
    let mut router = Router::new(table);
    let source = router.connect(gsi, Resample::Notify).unwrap();
    (router, source)
}

fn bench_lines(c: &mut Criterion) {
    for (name, gsi, routes) in [
        ("isa_line_to_both_chips", 4, 0),
        ("line_to_ioapic", 20, 0),
        ("line_to_ioapic_of_4000_routes", 20, 4000),
        ("gsi_to_message", 30, 8),
    ] {
        c.bench_function(&format!("router/pulse/{name}"), |b| {
            let (mut router, source) = connected(messages(routes), Gsi(gsi));
            b.iter(|| measured(|| black_box(&mut router).pulse(source, Gsi(gsi), &mut Taken)))
        });
    }
    c.bench_function("router/eoi_and_resample", |b| {
        let (mut router, _) = connected(RouteTable::legacy(24), Gsi(20));
        b.iter(|| {
            measured(|| {
                black_box(&mut router).eoi(Pin::IoApic(20), &mut Taken);
                router.next_resample()
            })
        })
    });
}

fn bench_messages(c: &mut Criterion) {
    let msi = Msi { address: 0xfee0_1000, data: 0x41 };
    c.bench_function("msi/decode", |b| {
        b.iter(|| measured(|| black_box(msi).decode(MsiFormat::Xapic)))
    });
    c.bench_function("msix/trigger", |b| {
        let send = SendMsi(|msi: Msi| {
            black_box(msi);
            Delivery::Delivered(1)
        });
        let group = MsixGroup::new(send, 64).unwrap();
        for (offset, dword) in [(0, 0xfee0_1000u32), (8, 0x41), (12, 0)] {
            group.write_table(offset, &dword.to_le_bytes()).unwrap();
        }
        group.set_control(CONTROL_ENABLE).unwrap();
        b.iter(|| measured(|| black_box(&group).trigger(0)))
    });
}

/// The control path: one batch is one rebuild, whatever its size.
fn bench_changes(c: &mut Criterion) {
    for routes in [40, 4000] {
        let table = messages(routes);
        c.bench_function(&format!("table/change_one_of/{routes}"), |b| {
            b.iter_batched(
                || table.edit(),
                |mut edit| {
                    measured(|| {
                        let msi = Msi { address: 0xfee0_1000, data: 0x77 };
                        edit.set(Gsi(30), &[Target::Msi(msi)]).unwrap();
                        edit.build()
                    })
                },
                BatchSize::SmallInput,
            )
        });
    }
}

criterion_group!(benches, bench_lines, bench_messages, bench_changes);
criterion_main!(benches);
