// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Segment loads, far transfers, IRET, SYSCALL, SYSENTER.

use iced_x86::Instruction;

use crate::decode::{Chosen, Form};

pub(crate) fn select(_: &Instruction, _: &Form) -> Option<Chosen> {
    None
}
