// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handlers that compute: arithmetic of two operands, of one, comparisons.

use super::arith::Binary;
use super::compare::{self, codes, compare_st, Relation};
use super::convert::Source;
use super::env::{Env, Outcome};
use super::form::{on_memory, on_registers};
use super::num::Num;
use crate::cpu::Cpu;
use crate::flags::bit;
use crate::op::{Op, Step};
use crate::x87::{status, F80, X87};

/// `destination = destination op source`, both registers.
pub(super) fn binary<O: Binary, const POP: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| {
        let result = match (x87.st(op.dst), x87.st(op.src)) {
            (Some(a), Some(b)) => O::apply(env, Num::of(a), Num::of(b))?,
            _ => env.stack_underflow()?,
        };
        x87.set_st(op.dst, result);
        if POP {
            x87.pop();
        }
        Ok(())
    })
}

/// `ST(0) = ST(0) op memory`.
pub(super) fn binary_memory<O: Binary, T: Source>(cpu: &mut Cpu, op: &Op) -> Step {
    on_memory(cpu, op, |x87, env, value: T| {
        let result = match x87.st(0) {
            Some(a) => O::apply(env, Num::of(a), value.num())?,
            None => env.stack_underflow()?,
        };
        x87.set_st(0, result);
        Ok(())
    })
}

/// An operation on ST(0).
pub(super) trait Unary: 'static {
    fn apply(env: &mut Env, a: Num) -> Outcome<F80>;
}

/// FSQRT.
pub(super) struct Sqrt;
/// FRNDINT.
pub(super) struct Round;

impl Unary for Sqrt {
    fn apply(env: &mut Env, a: Num) -> Outcome<F80> {
        super::arith::sqrt(env, a)
    }
}

impl Unary for Round {
    fn apply(env: &mut Env, a: Num) -> Outcome<F80> {
        super::convert::round_to_integer(env, a)
    }
}

/// `ST(0) = op ST(0)`.
pub(super) fn unary<O: Unary>(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| {
        let result = match x87.st(0) {
            Some(a) => O::apply(env, Num::of(a))?,
            None => env.stack_underflow()?,
        };
        x87.set_st(0, result);
        Ok(())
    })
}

/// Condition codes of a comparison, then the pops if nothing is unmasked.
#[inline(always)]
fn conclude<const POPS: u8>(
    x87: &mut X87,
    env: &mut Env,
    (relation, outcome): (Relation, Outcome<()>),
) -> Outcome<()> {
    env.set_codes(codes(relation));
    outcome?;
    for _ in 0..POPS {
        x87.pop();
    }
    Ok(())
}

/// FCOM, FCOMP, FCOMPP; `QUIET`: FUCOM, FUCOMP, FUCOMPP.
pub(super) fn compare<const QUIET: bool, const POPS: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| {
        // The forms that pop twice have no operands.
        let other = if POPS == 2 { 1 } else { op.src };
        let found = compare_st(env, x87.st(0), x87.st(other).map(Num::of), QUIET);
        conclude::<POPS>(x87, env, found)
    })
}

/// FCOM, FCOMP, FICOM, FICOMP with memory.
pub(super) fn compare_memory<T: Source, const POPS: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    on_memory(cpu, op, |x87, env, value: T| {
        let found = compare_st(env, x87.st(0), Some(value.num()), false);
        conclude::<POPS>(x87, env, found)
    })
}

/// FTST.
pub(super) fn test(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| {
        let found = compare_st(env, x87.st(0), Some(Num::of_int(0)), false);
        conclude::<0>(x87, env, found)
    })
}

/// FCOMI, FCOMIP; `QUIET`: FUCOMI, FUCOMIP.
pub(super) fn compare_flags<const QUIET: bool, const POP: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let mut relation = None;
    let step = on_registers(cpu, op, |x87, env| {
        let (found, outcome) = compare_st(env, x87.st(0), x87.st(op.src).map(Num::of), QUIET);
        relation = found;
        outcome?;
        if POP {
            x87.pop();
        }
        Ok(())
    })?;
    // C3, C2 and C0 are in the order of ZF, PF and CF.
    let codes = codes(relation);
    let flag = |code: u16, flag: u64| if codes & code != 0 { flag } else { 0 };
    cpu.flags.set_status(
        flag(status::C3, bit::ZF) | flag(status::C2, bit::PF) | flag(status::C0, bit::CF),
    );
    Ok(step)
}

/// FXAM.
pub(super) fn examine(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| {
        compare::examine(x87, env);
        Ok(())
    })
}
