// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! MMX, and of SSE to SSE4.2 everything that is not floating-point arithmetic.
//!
//! An instruction is a function of its operands as bits, one line in a table; [`operands`] makes
//! handlers of it for its forms (SDM vol. 1, "Programming with Intel MMX Technology" to
//! "Programming with SSE3, SSSE3, SSE4, and AES-NI").

mod gather;
mod integer;
mod lanes;
mod moves;
mod operands;
mod shift;
mod shuffle;
mod special;
mod text;

use iced_x86::Instruction;

use crate::decode::{Chosen, Form};

pub(crate) fn select(instruction: &Instruction, _: &Form) -> Option<Chosen> {
    moves::select(instruction)
        .or_else(|| integer::select(instruction))
        .or_else(|| shuffle::select(instruction))
        .or_else(|| gather::select(instruction))
        .or_else(|| shift::select(instruction))
        .or_else(|| text::select(instruction))
        .or_else(|| special::select(instruction))
        .map(Chosen::plain)
}
