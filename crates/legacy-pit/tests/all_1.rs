// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ALL-1: nothing here allocates, neither per interrupt nor at all.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: both methods hand their arguments unchanged to `System`, which upholds the contract;
// counting touches a thread-local without destructor, which never allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's layout, as the caller promised it.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System.alloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(run: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    run();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn all_1_nothing_is_allocated() {
    assert_ne!(allocations(|| drop(Box::new(1))), 0, "the counter counts");
    let spent = allocations(|| {
        let mut pit = legacy_pit::Pit::new(0);
        for round in 0..20_000u64 {
            let now = round * 12_345;
            let byte = (round as u32).wrapping_mul(0x9e37_79b9).to_be_bytes()[0];
            let port = [0x40, 0x41, 0x42, 0x43, 0x61][round as usize % 5];
            let _ = pit.write(port, &[byte], now);
            let _ = pit.read(port, &mut [0], now);
            let _ = (pit.next_deadline(), pit.advance(now));
        }
        assert!(legacy_pit::Pit::from_state(&pit.state(1 << 40), 0).is_ok());
    });
    assert_eq!(spent, 0);
}
