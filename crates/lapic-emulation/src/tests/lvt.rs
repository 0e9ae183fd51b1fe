// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LAP-6, LAP-13: local vector table, pins, virtual wire.

use irq_routing::msi::MsiFormat;
use irq_routing::{Delivery, DeliveryMode, InvalidMsi, Msi};

use super::{config, message, Event, Rig};
use crate::spec::{reg, LvtIndex, MSR_APIC_BASE};
use crate::{
    deliver_msi, set_local_intr, Config, DestinationMap, InvalidLocalIntr, Lint, PostedInterrupts,
};

const OFFSETS: [u16; 7] = [
    reg::LVT_TIMER,
    reg::LVT_THERMAL,
    reg::LVT_PERFORMANCE,
    reg::LVT_LINT0,
    reg::LVT_LINT1,
    reg::LVT_ERROR,
    reg::LVT_CMCI,
];

#[test]
fn lap_6_every_entry_delivers_fixed_interrupts_unless_masked() {
    for (lvt, offset) in LvtIndex::ALL.into_iter().zip(OFFSETS) {
        let mut rig = Rig::xapic();
        rig.write(offset, 0x1_0045);
        assert_eq!(rig.lapic.set_local_intr(lvt), Delivery::Ignored);
        rig.write(offset, 0x45);
        assert_eq!(rig.lapic.set_local_intr(lvt), Delivery::Delivered(1));
        assert_eq!(rig.take(), Some(0x45), "{lvt:?}");
    }
}

#[test]
fn lap_6_delivery_modes_of_the_pins() {
    let with_mode = |mode: DeliveryMode| {
        let mut rig = Rig::xapic();
        rig.write(reg::LVT_LINT1, u32::from(mode.bits()) << 8 | 0x45);
        let _ = rig.lapic.set_lint(Lint::Lint1, true);
        let synced = rig.sync();
        (synced, rig.lapic.pending())
    };
    assert_eq!(with_mode(DeliveryMode::Fixed).1, Some(0x45));
    let (synced, pending) = with_mode(DeliveryMode::Nmi);
    assert_eq!((synced.nmi, pending), (1, None));
    assert!(with_mode(DeliveryMode::Smi).0.smi);
    assert!(with_mode(DeliveryMode::Init).0.init);
    assert!(with_mode(DeliveryMode::ExtInt).0.extint);
}

#[test]
fn lap_6_an_edge_pin_fires_on_the_rising_edge_only() {
    let mut rig = Rig::xapic();
    rig.write(reg::LVT_LINT1, 0x400);
    for (level, nmi) in [(true, 1), (true, 0), (false, 0), (false, 0), (true, 1)] {
        let _ = rig.lapic.set_lint(Lint::Lint1, level);
        assert_eq!(rig.sync().nmi, nmi);
    }
}

#[test]
fn lap_6_level_lint0_has_a_remote_irr() {
    let mut rig = Rig::xapic();
    rig.write(reg::LVT_LINT0, 0x8045);
    assert_eq!(rig.lapic.set_lint(Lint::Lint0, true), Delivery::Delivered(1));
    assert_eq!(rig.read(reg::LVT_LINT0), 0xc045);
    assert_eq!(rig.take(), Some(0x45));
    assert_eq!(rig.lapic.pending(), None, "in service: no second one");
    rig.eoi();
    assert_eq!(rig.take(), Some(0x45), "still asserted");
    let _ = rig.lapic.set_lint(Lint::Lint0, false);
    rig.eoi();
    assert_eq!(rig.read(reg::LVT_LINT0), 0x8045);
    assert_eq!(rig.lapic.pending(), None);
}

#[test]
fn lap_6_a_level_that_bounces_in_service_interrupts_after_the_eoi() {
    let mut rig = Rig::xapic();
    rig.write(reg::LVT_LINT0, 0x8045);
    let _ = rig.lapic.set_lint(Lint::Lint0, true);
    assert_eq!(rig.take(), Some(0x45));
    let _ = rig.lapic.set_lint(Lint::Lint0, false);
    assert_eq!(rig.lapic.set_lint(Lint::Lint0, true), Delivery::Coalesced);
    assert_eq!(rig.lapic.irr(), [0; 4]);
    rig.eoi();
    assert_eq!(rig.take(), Some(0x45));
}

#[test]
fn lap_6_unmasking_an_asserted_level_interrupts_once() {
    let mut rig = Rig::xapic();
    rig.write(reg::LVT_LINT0, 0x1_8045);
    let _ = rig.lapic.set_lint(Lint::Lint0, true);
    assert_eq!(rig.lapic.pending(), None);
    rig.write(reg::LVT_LINT0, 0x8045);
    assert_eq!(rig.take(), Some(0x45));
    rig.write(reg::LVT_LINT0, 0x1_8045);
    rig.write(reg::LVT_LINT0, 0x8045);
    assert_eq!(rig.lapic.irr(), [0; 4], "mask and unmask before the EOI");
}

#[test]
fn lap_6_a_new_vector_does_not_strand_remote_irr() {
    let mut rig = Rig::xapic();
    rig.write(reg::LVT_LINT0, 0x8045);
    let _ = rig.lapic.set_lint(Lint::Lint0, true);
    assert_eq!(rig.take(), Some(0x45));
    let _ = rig.lapic.set_lint(Lint::Lint0, false);
    rig.write(reg::LVT_LINT0, 0x8055);
    rig.eoi();
    let _ = rig.lapic.set_lint(Lint::Lint0, true);
    assert_eq!(rig.take(), Some(0x55));
    rig.write(reg::LVT_LINT0, 0x0055);
    assert_eq!(rig.read(reg::LVT_LINT0), 0x0055, "edge: no remote IRR");
}

#[test]
fn lap_6_software_disable_masks_every_entry_and_keeps_it_masked() {
    let mut rig = Rig::xapic();
    OFFSETS.into_iter().for_each(|offset| rig.write(offset, 0x45));
    rig.write(reg::SVR, 0xff);
    assert_eq!(rig.take_events(), [Event::Map]);
    for offset in OFFSETS {
        assert_eq!(rig.read(offset), 0x1_0045);
        rig.write(offset, 0x46);
        assert_eq!(rig.read(offset), 0x1_0046);
    }
    rig.write(reg::SVR, 0x1ff);
    assert_eq!(rig.read(reg::LVT_LINT0), 0x1_0046, "enabling unmasks nothing");
}

#[test]
fn lap_6_software_disable_holds_what_is_requested() {
    let mut rig = Rig::xapic();
    rig.edge(0x45);
    rig.write(reg::SVR, 0xff);
    assert_eq!(rig.take(), Some(0x45));
}

#[test]
fn lap_6_pmi_masks_its_entry() {
    let mut rig = Rig::xapic();
    rig.write(reg::LVT_PERFORMANCE, 0x400);
    let _ = rig.lapic.set_local_intr(LvtIndex::Performance);
    assert_eq!(rig.read(reg::LVT_PERFORMANCE), 0x1_0400);
    let _ = rig.lapic.set_local_intr(LvtIndex::Performance);
    assert_eq!(rig.sync().nmi, 1);
}

#[test]
fn lap_6_virtual_wire_opens_and_closes_with_lint0() {
    let mut rig = Rig::xapic();
    assert!(!rig.lapic.extint_open(), "masked after reset");
    for (lint0, open) in [(0x700, true), (0x1_0700, false), (0x8700, true), (0x030, false)] {
        rig.write(reg::LVT_LINT0, lint0);
        assert_eq!(rig.lapic.extint_open(), open, "{lint0:#x}");
    }
    rig.write(reg::LVT_LINT0, 0x700);
    rig.write(reg::TPR, 0xff);
    assert!(rig.lapic.extint_open(), "ExtINT has no priority");
    rig.write(reg::SVR, 0xff);
    assert!(!rig.lapic.extint_open(), "software disable masks LINT0");
}

#[test]
fn lap_6_a_disabled_apic_connects_intr_and_nmi() {
    let mut rig = Rig::xapic();
    rig.wrmsr(MSR_APIC_BASE, 0xfee0_0100).expect("disable");
    assert!(rig.lapic.extint_open());
    let _ = rig.lapic.set_lint(Lint::Lint1, true);
    assert_eq!(rig.sync().nmi, 1);
}

#[test]
fn lap_6_an_extint_message_opens_the_wire_until_it_is_acknowledged() {
    let mut rig = Rig::xapic();
    rig.post(message(DeliveryMode::ExtInt, 0, 0));
    assert!(rig.sync().extint);
    assert!(rig.lapic.extint_open());
    rig.lapic.accept_extint();
    assert!(!rig.lapic.extint_open());
}

#[test]
fn lap_6_virtual_wire_preset_is_what_firmware_leaves() {
    let mut rig = Rig::with(config());
    rig.lapic.set_virtual_wire();
    assert_eq!(rig.read(reg::SVR), 0x1ff);
    assert_eq!((rig.read(reg::LVT_LINT0), rig.read(reg::LVT_LINT1)), (0x700, 0x400));
    assert!(rig.lapic.extint_open());
}

#[test]
fn lap_6_cmci_exists_only_if_configured() {
    let mut rig = Rig::with(Config { cmci: false, ..config() });
    rig.write(reg::SVR, 0x1ff);
    rig.write(reg::LVT_CMCI, 0x45);
    assert_eq!(rig.read(reg::LVT_CMCI), 0);
    assert_eq!(rig.lapic.set_local_intr(LvtIndex::Cmci), Delivery::Ignored);
}

#[test]
fn lap_13_set_local_intr_reaches_one_or_all_and_refuses_others() {
    let posted: [PostedInterrupts; 3] = core::array::from_fn(|_| PostedInterrupts::new());
    let mut told = std::vec::Vec::new();
    let lint1 = LvtIndex::Lint1 as u32;
    assert_eq!(
        set_local_intr(&posted, Some(3), lint1, |n| told.push(n)),
        Err(InvalidLocalIntr::Vcpu(3))
    );
    assert_eq!(
        set_local_intr(&posted, Some(0), 7, |n| told.push(n)),
        Err(InvalidLocalIntr::Lvt(7))
    );
    assert!(told.is_empty());
    let one = set_local_intr(&posted, Some(1), lint1, |n| told.push(n));
    assert_eq!(one, Ok(Delivery::Delivered(1)));
    let all = set_local_intr(&posted, None, lint1, |n| told.push(n));
    assert_eq!(all, Ok(Delivery::Delivered(2)), "vCPU 1 has not looked yet");
    assert_eq!(told, [1, 0, 2]);
    let mut rig = Rig::xapic();
    rig.write(reg::LVT_LINT1, 0x400);
    assert_eq!(rig.lapic.sync(&posted[1]).nmi, 1);
    assert_eq!(rig.lapic.sync(&posted[1]).nmi, 0);
}

#[test]
fn lap_13_msi_by_address_and_data() {
    let entries = [0, 0x1234, 0x12_3456].map(|id| {
        let mut rig = Rig::with(Config { id, ..config() });
        rig.write(reg::SVR, 0x1ff);
        rig.lapic.destination_entry()
    });
    let map = DestinationMap::new(&entries);
    let posted: [PostedInterrupts; 3] = core::array::from_fn(|_| PostedInterrupts::new());
    let send = |address: u64, format| {
        let mut told = std::vec::Vec::new();
        let msi = Msi { address, data: 0x45 };
        deliver_msi(&map, &posted, msi, format, |n| told.push(n)).map(|_| told)
    };
    let address = 0xfed0_0000;
    assert_eq!(send(address, MsiFormat::Xapic), Err(InvalidMsi::Address(address)));
    assert_eq!(send(0xfee0_0000, MsiFormat::Xapic), Ok([0].into()));
    let extended = 0xfee0_0000 | 0x34 << 12 | 0x12 << 5;
    assert_eq!(send(extended, MsiFormat::Extended15), Ok([1].into()));
    assert_eq!(send(extended, MsiFormat::Xapic), Ok([].into()), "0x34 is nobody");
    let wide = 0x0012_3400_fee0_0000 | 0x56 << 12;
    assert_eq!(send(wide, MsiFormat::X2apic32), Ok([2].into()));
}
