// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Bit tests and scans, POPCNT, CRC32, BCD.

use iced_x86::Instruction;

use crate::decode::{Chosen, Form};

pub(crate) fn select(_: &Instruction, _: &Form) -> Option<Chosen> {
    None
}
