// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! CPUID.

use iced_x86::{Instruction, Mnemonic};

use crate::cpu::Cpu;
use crate::decode::{Chosen, Form};
use crate::int::{reg, Int};
use crate::op::{Flow, Op, Step};
use crate::spec::cpuid;

/// IA32_APIC_BASE bit 11: the local APIC is enabled.
const APIC_ENABLED: u64 = 1 << 11;

pub(super) fn select(instruction: &Instruction, _: &Form) -> Option<Chosen> {
    match instruction.mnemonic() {
        Mnemonic::Cpuid => Some(Chosen::ends(run)),
        _ => None,
    }
}

fn run(cpu: &mut Cpu, _: &Op) -> Step {
    let leaf = u32::get(&cpu.gpr, reg::RAX);
    let mut found = cpu.cpuid.get(leaf, u32::get(&cpu.gpr, reg::RCX));
    if leaf == 1 {
        if cpu.msr.apic_base & APIC_ENABLED == 0 {
            found.edx &= !cpuid::APIC;
        }
        // CR4 has no OSXSAVE.
        found.ecx &= !cpuid::OSXSAVE;
    }
    u32::set(&mut cpu.gpr, reg::RAX, found.eax);
    u32::set(&mut cpu.gpr, reg::RBX, found.ebx);
    u32::set(&mut cpu.gpr, reg::RCX, found.ecx);
    u32::set(&mut cpu.gpr, reg::RDX, found.edx);
    cpu.drain_stores();
    Ok(Flow::Next)
}
