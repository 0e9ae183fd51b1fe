// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LAP-10: errors.

use super::Rig;
use crate::spec::{esr, reg};

#[test]
fn lap_10_esr_shows_what_its_last_write_latched() {
    let mut rig = Rig::xapic();
    rig.edge(5);
    assert_eq!(rig.read(reg::ESR), 0, "logged, not latched");
    rig.write(reg::ESR, 0);
    assert_eq!(rig.read(reg::ESR), esr::RECEIVE_ILLEGAL_VECTOR);
    assert_eq!(rig.read(reg::ESR), esr::RECEIVE_ILLEGAL_VECTOR, "reading keeps it");
    rig.write(reg::ESR, 0xffff_ffff);
    assert_eq!(rig.read(reg::ESR), 0, "nothing since, whatever is written");
}

#[test]
fn lap_10_sending_an_illegal_vector_is_logged_and_not_sent() {
    for icr in [0x0_0005, 0x0_0105, 0x4_000f, 0xc_0000] {
        let mut rig = Rig::xapic();
        rig.write(reg::ICR, icr);
        assert_eq!(rig.sent(), None);
        rig.write(reg::ESR, 0);
        assert_eq!(rig.read(reg::ESR), esr::SEND_ILLEGAL_VECTOR, "{icr:#x}");
    }
    let mut rig = Rig::x2apic();
    rig.wrmsr(0x83f, 7).expect("SELF_IPI takes any 8 bits");
    rig.wrmsr(0x828, 0).expect("latch");
    assert_eq!(rig.rdmsr(0x828), Ok(esr::SEND_ILLEGAL_VECTOR.into()));
}

#[test]
fn lap_10_reserved_registers_are_illegal_in_xapic_mode() {
    for offset in [0x000, 0x010, 0x040, 0x290, 0x3a0, 0x3f0, 0x400, 0xff0] {
        for write in [false, true] {
            let mut rig = Rig::xapic();
            if write {
                rig.write(offset, 1);
            } else {
                assert_eq!(rig.read(offset), 0);
            }
            rig.write(reg::ESR, 0);
            assert_eq!(rig.read(reg::ESR), esr::ILLEGAL_REGISTER, "{offset:#x}");
        }
    }
}

#[test]
fn lap_10_errors_interrupt_once_until_esr_is_written() {
    let mut rig = Rig::xapic();
    rig.write(reg::LVT_ERROR, 0xfe);
    rig.edge(5);
    assert_eq!(rig.take(), Some(0xfe));
    rig.eoi();
    rig.read(0x10);
    assert_eq!(rig.take(), None, "not rearmed");
    rig.write(reg::ESR, 0);
    assert_eq!(rig.read(reg::ESR), esr::RECEIVE_ILLEGAL_VECTOR | esr::ILLEGAL_REGISTER);
    rig.read(0x10);
    assert_eq!(rig.take(), Some(0xfe));
}

#[test]
fn lap_10_an_illegal_error_vector_does_not_recur() {
    let mut rig = Rig::xapic();
    rig.write(reg::LVT_ERROR, 0x03);
    rig.read(0x10);
    assert_eq!(rig.lapic.irr(), [0; 4]);
    rig.write(reg::ESR, 0);
    assert_eq!(rig.read(reg::ESR), esr::RECEIVE_ILLEGAL_VECTOR | esr::ILLEGAL_REGISTER);
}

#[test]
fn lap_10_a_masked_error_entry_stays_silent() {
    let mut rig = Rig::xapic();
    rig.write(reg::LVT_ERROR, 0x1_00fe);
    rig.edge(5);
    assert_eq!(rig.lapic.pending(), None);
}
