// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Bit tests and scans, POPCNT, CRC32, BCD.

mod bcd;
mod count;
mod test;

use iced_x86::Instruction;

use crate::decode::{Chosen, Form};

pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    test::select(instruction, form)
        .or_else(|| count::select(instruction, form))
        .or_else(|| bcd::select(instruction))
}
