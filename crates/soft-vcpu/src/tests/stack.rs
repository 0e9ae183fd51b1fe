// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PUSH, POP, PUSHA, POPA, ENTER, LEAVE: what they make of RSP, in all sizes.

use iced_x86::code_asm::*;
use vcpu_events::Exception;

use super::machine::{Machine, DATA, STACK};
use crate::segment::{Segment, SS};
use crate::{Exit, State};

const RSP: usize = 4;
const RBP: usize = 5;

fn run(machine: &mut Machine, code: &[u8]) -> State {
    assert_eq!(machine.run_bytes(&[code, &[0xf4]].concat()), Exit::Halt);
    machine.vcpu.state()
}

/// Mode, code -> bytes pushed, the value that is on top then.
#[test]
fn immediates_are_pushed_at_the_operand_size() {
    let modes: [fn() -> Machine; 3] = [Machine::real, Machine::protected, Machine::long];
    for (mode, code, bytes, value) in [
        (0, &[0x6a, 0x80][..], 2, 0xff80u64),
        (0, &[0x66, 0x6a, 0x80], 4, 0xffff_ff80),
        (0, &[0x68, 0x34, 0x92], 2, 0x9234),
        (1, &[0x6a, 0x80], 4, 0xffff_ff80),
        (1, &[0x66, 0x6a, 0x80], 2, 0xff80),
        (1, &[0x68, 1, 2, 3, 0x84], 4, 0x8403_0201),
        (2, &[0x6a, 0x80], 8, 0xffff_ffff_ffff_ff80),
        (2, &[0x66, 0x6a, 0x80], 2, 0xff80),
        (2, &[0x66, 0x68, 0x34, 0x92], 2, 0x9234),
        (2, &[0x68, 1, 2, 3, 0x84], 8, 0xffff_ffff_8403_0201),
    ] {
        let mut machine = modes[mode]();
        let state = run(&mut machine, code);
        assert_eq!(state.gpr[RSP], STACK - bytes, "{code:x?}");
        let mask = u64::MAX >> (64 - 8 * bytes);
        assert_eq!(machine.read_u64(STACK - bytes) & mask, value, "{code:x?}");
    }
}

#[test]
fn rsp_is_pushed_as_it_was_and_popped_as_it_is() {
    let mut machine = Machine::long();
    machine.run(|a| {
        a.push(rsp)?;
        a.pop(rax)?;
        a.push(0x1234)?;
        a.pop(rsp)?;
        a.hlt()
    });
    let state = machine.vcpu.state();
    assert_eq!((state.gpr[0], state.gpr[RSP]), (STACK, 0x1234));
}

#[test]
fn pop_to_memory_has_its_address_from_after_the_pop() {
    let mut machine = Machine::long();
    machine.run(|a| {
        a.push(0x55)?;
        a.pop(qword_ptr(rsp + 8))?;
        a.hlt()
    });
    assert_eq!(machine.vcpu.state().gpr[RSP], STACK);
    assert_eq!(machine.read_u64(STACK + 8), 0x55);
}

#[test]
fn push_of_memory_has_its_address_from_before_the_push() {
    let mut machine = Machine::long();
    machine.write(STACK + 8, &0x77u64.to_le_bytes());
    machine.run(|a| {
        a.push(qword_ptr(rsp + 8))?;
        a.pop(rax)?;
        a.hlt()
    });
    assert_eq!(machine.vcpu.state().gpr[0], 0x77);
}

#[test]
fn a_16_bit_stack_wraps_and_leaves_the_rest_of_rsp() {
    let mut machine = Machine::real();
    machine.state(|state| (state.gpr[0], state.gpr[RSP]) = (0xabcd, 0x7777_0000));
    let state = run(&mut machine, &[0x50]);
    assert_eq!(state.gpr[RSP], 0x7777_fffe);
    let state = run(&mut machine, &[0x5b]);
    assert_eq!((state.gpr[RSP], state.gpr[3]), (0x7777_0000, 0xabcd));
}

#[test]
fn all_registers_are_pushed_and_popped_but_sp() {
    for (mut machine, bytes) in [(Machine::real(), 2), (Machine::protected(), 4)] {
        machine.state(|state| {
            for n in 0..8 {
                if n != RSP {
                    state.gpr[n] = 0x1111 * (n as u64 + 1);
                }
            }
        });
        let before = machine.vcpu.state().gpr;
        assert_eq!(run(&mut machine, &[0x60]).gpr[RSP], STACK - 8 * bytes);
        for (n, value) in before.into_iter().take(8).enumerate() {
            let at = STACK - bytes * (n as u64 + 1);
            assert_eq!(machine.read_u64(at) & 0xffff, value, "register {n}");
        }
        machine.state(|state| {
            for n in (0..8).filter(|n| *n != RSP) {
                state.gpr[n] = 0;
            }
        });
        // Whatever is in SP's place.
        machine.write(STACK - 5 * bytes, &[0xff; 2]);
        assert_eq!(run(&mut machine, &[0x61]).gpr, before);
    }
}

/// ENTER 32, level: RBP after, RSP after, and the display on the stack.
#[test]
fn enter_builds_a_display_and_leave_takes_it_down() {
    let outer = DATA + 0x100;
    for (level, display) in [
        (0u8, &[outer][..]),
        (1, &[outer, STACK - 8]),
        (3, &[outer, 0xaaaa, 0xbbbb, STACK - 8]),
        // Levels are modulo 32.
        (33, &[outer, STACK - 8]),
    ] {
        let mut machine = Machine::long();
        machine.write(outer - 8, &0xaaaau64.to_le_bytes());
        machine.write(outer - 16, &0xbbbbu64.to_le_bytes());
        machine.state(|state| state.gpr[RBP] = outer);
        let state = run(&mut machine, &[0xc8, 32, 0, level]);
        assert_eq!(state.gpr[RBP], STACK - 8);
        assert_eq!(state.gpr[RSP], STACK - 8 * display.len() as u64 - 32);
        for (n, value) in (1..).zip(display) {
            assert_eq!(machine.read_u64(STACK - 8 * n), *value, "level {level}, item {n}");
        }
        let state = run(&mut machine, &[0xc9]);
        assert_eq!((state.gpr[RSP], state.gpr[RBP]), (STACK, outer));
    }
}

#[test]
fn enter_faults_as_a_write_at_the_new_top_would() {
    let mut machine = Machine::long();
    machine.vcpu.set_exception_exits(u32::MAX);
    machine.state(|state| state.gpr[RSP] = 0x1000);
    let before = machine.vcpu.state().gpr;
    let exit = machine.run_bytes(&[0xc8, 0x08, 0x10, 0]);
    let at = 0u64.wrapping_sub(0x10);
    assert_eq!(exit, Exit::Exception(Exception::pf(2, at)));
    assert_eq!(machine.vcpu.state().gpr, before);
}

#[test]
fn a_stack_that_faults_keeps_its_pointer() {
    // push rax, pop rax, call +0, ret, leave; pop [rbx] and enter with a good stack otherwise.
    for code in [&[0x50][..], &[0x58], &[0xe8, 0, 0, 0, 0], &[0xc3], &[0xc9], &[0xc8, 0, 0, 0]] {
        let mut machine = Machine::long();
        machine.vcpu.set_exception_exits(u32::MAX);
        let bad = 0x8000_0000_0000_0000;
        machine.state(|state| (state.gpr[RSP], state.gpr[RBP]) = (bad, bad));
        let before = machine.vcpu.state();
        assert_eq!(machine.run_bytes(code), Exit::Exception(Exception::ss(0)), "{code:x?}");
        assert_eq!(machine.vcpu.state().gpr, before.gpr, "{code:x?}");
    }
}

#[test]
fn a_stack_segments_limit_holds() {
    for code in [&[0x50][..], &[0x60], &[0x6a, 1], &[0xe8, 0, 0, 0, 0], &[0xc8, 0, 0, 1]] {
        let mut machine = Machine::protected();
        machine.vcpu.set_exception_exits(u32::MAX);
        machine.state(|state| {
            let stack = state.segments[usize::from(SS)];
            state.segments[usize::from(SS)] = Segment { limit: STACK as u32 - 3, ..stack };
        });
        let before = machine.vcpu.state();
        assert_eq!(machine.run_bytes(code), Exit::Exception(Exception::ss(0)), "{code:x?}");
        assert_eq!(machine.vcpu.state().gpr, before.gpr, "{code:x?}");
    }
}
