// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ALL-1: nothing is allocated on an interrupt's way, whichever way it takes.
#![cfg(not(loom))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use irq_routing::{DeliveryMode, DestinationMode, InterruptMessage, TriggerMode, BROADCAST};
use lapic_emulation::{
    deliver, deliver_ipi, Config, DestinationMap, Ipi, Lapic, LapicEvents, LvtIndex, Now,
    PostedInterrupts,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting per thread.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting touches a thread-local
// without destructor, which neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract, and `alloc` is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Keeps the last IPI, as a machine without memory would.
#[derive(Default)]
struct Last {
    ipi: Option<Ipi>,
    eois: u32,
}

impl LapicEvents for Last {
    fn ipi(&mut self, ipi: Ipi) {
        self.ipi = Some(ipi);
    }
    fn eoi_broadcast(&mut self, _vector: u8) {
        self.eois += 1;
    }
    fn map_changed(&mut self) {}
}

#[test]
fn all_1_no_interrupt_allocates() {
    let mut last = Last::default();
    let mut lapics: Vec<Lapic> = (0..64)
        .map(|id| Lapic::new(Config { id, bsp: id == 0, ..Config::default() }).expect("legal"))
        .collect();
    let now = |ns| Now { ns, tsc: ns };
    for lapic in &mut lapics {
        lapic.msr_write(0x1b, lapic.apic_base() | 0x400, now(0), &mut last).expect("x2APIC");
        lapic.msr_write(0x80f, 0x1ff, now(0), &mut last).expect("enable");
        // Start-up to self: one that waits for it accepts no interrupt. The BSP ignores it.
        lapic.host_icr(0x4_0610).expect("a legal ICR value");
        let _ = lapic.take_sipi();
    }
    let entries: Vec<_> = lapics.iter().map(Lapic::destination_entry).collect();
    let map = DestinationMap::new(&entries);
    let posted: Vec<_> = lapics.iter().map(|_| PostedInterrupts::new()).collect();

    let before = ALLOCATIONS.get();
    assert!(before > 0, "setting up allocates, and it is counted");
    let mut taken = 0;
    for round in 0..100u32 {
        for (delivery_mode, destination, destination_mode) in [
            (DeliveryMode::Fixed, round % 64, DestinationMode::Physical),
            (DeliveryMode::Fixed, 0x0001_ffff, DestinationMode::Logical),
            (DeliveryMode::LowestPriority, 0x0002_00ff, DestinationMode::Logical),
            (DeliveryMode::Nmi, BROADCAST, DestinationMode::Physical),
        ] {
            let message = InterruptMessage {
                destination,
                destination_mode,
                delivery_mode,
                trigger_mode: TriggerMode::from_bit(round % 2 == 0),
                vector: 0x20 + round as u8,
            };
            let _ = deliver(&map, &posted, &message, |_| ());
        }
        lapics[0].msr_write(0x830, 0x000c_0080, now(0), &mut last).expect("all but self");
        if let Some(ipi) = last.ipi.take() {
            let _ = deliver_ipi(&map, &posted, 0, &ipi, |_| ());
        }
        let _ = posted[1].post_local(LvtIndex::Lint0);
        for (lapic, posted) in lapics.iter_mut().zip(&posted) {
            lapic.advance(now(u64::from(round) * 1_000));
            let _ = lapic.sync(posted);
            while let Some(vector) = lapic.pending() {
                assert!(lapic.accept(vector));
                lapic.eoi(&mut last);
                taken += 1;
            }
        }
    }
    assert_eq!(ALLOCATIONS.get(), before);
    assert!(taken > 2_000 && last.eois > 0, "the interrupts did travel: {taken}");
}
