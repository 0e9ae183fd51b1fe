// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! IA-32e mode (SDM vol. 3, "Exception and Interrupt Handling in 64-bit Mode").

use iced_x86::code_asm::*;
use vcpu_events::Event;

use super::super::machine::{Machine, CODE, CODE64, DATA0, STACK};
use super::super::tables::INTERRUPT;
use crate::segment::{CS, SS};
use crate::Exit;

fn machine() -> Machine {
    let mut machine = Machine::long();
    machine.handlers(CODE64, INTERRUPT);
    machine.tss64();
    machine
}

#[test]
fn an_interrupt_pushes_five_quadwords_below_an_aligned_stack() {
    let mut machine = machine();
    machine.state(|state| (state.gpr[4], state.rflags) = (STACK - 3, 0x202));
    machine.vcpu.inject(Event::Interrupt(0x40)).unwrap();
    assert_eq!(machine.run(|a| a.nop()), Exit::Halt);
    assert_eq!(machine.handled(), 0x40);
    assert_eq!(machine.vcpu.state().gpr[4], STACK - 16 - 40);
    let frame = [CODE, u64::from(CODE64), 0x202, STACK - 3, u64::from(DATA0)];
    assert_eq!(machine.frame(8, 5), frame);
    assert_eq!(machine.vcpu.state().rflags, 2);
    assert_eq!((machine.selector(CS), machine.selector(SS)), (CODE64, DATA0));
}

#[test]
fn iretq_goes_back() {
    let mut machine = machine();
    machine.write(super::super::tables::HANDLERS + 16 * 0x41, &[0x48, 0xcf]);
    let exit = machine.run(|a| {
        a.int(0x41)?;
        a.mov(eax, 7)?;
        a.hlt()
    });
    assert_eq!(exit, Exit::Halt);
    let state = machine.vcpu.state();
    assert_eq!((state.gpr[0], state.gpr[4]), (7, STACK));
}
