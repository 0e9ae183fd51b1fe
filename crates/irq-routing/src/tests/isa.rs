// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RTE-9: ISA lines.

use std::vec::Vec;

use crate::{Gsi, IsaAllocator, IsaError};

const PLATFORM: [u8; 5] = [0, 1, 2, 8, 13];

#[test]
fn rte_9_level_users_get_5_9_10_11_first() {
    let mut isa = IsaAllocator::new();
    let first: Vec<_> = (0..4).map(|_| isa.take_level().unwrap().0).collect();
    assert_eq!(first, [5, 9, 10, 11]);
}

#[test]
fn rte_9_then_what_is_free_and_never_a_platform_line() {
    let mut isa = IsaAllocator::new();
    isa.reserve(4).unwrap();
    isa.reserve(12).unwrap();
    let mut rest: Vec<_> = core::iter::from_fn(|| isa.take_level().ok()).map(|gsi| gsi.0).collect();
    assert_eq!(isa.take_level(), Err(IsaError::Exhausted));
    rest.sort_unstable();
    assert_eq!(rest, [3, 5, 6, 7, 9, 10, 11, 14, 15]);
}

#[test]
fn rte_9_platform_lines_cannot_be_reserved() {
    let mut isa = IsaAllocator::new();
    for irq in PLATFORM.into_iter().chain([16, 255]) {
        assert_eq!(isa.reserve(irq), Err(IsaError::NotAvailable(irq)));
        assert!(!isa.is_free(irq));
        isa.free(Gsi(irq.into()));
        assert!(!isa.is_free(irq));
    }
}

#[test]
fn rte_9_a_line_is_handed_out_once_and_returned() {
    let mut isa = IsaAllocator::new();
    assert_eq!(isa.reserve(5), Ok(Gsi(5)));
    assert_eq!(isa.reserve(5), Err(IsaError::Taken(5)));
    assert_eq!(isa.take_level(), Ok(Gsi(9)));
    isa.free(Gsi(5));
    assert!(isa.is_free(5));
    assert_eq!(isa.take_level(), Ok(Gsi(5)));
    isa.free(Gsi(u32::MAX));
}

#[test]
fn rte_9_shared_lines_spread_over_the_four_and_are_counted() {
    let mut isa = IsaAllocator::new();
    isa.reserve(9).unwrap();
    let shared: Vec<_> = (0..5).map(|_| isa.share_level().unwrap().0).collect();
    assert_eq!(shared, [5, 10, 11, 5, 10]);
    assert_eq!(isa.reserve(5), Err(IsaError::Taken(5)));
    isa.free(Gsi(5));
    assert_eq!(isa.reserve(5), Err(IsaError::Taken(5)), "one user is left");
    isa.free(Gsi(5));
    assert_eq!(isa.reserve(5), Ok(Gsi(5)));
    for irq in [3, 4, 6, 7, 12, 14, 15] {
        isa.reserve(irq).unwrap();
    }
    assert!(isa.share_level().is_ok(), "10 and 11 are shared");
}

#[test]
fn rte_9_sharing_ends_with_the_last_free_line() {
    let mut isa = IsaAllocator::new();
    for irq in [5, 9, 10, 11] {
        isa.reserve(irq).unwrap();
    }
    assert_eq!(isa.share_level(), Ok(Gsi(7)), "another free one");
    for irq in [3, 4, 6, 12, 14, 15] {
        isa.reserve(irq).unwrap();
    }
    for _ in 1..255 {
        assert_eq!(isa.share_level(), Ok(Gsi(7)));
    }
    assert_eq!(isa.share_level(), Err(IsaError::Exhausted), "255 users");
    let mut full = IsaAllocator::new();
    while full.take_level().is_ok() {}
    assert_eq!(full.share_level(), Err(IsaError::Exhausted));
}
