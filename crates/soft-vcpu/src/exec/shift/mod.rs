// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Shifts and rotates.
//!
//! A count of 0 (after masking) changes no flag, but a 32-bit register's upper half is cleared all
//! the same, and memory is written.

mod double;
mod rotate;

use iced_x86::{Instruction, Mnemonic};

use crate::cpu::Cpu;
use crate::decode::{Chosen, Form, Kind};
use crate::exec::sized;
use crate::flags::Flags;
use crate::int::{reg, Int};
use crate::op::{Flow, Handler, Op, Step};

pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    let handler = match instruction.mnemonic() {
        Mnemonic::Shl | Mnemonic::Sal => handler::<Shl>(form),
        Mnemonic::Shr => handler::<Shr>(form),
        Mnemonic::Sar => handler::<Sar>(form),
        Mnemonic::Rol => handler::<rotate::Rol>(form),
        Mnemonic::Ror => handler::<rotate::Ror>(form),
        Mnemonic::Rcl => handler::<rotate::Rcl>(form),
        Mnemonic::Rcr => handler::<rotate::Rcr>(form),
        _ => return double::select(instruction, form),
    };
    handler.map(Chosen::plain)
}

/// One of the seven.
trait Shift {
    /// The result of shifting by `count`, which is masked and not 0; `carry` is CF.
    fn shift<T: Int>(a: T, count: u32, carry: bool) -> T;
    /// The flags after that.
    fn flags<T: Int>(flags: &mut Flags, a: T, count: u32, result: T);
}

/// The count's bits that matter: five, or six for a 64-bit operand.
#[inline(always)]
fn masked<T: Int>(count: u64) -> u32 {
    (count & if T::BITS == 64 { 63 } else { 31 }) as u32
}

fn handler<S: Shift>(form: &Form) -> Option<Handler> {
    match (form.kinds[0], form.kinds[1]) {
        (Kind::Reg, Kind::Imm) => sized!(form.size, by_imm, S),
        (Kind::Reg, Kind::Reg) => sized!(form.size, by_cl, S),
        (Kind::Mem, Kind::Imm) => sized!(form.size, memory_by_imm, S),
        (Kind::Mem, Kind::Reg) => sized!(form.size, memory_by_cl, S),
        _ => None,
    }
}

fn by_imm<T: Int, S: Shift>(cpu: &mut Cpu, op: &Op) -> Step {
    register::<T, S>(cpu, op, masked::<T>(op.imm))
}

fn by_cl<T: Int, S: Shift>(cpu: &mut Cpu, op: &Op) -> Step {
    register::<T, S>(cpu, op, masked::<T>(cpu.gpr[usize::from(reg::RCX)]))
}

fn memory_by_imm<T: Int, S: Shift>(cpu: &mut Cpu, op: &Op) -> Step {
    memory::<T, S>(cpu, op, masked::<T>(op.imm))
}

fn memory_by_cl<T: Int, S: Shift>(cpu: &mut Cpu, op: &Op) -> Step {
    memory::<T, S>(cpu, op, masked::<T>(cpu.gpr[usize::from(reg::RCX)]))
}

#[inline(always)]
fn register<T: Int, S: Shift>(cpu: &mut Cpu, op: &Op, count: u32) -> Step {
    let a = T::get(&cpu.gpr, op.dst);
    if count == 0 {
        T::set(&mut cpu.gpr, op.dst, a);
        return Ok(Flow::Next);
    }
    let result = S::shift(a, count, cpu.flags.cf());
    S::flags(&mut cpu.flags, a, count, result);
    T::set(&mut cpu.gpr, op.dst, result);
    Ok(Flow::Next)
}

#[inline(always)]
fn memory<T: Int, S: Shift>(cpu: &mut Cpu, op: &Op, count: u32) -> Step {
    if count == 0 {
        cpu.modify(op, |a: T| a)?;
        return Ok(Flow::Next);
    }
    let carry = cpu.flags.cf();
    let a = cpu.modify(op, |a: T| S::shift(a, count, carry))?;
    S::flags(&mut cpu.flags, a, count, S::shift(a, count, carry));
    Ok(Flow::Next)
}

/// The sign bit of `value`, a `T`.
#[inline(always)]
fn sign<T: Int>(value: u64) -> bool {
    value & T::SIGN != 0
}

// The count may be beyond the size of 8 and 16 bits: what is shifted out then are zeros (copies of
// the sign, for SAR). OF is defined for a count of 1 alone; for others it is what the same rule
// makes of it.

struct Shl;

impl Shift for Shl {
    #[inline(always)]
    fn shift<T: Int>(a: T, count: u32, _: bool) -> T {
        T::from_u64(a.zx() << (count & 63))
    }

    #[inline(always)]
    fn flags<T: Int>(flags: &mut Flags, a: T, count: u32, result: T) {
        let cf = sign::<T>(a.zx() << (count.wrapping_sub(1) & 63));
        flags.result_with(result, cf, cf ^ sign::<T>(result.zx()));
    }
}

struct Shr;

impl Shift for Shr {
    #[inline(always)]
    fn shift<T: Int>(a: T, count: u32, _: bool) -> T {
        T::from_u64(a.zx() >> (count & 63))
    }

    #[inline(always)]
    fn flags<T: Int>(flags: &mut Flags, a: T, count: u32, result: T) {
        let cf = a.zx() >> (count.wrapping_sub(1) & 63) & 1 != 0;
        // For a count of 1: the operand's sign.
        let of = sign::<T>(result.zx() << 1 ^ result.zx());
        flags.result_with(result, cf, of);
    }
}

struct Sar;

impl Shift for Sar {
    #[inline(always)]
    fn shift<T: Int>(a: T, count: u32, _: bool) -> T {
        T::from_u64((a.sx() as i64 >> (count & 63)) as u64)
    }

    #[inline(always)]
    fn flags<T: Int>(flags: &mut Flags, a: T, count: u32, result: T) {
        let cf = a.sx() as i64 >> (count.wrapping_sub(1) & 63) & 1 != 0;
        flags.result_with(result, cf, false);
    }
}
