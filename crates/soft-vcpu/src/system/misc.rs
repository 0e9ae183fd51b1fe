// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! HLT, INVLPG, caches and fences.

use iced_x86::{Instruction, Mnemonic};

use crate::cpu::{Cause, Cpu};
use crate::decode::{nothing, Chosen, Form};
use crate::flags::bit;
use crate::op::{Flow, Op, Step};

pub(super) fn select(instruction: &Instruction, _: &Form) -> Option<Chosen> {
    Some(match instruction.mnemonic() {
        Mnemonic::Hlt => Chosen::ends(hlt),
        Mnemonic::Invlpg => Chosen::ends(invlpg),
        // A processor without WBNOINVD ignores the prefix that makes it of WBINVD.
        Mnemonic::Invd | Mnemonic::Wbinvd | Mnemonic::Wbnoinvd => Chosen::ends(invalidate_caches),
        Mnemonic::Clflush => Chosen::plain(clflush),
        Mnemonic::Mfence => Chosen::plain(mfence),
        // Loads and stores are the host's, which are ordered like the guest's.
        Mnemonic::Lfence | Mnemonic::Sfence => Chosen::plain(nothing),
        _ => return None,
    })
}

fn hlt(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.privileged()?;
    match cpu.flags.has(bit::TF) || cpu.pending_debug != 0 {
        // The debug trap ends the halt at once.
        true => Ok(Flow::Sync),
        false => Err(cpu.stop(Cause::Halt)),
    }
}

/// The address is not checked: one that cannot be has no translation.
fn invlpg(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.privileged()?;
    let at = cpu.bare_address(op);
    cpu.tlb.flush_page(at);
    cpu.drain_stores();
    Ok(Flow::Sync)
}

/// Caches are the host's and coherent.
fn invalidate_caches(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.privileged()?;
    Ok(Flow::Next)
}

/// Raises what reading a byte would raise.
fn clflush(cpu: &mut Cpu, op: &Op) -> Step {
    let at = cpu.read_address(op, 1)?;
    cpu.probe_read(op.seg, at)?;
    Ok(Flow::Next)
}

fn mfence(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.drain_stores();
    Ok(Flow::Next)
}
