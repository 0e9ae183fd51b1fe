// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RESET, INIT and SIPI (SDM vol. 3, table "IA-32 and Intel 64 Processor States Following Power-up,
//! Reset, or INIT").

use super::machine::Machine;
use crate::segment::{Segment, CS, LDTR, TR};
use crate::spec::cr0;
use crate::{CpuidResult, State, Table};

const SIGNATURE: u32 = 0x000a_0655;

/// A machine in 64-bit mode that has left its marks everywhere.
fn used() -> Machine {
    let mut machine = Machine::long();
    let table = &mut machine.vcpu.cpu.cpuid;
    table.set(0, None, CpuidResult { eax: 1, ..Default::default() });
    table.set(1, None, CpuidResult { eax: SIGNATURE, ..Default::default() });
    machine.state(|state| {
        state.gpr.fill(7);
        state.rflags |= 0x201;
        state.cr0 &= !(cr0::CD | cr0::NW);
        (state.cr2, state.cr8) = (7, 7);
        (state.dr, state.dr6, state.dr7) = ([7; 4], 0xffff_0fff, 0x703);
        (state.star, state.pat, state.tsc_aux) = (7, 7, 7);
        (state.tsc_offset, state.tsc_adjust) = (1007, 7);
        (state.xmm, state.mxcsr, state.fcw) = ([7; 16], 0x1f81, 0x37f);
        (state.nmi_blocked, state.pending_debug) = (true, 1);
    });
    machine
}

/// What both RESET and INIT leave.
fn assert_initial(state: &State) {
    assert_eq!((state.rip, state.rflags), (0xfff0, 2));
    let mut gpr = [0; 16];
    gpr[2] = SIGNATURE.into();
    assert_eq!(state.gpr, gpr);
    let code = Segment { base: 0xffff_0000, ..Segment::real(0xf000, 0xb) };
    assert_eq!(state.segments[usize::from(CS)], code);
    assert_eq!(state.segments[0], Segment::real(0, 3));
    for system in [LDTR, TR] {
        let Segment { base, limit, rights, .. } = state.segments[usize::from(system)];
        assert_eq!((base, limit, rights.s(), rights.present()), (0, 0xffff, false, true));
    }
    assert_eq!((state.gdtr, state.idtr), (Table { base: 0, limit: 0xffff }, state.gdtr));
    assert_eq!((state.cr2, state.cr3, state.cr4, state.cr8, state.efer), (0, 0, 0, 0, 0));
    assert_eq!((state.dr, state.dr6, state.dr7), ([0; 4], 0xffff_0ff0, 0x400));
    assert!(!state.nmi_blocked && state.pending_debug == 0);
}

#[test]
fn reset_leaves_nothing() {
    let mut machine = used();
    machine.vcpu.reset();
    let state = machine.vcpu.state();
    assert_initial(&state);
    assert_eq!(state.cr0, cr0::ET | cr0::CD | cr0::NW);
    assert_eq!((state.star, state.pat, state.tsc_aux), (0, 0x0007_0406_0007_0406, 0));
    assert_eq!((state.xmm, state.mxcsr, state.fcw, state.ftw), ([0; 16], 0x1f80, 0x40, 0xff));
    // What the guest had added to the TSC is gone, what the VMM did is not.
    assert_eq!((state.tsc_offset, state.tsc_adjust), (1000, 0));
}

#[test]
fn init_leaves_msrs_caches_and_the_fpu() {
    let mut machine = used();
    machine.vcpu.init();
    let state = machine.vcpu.state();
    assert_initial(&state);
    assert_eq!(state.cr0, cr0::ET);
    assert_eq!((state.star, state.pat, state.tsc_aux), (7, 7, 7));
    assert_eq!((state.xmm, state.mxcsr, state.fcw), ([7; 16], 0x1f81, 0x37f));
    assert_eq!((state.tsc_offset, state.tsc_adjust), (1007, 7));
}

#[test]
fn sipi_starts_at_a_page_of_the_low_mebibyte() {
    let mut machine = used();
    machine.vcpu.init();
    machine.vcpu.start_up(0x9a);
    let state = machine.vcpu.state();
    assert_eq!((state.rip, state.segments[usize::from(CS)]), (0, Segment::real(0x9a00, 0xb)));
}

#[test]
fn reset_keeps_what_the_vmm_configured_and_takes_back_what_the_guest_wrote() {
    let mut machine = used();
    machine.vcpu.cpu.msr_table.set(0x1a0, crate::Msr::Stored(1));
    machine.vcpu.set_apic_base(0xfee0_0900);
    // mov ecx, 0x1a0; mov eax, 2; xor edx, edx; wrmsr; hlt
    let code = [0xb9, 0xa0, 1, 0, 0, 0xb8, 2, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x30, 0xf4];
    machine.state(|state| (state.nmi_blocked, state.pending_debug) = (false, 0));
    assert_eq!(machine.run_bytes(&code), crate::Exit::Halt);
    assert_eq!(machine.vcpu.stored_msr(0x1a0), Some(2));
    machine.vcpu.init();
    assert_eq!(machine.vcpu.stored_msr(0x1a0), Some(2));
    machine.vcpu.reset();
    assert_eq!(machine.vcpu.stored_msr(0x1a0), Some(1));
    assert_eq!(machine.vcpu.cpu.msr.apic_base, 0xfee0_0900);
    machine.vcpu.set_stored_msr(0x1a0, 3).unwrap();
    assert_eq!(machine.vcpu.stored_msr(0x1a0), Some(3));
    let missing = machine.vcpu.set_stored_msr(0x1b, 3).unwrap_err();
    assert_eq!(missing.to_string(), "MSR 0x1b does not store what is written to it");
}

#[test]
fn no_event_is_left_from_before() {
    for reset in [crate::Vcpu::reset, crate::Vcpu::init] {
        let mut machine = Machine::long();
        machine.vcpu.set_exception_exits(u32::MAX);
        // Its gate is not there.
        assert!(matches!(machine.run_bytes(&[0xcd, 0x40]), crate::Exit::Exception(_)));
        assert!(machine.vcpu.idt_vectoring().is_some());
        reset(&mut machine.vcpu);
        assert_eq!(machine.vcpu.idt_vectoring(), None);
    }
}
