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
        let mut pic = legacy_pic::PicPair::new();
        for round in 0..20_000u32 {
            let byte = round.wrapping_mul(0x9e37_79b9).to_be_bytes()[0];
            let port = [0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1][round as usize % 6];
            let _ = pic.write(port, &[byte]);
            let _ = pic.read(port, &mut [0]);
            let _ = pic.set_irq(byte & 15, byte & 16 != 0);
            let _ = (pic.peek(), pic.acknowledge(), pic.drain_eoi());
        }
        assert!(legacy_pic::PicPair::from_state(&pic.state()).is_ok());
    });
    assert_eq!(spent, 0);
}
