// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Tests of the CPU as a whole.

mod alu;
mod branch;
mod code;

mod delivery;
mod exchange;
mod far;
mod integer;
mod joined;
mod machine;
mod mmio;
mod paging;
mod reset;
mod running;
mod simd;
mod sse_fp;
mod stack;
mod string;
mod system;
mod tables;
mod tlb;
mod x87;

use iced_x86::code_asm::*;
use machine::Machine;

use crate::Exit;

#[test]
fn an_addition_runs_to_hlt() {
    let mut machine = Machine::long();
    machine.state(|state| (state.gpr[0], state.gpr[3]) = (40, 2));
    let exit = machine.run(|a| {
        a.add(rax, rbx)?;
        a.add(al, 1)?;
        a.hlt()
    });
    assert_eq!(exit, Exit::Halt);
    assert_eq!(machine.vcpu.state().gpr[0], 43);
}

#[test]
fn real_mode_runs_too() {
    let mut machine = Machine::real();
    let exit = machine.run(|a| {
        a.add(ax, 0x1234)?;
        a.hlt()
    });
    assert_eq!(exit, Exit::Halt);
    assert_eq!(machine.vcpu.state().gpr[0], 0x1234);
}
