// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Far JMP and CALL: code segments, call gates, stacks (SDM vol. 3, "Stack Switching", figure
//! "Stack Switching During an Interprivilege-Level Call").

use vcpu_events::Exception;

use super::super::machine::{
    Machine, CODE, CODE32, CODE64, DATA, DATA0, REAL_CODE, STACK, TSS_SELECTOR, USER_CODE32,
    USER_CODE64, USER_DATA,
};
use super::super::tables::{gate, RSP0};
use super::{outcome, OWN};
use crate::segment::{CS, SS};
use crate::{Exit, Segment};

/// Where transfers go: a HLT.
const TARGET: u64 = 0x12_0000;
/// Another selector for a test's descriptor.
const OTHER: u16 = 0x48;
const CALL: u8 = 0x9a;
const JMP: u8 = 0xea;

/// JMP or CALL ptr16:32.
fn direct(opcode: u8, selector: u16, offset: u64) -> Vec<u8> {
    [&[opcode][..], &(offset as u32).to_le_bytes(), &selector.to_le_bytes()].concat()
}

fn protected() -> Machine {
    let mut machine = Machine::protected();
    machine.write(TARGET, &[0xf4]);
    machine
}

fn long() -> Machine {
    let mut machine = Machine::long();
    machine.write(TARGET, &[0xf4]);
    machine.tss64();
    machine
}

/// JMP or CALL m16:32 at `DATA`, in 64-bit mode.
fn indirect(machine: &mut Machine, call: bool, selector: u16, offset: u64) -> Exit {
    machine.write(DATA, &(offset as u32).to_le_bytes());
    machine.write(DATA + 4, &selector.to_le_bytes());
    machine.state(|state| state.gpr[3] = DATA);
    outcome(machine, &[0xff, if call { 0x1b } else { 0x2b }])
}

fn gp(selector: u16) -> Exit {
    Exit::Exception(Exception::gp(u32::from(selector & !3)))
}

#[test]
fn a_far_jump_loads_cs_and_a_far_call_pushes_it() {
    let mut machine = protected();
    assert_eq!(outcome(&mut machine, &direct(JMP, CODE32, TARGET)), Exit::Halt);
    assert_eq!((machine.vcpu.state().rip, machine.vcpu.state().gpr[4]), (TARGET + 1, STACK));
    assert_eq!(outcome(&mut machine, &direct(CALL, CODE32, TARGET)), Exit::Halt);
    assert_eq!(machine.frame(4, 2), [CODE + 7, u64::from(CODE32)]);
    assert_eq!(machine.vcpu.state().gpr[4], STACK - 8);
}

#[test]
fn in_real_mode_a_far_call_pushes_words() {
    let mut machine = Machine::real();
    machine.write(0x9005, &[0xf4]);
    // CALL 0900:0005.
    assert_eq!(outcome(&mut machine, &[CALL, 5, 0, 0, 9]), Exit::Halt);
    assert_eq!((machine.selector(CS), machine.vcpu.state().rip), (0x900, 6));
    assert_eq!(machine.frame(2, 2), [REAL_CODE + 5, 0]);
    // A 32-bit offset beyond 64 KiB.
    machine.state(|state| state.segments[1] = Segment::real(0, 0xb));
    let exit = outcome(&mut machine, &[0x66, JMP, 0, 0, 1, 0, 0, 9]);
    assert_eq!(exit, Exit::Exception(Exception::gp(0)));
}

/// SDM vol. 2, JMP: CONFORMING-CODE-SEGMENT and NONCONFORMING-CODE-SEGMENT.
#[test]
fn code_segments_are_checked() {
    let cases = [
        // Descriptor, selector, whether level 0 may, whether level 3 may.
        (0x00cf_9b00_0000_ffff, OWN, true, false),
        (0x00cf_9b00_0000_ffff, OWN | 3, false, false),
        (0x00cf_fb00_0000_ffff, OWN, false, true),
        (0x00cf_fb00_0000_ffff, OWN | 3, false, true),
        (0x00cf_9f00_0000_ffff, OWN, true, true),
        (0x00cf_ff00_0000_ffff, OWN, false, true),
        (0x00cf_9300_0000_ffff, OWN, false, false),
    ];
    for (descriptor, selector, level0, level3) in cases {
        for (code, stack, good) in [(CODE32, DATA0, level0), (USER_CODE32, USER_DATA, level3)] {
            for opcode in [JMP, CALL] {
                let mut machine = protected();
                machine.at(code, stack);
                machine.descriptor(OWN, descriptor);
                let exit = outcome(&mut machine, &direct(opcode, selector, TARGET));
                let rip = machine.vcpu.state().rip;
                match good {
                    true => {
                        assert_eq!(rip & !1, TARGET, "{descriptor:#x} {selector:#x} {code:#x}");
                        // The privilege level stays.
                        assert_eq!(machine.selector(CS), OWN | code & 3);
                    }
                    false => assert_eq!((exit, rip), (gp(OWN), CODE)),
                }
            }
        }
    }
}

#[test]
fn bad_destinations() {
    let mut machine = protected();
    machine.descriptor(OWN, 0x00cf_1b00_0000_ffff);
    machine.descriptor(OTHER, 0x0040_9b00_0000_0fff);
    let cases = [
        (3, TARGET, gp(0)),
        (0x1238, TARGET, gp(0x1238)),
        (OWN, TARGET, Exit::Exception(Exception::np(u32::from(OWN)))),
        (OTHER, 0x1000, gp(0)),
        // A busy TSS.
        (TSS_SELECTOR, 0, gp(TSS_SELECTOR)),
    ];
    for (selector, offset, expected) in cases {
        for opcode in [JMP, CALL] {
            assert_eq!(outcome(&mut machine, &direct(opcode, selector, offset)), expected);
            assert_eq!(machine.vcpu.state().gpr[4], STACK);
        }
    }
    machine.descriptor(OWN, 0x00ef_9b00_0000_ffff);
    assert_eq!(indirect(&mut long_with(OWN, 0x00ef_9b00_0000_ffff), false, OWN, TARGET), gp(OWN));
}

fn long_with(selector: u16, descriptor: u64) -> Machine {
    let mut machine = long();
    machine.descriptor(selector, descriptor);
    machine
}

#[test]
fn task_switches_are_refused_aloud() {
    let mut machine = protected();
    machine.descriptor(OWN, 0x0000_8900_4000_0067);
    machine.descriptor(OTHER, gate(OWN, 0, 0x85, 0));
    for selector in [OWN, OTHER] {
        let exit = outcome(&mut machine, &direct(JMP, selector, 0));
        assert_eq!(exit, Exit::Unsupported("task switch"));
    }
    // In IA-32e mode there are none at all.
    assert_eq!(indirect(&mut long_with(OWN, 0x0000_8900_4000_0067), false, OWN, 0), gp(OWN));
}

#[test]
fn a_call_gate_switches_stacks_and_copies_parameters() {
    let mut machine = protected();
    machine.tss32(DATA0, RSP0 as u32);
    machine.descriptor(OWN, gate(CODE32, TARGET, 0xec, 2));
    machine.at(USER_CODE32, USER_DATA);
    machine.write(STACK, &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(outcome(&mut machine, &direct(CALL, OWN | 3, 0xdead)), Exit::Halt);
    let frame = [CODE + 7, u64::from(USER_CODE32), 1, 2, STACK, u64::from(USER_DATA)];
    assert_eq!(machine.frame(4, 6), frame);
    assert_eq!(machine.vcpu.state().gpr[4], RSP0 - 24);
    assert_eq!((machine.selector(CS), machine.selector(SS)), (CODE32, DATA0));
    assert_eq!(machine.vcpu.state().rip, TARGET + 1);
}

#[test]
fn a_16_bit_call_gate_has_words() {
    let mut machine = protected();
    machine.tss32(DATA0, RSP0 as u32);
    machine.write(0x2340, &[0xf4]);
    machine.descriptor(OWN, gate(CODE32, 0xffff_2340, 0xe4, 1));
    machine.at(USER_CODE32, USER_DATA);
    machine.write(STACK, &[0x34, 0x12]);
    assert_eq!(outcome(&mut machine, &direct(CALL, OWN, 0)), Exit::Halt);
    let frame = [(CODE + 7) & 0xffff, u64::from(USER_CODE32), 0x1234, STACK, u64::from(USER_DATA)];
    assert_eq!(machine.frame(2, 5), frame);
}

#[test]
fn a_call_gate_without_more_privilege_is_a_plain_call() {
    let mut machine = protected();
    // From level 0; then from level 3 to conforming code.
    machine.descriptor(OTHER, 0x00cf_9f00_0000_ffff);
    for (code, stack, target) in [(CODE32, DATA0, CODE32), (USER_CODE32, USER_DATA, OTHER)] {
        machine.descriptor(OWN, gate(target, TARGET, 0xec, 4));
        machine.at(code, stack);
        outcome(&mut machine, &direct(CALL, OWN, 0));
        assert_eq!(machine.vcpu.state().rip & !1, TARGET);
        assert_eq!(machine.frame(4, 2), [CODE + 7, u64::from(code)]);
        assert_eq!(machine.selector(CS), target & !3 | code & 3);
    }
}

/// SDM vol. 2, CALL: CALL-GATE and MORE-PRIVILEGE.
#[test]
fn call_gates_are_checked() {
    let fault =
        |fault: fn(u32) -> Exception, selector: u16| Exit::Exception(fault(selector.into()));
    let good = gate(CODE32, TARGET, 0xec, 0);
    let cases = [
        // Gate, selector, descriptor at OTHER, stack.
        (gate(CODE32, TARGET, 0x8c, 0), OWN, 0, DATA0, gp(OWN)),
        (gate(CODE32, TARGET, 0x6c, 0), OWN, 0, DATA0, fault(Exception::np, OWN)),
        (gate(3, TARGET, 0xec, 0), OWN, 0, DATA0, gp(0)),
        (gate(0x1238, TARGET, 0xec, 0), OWN, 0, DATA0, gp(0x1238)),
        (gate(DATA0, TARGET, 0xec, 0), OWN, 0, DATA0, gp(DATA0)),
        (
            gate(OTHER, TARGET, 0xec, 0),
            OWN,
            0x00cf_1b00_0000_ffff,
            DATA0,
            fault(Exception::np, OTHER),
        ),
        (gate(OTHER, 0x1000, 0xec, 0), OWN, 0x0040_9b00_0000_0fff, DATA0, gp(0)),
        (good, OWN, 0, 0, fault(Exception::ts, 0)),
        (good, OWN, 0, USER_DATA, fault(Exception::ts, USER_DATA & !3)),
        (good, OWN, 0x00cf_1300_0000_ffff, OTHER, fault(Exception::ss, OTHER)),
        (good, OWN, 0x0040_9300_0000_0fff, OTHER, fault(Exception::ss, OTHER)),
    ];
    for (gate, selector, other, stack, expected) in cases {
        let mut machine = protected();
        machine.descriptor(OWN, gate);
        machine.descriptor(OTHER, other);
        machine.tss32(stack, RSP0 as u32);
        machine.at(USER_CODE32, USER_DATA);
        let exit = outcome(&mut machine, &direct(CALL, selector, 0));
        assert_eq!(exit, expected, "{gate:#x} {other:#x} {stack:#x}");
        let state = machine.vcpu.state();
        assert_eq!((state.rip, state.gpr[4], machine.selector(CS)), (CODE, STACK, USER_CODE32));
    }
    // RPL above the gate's DPL; a jump to more privilege.
    let mut machine = protected();
    machine.descriptor(OWN, gate(CODE32, TARGET, 0x8c, 0));
    assert_eq!(outcome(&mut machine, &direct(CALL, OWN | 1, 0)), gp(OWN));
    machine.descriptor(OWN, good);
    machine.at(USER_CODE32, USER_DATA);
    assert_eq!(outcome(&mut machine, &direct(JMP, OWN, 0)), gp(CODE32));
}

#[test]
fn a_64_bit_call_gate_pushes_quadwords_onto_rsp0() {
    for (code, length) in [(USER_CODE64, 2), (USER_CODE32, 7)] {
        let mut machine = long();
        machine.descriptor(OWN, gate(CODE64, TARGET, 0xec, 0));
        machine.descriptor(OWN + 8, 0);
        machine.state(|state| state.segments[7].selector = 0);
        machine.at(code, USER_DATA);
        let exit = match code {
            USER_CODE64 => indirect(&mut machine, true, OWN | 3, 0),
            _ => outcome(&mut machine, &direct(CALL, OWN | 3, 0)),
        };
        assert_eq!((exit, machine.vcpu.state().rip), (Exit::Halt, TARGET + 1));
        let frame = [CODE + length, u64::from(code), STACK, u64::from(USER_DATA)];
        assert_eq!(machine.frame(8, 4), frame);
        assert_eq!(machine.vcpu.state().gpr[4], RSP0 - 32);
        assert_eq!((machine.selector(CS), machine.selector(SS)), (CODE64, 0));
    }
}

#[test]
fn a_64_bit_call_gate_of_the_same_level_pushes_without_a_segment() {
    let mut machine = long();
    machine.descriptor(OWN, gate(CODE64, TARGET, 0x8c, 0));
    machine.descriptor(OWN + 8, 0);
    machine.at(CODE32, DATA0);
    machine.state(|state| state.segments[usize::from(SS)].limit = 0xff);
    assert_eq!(outcome(&mut machine, &direct(CALL, OWN, 0)), Exit::Halt);
    assert_eq!(machine.frame(8, 2), [CODE + 7, u64::from(CODE32)]);
    assert_eq!((machine.vcpu.state().gpr[4], machine.selector(SS)), (STACK - 16, DATA0));
}

#[test]
fn a_64_bit_call_gate_is_checked_in_both_halves() {
    let good = gate(CODE64, TARGET, 0xec, 0);
    let cases = [
        // A type in the upper half; 32-bit code; an entry point that is not canonical.
        (good, 0x0c00_0000_0000, gp(OWN)),
        (gate(CODE32, TARGET, 0xec, 0), 0, gp(CODE32)),
        (good, 0x8000, gp(0)),
        // A 16-bit gate.
        (gate(CODE64, TARGET, 0xe4, 0), 0, gp(OWN)),
    ];
    for (low, high, expected) in cases {
        let mut machine = long_with(OWN, low);
        machine.descriptor(OWN + 8, high);
        machine.at(USER_CODE64, USER_DATA);
        assert_eq!(indirect(&mut machine, true, OWN, 0), expected, "{low:#x} {high:#x}");
    }
    // The second half outside of the GDT.
    let mut machine = long_with(OWN, good);
    machine.state(|state| state.gdtr.limit = OWN + 14);
    assert_eq!(indirect(&mut machine, true, OWN, 0), gp(OWN));
}

#[test]
fn a_far_jump_leaves_64_bit_mode_and_enters_it() {
    let mut machine = long();
    // In the target, 32-bit: JMP CODE64:TARGET + 0x10, where REX.W NOP; HLT is.
    machine.write(TARGET, &direct(JMP, CODE64, TARGET + 0x10));
    machine.write(TARGET + 0x10, &[0x48, 0xff, 0xc8, 0xf4]);
    machine.state(|state| state.gpr[0] = 0);
    assert_eq!(indirect(&mut machine, false, CODE32, TARGET), Exit::Halt);
    // DEC RAX in 64-bit mode.
    assert_eq!(machine.vcpu.state().gpr[0], u64::MAX);
    assert_eq!(machine.selector(CS), CODE64);
}

#[test]
fn with_rex_w_the_pointer_has_64_bits() {
    let mut machine = long();
    machine.write(DATA, &TARGET.to_le_bytes());
    machine.write(DATA + 8, &CODE64.to_le_bytes());
    machine.state(|state| state.gpr[3] = DATA);
    // CALL m16:64.
    assert_eq!(outcome(&mut machine, &[0x48, 0xff, 0x1b]), Exit::Halt);
    assert_eq!(machine.frame(8, 2), [CODE + 3, u64::from(CODE64)]);
    machine.write(DATA, &(1u64 << 47).to_le_bytes());
    machine.state(|state| state.gpr[4] = STACK);
    assert_eq!(outcome(&mut machine, &[0x48, 0xff, 0x1b]), gp(0));
    assert_eq!(machine.vcpu.state().gpr[4], STACK);
}
