// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! IRET, IRETD, IRETQ.

use vcpu_events::Exception;

use super::super::machine::{
    segment, Machine, CODE, CODE32, CODE64, DATA0, STACK, USER_CODE32, USER_CODE64, USER_DATA,
};
use super::{outcome, push, OWN};
use crate::segment::{CS, FS, SS};
use crate::{Exit, Segment};

const TARGET: u64 = 0x12_0000;
const USER_STACK: u64 = 0x9000;
const IRETD: &[u8] = &[0xcf];
const IRETW: &[u8] = &[0x66, 0xcf];
const IRETQ: &[u8] = &[0x48, 0xcf];

const STATUS: u64 = 0x8d5;
const IF: u64 = 0x200;
const IOPL: u64 = 0x3000;
const NT: u64 = 0x4000;
const RF: u64 = 0x1_0000;
const VM: u64 = 0x2_0000;
const AC: u64 = 0x4_0000;
const ID: u64 = 0x20_0000;

fn protected() -> Machine {
    let mut machine = Machine::protected();
    machine.write(TARGET, &[0xf4]);
    machine
}

fn long() -> Machine {
    let mut machine = Machine::long();
    machine.write(TARGET, &[0xf4]);
    machine
}

#[test]
fn to_the_same_level_pops_three() {
    for (code, size) in [(IRETD, 4), (IRETW, 2)] {
        let mut machine = protected();
        machine.write(0x2340, &[0xf4]);
        push(&mut machine, size, &[0x2340, CODE32.into(), STATUS | IF | 2]);
        assert_eq!(outcome(&mut machine, code), Exit::Halt);
        let state = machine.vcpu.state();
        assert_eq!((state.rip, state.gpr[4]), (0x2341, STACK + 3 * size as u64));
        assert_eq!(state.rflags, STATUS | IF | 2);
    }
}

#[test]
fn to_an_outer_level_pops_five() {
    let mut machine = protected();
    let frame = [TARGET, USER_CODE32.into(), IF | 2, USER_STACK, USER_DATA.into()];
    push(&mut machine, 4, &frame);
    assert_eq!(outcome(&mut machine, IRETD), Exit::Exception(Exception::gp(0)));
    let state = machine.vcpu.state();
    assert_eq!((state.rip, state.gpr[4]), (TARGET, USER_STACK));
    assert_eq!((machine.selector(CS), machine.selector(SS)), (USER_CODE32, USER_DATA));
    assert_eq!(state.segments[usize::from(FS)], Segment::null(0));
}

#[test]
fn to_a_16_bit_stack_only_sp_is_loaded() {
    let mut machine = protected();
    machine.descriptor(OWN, 0x0000_f300_0000_ffff);
    let frame = [TARGET, USER_CODE32.into(), 2, 0x5555_9000, u64::from(OWN) | 3];
    push(&mut machine, 4, &frame);
    machine.state(|state| state.gpr[4] = 0x8000);
    assert_eq!(outcome(&mut machine, IRETD), Exit::Exception(Exception::gp(0)));
    assert_eq!(machine.vcpu.state().gpr[4], 0x9000);
}

/// SDM vol. 2, IRET: which flags return at which privilege.
#[test]
fn flags_by_privilege() {
    let all = STATUS | IF | IOPL | NT | AC | ID | 2;
    let cases = [
        // Level 0 gets all; level 3 keeps IOPL, and IF unless IOPL lets it.
        (CODE32, DATA0, 0, all),
        (USER_CODE32, USER_DATA, 0, all & !(IF | IOPL)),
        (USER_CODE32, USER_DATA, IOPL, all),
    ];
    for (code, stack, before, after) in cases {
        let mut machine = protected();
        machine.at(code, stack);
        machine.state(|state| state.rflags = before | 2);
        // NT in the image would make the next IRET a task return.
        push(&mut machine, 4, &[TARGET, code.into(), all | VM * u64::from(code != CODE32)]);
        outcome(&mut machine, IRETD);
        assert_eq!(machine.vcpu.state().rip & !1, TARGET);
        assert_eq!(machine.vcpu.state().rflags, after, "{code:#x} {before:#x}");
        // With 16 bits the upper half stays.
        machine.at(code, stack);
        machine.state(|state| state.rflags = AC | IOPL | 2);
        machine.write(0x2340, &[0xf4]);
        push(&mut machine, 2, &[0x2340, code.into(), 2]);
        outcome(&mut machine, IRETW);
        assert_eq!(machine.vcpu.state().rip & !1, 0x2340);
        let iopl = if code == CODE32 { 0 } else { IOPL };
        assert_eq!(machine.vcpu.state().rflags, AC | iopl | 2);
    }
}

#[test]
fn rf_holds_for_the_next_instruction() {
    let mut machine = protected();
    machine.write(TARGET, &[0x90, 0xf4]);
    push(&mut machine, 4, &[TARGET, CODE32.into(), RF | 2]);
    machine.write(CODE, IRETD);
    machine.state(|state| state.rip = CODE);
    assert_eq!(machine.vcpu.run(1), Exit::Budget);
    assert_eq!(machine.vcpu.state().rflags, RF | 2);
    assert_eq!(machine.vcpu.run(1), Exit::Budget);
    assert_eq!(machine.vcpu.state().rflags, 2);
}

#[test]
fn tf_traps_after_the_instruction_returned_to() {
    let mut machine = protected();
    machine.write(TARGET, &[0x90, 0xf4]);
    push(&mut machine, 4, &[TARGET, CODE32.into(), 0x102]);
    assert_eq!(outcome(&mut machine, IRETD), Exit::Exception(Exception::db(1 << 14)));
    assert_eq!(machine.vcpu.state().rip, TARGET + 1);
}

#[test]
fn what_there_is_not_is_refused_aloud() {
    let mut machine = protected();
    machine.state(|state| state.rflags = NT | 2);
    assert_eq!(outcome(&mut machine, IRETD), Exit::Unsupported("task switch"));
    machine.state(|state| state.rflags = 2);
    push(&mut machine, 4, &[TARGET, CODE32.into(), VM | 2]);
    assert_eq!(outcome(&mut machine, IRETD), Exit::Unsupported("virtual-8086 mode"));
    let mut machine = long();
    machine.state(|state| state.rflags = NT | 2);
    assert_eq!(outcome(&mut machine, IRETQ), Exit::Exception(Exception::gp(0)));
}

#[test]
fn in_64_bit_mode_five_are_popped_whatever_the_privilege() {
    let cases = [(IRETQ, 8, TARGET), (IRETD, 4, TARGET), (IRETW, 2, 0x2340)];
    for (code, size, target) in cases {
        for (selector, stack) in
            [(CODE64, DATA0), (CODE32, DATA0), (USER_CODE64, USER_DATA), (USER_CODE32, USER_DATA)]
        {
            let mut machine = long();
            machine.write(0x2340, &[0xf4]);
            let frame = [target, selector.into(), IF | 2, USER_STACK, stack.into()];
            push(&mut machine, size, &frame);
            outcome(&mut machine, code);
            let state = machine.vcpu.state();
            assert_eq!((state.rip & !1, state.gpr[4]), (target, USER_STACK));
            assert_eq!((machine.selector(CS), machine.selector(SS)), (selector, stack));
            assert_eq!(state.rflags, IF | 2);
        }
    }
}

#[test]
fn rsp_returns_with_all_its_bits_to_64_bit_mode_and_with_32_to_compatibility_mode() {
    let rsp = 0x1234_5678_9abc_def0;
    for (code, expected) in [(USER_CODE64, rsp), (USER_CODE32, rsp & 0xffff_ffff)] {
        let mut machine = long();
        push(&mut machine, 8, &[TARGET, code.into(), 2, rsp, USER_DATA.into()]);
        outcome(&mut machine, IRETQ);
        assert_eq!(machine.vcpu.state().gpr[4], expected);
    }
}

#[test]
fn a_null_stack_segment_returns_to_inner_64_bit_code_only() {
    let gp = Exit::Exception(Exception::gp(0));
    let mut machine = long();
    push(&mut machine, 8, &[TARGET, CODE64.into(), 2, USER_STACK, 0]);
    assert_eq!(outcome(&mut machine, IRETQ), Exit::Halt);
    assert!(machine.vcpu.state().segments[usize::from(SS)].rights.unusable());
    for (code, null) in [(CODE64, 3), (CODE32, 0), (USER_CODE64, 3), (USER_CODE64, 0)] {
        let mut machine = long();
        push(&mut machine, 8, &[TARGET, code.into(), 2, USER_STACK, null]);
        assert_eq!(outcome(&mut machine, IRETQ), gp);
        assert_eq!((machine.vcpu.state().rip, machine.vcpu.state().gpr[4]), (CODE, STACK));
    }
}

#[test]
fn compatibility_mode_pops_three_for_its_own_level() {
    let mut machine = long();
    machine.at(CODE32, DATA0);
    push(&mut machine, 4, &[TARGET, CODE32.into(), IF | 2]);
    assert_eq!(outcome(&mut machine, IRETD), Exit::Halt);
    assert_eq!(machine.vcpu.state().gpr[4], STACK + 12);
}

#[test]
fn a_return_address_that_is_not_canonical_is_gp_at_the_iret() {
    let mut machine = long();
    push(&mut machine, 8, &[1 << 47, USER_CODE64.into(), 2, USER_STACK, USER_DATA.into()]);
    assert_eq!(outcome(&mut machine, IRETQ), Exit::Exception(Exception::gp(0)));
    assert_eq!((machine.vcpu.state().rip, machine.selector(CS)), (CODE, CODE64));
}

#[test]
fn a_frame_on_a_device_is_read_item_by_item() {
    let mut machine = long();
    machine.state(|state| (state.gpr[4], state.nmi_blocked) = (0x80_0000, true));
    let frame = [TARGET, CODE64.into(), 2, STACK, DATA0.into()];
    let mut exit = outcome(&mut machine, IRETQ);
    for (n, value) in (0..).zip(frame) {
        assert_eq!(exit, Exit::MmioRead { address: 0x80_0000 + 8 * n, size: 8 });
        assert!(machine.vcpu.interruptibility().nmi_blocked);
        machine.vcpu.complete(value);
        exit = machine.vcpu.run(100);
    }
    assert_eq!((exit, machine.vcpu.state().rip), (Exit::Halt, TARGET + 1));
    assert!(!machine.vcpu.interruptibility().nmi_blocked);
}

#[test]
fn segments_of_the_outer_level_stay() {
    let mut machine = long();
    machine.state(|state| {
        state.segments[usize::from(FS)] = Segment { base: 0x1234, ..segment(USER_DATA) };
    });
    let frame = [TARGET, USER_CODE64.into(), 2, USER_STACK, USER_DATA.into()];
    push(&mut machine, 8, &frame);
    outcome(&mut machine, IRETQ);
    assert_eq!(machine.vcpu.state().segments[usize::from(FS)].base, 0x1234);
}

#[test]
fn rf_ends_with_an_image_that_has_none() {
    let mut machine = protected();
    machine.write(TARGET & 0xffff, &[0x90, 0xf4]);
    push(&mut machine, 2, &[TARGET & 0xffff, CODE32.into(), 2]);
    machine.write(CODE, IRETW);
    machine.state(|state| (state.rip, state.rflags) = (CODE, RF | 2));
    assert_eq!(machine.vcpu.run(1), Exit::Budget);
    assert_eq!((machine.vcpu.state().rip, machine.vcpu.state().rflags), (TARGET & 0xffff, 2));
}
