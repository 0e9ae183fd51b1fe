// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! SHLD and SHRD.

use iced_x86::{Instruction, Mnemonic};

use super::{masked, sign};
use crate::cpu::Cpu;
use crate::decode::{Chosen, Form, Kind};
use crate::exec::sized;
use crate::flags::Flags;
use crate::int::{reg, Int};
use crate::op::{Flow, Handler, Op, Step};

pub(super) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    let handler = match instruction.mnemonic() {
        Mnemonic::Shld => handler::<Left>(form),
        Mnemonic::Shrd => handler::<Right>(form),
        _ => None,
    };
    handler.map(Chosen::plain)
}

trait Double {
    /// `a` shifted by `count` (masked, not 0), filled from `fill`; and the last bit shifted out.
    fn shift<T: Int>(a: T, fill: T, count: u32) -> (T, bool);
}

fn handler<D: Double>(form: &Form) -> Option<Handler> {
    match (form.kinds[0], form.kinds[2]) {
        (Kind::Reg, Kind::Imm) => sized!(form.size, by_imm, D),
        (Kind::Reg, Kind::Reg) => sized!(form.size, by_cl, D),
        (Kind::Mem, Kind::Imm) => sized!(form.size, memory_by_imm, D),
        (Kind::Mem, Kind::Reg) => sized!(form.size, memory_by_cl, D),
        _ => None,
    }
}

fn by_imm<T: Int, D: Double>(cpu: &mut Cpu, op: &Op) -> Step {
    register::<T, D>(cpu, op, masked::<T>(op.imm))
}

fn by_cl<T: Int, D: Double>(cpu: &mut Cpu, op: &Op) -> Step {
    register::<T, D>(cpu, op, masked::<T>(cpu.gpr[usize::from(reg::RCX)]))
}

fn memory_by_imm<T: Int, D: Double>(cpu: &mut Cpu, op: &Op) -> Step {
    memory::<T, D>(cpu, op, masked::<T>(op.imm))
}

fn memory_by_cl<T: Int, D: Double>(cpu: &mut Cpu, op: &Op) -> Step {
    memory::<T, D>(cpu, op, masked::<T>(cpu.gpr[usize::from(reg::RCX)]))
}

#[inline(always)]
fn register<T: Int, D: Double>(cpu: &mut Cpu, op: &Op, count: u32) -> Step {
    let (a, fill) = (T::get(&cpu.gpr, op.dst), T::get(&cpu.gpr, op.src));
    let mut result = a;
    if count != 0 {
        let cf;
        (result, cf) = D::shift(a, fill, count);
        flags(&mut cpu.flags, a, result, cf);
    }
    T::set(&mut cpu.gpr, op.dst, result);
    Ok(Flow::Next)
}

#[inline(always)]
fn memory<T: Int, D: Double>(cpu: &mut Cpu, op: &Op, count: u32) -> Step {
    let fill = T::get(&cpu.gpr, op.src);
    if count == 0 {
        cpu.modify(op, |a: T| a)?;
        return Ok(Flow::Next);
    }
    let a = cpu.modify(op, |a: T| D::shift(a, fill, count).0)?;
    let (result, cf) = D::shift(a, fill, count);
    flags(&mut cpu.flags, a, result, cf);
    Ok(Flow::Next)
}

/// OF is defined for a count of 1 alone: whether the sign changed.
#[inline(always)]
fn flags<T: Int>(flags: &mut Flags, a: T, result: T, cf: bool) {
    flags.result_with(result, cf, sign::<T>(a.zx() ^ result.zx()));
}

// A 16-bit operand may be shifted by more than 16; the result is undefined. Here, as on Intel's
// processors since the P6, the operand itself comes in then: `a:fill:a` is shifted (AMD's take
// `fill` twice).

struct Left;

impl Double for Left {
    #[inline(always)]
    fn shift<T: Int>(a: T, fill: T, count: u32) -> (T, bool) {
        if T::BITS == 16 {
            let wide = a.zx() << 32 | fill.zx() << 16 | a.zx();
            let cf = wide >> (48 - count) & 1 != 0;
            return (T::from_u64(wide << count >> 32), cf);
        }
        let wide = (a.wide() << T::BITS | fill.wide()) << (count - 1);
        let cf = wide >> (2 * T::BITS - 1) & 1 != 0;
        (T::from_u64((wide << 1 >> T::BITS) as u64), cf)
    }
}

struct Right;

impl Double for Right {
    #[inline(always)]
    fn shift<T: Int>(a: T, fill: T, count: u32) -> (T, bool) {
        let mut wide = fill.wide() << T::BITS | a.wide();
        if T::BITS == 16 {
            wide |= a.wide() << 32;
        }
        wide >>= count - 1;
        (T::from_u64((wide >> 1) as u64), wide & 1 != 0)
    }
}
