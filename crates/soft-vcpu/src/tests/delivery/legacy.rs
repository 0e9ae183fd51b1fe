// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Protected mode (SDM vol. 3, figure "Stack Usage on Transfers to Interrupt and
//! Exception-Handling Routines").

use iced_x86::code_asm::*;
use vcpu_events::{Event, Exception};

use super::super::machine::{
    Machine, CODE, CODE32, DATA0, STACK, TSS, TSS_SELECTOR, USER_CODE32, USER_DATA,
};
use super::super::tables::{DPL3, HANDLERS, INTERRUPT, INTERRUPT16};
use super::{raised, software, Raise, EXT, GATE, VECTOR};
use crate::segment::{CS, SS};
use crate::{AccessRights, Exit, Segment};

const IF: u64 = 0x200;
const ESP0: u32 = 0x7000;
const HANDLER: u64 = HANDLERS + 16 * VECTOR as u64;

fn machine() -> Machine {
    let mut machine = Machine::protected();
    machine.handlers(CODE32, INTERRUPT);
    machine.tss32(DATA0, ESP0);
    machine.state(|state| state.rflags = IF | 2);
    machine
}

fn interrupted(machine: &mut Machine) {
    machine.state(|state| state.rflags = IF | 2);
    machine.vcpu.inject(Event::Interrupt(VECTOR)).unwrap();
    assert_eq!(machine.run(|a| a.nop()), Exit::Halt);
    assert_eq!(machine.handled(), u64::from(VECTOR));
}

#[test]
fn without_a_change_of_privilege_three_doublewords_are_pushed() {
    let mut machine = machine();
    interrupted(&mut machine);
    assert_eq!(machine.frame(4, 3), [CODE, u64::from(CODE32), IF | 2]);
    assert_eq!(machine.vcpu.state().gpr[4], STACK - 12);
    assert_eq!(machine.vcpu.state().rflags, 2);
}

#[test]
fn an_error_code_is_a_fourth() {
    let mut machine = machine();
    let exit = machine.run(|a| {
        a.add(eax, 0x1235)?;
        a.mov(ds, eax)
    });
    assert_eq!((exit, machine.handled()), (Exit::Halt, 13));
    let flags = 0x1_0000 | IF | 2 | 4;
    assert_eq!(machine.frame(4, 4), [0x1234, CODE + 5, u64::from(CODE32), flags]);
}

#[test]
fn user_code_is_interrupted_onto_the_stack_of_the_tss() {
    let mut machine = machine();
    machine.at(USER_CODE32, USER_DATA);
    interrupted(&mut machine);
    let frame = [CODE, u64::from(USER_CODE32), IF | 2, STACK, u64::from(USER_DATA)];
    assert_eq!(machine.frame(4, 5), frame);
    assert_eq!(machine.vcpu.state().gpr[4], u64::from(ESP0) - 20);
    assert_eq!((machine.selector(CS), machine.selector(SS)), (CODE32, DATA0));
}

#[test]
fn a_16_bit_tss_has_other_places() {
    let mut machine = machine();
    machine.write(TSS + 2, &0x6ff0u16.to_le_bytes());
    machine.write(TSS + 4, &DATA0.to_le_bytes());
    machine.at(USER_CODE32, USER_DATA);
    machine.state(|state| {
        let rights = AccessRights::new().with_kind(3).with_present(true);
        state.segments[7] = Segment { rights, ..state.segments[7] };
    });
    interrupted(&mut machine);
    assert_eq!(machine.vcpu.state().gpr[4], 0x6ff0 - 20);
}

#[test]
fn a_16_bit_gate_pushes_words() {
    let mut machine = machine();
    machine.write(0x2340, &[0xf4]);
    machine.gate(VECTOR, CODE32, 0xffff_2340, INTERRUPT16, 0);
    machine.vcpu.inject(Event::Interrupt(VECTOR)).unwrap();
    assert_eq!(machine.run(|a| a.nop()), Exit::Halt);
    assert_eq!(machine.vcpu.state().rip, 0x2341);
    let frame = [CODE & 0xffff, u64::from(CODE32), IF | 2];
    assert_eq!(machine.frame(2, 3), frame);
    assert_eq!(machine.vcpu.state().gpr[4], STACK - 6);
}

#[test]
fn a_16_bit_stack_keeps_the_upper_half_of_esp() {
    let mut machine = machine();
    // Base 0, limit 0xffff, B clear.
    machine.descriptor(0x38, 0x0000_9300_0000_ffff);
    machine.state(|state| {
        let rights = AccessRights::new().with_kind(3).with_s(true).with_present(true);
        state.segments[usize::from(SS)] =
            Segment { selector: 0x38, base: 0, limit: 0xffff, rights };
        state.gpr[4] = 0x1234_8000;
    });
    interrupted(&mut machine);
    assert_eq!(machine.vcpu.state().gpr[4], 0x1234_8000 - 12);
    assert_eq!(machine.read_u64(0x8000 - 12) as u32, CODE as u32);
}

#[test]
fn a_task_gate_is_refused_aloud() {
    let mut machine = machine();
    machine.gate(VECTOR, TSS_SELECTOR, 0, 0x85, 0);
    machine.vcpu.inject(Event::Interrupt(VECTOR)).unwrap();
    assert_eq!(machine.run(|a| a.nop()), Exit::Unsupported("task gate"));
}

#[test]
fn bad_gates_are_told_by_vector() {
    let gates: [(u8, Raise); 3] =
        [(0, Exception::gp), (0x8c, Exception::gp), (INTERRUPT & !0x80, Exception::np)];
    for (kind, exception) in gates {
        let mut machine = machine();
        machine.gate(VECTOR, CODE32, HANDLER, kind, 0);
        assert_eq!(raised(&mut machine, Event::Interrupt(VECTOR)), exception(GATE | EXT));
        assert_eq!(raised(&mut machine, software(VECTOR)), exception(GATE));
    }
    let mut machine = machine();
    machine.state(|state| state.idtr.limit = 8 * u16::from(VECTOR) + 6);
    assert_eq!(raised(&mut machine, Event::Interrupt(VECTOR)), Exception::gp(GATE | EXT));
}

#[test]
fn int_n_at_level_3_needs_a_gate_of_level_3() {
    let mut machine = machine();
    machine.at(USER_CODE32, USER_DATA);
    let exit = machine.run(|a| a.int(i32::from(VECTOR)));
    assert_eq!((exit, machine.handled()), (Exit::Halt, 13));
    // At the instruction, not behind it.
    assert_eq!(machine.frame(4, 2), [u64::from(GATE), CODE]);
    machine.at(USER_CODE32, USER_DATA);
    machine.gate(VECTOR, CODE32, HANDLER, INTERRUPT | DPL3, 0);
    let exit = machine.run(|a| a.int(i32::from(VECTOR)));
    assert_eq!((exit, machine.handled()), (Exit::Halt, u64::from(VECTOR)));
    assert_eq!(machine.frame(4, 1), [CODE + 2]);
}

/// SDM vol. 2, INT n: INTER-PRIVILEGE-LEVEL-INTERRUPT.
#[test]
fn bad_inner_stacks_are_ts_or_ss() {
    let cases = [
        // Null, outside of the GDT, RPL 1, level 3, read-only, code.
        (0x00, 0, Exception::ts(EXT)),
        (0x1230, 0, Exception::ts(0x1230 | EXT)),
        (0x39, 0x00cf_9300_0000_ffff, Exception::ts(0x38 | EXT)),
        (0x38, 0x00cf_f300_0000_ffff, Exception::ts(0x38 | EXT)),
        (0x38, 0x00cf_9100_0000_ffff, Exception::ts(0x38 | EXT)),
        (0x38, 0x00cf_9b00_0000_ffff, Exception::ts(0x38 | EXT)),
        // Not present; too small.
        (0x38, 0x00cf_1300_0000_ffff, Exception::ss(0x38 | EXT)),
        (0x38, 0x0040_9300_0000_0fff, Exception::ss(0x38 | EXT)),
    ];
    for (selector, descriptor, exception) in cases {
        let mut machine = machine();
        machine.descriptor(0x38, descriptor);
        machine.tss32(selector, ESP0);
        machine.at(USER_CODE32, USER_DATA);
        assert_eq!(raised(&mut machine, Event::Interrupt(VECTOR)), exception, "{selector:#x}");
        assert_eq!(machine.vcpu.state().gpr[4], STACK);
        assert_eq!(machine.selector(SS), USER_DATA);
    }
}

#[test]
fn a_short_tss_is_ts() {
    let mut machine = machine();
    machine.at(USER_CODE32, USER_DATA);
    machine.state(|state| state.segments[7].limit = 8);
    let tss = u32::from(TSS_SELECTOR);
    assert_eq!(raised(&mut machine, Event::Interrupt(VECTOR)), Exception::ts(tss | EXT));
    machine.state(|state| state.segments[7].limit = 9);
    interrupted(&mut machine);
}

#[test]
fn no_room_on_the_present_stack_is_ss_without_a_selector() {
    let mut machine = machine();
    machine.state(|state| {
        state.segments[usize::from(SS)].limit = 0x7fff;
        state.gpr[4] = 0x9000;
    });
    assert_eq!(raised(&mut machine, Event::Interrupt(VECTOR)), Exception::ss(EXT));
    assert_eq!(raised(&mut machine, software(VECTOR)), Exception::ss(0));
}

#[test]
fn an_expand_down_stack_ends_at_its_limit() {
    let mut machine = machine();
    machine.state(|state| {
        let stack = &mut state.segments[usize::from(SS)];
        (stack.limit, stack.rights) = (STACK as u32 - 13, stack.rights.with_kind(7));
    });
    interrupted(&mut machine);
    machine.state(|state| {
        state.segments[usize::from(SS)].limit += 1;
        (state.gpr[4], state.rflags) = (STACK, IF | 2);
    });
    assert_eq!(raised(&mut machine, Event::Interrupt(VECTOR)), Exception::ss(EXT));
}

#[test]
fn a_handler_beyond_its_segment_is_gp_ext() {
    let mut machine = machine();
    machine.descriptor(0x38, 0x0040_9b00_0000_0fff);
    machine.gate(VECTOR, 0x38, 0x1000, INTERRUPT, 0);
    assert_eq!(raised(&mut machine, Event::Interrupt(VECTOR)), Exception::gp(EXT));
}
