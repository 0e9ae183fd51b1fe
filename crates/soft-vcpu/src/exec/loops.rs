// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LOOP, LOOPE, LOOPNE; JCXZ, JECXZ, JRCXZ. The counter's size is the address size.

use iced_x86::{Code, Instruction, Mnemonic};

use super::branch::{jmp, Reach};
use crate::cpu::Cpu;
use crate::int::{reg, Int};
use crate::op::{Flow, Handler, Op, Step};

pub(super) fn select<R: Reach>(instruction: &Instruction) -> Option<Handler> {
    match instruction.mnemonic() {
        Mnemonic::Jcxz => Some(jump_if_zero::<u16, R>),
        Mnemonic::Jecxz => Some(jump_if_zero::<u32, R>),
        Mnemonic::Jrcxz => Some(jump_if_zero::<u64, R>),
        Mnemonic::Loop => counted::<R, true, true>(instruction),
        Mnemonic::Loope => counted::<R, true, false>(instruction),
        Mnemonic::Loopne => counted::<R, false, true>(instruction),
        _ => None,
    }
}

fn counted<R: Reach, const SET: bool, const CLEAR: bool>(
    instruction: &Instruction,
) -> Option<Handler> {
    use Code::*;
    match instruction.code() {
        Loop_rel8_16_CX | Loop_rel8_32_CX | Loope_rel8_16_CX | Loope_rel8_32_CX
        | Loopne_rel8_16_CX | Loopne_rel8_32_CX => Some(repeat::<u16, R, SET, CLEAR>),
        Loop_rel8_16_ECX | Loop_rel8_32_ECX | Loop_rel8_64_ECX | Loope_rel8_16_ECX
        | Loope_rel8_32_ECX | Loope_rel8_64_ECX | Loopne_rel8_16_ECX | Loopne_rel8_32_ECX
        | Loopne_rel8_64_ECX => Some(repeat::<u32, R, SET, CLEAR>),
        Loop_rel8_16_RCX | Loop_rel8_64_RCX | Loope_rel8_16_RCX | Loope_rel8_64_RCX
        | Loopne_rel8_16_RCX | Loopne_rel8_64_RCX => Some(repeat::<u64, R, SET, CLEAR>),
        _ => None,
    }
}

fn jump_if_zero<T: Int, R: Reach>(cpu: &mut Cpu, op: &Op) -> Step {
    match T::get(&cpu.gpr, reg::RCX).zx() {
        0 => jmp::<R>(cpu, op),
        _ => Ok(Flow::Next),
    }
}

/// Counts down, and goes on with ZF set and clear as the parameters say.
fn repeat<T: Int, R: Reach, const SET: bool, const CLEAR: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let count = T::from_u64(T::get(&cpu.gpr, reg::RCX).zx().wrapping_sub(1));
    let wanted = if cpu.flags.zf() { SET } else { CLEAR };
    let flow = match wanted && count.zx() != 0 {
        true => jmp::<R>(cpu, op)?,
        false => Flow::Next,
    };
    T::set(&mut cpu.gpr, reg::RCX, count);
    Ok(flow)
}
