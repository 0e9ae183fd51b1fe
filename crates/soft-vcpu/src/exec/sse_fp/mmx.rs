// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Conversions between XMM and MMX registers: those between XMM registers, in the low half.
//!
//! The registers become MMX's before the conversion, which may raise #XM.

use super::native::{from_host, run, to_host};
use super::packed::{load, Packed};
use crate::cpu::Cpu;
use crate::int::Data;
use crate::op::{Flow, Op, Step};

/// CVTPI2PS and CVTPI2PD from a register. `KEEP`: the high half of the destination stays.
pub(super) fn from_register<P: Packed, const KEEP: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.x87_ready()?;
    let source = cpu.x87.mmx(op.src);
    cpu.x87.enter_mmx();
    from_finish::<P, KEEP>(cpu, op, source)
}

/// CVTPI2PS and CVTPI2PD from memory: the x87 FPU has no part in it.
pub(super) fn from_memory<P: Packed, const KEEP: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = cpu.load(op)?;
    from_finish::<P, KEEP>(cpu, op, source)
}

fn from_finish<P: Packed, const KEEP: bool>(cpu: &mut Cpu, op: &Op, source: u64) -> Step {
    let first = cpu.sse.get(op.dst);
    let result = from_host(run::<P>(cpu, to_host(0), to_host(source.into()))?);
    let high = if KEEP { !u128::from(u64::MAX) } else { 0 };
    cpu.sse.set(op.dst, first & high | result & !high);
    Ok(Flow::Next)
}

/// To an MMX register, from `T` in an XMM register.
pub(super) fn to_register<P: Packed, T: Data>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.x87_ready()?;
    let source = T::from_wide(cpu.sse.get(op.src)).wide();
    to_finish::<P>(cpu, op, source)
}

/// To an MMX register, from `T` in memory.
pub(super) fn to_register_from_memory<P: Packed, T: Data>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.x87_ready()?;
    let source = load::<T>(cpu, op)?;
    to_finish::<P>(cpu, op, source)
}

fn to_finish<P: Packed>(cpu: &mut Cpu, op: &Op, source: u128) -> Step {
    cpu.x87.enter_mmx();
    let result = from_host(run::<P>(cpu, to_host(0), to_host(source))?);
    cpu.x87.set_mmx(op.dst, result as u64);
    Ok(Flow::Next)
}
