// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! BOUND.

use iced_x86::{Instruction, Mnemonic};
use vcpu_events::Exception;

use crate::cpu::Cpu;
use crate::decode::{Chosen, Form};
use crate::int::Int;
use crate::op::{Flow, Op, Step};

/// #BR, BOUND range exceeded.
const BR: Exception = match Exception::new(5, None) {
    Ok(exception) => exception,
    Err(_) => panic!("vector 5 is an exception without an error code"),
};

pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    if form.mode.code64() {
        return None;
    }
    match (instruction.mnemonic(), instruction.op0_register().size()) {
        (Mnemonic::Bound, 2) => Some(Chosen::plain(bound::<u16>)),
        (Mnemonic::Bound, 4) => Some(Chosen::plain(bound::<u32>)),
        _ => None,
    }
}

fn bound<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let index = T::get(&cpu.gpr, op.dst).sx() as i64;
    let at = cpu.read_address(op, 2 * T::BYTES)?;
    let lower = cpu.read::<T>(op.seg, at)?.sx() as i64;
    let upper = cpu.read::<T>(op.seg, at.wrapping_add(T::BYTES) & 0xffff_ffff)?.sx() as i64;
    match (lower..=upper).contains(&index) {
        true => Ok(Flow::Next),
        false => Err(cpu.raise(BR)),
    }
}
