// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Register states: the loader's entry, and a report.

use soft_vcpu::segment::{CS, DS, ES, FS, GS, SS, TR};
use soft_vcpu::{AccessRights, InvalidState, Segment, State, Table, Vcpu};

use crate::loader::{self, Entry};

const RAX: usize = 0;
const RBX: usize = 3;
const RSP: usize = 4;
const RSI: usize = 6;

/// Puts the boot processor at the kernel's entry.
pub fn set_boot_state(vcpu: &mut Vcpu, entry: &Entry) -> Result<(), InvalidState> {
    let system = entry.system_registers();
    let mut state = vcpu.state();
    let data = segment(&system.data);
    for index in [ES, SS, DS, FS, GS] {
        state.segments[usize::from(index)] = data;
    }
    state.segments[usize::from(CS)] = segment(&system.cs);
    state.segments[usize::from(TR)] = segment(&system.tr);
    (state.gdtr, state.idtr) = (table(&system.gdt), table(&system.idt));
    (state.cr0, state.cr3, state.cr4) = (system.cr0, system.cr3, system.cr4);
    state.efer = system.efer;
    let regs = entry.registers();
    state.gpr = [0; 16];
    (state.gpr[RAX], state.gpr[RBX]) = (regs.rax, regs.rbx);
    (state.gpr[RSP], state.gpr[RSI]) = (regs.rsp, regs.rsi);
    (state.rip, state.rflags) = (regs.rip, regs.rflags);
    vcpu.set_state(&state)
}

fn segment(from: &loader::Segment) -> Segment {
    let rights = AccessRights::new()
        .with_kind(from.type_)
        .with_s(from.s)
        .with_dpl(from.dpl)
        .with_present(from.present)
        .with_long(from.l)
        .with_db(from.db)
        .with_granularity(from.g);
    Segment { selector: from.selector, base: from.base, limit: from.limit, rights }
}

fn table(from: &loader::Table) -> Table {
    Table { base: from.base, limit: from.limit }
}

/// The registers that a person wants to see when a guest is lost.
pub fn describe(vcpu: &Vcpu) -> String {
    let state = vcpu.state();
    let State { rip, rflags, cr0, cr2, cr3, cr4, efer, .. } = state;
    let cs = &state.segments[usize::from(CS)];
    let names = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"];
    let general: String =
        names.iter().zip(state.gpr).map(|(name, value)| format!(" {name}={value:#x}")).collect();
    format!(
        "rip={rip:#x} rflags={rflags:#x} cs={:#x} cs.base={:#x} cr0={cr0:#x} cr2={cr2:#x} \
         cr3={cr3:#x} cr4={cr4:#x} efer={efer:#x}{general} instructions={}",
        cs.selector,
        cs.base,
        vcpu.executed()
    )
}
