// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LAP-1: the register page, IA32_APIC_BASE.

use super::{config, Event, Rig};
use crate::spec::{reg, MSR_APIC_BASE};
use crate::{ApicMode, Config, ConfigError, GeneralProtection, Lapic};

const DISABLED: u64 = 0xfee0_0100;
const XAPIC: u64 = 0xfee0_0900;
const X2APIC: u64 = 0xfee0_0d00;
const INVALID: u64 = 0xfee0_0500;

fn in_mode(base: u64) -> Rig {
    let mut rig = Rig::xapic();
    if base != XAPIC {
        rig.wrmsr(MSR_APIC_BASE, base).expect("reachable from xAPIC mode");
    }
    rig.take_events();
    rig
}

#[test]
fn lap_1_every_mode_transition() {
    let gp = Err(GeneralProtection);
    let table = [
        (DISABLED, DISABLED, Ok(ApicMode::Disabled)),
        (DISABLED, XAPIC, Ok(ApicMode::Xapic)),
        (DISABLED, X2APIC, gp),
        (DISABLED, INVALID, gp),
        (XAPIC, DISABLED, Ok(ApicMode::Disabled)),
        (XAPIC, XAPIC, Ok(ApicMode::Xapic)),
        (XAPIC, X2APIC, Ok(ApicMode::X2apic)),
        (XAPIC, INVALID, gp),
        (X2APIC, DISABLED, Ok(ApicMode::Disabled)),
        (X2APIC, XAPIC, gp),
        (X2APIC, X2APIC, Ok(ApicMode::X2apic)),
        (X2APIC, INVALID, gp),
    ];
    for (from, to, outcome) in table {
        let mut rig = in_mode(from);
        let result = rig.wrmsr(MSR_APIC_BASE, to).map(|()| rig.lapic.mode());
        assert_eq!(result, outcome, "{from:#x} -> {to:#x}");
        let kept = if outcome.is_ok() { to } else { from };
        assert_eq!(rig.rdmsr(MSR_APIC_BASE), Ok(kept), "{from:#x} -> {to:#x}");
        let map_changed = rig.take_events() == [Event::Map];
        assert_eq!(map_changed, outcome.is_ok() && from != to, "{from:#x} -> {to:#x}");
    }
}

#[test]
fn lap_1_reserved_bits_of_apic_base_fault() {
    let mut rig = Rig::with(Config { physical_address_bits: 40, ..config() });
    for bit in (0..8).chain([9]).chain(40..64) {
        assert_eq!(rig.wrmsr(MSR_APIC_BASE, XAPIC | 1 << bit), Err(GeneralProtection), "{bit}");
    }
    assert_eq!(rig.wrmsr(MSR_APIC_BASE, XAPIC | 1 << 39), Ok(()));
    let mut rig = Rig::with(Config { x2apic: false, ..config() });
    assert_eq!(rig.wrmsr(MSR_APIC_BASE, X2APIC), Err(GeneralProtection));
}

#[test]
fn lap_1_relocation_moves_the_page() {
    let mut rig = Rig::xapic();
    assert_eq!(rig.lapic.mmio_base(), Some(0xfee0_0000));
    rig.wrmsr(MSR_APIC_BASE, 0x12_3456_7900).expect("any page frame");
    assert_eq!(rig.lapic.mmio_base(), Some(0x12_3456_7000));
    rig.wrmsr(MSR_APIC_BASE, 0x12_3456_7d00).expect("x2APIC");
    assert_eq!(rig.lapic.mmio_base(), None);
}

#[test]
fn lap_1_cpuid_follows_apic_base() {
    let mut rig = Rig::xapic();
    assert!(rig.lapic.apic_enabled());
    rig.wrmsr(MSR_APIC_BASE, DISABLED).expect("disable");
    assert!(!rig.lapic.apic_enabled());
    rig.wrmsr(MSR_APIC_BASE, XAPIC).expect("enable");
    assert!(rig.lapic.apic_enabled());
    let ap = Rig::with(Config { id: 0x1234, ..config() });
    assert_eq!((ap.lapic.initial_apic_id(), ap.lapic.id()), (0x34, 0x1234));
}

#[test]
fn lap_1_a_disabled_apic_has_no_page_and_forgets() {
    let mut rig = Rig::xapic();
    rig.write(reg::TPR, 0x40);
    rig.edge(0x80);
    rig.wrmsr(MSR_APIC_BASE, DISABLED).expect("disable");
    assert_eq!(rig.read(reg::VERSION), 0xffff_ffff);
    rig.write(reg::TPR, 0x20);
    assert_eq!(rig.lapic.pending(), None);
    rig.edge(0x81);
    rig.wrmsr(MSR_APIC_BASE, XAPIC).expect("enable");
    assert_eq!((rig.read(reg::TPR), rig.read(reg::SVR)), (0, 0xff));
    assert_eq!(rig.lapic.irr(), [0; 4]);
}

#[test]
fn lap_1_registers_after_reset() {
    let mut rig = Rig::with(Config { id: 7, bsp: false, ..config() });
    let table = [
        (reg::ID, 0x0700_0000),
        (reg::VERSION, 0x0106_0014),
        (reg::TPR, 0),
        (reg::APR, 0),
        (reg::PPR, 0),
        (reg::LDR, 0),
        (reg::DFR, 0xffff_ffff),
        (reg::SVR, 0xff),
        (reg::ESR, 0),
        (reg::ICR, 0),
        (reg::ICR_HIGH, 0),
        (reg::LVT_CMCI, 0x1_0000),
        (reg::LVT_TIMER, 0x1_0000),
        (reg::LVT_THERMAL, 0x1_0000),
        (reg::LVT_PERFORMANCE, 0x1_0000),
        (reg::LVT_LINT0, 0x1_0000),
        (reg::LVT_LINT1, 0x1_0000),
        (reg::LVT_ERROR, 0x1_0000),
        (reg::TMICT, 0),
        (reg::TMCCT, 0),
        (reg::TDCR, 0),
    ];
    for (offset, value) in table {
        assert_eq!(rig.read(offset), value, "{offset:#x}");
    }
    assert_eq!(rig.lapic.apic_base(), 0xfee0_0800);
}

#[test]
fn lap_1_what_writes_leave() {
    let mut rig = Rig::xapic();
    let table = [
        (reg::ID, 0), // read-only, as on current CPUs
        (reg::VERSION, 0x0106_0014),
        (reg::TPR, 0xff),
        (reg::PPR, 0xff), // follows TPR
        (reg::LDR, 0xff00_0000),
        (reg::DFR, 0xffff_ffff),
        (reg::SVR, 0x13ff),
        (reg::ISR, 0),
        (reg::TMR, 0),
        (reg::IRR, 0),
        (reg::ICR_HIGH, 0xff00_0000),
        (reg::LVT_CMCI, 0x1_07ff),
        (reg::LVT_TIMER, 0x7_00ff),
        (reg::LVT_THERMAL, 0x1_07ff),
        (reg::LVT_PERFORMANCE, 0x1_07ff),
        (reg::LVT_LINT0, 0x1_a7ff),
        (reg::LVT_LINT1, 0x1_a7ff),
        (reg::LVT_ERROR, 0x1_00ff),
        (reg::TMCCT, 0),
        (reg::TDCR, 0xb),
    ];
    for (offset, value) in table {
        rig.write(offset, 0xffff_ffff);
        assert_eq!(rig.read(offset), value, "{offset:#x}");
    }
    rig.write(reg::DFR, 0);
    assert_eq!(rig.read(reg::DFR), 0x0fff_ffff);
}

#[test]
fn lap_1_odd_accesses_are_defined() {
    let mut rig = Rig::xapic();
    let mut read = |offset: u64, len: usize| {
        let mut data = [0xaa; 16];
        rig.lapic.mmio_read(offset, &mut data[..len], rig.now);
        u128::from_le_bytes(data)
    };
    let aa = |len: usize| u128::from_le_bytes([0xaa; 16]) >> (8 * len) << (8 * len);
    assert_eq!(read(0x30, 1), 0x14 | aa(1));
    assert_eq!(read(0x32, 2), 0x0106 | aa(2));
    assert_eq!(read(0x33, 2), 0x01 | aa(2));
    assert_eq!(read(0x34, 4), aa(4));
    assert_eq!(read(0x30, 8), 0x0106_0014 | aa(8));
    assert_eq!(read(0x3e, 8), aa(8));
    let now = rig.now;
    for (offset, data) in [(0x80, &[0x50][..]), (0x81, &[0x50; 4]), (0x80, &[0x50; 8])] {
        rig.lapic.mmio_write(offset, data, now, &mut rig.events);
        assert_eq!(rig.lapic.tpr(), 0, "{offset:#x} {data:?}");
        assert_eq!(rig.lapic.state(now).esr_pending, 0, "{offset:#x} {data:?}");
    }
    rig.lapic.mmio_write(0x80, &[0x50, 0, 0, 0], now, &mut rig.events);
    assert_eq!(rig.lapic.tpr(), 0x50);
}

#[test]
fn lap_1_impossible_configurations_are_refused() {
    let error = |config| Lapic::new(config).err();
    let ok = config();
    assert_eq!(error(ok), None);
    assert_eq!(error(Config { id: 0xffff_ffff, ..ok }), Some(ConfigError::Id(0xffff_ffff)));
    assert_eq!(error(Config { id: 255, x2apic: false, ..ok }), Some(ConfigError::Id(255)));
    assert_eq!(error(Config { bus_hz: 0, ..ok }), Some(ConfigError::Frequency(0)));
    assert_eq!(error(Config { tsc_hz: 1 << 38, ..ok }), Some(ConfigError::Frequency(1 << 38)));
    assert_eq!(
        error(Config { physical_address_bits: 64, ..ok }),
        Some(ConfigError::PhysicalAddressBits(64))
    );
}
