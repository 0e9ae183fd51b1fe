// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Real mode (SDM vol. 3, "8086 Emulation").

use iced_x86::code_asm::*;
use vcpu_events::Event;

use super::super::machine::{Machine, REAL_CODE, STACK};
use super::VECTOR;
use crate::segment::CS;
use crate::Exit;

const IF: u64 = 0x200;

/// Vector n's handler is a HLT at 0900:n.
fn machine() -> Machine {
    let mut machine = Machine::real();
    for vector in 0..=255u64 {
        machine.write(vector * 4, &(0x0900_0000u32 | vector as u32).to_le_bytes());
        machine.write(0x9000 + vector, &[0xf4]);
    }
    machine
}

#[test]
fn an_interrupt_pushes_three_words() {
    let mut machine = machine();
    machine.state(|state| state.rflags = 0x4_0302);
    machine.vcpu.inject(Event::Interrupt(VECTOR)).unwrap();
    assert_eq!(machine.run(|a| a.nop()), Exit::Halt);
    let state = machine.vcpu.state();
    assert_eq!((state.rip, state.gpr[4]), (u64::from(VECTOR) + 1, STACK - 6));
    assert_eq!(machine.frame(2, 3), [REAL_CODE, 0, 0x302]);
    // IF, TF and AC are clear.
    assert_eq!(state.rflags, 2);
    let code = state.segments[usize::from(CS)];
    assert_eq!((code.selector, code.base, code.limit), (0x900, 0x9000, 0xffff));
}

#[test]
fn an_exception_pushes_no_error_code() {
    let mut machine = machine();
    // A word at 0xffff is beyond the limit.
    let exit = machine.run(|a| a.mov(ax, word_ptr(0xffff)));
    assert_eq!(exit, Exit::Halt);
    assert_eq!((machine.vcpu.state().rip, machine.vcpu.state().gpr[4]), (14, STACK - 6));
    assert_eq!(machine.frame(2, 1), [REAL_CODE]);
}

#[test]
fn int_and_iret() {
    let mut machine = machine();
    machine.write(0x9000 + 0x41, &[0xcf]);
    machine.state(|state| state.rflags = IF | 0x8d5);
    let exit = machine.run(|a| {
        a.int(0x41)?;
        a.hlt()
    });
    let state = machine.vcpu.state();
    assert_eq!((exit, state.rip, state.gpr[4]), (Exit::Halt, REAL_CODE + 3, STACK));
    assert_eq!((state.rflags, machine.selector(CS)), (IF | 0x8d7, 0));
}

#[test]
fn a_vector_outside_of_the_table_ends_in_shutdown() {
    let mut machine = machine();
    machine.state(|state| state.idtr.limit = 3);
    assert_eq!(machine.run(|a| a.int(0x41)), Exit::Shutdown);
}

#[test]
fn the_table_may_be_elsewhere() {
    let mut machine = machine();
    machine.state(|state| state.idtr.base = 0x10_0000);
    machine.write(0x10_0000 + 4 * u64::from(VECTOR), &0x0900_0007u32.to_le_bytes());
    assert_eq!(machine.run(|a| a.int(i32::from(VECTOR))), Exit::Halt);
    assert_eq!(machine.vcpu.state().rip, 8);
}

#[test]
fn the_stack_wraps_at_a_word_boundary_and_faults_at_an_odd_one() {
    let mut machine = machine();
    machine.state(|state| state.gpr[4] = 0xabc_0002);
    assert_eq!(machine.run(|a| a.int(i32::from(VECTOR))), Exit::Halt);
    assert_eq!(machine.vcpu.state().gpr[4], 0xabc_fffc);
    // #SS has no room either.
    machine.state(|state| {
        state.gpr[4] = 1;
        state.segments[usize::from(CS)] = crate::Segment::real(0, 0xb);
    });
    assert_eq!(machine.run(|a| a.int(i32::from(VECTOR))), Exit::Shutdown);
}
