// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! System instructions, by family, and the delivery of events.

mod control;
mod cpuid;
mod debug;
mod delivery;
mod far;
mod flags;
mod frame;
mod misc;
mod msr;
mod ports;
mod table;

use iced_x86::Instruction;

use crate::cpu::Cpu;
use crate::decode::{Chosen, Form};
use crate::op::Trap;

/// The handler for a system instruction.
pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    flags::select(instruction, form)
        .or_else(|| ports::select(instruction, form))
        .or_else(|| control::select(instruction, form))
        .or_else(|| msr::select(instruction, form))
        .or_else(|| cpuid::select(instruction, form))
        .or_else(|| table::select(instruction, form))
        .or_else(|| misc::select(instruction, form))
        .or_else(|| far::select(instruction, form))
}

/// The handler for MOV to and from control and debug registers, which shares its mnemonic with
/// the ordinary MOV and so has to be looked for before that.
pub(crate) fn select_mov(instruction: &Instruction) -> Option<Chosen> {
    control::select_mov(instruction).or_else(|| debug::select_mov(instruction))
}

impl Cpu {
    /// #GP(0) unless CPL is 0.
    #[inline(always)]
    fn privileged(&mut self) -> Result<(), Trap> {
        match self.cpl() {
            0 => Ok(()),
            _ => Err(self.gp()),
        }
    }

    /// What an instruction that serializes, or MFENCE, does to the host's store buffer, in which
    /// the guest's writes may still be.
    fn drain_stores(&self) {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }
}
