// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ALL-1: after it is built, an IOAPIC allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ioapic::{spec, Config, IoApic, PinSet, Rte, StormGuard};
use irq_routing::{Delivery, InterruptMessage, SourceId};

thread_local! {
    /// Allocations of this thread; other threads are the test harness's.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator as it came; the counter is a constant
// thread-local without a destructor, so reaching it neither allocates nor fails.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System.alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn all_1_an_interrupt_allocates_nothing() {
    let before = ALLOCATIONS.get();
    let storm_guard = StormGuard { limit: 100, ..StormGuard::default() };
    let config = Config { pins: 240, storm_guard, ..Config::default() };
    let mut ioapic = IoApic::new(config).unwrap();
    let built = ALLOCATIONS.get();
    assert!(built > before, "the count works");

    let mut events = |_: InterruptMessage| Delivery::Delivered(1);
    let source = SourceId::new(0).unwrap();
    let entry = Rte::new().with_vector(0x31).with_level(true).into_bits() as u32;
    for pin in 0..240u8 {
        let index = 0x10 + 2 * u32::from(pin);
        let _ = ioapic.write(spec::IOREGSEL, &index.to_le_bytes(), &mut events);
        let _ = ioapic.write(spec::IOWIN, &entry.to_le_bytes(), &mut events);
        assert_eq!(ioapic.set_irq(pin, source, true, &mut events), Ok(Delivery::Delivered(1)));
    }
    for now in 0..100 {
        let ended = ioapic.eoi(0x31, &mut events);
        let _ = ioapic.service(ended, now, &mut events);
    }
    assert!(ioapic.next_deadline().is_some(), "every pin is paused");
    let _ = ioapic.advance(u64::MAX, &mut events);
    let _ = ioapic.service(PinSet::ALL, 0, &mut events);
    ioapic.read(spec::IOWIN, &mut [0; 4]);
    let _ = ioapic.level_vectors();
    ioapic.release(source, &mut events);
    ioapic.reset(&mut events);
    assert_eq!(ALLOCATIONS.get(), built);
}
