// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Instructions that do nothing, and PAUSE.

use iced_x86::{Instruction, Mnemonic};

use crate::cpu::Cpu;
use crate::decode::{nothing, Chosen, Form};
use crate::op::{Flow, Op, Step};

/// PAUSEs after which the host's scheduler is asked: a spin lock's holder may be a thread that
/// waits for this one's processor.
const PATIENCE: u32 = 64;

pub(crate) fn select(instruction: &Instruction, _: &Form) -> Option<Chosen> {
    match instruction.mnemonic() {
        Mnemonic::Pause => Some(Chosen::plain(pause)),
        Mnemonic::Nop
        | Mnemonic::Reservednop
        | Mnemonic::Endbr32
        | Mnemonic::Endbr64
        // Shadow stacks are not there: the shadow stack pointer is not read.
        | Mnemonic::Rdsspd
        | Mnemonic::Rdsspq
        | Mnemonic::Cldemote
        | Mnemonic::Prefetch
        | Mnemonic::Prefetchw
        | Mnemonic::Prefetchwt1
        | Mnemonic::Prefetchnta
        | Mnemonic::Prefetcht0
        | Mnemonic::Prefetcht1
        | Mnemonic::Prefetcht2
        | Mnemonic::Prefetchit0
        | Mnemonic::Prefetchit1 => Some(Chosen::plain(nothing)),
        _ => None,
    }
}

/// Changes nothing that the guest could see.
fn pause(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.pauses += 1;
    if cpu.pauses >= PATIENCE {
        cpu.pauses = 0;
        std::thread::yield_now();
    }
    Ok(Flow::Next)
}
