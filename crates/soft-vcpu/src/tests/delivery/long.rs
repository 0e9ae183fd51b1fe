// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! IA-32e mode (SDM vol. 3, "Exception and Interrupt Handling in 64-bit Mode").

use iced_x86::code_asm::*;
use vcpu_events::{Event, Exception};

use super::super::machine::{
    Machine, CODE, CODE32, CODE64, DATA0, GDT, IDT, STACK, TSS, USER_CODE32, USER_CODE64, USER_DATA,
};
use super::super::tables::{DPL3, HANDLERS, INTERRUPT, INTERRUPT16, IST1, RSP0, TRAP};
use super::{long_machine as machine, raised, software, Raise, EXT, GATE, VECTOR};
use crate::segment::{CS, SS};
use crate::{Exit, Table};

const IF: u64 = 0x200;

fn interrupted(machine: &mut Machine) {
    machine.state(|state| state.rflags = IF | 2);
    machine.vcpu.inject(Event::Interrupt(VECTOR)).unwrap();
    assert_eq!(machine.run(|a| a.nop()), Exit::Halt);
    assert_eq!(machine.handled(), u64::from(VECTOR));
}

#[test]
fn an_interrupt_pushes_five_quadwords_below_an_aligned_stack() {
    let mut machine = machine();
    machine.state(|state| state.gpr[4] = STACK - 3);
    interrupted(&mut machine);
    assert_eq!(machine.vcpu.state().gpr[4], STACK - 16 - 40);
    let frame = [CODE, u64::from(CODE64), IF | 2, STACK - 3, u64::from(DATA0)];
    assert_eq!(machine.frame(8, 5), frame);
    assert_eq!(machine.vcpu.state().rflags, 2);
    assert_eq!((machine.selector(CS), machine.selector(SS)), (CODE64, DATA0));
}

#[test]
fn an_error_code_is_a_sixth_quadword_and_a_fault_saves_rf() {
    let mut machine = machine();
    // MOV DS of a selector outside of the GDT.
    let exit = machine.run(|a| {
        a.add(eax, 0x1235)?;
        a.mov(ds, eax)
    });
    assert_eq!(exit, Exit::Halt);
    assert_eq!(machine.handled(), 13);
    let frame = machine.frame(8, 6);
    assert_eq!((frame[0], frame[1], frame[2]), (0x1234, CODE + 5, u64::from(CODE64)));
    assert_eq!(frame[3] & 0x1_0000, 0x1_0000);
    assert_eq!(machine.vcpu.state().gpr[4], STACK - 48);
}

#[test]
fn a_page_fault_leaves_its_address_in_cr2() {
    let mut machine = machine();
    let exit = machine.run(|a| {
        a.mov(rax, 0x1_2345_6789u64)?;
        a.mov(byte_ptr(rax), 1)
    });
    assert_eq!(exit, Exit::Halt);
    assert_eq!((machine.handled(), machine.vcpu.state().cr2), (14, 0x1_2345_6789));
    // Not present, a write.
    assert_eq!(machine.frame(8, 1), [2]);
}

#[test]
fn user_code_is_interrupted_onto_rsp0_with_a_null_ss() {
    let mut machine = machine();
    machine.at(USER_CODE64, USER_DATA);
    interrupted(&mut machine);
    let state = machine.vcpu.state();
    assert_eq!(state.gpr[4], RSP0 - 40);
    let frame = [CODE, u64::from(USER_CODE64), IF | 2, STACK, u64::from(USER_DATA)];
    assert_eq!(machine.frame(8, 5), frame);
    assert_eq!((machine.selector(CS), machine.selector(SS)), (CODE64, 0));
    assert!(state.segments[usize::from(SS)].rights.unusable());
}

#[test]
fn ist_switches_the_stack_whatever_the_privilege() {
    for (code, stack) in [(CODE64, DATA0), (USER_CODE64, USER_DATA)] {
        let mut machine = machine();
        machine.gate(VECTOR, CODE64, HANDLERS + 16 * u64::from(VECTOR), INTERRUPT, 1);
        machine.at(code, stack);
        interrupted(&mut machine);
        assert_eq!(machine.vcpu.state().gpr[4], IST1 - 40);
        assert_eq!(machine.frame(8, 5)[3..], [STACK, u64::from(stack)]);
        // SS becomes null with a change of privilege only.
        assert_eq!(machine.selector(SS), if code == CODE64 { DATA0 } else { 0 });
    }
}

#[test]
fn a_trap_gate_leaves_if() {
    let mut machine = machine();
    machine.gate(VECTOR, CODE64, HANDLERS + 16 * u64::from(VECTOR), TRAP, 0);
    interrupted(&mut machine);
    assert_eq!(machine.vcpu.state().rflags, IF | 2);
}

#[test]
fn tf_nt_and_rf_are_cleared_and_saved() {
    let mut machine = machine();
    machine.state(|state| state.rflags = 0x1_4302);
    machine.vcpu.inject(Event::Interrupt(VECTOR)).unwrap();
    assert_eq!(machine.run(|a| a.nop()), Exit::Halt);
    assert_eq!(machine.vcpu.state().rflags, 2);
    assert_eq!(machine.frame(8, 3)[2], 0x1_4302);
}

#[test]
fn compatibility_mode_has_the_same_frame() {
    for (code, stack, top) in [(CODE32, DATA0, STACK), (USER_CODE32, USER_DATA, RSP0)] {
        let mut machine = machine();
        machine.at(code, stack);
        interrupted(&mut machine);
        let frame = [CODE, u64::from(code), IF | 2, STACK, u64::from(stack)];
        assert_eq!(machine.frame(8, 5), frame);
        assert_eq!((machine.selector(CS), machine.vcpu.state().gpr[4]), (CODE64, top - 40));
    }
}

#[test]
fn a_conforming_handler_keeps_the_privilege() {
    let mut machine = machine();
    // 64-bit, conforming, DPL 0.
    machine.descriptor(0x38, 0x00af_9e00_0000_ffff);
    machine.gate(VECTOR, 0x38, HANDLERS + 16 * 13, INTERRUPT, 0);
    machine.at(USER_CODE64, USER_DATA);
    machine.state(|state| state.rflags = IF | 2);
    machine.vcpu.set_exception_exits(1 << 13);
    machine.vcpu.inject(Event::Interrupt(VECTOR)).unwrap();
    // HLT at level 3 is #GP.
    assert_eq!(machine.run(|a| a.nop()), Exit::Exception(Exception::gp(0)));
    assert_eq!((machine.selector(CS), machine.selector(SS)), (0x3b, USER_DATA));
    assert_eq!(machine.vcpu.state().gpr[4], STACK - 40);
    // Loading it marked it accessed.
    assert_eq!(machine.read_u64(GDT + 0x38), 0x00af_9f00_0000_ffff);
}

#[test]
fn an_inner_stack_is_written_with_the_inner_privilege() {
    let mut machine = machine();
    machine.at(USER_CODE64, USER_DATA);
    // The first 2 MiB belong to the supervisor, code to everybody.
    machine.write(super::super::machine::PAGE_TABLES + 0x2000, &0x83u64.to_le_bytes());
    machine.state(|state| (state.rip, state.rflags) = (CODE, IF | 2));
    machine.vcpu.inject(Event::Interrupt(VECTOR)).unwrap();
    assert_eq!(machine.vcpu.run(100), Exit::Halt);
    assert_eq!(machine.vcpu.state().gpr[4], RSP0 - 40);
}

/// SDM vol. 2, INT n: IA-32e mode's #GP and #NP, for an external and for a software interrupt.
#[test]
fn bad_gates_are_told_by_vector() {
    let handler = HANDLERS + 16 * u64::from(VECTOR);
    let gates: [(u8, Raise); 4] = [
        (0, Exception::gp),
        (INTERRUPT16, Exception::gp),
        // A task gate.
        (0x85, Exception::gp),
        (INTERRUPT & !0x80, Exception::np),
    ];
    for (kind, exception) in gates {
        let mut machine = machine();
        machine.state(|state| state.rflags = IF | 2);
        machine.gate(VECTOR, CODE64, handler, kind, 0);
        assert_eq!(raised(&mut machine, Event::Interrupt(VECTOR)), exception(GATE | EXT));
        assert_eq!(raised(&mut machine, software(VECTOR)), exception(GATE));
    }
}

#[test]
fn a_gate_outside_of_the_table_is_gp() {
    let mut machine = machine();
    let limit = 16 * u16::from(VECTOR) + 14;
    machine.state(|state| (state.idtr, state.rflags) = (Table { base: IDT, limit }, IF | 2));
    assert_eq!(raised(&mut machine, Event::Interrupt(VECTOR)), Exception::gp(GATE | EXT));
    machine.state(|state| state.idtr.limit += 1);
    interrupted(&mut machine);
}

#[test]
fn only_software_is_held_to_the_gates_dpl() {
    let handler = HANDLERS + 16 * u64::from(VECTOR);
    let mut machine = machine();
    machine.at(USER_CODE64, USER_DATA);
    assert_eq!(raised(&mut machine, software(VECTOR)), Exception::gp(GATE));
    interrupted(&mut machine);
    machine.at(USER_CODE64, USER_DATA);
    machine.gate(VECTOR, CODE64, handler, INTERRUPT | DPL3, 0);
    machine.vcpu.inject(software(VECTOR)).unwrap();
    assert_eq!(machine.run(|a| a.nop()), Exit::Halt);
    // Behind the instruction.
    assert_eq!(machine.frame(8, 1), [CODE + 2]);
}

#[test]
fn bad_handlers_are_told_by_selector() {
    let handler = HANDLERS + 16 * u64::from(VECTOR);
    let cases = [
        // Null, and outside of the GDT.
        (0x03, 0, Exception::gp(EXT)),
        (0x1238, 0, Exception::gp(0x1238 | EXT)),
        // In an LDT that is not there.
        (0x0c, 0, Exception::gp(0x0c | EXT)),
        // Data, a TSS, 32-bit code, less privileged code, L and D.
        (0x38, 0x00cf_9300_0000_ffff, Exception::gp(0x38 | EXT)),
        (0x38, 0x0000_8b00_0000_0067, Exception::gp(0x38 | EXT)),
        (0x38, 0x00cf_9b00_0000_ffff, Exception::gp(0x38 | EXT)),
        (0x38, 0x00af_fb00_0000_ffff, Exception::gp(0x38 | EXT)),
        (0x38, 0x00ef_9b00_0000_ffff, Exception::gp(0x38 | EXT)),
        // Not present.
        (0x38, 0x00af_1b00_0000_ffff, Exception::np(0x38 | EXT)),
    ];
    for (selector, descriptor, exception) in cases {
        let mut machine = machine();
        machine.state(|state| {
            state.rflags = IF | 2;
            state.segments[6] = crate::Segment::null(0);
        });
        machine.descriptor(0x38, descriptor);
        machine.gate(VECTOR, selector, handler, INTERRUPT, 0);
        assert_eq!(raised(&mut machine, Event::Interrupt(VECTOR)), exception, "{selector:#x}");
        // Nothing has happened.
        assert_eq!(machine.vcpu.state().gpr[4], STACK);
        assert_eq!((machine.vcpu.state().rip, machine.vcpu.state().rflags), (CODE, IF | 2));
    }
}

#[test]
fn a_handler_outside_of_the_address_space_is_gp_ext() {
    let mut machine = machine();
    machine.state(|state| state.rflags = IF | 2);
    machine.gate(VECTOR, CODE64, 1 << 47, INTERRUPT, 0);
    assert_eq!(raised(&mut machine, Event::Interrupt(VECTOR)), Exception::gp(EXT));
}

#[test]
fn a_short_tss_is_ts() {
    let mut machine = machine();
    let tss = u32::from(super::super::machine::TSS_SELECTOR);
    machine.at(USER_CODE64, USER_DATA);
    machine.state(|state| (state.segments[7].limit, state.rflags) = (10, IF | 2));
    assert_eq!(raised(&mut machine, Event::Interrupt(VECTOR)), Exception::ts(tss | EXT));
    machine.state(|state| state.segments[7].limit = 11);
    interrupted(&mut machine);
    // IST1 ends at byte 43.
    machine.gate(VECTOR, CODE64, HANDLERS + 16 * u64::from(VECTOR), INTERRUPT, 1);
    machine.state(|state| (state.segments[7].limit, state.rflags) = (42, IF | 2));
    assert_eq!(raised(&mut machine, Event::Interrupt(VECTOR)), Exception::ts(tss | EXT));
}

#[test]
fn a_stack_outside_of_the_address_space_is_ss() {
    let mut machine = machine();
    machine.write(TSS + 4, &0x8000_0000_0000u64.to_le_bytes());
    machine.at(USER_CODE64, USER_DATA);
    // The first push is below: the hole begins at 1 << 47. So a little further.
    machine.write(TSS + 4, &0x8000_0000_0010u64.to_le_bytes());
    machine.state(|state| state.rflags = IF | 2);
    assert_eq!(raised(&mut machine, Event::Interrupt(VECTOR)), Exception::ss(EXT));
    machine.at(CODE64, DATA0);
    machine.state(|state| state.gpr[4] = 0x8000_0000_0010);
    assert_eq!(raised(&mut machine, Event::Nmi), Exception::ss(EXT));
    assert_eq!(raised(&mut machine, software(VECTOR)), Exception::ss(0));
}
