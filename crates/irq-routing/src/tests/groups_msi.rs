// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RTE-3: MSI.

use std::sync::Arc;
use std::vec::Vec;

use super::groups_msix::Sent;
use super::msi;
use crate::Delivery::{Coalesced, Delivered, Ignored};
use crate::{
    GroupError, GroupKind, InterruptSourceGroup, Msi, MsiGroup, SourceConfig, TriggerMode,
};

type Group = MsiGroup<Arc<Sent>>;

/// Message control with enable and 2^`log2` vectors.
fn control(log2: u16) -> u16 {
    1 | log2 << 4
}

impl Group {
    fn sent(&self) -> Vec<Msi> {
        self.backend().0.take()
    }
}

/// Four vectors, all allocated, from message vector 0x40 on.
fn enabled() -> Group {
    let group = MsiGroup::new(Arc::new(Sent::default()), 4).unwrap();
    group.set_message(msi(0x40)).unwrap();
    group.set_control(control(2)).unwrap();
    group
}

#[test]
fn rte_3_msi_the_vector_is_in_the_low_bits_of_the_data() {
    let group = enabled();
    for index in 0..4 {
        assert_eq!(group.trigger(index), Ok(Delivered(1)));
    }
    assert_eq!(group.sent(), [0x40, 0x41, 0x42, 0x43].map(msi));
    group.set_data(0x40ff).unwrap();
    let _ = group.trigger(1);
    assert_eq!(group.sent(), [Msi { address: 0xfee0_0000, data: 0x40fd }]);
}

#[test]
fn rte_3_msi_vectors_that_the_guest_did_not_allocate_fold_onto_those_it_did() {
    let group = enabled();
    group.set_control(control(1)).unwrap();
    assert_eq!(group.allocated(), 2);
    for index in 0..4 {
        let _ = group.trigger(index);
    }
    assert_eq!(group.sent(), [0x40, 0x41, 0x40, 0x41].map(msi));
    group.set_control(control(0)).unwrap();
    group.set_data(0x43).unwrap();
    let _ = group.trigger(3);
    assert_eq!(group.sent(), [msi(0x43)], "one vector: the data as it is");
    group.set_mask_bits(1).unwrap();
    let _ = group.trigger(3);
    assert_eq!(group.pending_bits(), 1, "masked and pending where it is folded to");
}

#[test]
fn rte_3_msi_more_vectors_than_there_are_are_as_many_as_there_are() {
    let group = enabled();
    for log2 in 3..8 {
        group.set_control(control(log2)).unwrap();
        assert_eq!(group.allocated(), 4);
    }
    assert_eq!(group.control(), 1 | 2 << 1 | 2 << 4 | 1 << 7 | 1 << 8);
}

#[test]
fn rte_3_msi_raised_while_masked_is_delivered_once_on_unmask() {
    let group = enabled();
    group.set_mask_bits(0b0110).unwrap();
    for index in [1, 1, 2, 3] {
        let _ = group.trigger(index);
    }
    assert_eq!((group.sent(), group.pending_bits()), (std::vec![msi(0x43)], 0b0110));
    group.set_mask_bits(0b0100).unwrap();
    assert_eq!((group.sent(), group.pending_bits()), (std::vec![msi(0x41)], 0b0100));
    assert_eq!(group.trigger(2), Ok(Coalesced));
    group.unmask(2).unwrap();
    assert_eq!((group.sent(), group.pending_bits()), (std::vec![msi(0x42)], 0));
}

#[test]
fn rte_3_msi_off_ignores_and_keeps_what_is_pending() {
    let group = enabled();
    group.mask(0).unwrap();
    let _ = group.trigger(0);
    group.disable().unwrap();
    assert_eq!(group.trigger(1), Ok(Ignored));
    group.unmask(0).unwrap();
    assert_eq!((group.sent(), group.is_pending(0)), (std::vec![], Ok(true)));
    group.enable().unwrap();
    assert_eq!((group.sent(), group.is_pending(0)), (std::vec![msi(0x40)], Ok(false)));
}

#[test]
fn rte_3_msi_a_cleared_pending_bit_is_not_delivered() {
    let group = enabled();
    group.mask(3).unwrap();
    let _ = group.trigger(3);
    group.clear_pending(3).unwrap();
    group.unmask(3).unwrap();
    assert_eq!(group.sent(), []);
}

#[test]
fn rte_3_msi_registers_half_by_half() {
    let group = enabled();
    group.set_address_low(0x1234_5007).unwrap();
    assert_eq!(group.trigger(0), Ok(Ignored), "outside the window");
    assert_eq!(group.message(0), None);
    assert_eq!(group.registers(), Msi { address: 0x1234_5004, data: 0x40 });
    group.set_address_high(0x0000_0201).unwrap();
    group.set_address_low(0xfee0_5008).unwrap();
    assert_eq!(group.trigger(0), Ok(Ignored), "bits 39:32");
    group.set_address_high(0x0000_0200).unwrap();
    let _ = group.trigger(0);
    assert_eq!(group.sent(), [Msi { address: 0x200_fee0_5008, data: 0x40 }]);
}

#[test]
fn rte_3_msi_update_sets_message_and_mask() {
    let group = enabled();
    group.update(1, SourceConfig::Msi(msi(0x50)), true).unwrap();
    assert_eq!(group.trigger(1), Ok(Coalesced));
    assert_eq!((group.is_masked(1), group.is_masked(0)), (Ok(true), Ok(false)));
    group.update(1, SourceConfig::Msi(msi(0x60)), false).unwrap();
    assert_eq!(group.sent(), [msi(0x61)]);
    let bad = SourceConfig::Msi(Msi::default());
    assert!(matches!(group.update(1, bad, false), Err(GroupError::InvalidMsi(_))));
    let legacy = SourceConfig::Legacy(TriggerMode::Level);
    assert_eq!(group.update(1, legacy, false), Err(GroupError::WrongKind));
}

#[test]
fn rte_3_msi_after_reset() {
    let group = enabled();
    group.set_mask_bits(!0).unwrap();
    assert_eq!(group.mask_bits(), 0xf, "no more bits than vectors");
    let _ = group.trigger(0);
    group.reset().unwrap();
    let new = MsiGroup::new(Arc::new(Sent::default()), 4).unwrap();
    assert_eq!(group.state(), new.state());
    assert_eq!((group.is_enabled(), group.allocated()), (false, 1));
}

#[test]
fn rte_3_msi_has_1_to_32_vectors() {
    let new = |vectors| MsiGroup::new(Arc::new(Sent::default()), vectors).map(|group| group.len());
    assert_eq!([1, 2, 4, 8, 16, 32].map(new), [1, 2, 4, 8, 16, 32].map(Ok));
    for vectors in [0, 3, 33, 64] {
        assert_eq!(new(vectors), Err(GroupError::InvalidLength(vectors)));
    }
    let group = MsiGroup::new(Arc::new(Sent::default()), 32).unwrap();
    group.set_mask_bits(!0).unwrap();
    assert_eq!(group.mask_bits(), !0);
    assert_eq!((group.kind(), group.is_empty()), (GroupKind::Msi, false));
    let invalid = GroupError::InvalidIndex(32);
    assert_eq!(group.trigger(32), Err(invalid));
    assert_eq!(group.deassert(32), Err(invalid));
    assert_eq!(group.deassert(31), Ok(()));
    assert_eq!(group.mask(32), Err(invalid));
    assert_eq!(group.unmask(32), Err(invalid));
    assert_eq!(group.is_masked(32), Err(invalid));
    assert_eq!(group.is_pending(32), Err(invalid));
    assert_eq!(group.clear_pending(32), Err(invalid));
    assert_eq!(group.update(32, SourceConfig::Msi(msi(1)), true), Err(invalid));
    assert_eq!(group.notifier(32), Err(invalid));
    assert_eq!(group.notifier(0), Err(GroupError::NoNotifiers));
}
