// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LAP-2: the x2APIC's MSRs.

use super::{config, Rig};
use crate::spec::{MSR_APIC_BASE, MSR_TSC_DEADLINE};
use crate::{Config, GeneralProtection, Lapic};

const GP: Result<(), GeneralProtection> = Err(GeneralProtection);

#[test]
fn lap_2_id_has_32_bits_and_ldr_follows_from_it() {
    for (id, ldr) in [
        (0u32, 0x0000_0001u64),
        (15, 0x0000_8000),
        (16, 0x0001_0001),
        (0x123, 0x0012_0008),
        (0xf_ffff, 0xffff_8000),
    ] {
        let mut rig = Rig::with(Config { id, ..config() });
        rig.wrmsr(MSR_APIC_BASE, 0xfee0_0d00).expect("x2APIC");
        assert_eq!(rig.rdmsr(0x802), Ok(id.into()));
        assert_eq!(rig.rdmsr(0x80d), Ok(ldr));
    }
}

#[test]
fn lap_2_entering_x2apic_mode_forgets_the_xapics_logical_address() {
    let mut rig = Rig::xapic();
    rig.write(crate::spec::reg::LDR, 0x0100_0000);
    rig.write(crate::spec::reg::DFR, 0x0fff_ffff);
    rig.wrmsr(MSR_APIC_BASE, 0xfee0_0d00).expect("x2APIC");
    assert_eq!(rig.lapic.destination_entry(), Rig::x2apic().lapic.destination_entry());
}

#[test]
fn lap_2_readable_and_writable_registers_are_the_sdms() {
    // "x2APIC Register Address Space": MSR, readable, writable with 0.
    let read_only = [0x802, 0x803, 0x80a, 0x80d, 0x839].into_iter().chain(0x810..=0x827);
    let read_write =
        [0x808, 0x80f, 0x828, 0x82f, 0x830, 0x832, 0x833, 0x834, 0x835, 0x836, 0x837, 0x838, 0x83e];
    let write_only = [0x80b, 0x83f];
    let mut kinds = std::collections::BTreeMap::new();
    kinds.extend(read_only.map(|msr| (msr, (true, false))));
    kinds.extend(read_write.map(|msr| (msr, (true, true))));
    kinds.extend(write_only.map(|msr| (msr, (false, true))));
    for msr in 0x800..=0x8ff {
        let mut rig = Rig::x2apic();
        let found = (rig.rdmsr(msr).is_ok(), rig.wrmsr(msr, 0).is_ok());
        assert_eq!(found, kinds.get(&msr).copied().unwrap_or((false, false)), "{msr:#x}");
        assert!(Lapic::owns_msr(msr));
    }
    assert!(!Lapic::owns_msr(0x7ff) && !Lapic::owns_msr(0x900) && !Lapic::owns_msr(0x1a));
}

#[test]
fn lap_2_no_x2apic_msr_exists_outside_x2apic_mode() {
    let mut rig = Rig::xapic();
    for msr in 0x800..=0x8ff {
        assert_eq!(rig.rdmsr(msr), Err(GeneralProtection), "{msr:#x}");
        assert_eq!(rig.wrmsr(msr, 0), GP, "{msr:#x}");
    }
}

#[test]
fn lap_2_reserved_bits_fault_and_change_nothing() {
    let legal: [(u32, u64); 16] = [
        (0x808, 0xff),
        (0x80b, 0),
        (0x80f, 0x13ff),
        (0x828, 0),
        (0x82f, 0x1_17ff),
        (0x830, 0xffff_ffff_000c_dfff),
        (0x832, 0x7_10ff),
        (0x833, 0x1_17ff),
        (0x834, 0x1_17ff),
        (0x835, 0x1_f7ff),
        (0x836, 0x1_f7ff),
        (0x837, 0x1_10ff),
        (0x838, 0xffff_ffff),
        (0x83e, 0xb),
        (0x83f, 0xff),
        (MSR_TSC_DEADLINE, u64::MAX),
    ];
    for (msr, bits) in legal {
        for bit in 0..64 {
            let mut rig = Rig::x2apic();
            let before = rig.lapic.state(rig.now);
            let legal = bits & 1 << bit != 0;
            assert_eq!(rig.wrmsr(msr, 1 << bit).is_ok(), legal, "{msr:#x} bit {bit}");
            if !legal {
                assert_eq!(rig.lapic.state(rig.now), before, "{msr:#x} bit {bit}");
            }
        }
    }
}

#[test]
fn lap_2_features_that_do_not_exist_are_reserved_bits() {
    let bare = Config { directed_eoi: false, tsc_deadline: false, cmci: false, ..config() };
    let mut rig = Rig::with(bare);
    rig.wrmsr(MSR_APIC_BASE, 0xfee0_0d00).expect("x2APIC");
    assert_eq!(rig.wrmsr(0x80f, 0x11ff), GP);
    assert_eq!(rig.wrmsr(0x832, 0x4_0020), GP);
    assert_eq!(rig.wrmsr(0x82f, 0x1_0000), GP);
    assert_eq!(rig.rdmsr(0x82f), Err(GeneralProtection));
    assert_eq!(rig.wrmsr(MSR_TSC_DEADLINE, 0), GP);
    assert_eq!(rig.rdmsr(MSR_TSC_DEADLINE), Err(GeneralProtection));
    assert_eq!(rig.rdmsr(0x803), Ok(0x5_0014));
}

#[test]
fn lap_2_icr_is_one_64_bit_register() {
    let mut rig = Rig::x2apic();
    rig.wrmsr(0x830, 0x1234_5678_0000_0841).expect("logical fixed 0x41");
    assert_eq!(rig.rdmsr(0x830), Ok(0x1234_5678_0000_0841));
    let ipi = rig.sent().expect("one IPI");
    assert_eq!((ipi.message.destination, ipi.message.vector), (0x1234_5678, 0x41));
}

#[test]
fn lap_2_vector_registers_are_eight_msrs_each() {
    let mut rig = Rig::x2apic();
    for vector in [16, 31, 32, 95, 128, 200, 255] {
        rig.level(vector);
        let (register, bit) = (u32::from(vector) / 32, 1 << (vector % 32));
        assert_eq!(rig.rdmsr(0x820 + register), Ok(bit), "IRR {vector}");
        assert_eq!(rig.rdmsr(0x818 + register), Ok(bit), "TMR {vector}");
        assert_eq!(rig.take(), Some(vector));
        assert_eq!(rig.rdmsr(0x820 + register), Ok(0), "IRR {vector}");
        assert_eq!(rig.rdmsr(0x810 + register), Ok(bit), "ISR {vector}");
        rig.wrmsr(0x80b, 0).expect("EOI");
        assert_eq!(rig.rdmsr(0x810 + register), Ok(0), "ISR {vector}");
        rig.edge(vector);
        assert_eq!(rig.take(), Some(vector));
        rig.wrmsr(0x80b, 0).expect("EOI");
        assert_eq!(rig.rdmsr(0x818 + register), Ok(0), "TMR {vector}");
    }
}

#[test]
fn lap_2_the_page_is_gone_in_x2apic_mode() {
    let mut rig = Rig::x2apic();
    assert_eq!(rig.read(crate::spec::reg::VERSION), 0xffff_ffff);
    rig.write(crate::spec::reg::TPR, 0x30);
    assert_eq!(rig.lapic.tpr(), 0);
}
