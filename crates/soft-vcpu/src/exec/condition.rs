// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! CMOVcc and SETcc.

use iced_x86::{ConditionCode, Instruction};

use crate::cpu::Cpu;
use crate::decode::{Chosen, Form, Kind};
use crate::exec::access::{loaded, stored};
use crate::int::Int;
use crate::op::{Flow, Handler, Op, Step};

pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    let cc = number(instruction)?;
    let handler = match form.kinds[..2] {
        [Kind::Reg, Kind::Reg] if instruction.op0_register().is_gpr() => cmov_rr(cc, form.size),
        [Kind::Reg, Kind::Mem] if instruction.op0_register().is_gpr() => cmov_rm(cc, form.size),
        [Kind::Reg, Kind::None] => Some(conditional!(cc, set_r)),
        [Kind::Mem, Kind::None] => Some(conditional!(cc, set_m)),
        _ => None,
    };
    handler.map(Chosen::plain)
}

/// The number of an instruction's condition, the low four bits of its opcode.
pub(super) fn number(instruction: &Instruction) -> Option<u8> {
    match instruction.condition_code() {
        ConditionCode::None => None,
        condition => Some(condition as u8 - ConditionCode::o as u8),
    }
}

/// A handler that is generic over the condition (first, a constant), for a condition's number.
macro_rules! conditional {
    ($cc:expr, $handler:ident $(, $arg:ty)*) => {
        conditional!(@all $cc, $handler, ($($arg),*),
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    };
    // Neither overflow nor parity.
    (common $cc:expr, $handler:ident $(, $arg:ty)*) => {
        conditional!(@all $cc, $handler, ($($arg),*), 2 3 4 5 6 7 8 9 12 13 14)
    };
    (@all $cc:expr, $handler:ident, $args:tt, $($n:literal)*) => {
        match $cc {
            $($n => conditional!(@one $handler, $n, $args),)*
            _ => conditional!(@one $handler, 15, $args),
        }
    };
    (@one $handler:ident, $n:literal, ($($arg:ty),*)) => {
        $handler::<$n $(, $arg)*> as $crate::op::Handler
    };
}
pub(super) use conditional;

fn cmov_rr(cc: u8, size: u8) -> Option<Handler> {
    match size {
        2 => Some(conditional!(cc, move_rr, u16)),
        4 => Some(conditional!(cc, move_rr, u32)),
        8 => Some(conditional!(cc, move_rr, u64)),
        _ => None,
    }
}

fn cmov_rm(cc: u8, size: u8) -> Option<Handler> {
    match size {
        2 => Some(conditional!(cc, move_rm, u16)),
        4 => Some(conditional!(cc, move_rm, u32)),
        8 => Some(conditional!(cc, move_rm, u64)),
        _ => None,
    }
}

/// The destination is written in any case: 32 bits clear the upper half.
fn move_rr<const CC: u8, T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let from = if cpu.flags.condition::<CC>() { op.src } else { op.dst };
    let value = T::get(&cpu.gpr, from);
    T::set(&mut cpu.gpr, op.dst, value);
    Ok(Flow::Next)
}

/// The source is read in any case.
fn move_rm<const CC: u8, T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    loaded(cpu, op, |cpu, op, source: T| {
        let value = match cpu.flags.condition::<CC>() {
            true => source,
            false => T::get(&cpu.gpr, op.dst),
        };
        T::set(&mut cpu.gpr, op.dst, value);
        Ok(Flow::Next)
    })
}

fn set_r<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = u8::from(cpu.flags.condition::<CC>());
    u8::set(&mut cpu.gpr, op.dst, value);
    Ok(Flow::Next)
}

fn set_m<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = u8::from(cpu.flags.condition::<CC>());
    stored(cpu, op, value)
}
