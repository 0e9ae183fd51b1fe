// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ALL-1: no interrupt allocates, whatever it is made of.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use irq_routing::{
    Delivery, Gsi, InterruptSourceGroup, Msi, MsiGroup, MsixGroup, Pin, Resample, RouteTable,
    Router, SendMsi, SourceConfig, Targets,
};

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

struct Chips;

impl Targets for Chips {
    fn pic(&mut self, _: u8, level: bool) -> Delivery {
        Delivery::from_count(level.into())
    }

    fn ioapic(&mut self, _: u8, level: bool) -> Delivery {
        Delivery::from_count(level.into())
    }

    fn msi(&mut self, _: Msi) -> Delivery {
        Delivery::Delivered(1)
    }
}

#[test]
fn all_1_a_line_allocates_nothing() {
    let before = ALLOCATIONS.get();
    let mut router = Router::new(RouteTable::legacy(24));
    let source = router.connect(Gsi(10), Resample::Deassert).unwrap();
    let built = ALLOCATIONS.get();
    assert!(built > before, "the count works");
    for _ in 0..100 {
        assert_eq!(router.set_irq(source, Gsi(10), true, &mut Chips), Delivery::Delivered(2));
        assert!(router.eoi(Pin::IoApic(10), &mut Chips));
        assert_eq!(router.next_resample(), Some((Gsi(10), source)));
        let _ = router.pulse(source, Gsi(10), &mut Chips);
    }
    assert_eq!(ALLOCATIONS.get(), built);
}

#[test]
fn all_1_a_message_allocates_nothing() {
    let backend = SendMsi(|_: Msi| Delivery::Delivered(1));
    let config = SourceConfig::Msi(Msi { address: 0xfee0_0000, data: 0x41 });
    let msix = MsixGroup::new(backend, 64).unwrap();
    let msi = MsiGroup::new(backend, 32).unwrap();
    msi.set_control(5 << 4).unwrap();
    let groups: [&dyn InterruptSourceGroup<Notifier = _>; 2] = [&msix, &msi];
    for group in groups {
        group.update(7, config, false).unwrap();
        group.enable().unwrap();
    }
    let built = ALLOCATIONS.get();
    for group in groups {
        assert_eq!(group.trigger(7), Ok(Delivery::Delivered(1)));
        group.mask(7).unwrap();
        assert_eq!(group.trigger(7), Ok(Delivery::Coalesced));
        group.unmask(7).unwrap();
    }
    assert_eq!(ALLOCATIONS.get(), built);
}
