// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The set of pins, against the standard library's.

use std::collections::BTreeSet;
use std::vec::Vec;

use proptest::prelude::*;

use crate::PinSet;

#[test]
fn all_2_all_and_empty_are_what_they_say() {
    assert_eq!(PinSet::ALL.len(), 256);
    assert!(PinSet::ALL.iter().eq(0..=255));
    assert!(PinSet::EMPTY.is_empty() && !PinSet::ALL.is_empty());
    assert_eq!(PinSet::EMPTY.len(), 0);
    assert_eq!(PinSet::EMPTY.iter().next(), None);
    assert!(PinSet::only(255).iter().eq([255]));
}

proptest! {
    #[test]
    fn all_2_a_pin_set_is_a_set(a in prop::collection::vec(any::<u8>(), 0..40),
                                b in prop::collection::vec(any::<u8>(), 0..40)) {
        let (mut ours, mut theirs) = (PinSet::EMPTY, BTreeSet::new());
        for pin in &a {
            ours.insert(*pin);
            theirs.insert(*pin);
        }
        let (other, others): (PinSet, BTreeSet<u8>) =
            (b.iter().copied().collect(), b.iter().copied().collect());
        prop_assert!((ours | other).iter().eq(theirs.union(&others).copied()));
        prop_assert!((ours & other).iter().eq(theirs.intersection(&others).copied()));
        for pin in &b {
            prop_assert_eq!(ours.contains(*pin), theirs.contains(pin));
            prop_assert_eq!(ours.remove(*pin), theirs.remove(pin));
        }
        prop_assert_eq!(ours.len() as usize, theirs.len());
        prop_assert_eq!(ours.is_empty(), theirs.is_empty());
        prop_assert_eq!(ours.into_iter().collect::<Vec<u8>>(), Vec::from_iter(theirs));
    }
}
