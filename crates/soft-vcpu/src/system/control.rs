// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Control registers, MSRs, CPUID, I/O, and other privileged instructions.

use iced_x86::{Instruction, Mnemonic};

use crate::cpu::{Cause, Cpu};
use crate::decode::{Chosen, Form};
use crate::op::{Op, Step};

pub(crate) fn select(instruction: &Instruction, _: &Form) -> Option<Chosen> {
    match instruction.mnemonic() {
        Mnemonic::Hlt => Some(Chosen::ends(hlt)),
        _ => None,
    }
}

fn hlt(cpu: &mut Cpu, _: &Op) -> Step {
    match cpu.cpl() {
        0 => Err(cpu.stop(Cause::Halt)),
        _ => Err(cpu.gp()),
    }
}
