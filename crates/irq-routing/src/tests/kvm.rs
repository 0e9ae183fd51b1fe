// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RTE-8: KVM's forms.

use std::vec::Vec;

use kvm_bindings::{
    kvm_irq_routing_entry, kvm_irq_routing_entry__bindgen_ty_1 as Union, kvm_irq_routing_irqchip,
    kvm_irq_routing_msi, kvm_msi,
};
use zerocopy::IntoBytes;

use super::msi;
use crate::{
    Gsi, InvalidMsi, KvmRouteError, Msi, MsiFormat, Route, RouteError, RouteTable, Target,
};

fn pin_entry(gsi: u32, irqchip: u32, pin: u32) -> kvm_irq_routing_entry {
    let irqchip = kvm_irq_routing_irqchip { irqchip, pin };
    kvm_irq_routing_entry { gsi, type_: 1, flags: 0, pad: 0, u: Union { irqchip } }
}

fn msi_entry(gsi: u32, address: u64, data: u32) -> kvm_irq_routing_entry {
    let (address_lo, address_hi) = (address as u32, (address >> 32) as u32);
    let msi = kvm_irq_routing_msi { address_lo, address_hi, data, ..Default::default() };
    kvm_irq_routing_entry { gsi, type_: 2, flags: 0, pad: 0, u: Union { msi } }
}

/// The parts that a route has: everything but what lies behind a pin in the union.
fn significant(entry: &kvm_irq_routing_entry) -> &[u8] {
    &entry.as_bytes()[..if entry.type_ == 1 { 24 } else { 32 }]
}

#[test]
fn rte_8_routes_have_kvms_form_and_come_back() {
    for (target, entry) in [
        (Target::Pic(0), pin_entry(7, 0, 0)),
        (Target::Pic(7), pin_entry(7, 0, 7)),
        (Target::Pic(8), pin_entry(7, 1, 0)),
        (Target::Pic(15), pin_entry(7, 1, 7)),
        (Target::IoApic(23), pin_entry(7, 2, 23)),
        (Target::IoApic(239), pin_entry(7, 2, 239)),
        (Target::Msi(msi(0x41)), msi_entry(7, 0xfee0_0000, 0x41)),
    ] {
        let route = Route { gsi: Gsi(7), target };
        let kvm = route.to_kvm(MsiFormat::X2apic32).unwrap();
        assert_eq!(significant(&kvm), significant(&entry), "{target:?}");
        assert_eq!(Route::from_kvm(&kvm), Ok(route));
    }
}

#[test]
fn rte_8_a_whole_table_goes_to_kvm_and_back() {
    let legacy = RouteTable::legacy(24);
    let mut edit = legacy.edit();
    edit.set(Gsi(24), &[Target::Msi(Msi { address: 0x1_fee0_1004, data: 0x41 })]).unwrap();
    let table = edit.build();
    assert!(table.is_ok_and(|table| table.to_kvm(MsiFormat::X2apic32).is_err()), "bad address");
    edit.set(Gsi(24), &[Target::Msi(Msi { address: 0x100_fee0_1004, data: 0x41 })]).unwrap();
    let table = edit.build().unwrap();
    let entries = table.to_kvm(MsiFormat::X2apic32).unwrap();
    assert_eq!(entries.len(), table.len());
    assert_eq!(RouteTable::from_kvm(&entries), Ok(table));
}

#[test]
fn rte_8_kvms_own_default_table_is_ours() {
    // Linux, arch/x86/kvm/irq.c, `default_routing`: identity, IRQ0 on pin 0, the cascade too.
    let mut entries = Vec::new();
    for irq in 0..16 {
        entries.push(pin_entry(irq, 2, irq));
        entries.push(pin_entry(irq, irq / 8, irq % 8));
    }
    entries.extend((16..24).map(|irq| pin_entry(irq, 2, irq)));
    let table = RouteTable::from_kvm(&entries).unwrap();
    let targets: Vec<_> = table.targets(Gsi(9)).collect();
    assert_eq!(targets, [Target::IoApic(9), Target::Pic(9)]);
    let back = table.to_kvm(MsiFormat::Xapic).unwrap();
    assert!(back.iter().map(significant).eq(entries.iter().map(significant)));
}

#[test]
fn rte_8_entries_that_are_not_ours_are_errors() {
    let error = |entry| Route::from_kvm(&entry).unwrap_err();
    assert_eq!(error(pin_entry(1, 3, 0)), KvmRouteError::Irqchip(3));
    for (irqchip, pin) in [(0, 8), (1, 8), (2, 240), (2, 256), (2, u32::MAX)] {
        assert_eq!(error(pin_entry(1, irqchip, pin)), KvmRouteError::Pin { irqchip, pin });
    }
    // s390 adapter, Hyper-V SINT, Xen event channel; then a device id.
    for type_ in [0, 3, 4, 5] {
        let entry = kvm_irq_routing_entry { type_, ..msi_entry(1, 0xfee0_0000, 0) };
        assert_eq!(error(entry), KvmRouteError::Type(type_));
    }
    let with_devid = kvm_irq_routing_entry { flags: 1, ..msi_entry(1, 0xfee0_0000, 0) };
    assert_eq!(error(with_devid), KvmRouteError::Flags(1));
    let twice = [pin_entry(1, 2, 3), pin_entry(1, 2, 4)];
    let conflict = KvmRouteError::Route(RouteError::Conflict(Gsi(1)));
    assert_eq!(RouteTable::from_kvm(&twice), Err(conflict));
    let beyond = KvmRouteError::Route(RouteError::InvalidGsi(Gsi(4096)));
    assert_eq!(RouteTable::from_kvm(&[pin_entry(4096, 2, 3)]), Err(beyond));
}

#[test]
fn rte_8_messages_have_kvms_form() {
    let to_kvm = |address, format| {
        let kvm = Msi { address, data: 0x4041 }.to_kvm(format).unwrap();
        let expected = kvm_msi { data: 0x4041, ..kvm };
        assert_eq!((kvm, kvm.flags, kvm.devid), (expected, 0, 0));
        (kvm.address_lo, kvm.address_hi)
    };
    assert_eq!(to_kvm(0xfee0_7004, MsiFormat::Xapic), (0xfee0_7004, 0));
    // 32-bit ids: destination bits 31:8 in address_hi.
    let address = 0x1234_5600_fee7_8000;
    assert_eq!(to_kvm(address, MsiFormat::X2apic32), (0xfee7_8000, 0x1234_5600));
    // 15-bit ids: destination bits 14:8 move from address bits 11:5 to address_hi.
    assert_eq!(to_kvm(0xfee7_8fe4, MsiFormat::Extended15), (0xfee7_8004, 0x7f00));
    assert_eq!(to_kvm(0xfee7_8020, MsiFormat::Extended15), (0xfee7_8000, 0x0100));
}

#[test]
fn rte_8_kvm_reads_the_same_destination() {
    for (address, format) in [
        (0xfee0_7000, MsiFormat::Xapic),
        (0xfee7_8fe0, MsiFormat::Extended15),
        (0x1234_5600_fee7_8000, MsiFormat::X2apic32),
    ] {
        let ours = Msi { address, data: 0x41 };
        let kvm = ours.to_kvm(format).unwrap();
        let back = Msi::from_kvm(&kvm).unwrap();
        assert_eq!(back.decode(MsiFormat::X2apic32), ours.decode(format));
    }
}

#[test]
fn rte_8_messages_that_kvm_cannot_take_are_errors() {
    let bad = Msi { address: 0x1_fee0_0000, data: 0 };
    // KVM refuses address_hi bits 7:0 with EINVAL.
    assert_eq!(bad.to_kvm(MsiFormat::X2apic32), Err(InvalidMsi::Address(bad.address)));
    let devid = kvm_msi { address_lo: 0xfee0_0000, flags: 1, ..Default::default() };
    assert_eq!(Msi::from_kvm(&devid), Err(KvmRouteError::Flags(1)));
}
