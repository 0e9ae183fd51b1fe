// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Shifts. A count beyond the lane's width shifts everything out.

use iced_x86::{Instruction, OpKind};

use super::lanes::{at, map, Lane, Vector};
use super::operands::{both, compute, is_mmx, table, Compute, Imm, Mmx, Xmm};
use crate::op::Handler;

pub(super) fn select(instruction: &Instruction) -> Option<Handler> {
    table! { instruction;
        shift {
            Psllw: |a, b| shift_out(a, b, |a: u16, n| a << n),
            Pslld: |a, b| shift_out(a, b, |a: u32, n| a << n),
            Psllq: |a, b| shift_out(a, b, |a: u64, n| a << n),
            Psrlw: |a, b| shift_out(a, b, |a: u16, n| a >> n),
            Psrld: |a, b| shift_out(a, b, |a: u32, n| a >> n),
            Psrlq: |a, b| shift_out(a, b, |a: u64, n| a >> n),
            Psraw: |a, b| { let n = count(b).min(15); map(a, |a: i16| a >> n) },
            Psrad: |a, b| { let n = count(b).min(31); map(a, |a: i32| a >> n) },
            Pslldq: |a, b| if count(b) < 16 { a << (8 * count(b)) } else { Vector::ZERO },
            Psrldq: |a, b| if count(b) < 16 { a >> (8 * count(b)) } else { Vector::ZERO },
        }
    }
}

/// Forms `mm, mm/m64`, `xmm, xmm/m128` and both with an immediate.
fn shift<C: Compute>(instruction: &Instruction) -> Option<Handler> {
    match (instruction.op_kind(1), is_mmx(instruction, 0)) {
        (OpKind::Immediate8, true) => Some(compute::<Mmx, Imm, C>),
        (OpKind::Immediate8, false) => Some(compute::<Xmm, Imm, C>),
        _ => both::<C>(instruction),
    }
}

/// The count: all of the low 64 bits.
#[inline(always)]
fn count(b: Vector) -> usize {
    at::<u64>(b)(0) as usize
}

/// Each lane shifted by a count below its width, or 0.
#[inline(always)]
fn shift_out<T: Lane>(a: Vector, b: Vector, f: impl Fn(T, usize) -> T) -> Vector {
    match count(b) {
        n if n < 8 * T::BYTES => map(a, |a| f(a, n)),
        _ => Vector::ZERO,
    }
}
