// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! System instructions, by family, and the delivery of events.

mod control;
mod debug;
mod delivery;
mod far;
mod ports;

use iced_x86::Instruction;

use crate::decode::{Chosen, Form};

/// The handler for a system instruction.
pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    control::select(instruction, form).or_else(|| far::select(instruction, form))
}
