// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Jumps, calls, loops, and the stack under them.

use iced_x86::code_asm::*;

use super::machine::{Machine, STACK};
use crate::Exit;

#[test]
fn a_loop_sums_the_numbers_to_a_hundred() {
    let mut machine = Machine::long();
    let exit = machine.run(|a| {
        let mut again = a.create_label();
        a.xor(eax, eax)?;
        a.mov(ecx, 100)?;
        a.set_label(&mut again)?;
        a.add(eax, ecx)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.hlt()
    });
    assert_eq!(exit, Exit::Halt);
    assert_eq!(machine.vcpu.state().gpr[0], 5050);
}

#[test]
fn calls_nest_and_return() {
    for mut machine in [Machine::long(), Machine::protected(), Machine::real()] {
        // CALL +1; HLT; (function) CALL +3; ADD AX, 1; RET; (inner) INC AX; RET
        let offset = machine.word();
        let mut code = vec![0xe8];
        code.extend(&1u32.to_le_bytes()[..offset]);
        code.push(0xf4);
        code.push(0xe8);
        let adds: &[u8] = &[0x04, 0x01, 0xc3];
        code.extend(&(adds.len() as u32).to_le_bytes()[..offset]);
        code.extend(adds);
        code.extend([0x04, 0x10, 0xc3]);
        assert_eq!(machine.run_bytes(&code), Exit::Halt);
        let state = machine.vcpu.state();
        assert_eq!(state.gpr[0], 0x11);
        assert_eq!(state.gpr[4], STACK);
    }
}
