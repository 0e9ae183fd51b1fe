// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Instructions, by family. Each family's `select` chooses the handler for an instruction that is
//! its own.

mod access;
mod alu;
mod bits;
mod bound;
mod branch;
mod compare;
mod condition;
mod exchange;
mod float;
mod hints;
mod join;
mod loops;
mod mov;
mod muldiv;
mod shift;
mod simd;
mod sse_fp;
mod stack;
mod status;
mod string;

use iced_x86::Instruction;

use crate::decode::{Chosen, Form};

/// The handler for an instruction; `None` if this CPU does not have it.
pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    crate::system::select_mov(instruction)
        .or_else(|| mov::select(instruction, form))
        .or_else(|| alu::select(instruction, form))
        .or_else(|| branch::select(instruction, form))
        .or_else(|| stack::select(instruction, form))
        .or_else(|| condition::select(instruction, form))
        .or_else(|| exchange::select(instruction, form))
        .or_else(|| status::select(instruction, form))
        .or_else(|| hints::select(instruction, form))
        .or_else(|| bound::select(instruction, form))
        .or_else(|| shift::select(instruction, form))
        .or_else(|| bits::select(instruction, form))
        .or_else(|| muldiv::select(instruction, form))
        .or_else(|| string::select(instruction, form))
        .or_else(|| crate::system::select(instruction, form))
        .or_else(|| simd::select(instruction, form))
        .or_else(|| sse_fp::select(instruction, form))
        .or_else(|| float::select(instruction, form))
}

/// A handler that is generic over the operand size, for an instruction's size in bytes.
macro_rules! sized {
    ($size:expr, $handler:ident $(, $arg:ty)*) => {
        match $size {
            1 => Some($handler::<u8 $(, $arg)*> as $crate::op::Handler),
            2 => Some($handler::<u16 $(, $arg)*> as $crate::op::Handler),
            4 => Some($handler::<u32 $(, $arg)*> as $crate::op::Handler),
            8 => Some($handler::<u64 $(, $arg)*> as $crate::op::Handler),
            _ => None,
        }
    };
}
pub(crate) use sized;

/// The same for one that is generic over its memory operand's `mem::Address` too (last).
macro_rules! addressed {
    ($form:expr, $handler:ident $(, $arg:ty)*) => {
        match $form.plain {
            true => $crate::exec::sized!($form.size, $handler $(, $arg)*, $crate::mem::Plain),
            false => $crate::exec::sized!($form.size, $handler $(, $arg)*, $crate::mem::Any),
        }
    };
}
use addressed;
