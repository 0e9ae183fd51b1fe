// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LAP-17: KVM's structures.

use kvm_bindings::{kvm_lapic_state, kvm_mp_state, KVM_MP_STATE_STOPPED};

use super::{config, Rig};
use crate::kvm::{IdFormat, InvalidMpState};
use crate::spec::{reg, MSR_APIC_BASE, MSR_TSC_DEADLINE};
use crate::{Config, Lapic, Now, StartState};

fn get(page: &kvm_lapic_state, offset: u16) -> u32 {
    let at = usize::from(offset);
    u32::from_le_bytes([0, 1, 2, 3].map(|i| page.regs[at + i] as u8))
}

fn set(page: &mut kvm_lapic_state, offset: u16, value: u32) {
    for (i, byte) in value.to_le_bytes().into_iter().enumerate() {
        page.regs[usize::from(offset) + i] = byte as _;
    }
}

/// A lot of state in whichever mode `rig` is: written through the state, read by both views.
fn busy(mut rig: Rig) -> Rig {
    let now = rig.now;
    let mut state = rig.lapic.state(now);
    state.tpr = 0x25;
    state.svr = 0x11f0;
    state.esr = 0x40;
    state.icr = 0x0300_0000_000c_4531;
    state.lvt = [0x2_0040, 0x1_0141, 0x442, 0x8743, 0x444, 0x45, 0x1_0046];
    state.irr = [1 << 20, 0, 1, 1 << 63];
    state.isr = [0, 1 << 32, 0, 0];
    state.tmr = [1 << 20, 1 << 32, 0, 0];
    state.divide = 3;
    state.initial_count = 1_000;
    state.timer = crate::TimerState::Counting { counts: 400, nanocycles: 5 };
    rig.lapic = Lapic::from_state(*rig.lapic.config(), &state, now).expect("possible");
    rig
}

#[test]
fn lap_17_kvm_page_round_trips_in_both_modes_and_formats() {
    for (rig, x2apic) in [(Rig::xapic(), false), (Rig::x2apic(), true)] {
        for format in [IdFormat::Xapic8, IdFormat::X2apic32] {
            let rig = busy(Rig { lapic: rig.lapic.clone(), ..Rig::with(config()) });
            let page = rig.lapic.kvm_state(format, rig.now);
            let mut other = Lapic::new(config()).expect("legal");
            let base = if x2apic { 0xfee0_0d00 } else { 0xfee0_0900 };
            other.msr_write(MSR_APIC_BASE, base, rig.now, &mut ()).expect("legal");
            other.set_kvm_state(&page, format, rig.now).expect("its own page");
            assert_eq!(other.kvm_state(format, rig.now).regs, page.regs);
            // Onto itself nothing is lost, not even what the page lacks.
            let mut same = rig.lapic.clone();
            same.set_kvm_state(&page, format, rig.now).expect("its own page");
            assert_eq!(same.state(rig.now), rig.lapic.state(rig.now));
        }
    }
}

#[test]
fn lap_17_kvm_page_has_the_registers_at_their_offsets() {
    let rig = busy(Rig::xapic());
    let page = rig.lapic.kvm_state(IdFormat::Xapic8, rig.now);
    for (offset, value) in [
        (reg::VERSION, 0x0106_0014),
        (reg::TPR, 0x25),
        (reg::PPR, 0x60),
        (reg::DFR, 0xffff_ffff),
        (reg::SVR, 0x11f0),
        (reg::ISR + 0x30, 1),
        (reg::TMR, 1 << 20),
        (reg::IRR + 0x70, 1 << 31),
        (reg::ESR, 0x40),
        (reg::LVT_CMCI, 0x1_0046),
        (reg::ICR, 0xc_4531),
        (reg::ICR_HIGH, 0x0300_0000),
        (reg::LVT_TIMER, 0x2_0040),
        (reg::LVT_LINT0, 0x8743),
        (reg::TMICT, 1_000),
        (reg::TMCCT, 600),
        (reg::TDCR, 3),
    ] {
        assert_eq!(get(&page, offset), value, "{offset:#x}");
    }
}

#[test]
fn lap_17_kvm_id_formats() {
    let mut rig = Rig::with(Config { id: 0x1234, ..config() });
    let id = |rig: &Rig, format| get(&rig.lapic.kvm_state(format, rig.now), reg::ID);
    assert_eq!(id(&rig, IdFormat::X2apic32), 0x3400_0000, "xAPIC mode: always 31:24");
    rig.wrmsr(MSR_APIC_BASE, 0xfee0_0d00).expect("x2APIC");
    assert_eq!(id(&rig, IdFormat::X2apic32), 0x1234);
    assert_eq!(id(&rig, IdFormat::Xapic8), 0x3400_0000);
    let page = rig.lapic.kvm_state(IdFormat::X2apic32, rig.now);
    assert_eq!(get(&page, reg::LDR), 0x0123_0010);
    let before = rig.lapic.state(rig.now);
    assert!(rig.lapic.set_kvm_state(&page, IdFormat::Xapic8, rig.now).is_err());
    assert_eq!(rig.lapic.state(rig.now), before);
}

#[test]
fn lap_17_kvm_page_keeps_the_deadline_beside_it() {
    let mut rig = Rig::xapic();
    rig.write(reg::LVT_TIMER, 0x4_0040);
    rig.wrmsr(MSR_TSC_DEADLINE, 9_999_999).expect("arm");
    let page = rig.lapic.kvm_state(IdFormat::Xapic8, rig.now);
    rig.lapic.set_kvm_state(&page, IdFormat::Xapic8, rig.now).expect("its own page");
    assert_eq!(rig.rdmsr(MSR_TSC_DEADLINE), Ok(9_999_999));
    // Another APIC gets the mode from the page and the MSR afterwards.
    let mut other = Rig::xapic();
    other.lapic.set_kvm_state(&page, IdFormat::Xapic8, other.now).expect("a good page");
    assert_eq!(other.rdmsr(MSR_TSC_DEADLINE), Ok(0));
    other.wrmsr(MSR_TSC_DEADLINE, 9_999_999).expect("arm");
    assert_eq!(other.rdmsr(MSR_TSC_DEADLINE), Ok(9_999_999));
}

/// What KVM's BSP looks like after reset: LINT0 is ExtINT and unmasked though SVR is disabled.
#[test]
fn lap_17_kvm_reset_quirk_is_accepted() {
    let mut rig = Rig::with(config());
    let mut page = rig.lapic.kvm_state(IdFormat::Xapic8, rig.now);
    set(&mut page, reg::LVT_LINT0, 0x700);
    rig.lapic.set_kvm_state(&page, IdFormat::Xapic8, rig.now).expect("KVM's own");
    assert!(rig.lapic.extint_open());
}

#[test]
fn lap_17_kvm_bad_pages_are_refused() {
    let rig = Rig::xapic();
    for (offset, value) in [
        (reg::ID, 0x0100_0000),
        (reg::SVR, 0x8000_0000),
        (reg::IRR, 1),
        (reg::LVT_TIMER, 0x8000_0000),
        (reg::TDCR, 4),
        (reg::ICR, 1 << 13),
    ] {
        let mut page = rig.lapic.kvm_state(IdFormat::Xapic8, rig.now);
        set(&mut page, offset, value);
        let mut lapic = rig.lapic.clone();
        assert!(lapic.set_kvm_state(&page, IdFormat::Xapic8, rig.now).is_err(), "{offset:#x}");
        assert_eq!(lapic.state(rig.now), rig.lapic.state(rig.now));
    }
}

#[test]
fn lap_17_kvm_current_count_above_the_initial_one_is_clamped() {
    let mut rig = busy(Rig::xapic());
    let mut page = rig.lapic.kvm_state(IdFormat::Xapic8, rig.now);
    set(&mut page, reg::TMCCT, u32::MAX);
    rig.lapic.set_kvm_state(&page, IdFormat::Xapic8, rig.now).expect("clamped");
    assert_eq!(rig.read(reg::TMCCT), 1_000);
    set(&mut page, reg::TMCCT, 0);
    rig.lapic.set_kvm_state(&page, IdFormat::Xapic8, rig.now).expect("stopped");
    assert_eq!(rig.lapic.next_deadline(), None);
}

#[test]
fn lap_17_kvm_mp_state() {
    for state in [StartState::Running, StartState::WaitForSipi] {
        assert_eq!(StartState::try_from(kvm_mp_state::from(state)), Ok(state));
    }
    let stopped = kvm_mp_state { mp_state: KVM_MP_STATE_STOPPED };
    assert_eq!(StartState::try_from(stopped), Err(InvalidMpState(KVM_MP_STATE_STOPPED)));
    assert_eq!(StartState::try_from(kvm_mp_state { mp_state: 3 }), Ok(StartState::Running));
    let _ = Now::default();
}
