// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Shifts. A count beyond the lane's width shifts everything out.

use iced_x86::{Instruction, OpKind};

use super::lanes::map;
use super::operands::{both, compute, is_mmx, table, Compute, Imm, Mmx, Xmm};
use crate::op::Handler;

pub(super) fn select(instruction: &Instruction) -> Option<Handler> {
    table! { instruction;
        shift {
            Psllw: |a, b| map(a, |a: u16| count(b).and_then(|n| a.checked_shl(n)).unwrap_or(0)),
            Pslld: |a, b| map(a, |a: u32| count(b).and_then(|n| a.checked_shl(n)).unwrap_or(0)),
            Psllq: |a, b| map(a, |a: u64| count(b).and_then(|n| a.checked_shl(n)).unwrap_or(0)),
            Psrlw: |a, b| map(a, |a: u16| count(b).and_then(|n| a.checked_shr(n)).unwrap_or(0)),
            Psrld: |a, b| map(a, |a: u32| count(b).and_then(|n| a.checked_shr(n)).unwrap_or(0)),
            Psrlq: |a, b| map(a, |a: u64| count(b).and_then(|n| a.checked_shr(n)).unwrap_or(0)),
            Psraw: |a, b| map(a, |a: i16| a >> count(b).unwrap_or(15).min(15)),
            Psrad: |a, b| map(a, |a: i32| a >> count(b).unwrap_or(31).min(31)),
            Pslldq: |a, b| a.checked_shl(8 * b as u32).unwrap_or(0),
            Psrldq: |a, b| a.checked_shr(8 * b as u32).unwrap_or(0),
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

/// The count is all of the low 64 bits.
#[inline(always)]
fn count(b: u128) -> Option<u32> {
    u32::try_from(b as u64).ok()
}
