// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RTE-3: MSI-X.

use std::sync::Arc;
use std::vec::Vec;

use super::{msi, Log};
use crate::msix::{CONTROL_ENABLE, CONTROL_FUNCTION_MASK, MAX_MSIX_VECTORS};
use crate::Delivery::{self, Coalesced, Delivered, Ignored};
use crate::{
    GroupError, GroupKind, InterruptSourceGroup, InvalidMsi, Msi, MsiBackend, MsiFormat, MsixGroup,
    SourceConfig, TriggerMode,
};

/// Notes what is sent; has no notifiers.
#[derive(Debug, Default)]
pub(crate) struct Sent(pub(crate) Log<Msi>);

impl MsiBackend for Sent {
    type Notifier = core::convert::Infallible;

    fn send(&self, msi: Msi) -> Delivery {
        self.0.push(msi);
        Delivered(1)
    }
}

pub(crate) type Group = MsixGroup<Arc<Sent>>;

impl Group {
    fn write32(&self, offset: u64, value: u32) {
        self.write_table(offset, &value.to_le_bytes()).unwrap();
    }

    fn read32(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.read_table(offset, &mut data);
        u32::from_le_bytes(data)
    }

    fn pba(&self) -> u64 {
        let mut data = [0; 8];
        self.read_pba(0, &mut data);
        u64::from_le_bytes(data)
    }

    fn sent(&self) -> Vec<Msi> {
        self.backend().0.take()
    }
}

/// MSI-X enabled; vector n is unmasked and has message vector 0x40 + n.
pub(crate) fn enabled(vectors: usize) -> Group {
    let group = MsixGroup::new(Arc::new(Sent::default()), vectors).unwrap();
    for index in 0..vectors {
        group.update(index, SourceConfig::Msi(msi(0x40 + index as u8)), false).unwrap();
    }
    group.enable().unwrap();
    group
}

#[test]
fn rte_3_msix_sends_the_entrys_message() {
    let group = enabled(4);
    assert_eq!(group.trigger(2), Ok(Delivered(1)));
    assert_eq!(group.trigger(0), Ok(Delivered(1)));
    assert_eq!(group.sent(), [msi(0x42), msi(0x40)]);
    assert_eq!(group.pba(), 0);
}

#[test]
fn rte_3_msix_after_reset_is_off_and_masked() {
    let group = MsixGroup::new(Arc::new(Sent::default()), 2).unwrap();
    assert_eq!(group.trigger(0), Ok(Ignored));
    assert_eq!(group.is_pending(0), Ok(false), "off: the device has its INTx");
    assert_eq!(group.control(), 1, "table size 2, off");
    assert_eq!(group.read32(12), 1, "masked");
    assert_eq!([0, 4, 8].map(|offset| group.read32(offset)), [0, 0, 0]);
}

#[test]
fn rte_3_msix_raised_while_masked_is_delivered_once_on_unmask() {
    // trigger  __^__^__________^__
    // mask     ~~~~~~~~\__________
    // PBA bit  __/~~~~~\__________
    // message  _________^______^__
    let group = enabled(4);
    group.write32(16 * 3 + 12, 1);
    assert_eq!(group.trigger(3), Ok(Coalesced));
    assert_eq!(group.trigger(3), Ok(Coalesced));
    assert_eq!(group.pba(), 1 << 3);
    assert_eq!(group.sent(), []);
    group.write32(16 * 3 + 12, 0);
    assert_eq!(group.sent(), [msi(0x43)]);
    assert_eq!(group.pba(), 0);
    assert_eq!(group.trigger(3), Ok(Delivered(1)));
}

#[test]
fn rte_3_msix_function_mask_holds_all_vectors_back() {
    let group = enabled(3);
    group.set_control(CONTROL_ENABLE | CONTROL_FUNCTION_MASK).unwrap();
    group.mask(1).unwrap();
    for index in 0..3 {
        assert_eq!(group.trigger(index), Ok(Coalesced));
        assert_eq!(group.is_masked(index), Ok(true));
    }
    assert_eq!(group.pba(), 0b111);
    group.set_control(CONTROL_ENABLE).unwrap();
    assert_eq!(group.sent(), [msi(0x40), msi(0x42)], "vector 1 has its own mask");
    assert_eq!(group.pba(), 0b010);
    group.unmask(1).unwrap();
    assert_eq!(group.sent(), [msi(0x41)]);
}

#[test]
fn rte_3_msix_unmasking_a_vector_under_the_function_mask_delivers_nothing() {
    let group = enabled(1);
    group.set_control(CONTROL_ENABLE | CONTROL_FUNCTION_MASK).unwrap();
    group.mask(0).unwrap();
    let _ = group.trigger(0);
    group.unmask(0).unwrap();
    assert_eq!((group.sent(), group.is_pending(0)), (std::vec![], Ok(true)));
    group.set_control(CONTROL_ENABLE).unwrap();
    assert_eq!(group.sent(), [msi(0x40)]);
}

#[test]
fn rte_3_msix_switched_off_keeps_what_is_pending() {
    let group = enabled(1);
    group.mask(0).unwrap();
    let _ = group.trigger(0);
    group.disable().unwrap();
    assert_eq!(group.trigger(0), Ok(Ignored));
    group.unmask(0).unwrap();
    assert_eq!((group.sent(), group.pba()), (std::vec![], 1));
    group.enable().unwrap();
    assert_eq!((group.sent(), group.pba()), (std::vec![msi(0x40)], 0));
}

#[test]
fn rte_3_msix_a_cleared_pending_bit_is_not_delivered() {
    let group = enabled(1);
    group.mask(0).unwrap();
    let _ = group.trigger(0);
    group.clear_pending(0).unwrap();
    group.unmask(0).unwrap();
    assert_eq!(group.sent(), []);
}

#[test]
fn rte_3_msix_rewriting_a_message_dword_by_dword() {
    let group = enabled(1);
    group.write32(12, 1);
    group.write32(0, 0xfee0_3004);
    group.write32(4, 0x0000_0100);
    group.write32(8, 0xc0de_4151);
    let _ = group.trigger(0);
    group.write32(12, 0);
    let message = Msi { address: 0x100_fee0_3004, data: 0x4151 };
    assert_eq!(group.sent(), [message], "data bits 31:16 mean nothing");
    assert_eq!(group.read32(8), 0xc0de_4151, "and read back");
    assert_eq!(group.read32(0), 0xfee0_3004);
    let decoded = group.message(0, MsiFormat::X2apic32).unwrap();
    assert_eq!((decoded.destination, decoded.vector), (0x103, 0x51));
}

#[test]
fn rte_3_msix_a_wide_write_changes_the_entry_at_once() {
    // Entry 1 whole, with its mask bit: 16 bytes at once.
    let group = enabled(2);
    let mut entry = [0; 16];
    entry[..8].copy_from_slice(&0xfee0_5000u64.to_le_bytes());
    entry[8] = 0x99;
    entry[12] = 1;
    group.write_table(16, &entry).unwrap();
    assert_eq!(group.trigger(1), Ok(Coalesced));
    group.unmask(1).unwrap();
    assert_eq!(group.sent(), [Msi { address: 0xfee0_5000, data: 0x99 }]);
}

#[test]
fn rte_3_msix_an_access_may_span_entries_at_any_offset_and_width() {
    let group = enabled(3);
    let bytes: Vec<u8> = (0..21).map(|n| 0xa0 | n).collect();
    group.write_table(13, &bytes).unwrap();
    let mut back = [0xff; 48];
    group.read_table(0, &mut back);
    // 13..16 are reserved bits of vector control; 16..32 is entry 1; 32..34 begin entry 2.
    assert_eq!(&back[12..16], [0, 0, 0, 0]);
    assert_eq!(back[16], (0xa0 | 3) & !3, "address bits 1:0 are zero");
    assert_eq!(&back[17..28], &bytes[4..15]);
    assert_eq!(&back[28..32], [0xa0 | 15 & 1, 0, 0, 0].map(|byte: u8| byte & 1));
    assert_eq!(&back[33..34], &bytes[20..21]);
}

#[test]
fn rte_3_msix_byte_writes_build_a_dword() {
    let group = enabled(1);
    for (offset, byte) in (8..12).zip([0x77, 0x40, 0x01, 0x02]) {
        group.write_table(offset, &[byte]).unwrap();
    }
    assert_eq!(group.read32(8), 0x0201_4077);
    let _ = group.trigger(0);
    assert_eq!(group.sent(), [Msi { address: 0xfee0_0000, data: 0x4077 }]);
}

#[test]
fn rte_3_msix_beyond_the_table_reads_zero_and_ignores_writes() {
    let group = enabled(1);
    let before = group.state();
    for offset in [16, 17, 1 << 40, u64::MAX - 3, u64::MAX] {
        group.write_table(offset, &[0xff; 8]).unwrap();
        let mut data = [0xff; 8];
        group.read_table(offset, &mut data);
        assert_eq!(data, [0; 8]);
        let mut data = [0xff; 8];
        group.read_pba(offset, &mut data);
        assert_eq!(data, [0; 8]);
    }
    assert_eq!(group.state(), before);
}

#[test]
fn rte_3_msix_pba_has_a_bit_for_each_vector() {
    let group = enabled(70);
    group.set_control(CONTROL_ENABLE | CONTROL_FUNCTION_MASK).unwrap();
    for index in [0, 7, 8, 63, 64, 69] {
        let _ = group.trigger(index);
    }
    let mut data = [0; 16];
    group.read_pba(0, &mut data);
    assert_eq!(u128::from_le_bytes(data), 1 | 1 << 7 | 1 << 8 | 1 << 63 | 1 << 64 | 1 << 69);
    let mut byte = [0];
    group.read_pba(8, &mut byte);
    assert_eq!(byte, [0x21]);
}

#[test]
fn rte_3_msix_control_has_two_writable_bits() {
    let group = enabled(5);
    group.set_control(0xffff).unwrap();
    assert_eq!(group.control(), 0xc004);
    group.set_control(0x3fff).unwrap();
    assert_eq!(group.control(), 0x0004);
}

#[test]
fn rte_3_msix_an_address_outside_the_window_interrupts_nobody() {
    let group = enabled(1);
    for address in [0u64, 0x1234_5678, 0xfed0_0000, 0xfef0_0000, 0x1_fee0_0000, 0xff_fee0_0000] {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&address.to_le_bytes());
        group.write_table(0, &bytes).unwrap();
        assert_eq!(group.trigger(0), Ok(Ignored), "{address:#x}");
        assert_eq!(group.message(0, MsiFormat::X2apic32), None);
    }
    // Half by half back into the window: each half is judged by itself.
    group.write32(0, 0xfee0_1000);
    assert_eq!(group.trigger(0), Ok(Ignored), "the upper half is still bad");
    group.write32(4, 0);
    assert_eq!(group.trigger(0), Ok(Delivered(1)));
    assert_eq!(group.sent(), [Msi { address: 0xfee0_1000, data: 0x40 }]);
}

#[test]
fn rte_3_msix_update_checks_what_it_unmasks() {
    let group = enabled(1);
    let bad = Msi { address: 0x1000, data: 0 };
    let error = GroupError::InvalidMsi(InvalidMsi::Address(0x1000));
    assert_eq!(group.update(0, SourceConfig::Msi(bad), false), Err(error));
    let _ = group.trigger(0);
    assert_eq!(group.sent(), [msi(0x40)], "unchanged");
    assert_eq!(group.update(0, SourceConfig::Msi(bad), true), Ok(()), "masked: a guest's business");
    let legacy = SourceConfig::Legacy(TriggerMode::Edge);
    assert_eq!(group.update(0, legacy, true), Err(GroupError::WrongKind));
}

#[test]
fn rte_3_msix_reset_forgets_everything() {
    let group = enabled(2);
    group.mask(0).unwrap();
    let _ = group.trigger(0);
    group.reset().unwrap();
    let new = MsixGroup::new(Arc::new(Sent::default()), 2).unwrap();
    assert_eq!(group.state(), new.state());
    group.enable().unwrap();
    group.unmask(0).unwrap();
    assert_eq!(group.sent(), []);
}

#[test]
fn rte_3_msix_has_1_to_2048_vectors() {
    let new = |vectors| MsixGroup::new(Arc::new(Sent::default()), vectors).map(|group| group.len());
    assert_eq!(new(0), Err(GroupError::InvalidLength(0)));
    assert_eq!(new(MAX_MSIX_VECTORS), Ok(2048));
    assert_eq!(new(2049), Err(GroupError::InvalidLength(2049)));
    let group = enabled(1);
    assert_eq!((group.kind(), group.is_empty()), (GroupKind::Msix, false));
    let invalid = GroupError::InvalidIndex(1);
    assert_eq!(group.trigger(1), Err(invalid));
    assert_eq!(group.deassert(0), Ok(()), "a message is not taken back");
    assert_eq!(group.deassert(1), Err(invalid));
    assert_eq!(group.mask(1), Err(invalid));
    assert_eq!(group.unmask(1), Err(invalid));
    assert_eq!(group.is_masked(1), Err(invalid));
    assert_eq!(group.is_pending(1), Err(invalid));
    assert_eq!(group.clear_pending(1), Err(invalid));
    assert_eq!(group.update(1, SourceConfig::Msi(msi(1)), true), Err(invalid));
    assert_eq!(group.notifier(1), Err(invalid));
    assert_eq!(group.notifier(0), Err(GroupError::NoNotifiers));
}

#[test]
fn rte_3_msix_no_thread_sees_a_torn_message() {
    // Address and data always agree: destination n has vector 0x40 + n.
    let group = enabled(1);
    let message =
        |n: u8| Msi { address: 0xfee0_0000 | u64::from(n) << 12, data: 0x40 + u32::from(n) };
    group.update(0, SourceConfig::Msi(message(0)), false).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in (0..64).cycle().take(20_000) {
                group.update(0, SourceConfig::Msi(message(n)), n % 3 == 0).unwrap();
            }
            group.unmask(0).unwrap();
        });
        while !writer.is_finished() {
            let _ = group.trigger(0);
        }
    });
    let sent = group.sent();
    assert!(!sent.is_empty());
    assert!(sent.iter().all(|msi| *msi == message((msi.address >> 12) as u8)));
    assert_eq!(group.pba(), 0, "nothing is left behind");
}
