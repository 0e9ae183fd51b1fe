// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Segment loads, far transfers, IRET, SYSCALL, SYSENTER, software interrupts, and the table
//! registers that descriptors are in.

pub(crate) mod descriptor;
mod iret;
mod load;
mod ret;
mod software;
mod syscall;
mod tables;
mod transfer;
mod verify;

use iced_x86::Instruction;

use crate::decode::{Chosen, Form};

pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    load::select(instruction, form)
        .or_else(|| transfer::select(instruction, form))
        .or_else(|| ret::select(instruction, form))
        .or_else(|| iret::select(instruction, form))
        .or_else(|| software::select(instruction, form))
        .or_else(|| syscall::select(instruction, form))
        .or_else(|| tables::select(instruction, form))
        .or_else(|| verify::select(instruction, form))
}
