// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Register states: the loader's entry, INIT, SIPI, and a report.

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, kvm_sregs, kvm_vcpu_events};
use kvm_ioctls::{Error, VcpuFd};

use crate::loader::{Entry, Segment, Table};

/// CR0 after INIT: CD, NW, ET (Intel SDM vol. 3, "Processor State After Reset").
const INIT_CR0: u64 = 0x6000_0010;

/// Puts the boot processor at the kernel's entry.
pub fn set_boot_state(vcpu: &VcpuFd, entry: &Entry) -> Result<(), Error> {
    let system = entry.system_registers();
    let mut sregs = vcpu.get_sregs()?;
    sregs.cs = segment(&system.cs);
    let data = segment(&system.data);
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.tr = segment(&system.tr);
    (sregs.gdt, sregs.idt) = (table(&system.gdt), table(&system.idt));
    (sregs.cr0, sregs.cr3, sregs.cr4) = (system.cr0, system.cr3, system.cr4);
    sregs.efer = system.efer;
    vcpu.set_sregs(&sregs)?;
    let regs = entry.registers();
    vcpu.set_regs(&kvm_regs {
        rip: regs.rip,
        rsp: regs.rsp,
        rflags: regs.rflags,
        rax: regs.rax,
        rbx: regs.rbx,
        rsi: regs.rsi,
        ..Default::default()
    })
}

/// The state after INIT: real mode at the reset vector; KVM's queues are empty, x87 and SSE
/// keep what they had.
pub fn init(vcpu: &VcpuFd) -> Result<(), Error> {
    let mut sregs = vcpu.get_sregs()?;
    real_mode(&mut sregs, 0xf000, 0xffff_0000);
    vcpu.set_sregs(&sregs)?;
    vcpu.set_regs(&kvm_regs { rip: 0xfff0, rflags: 2, ..Default::default() })?;
    vcpu.set_vcpu_events(&kvm_vcpu_events::default())
}

/// Real mode at `vector << 12` (Intel SDM vol. 3, "MP Initialization Protocol Algorithm").
pub fn start_up(vcpu: &VcpuFd, vector: u8) -> Result<(), Error> {
    let mut sregs = vcpu.get_sregs()?;
    real_mode(&mut sregs, u16::from(vector) << 8, u64::from(vector) << 12);
    vcpu.set_sregs(&sregs)?;
    vcpu.set_regs(&kvm_regs { rip: 0, rflags: 2, ..Default::default() })
}

fn real_mode(sregs: &mut kvm_sregs, code_selector: u16, code_base: u64) {
    let data = kvm_segment { limit: 0xffff, type_: 3, present: 1, s: 1, ..Default::default() };
    sregs.cs = kvm_segment { base: code_base, selector: code_selector, type_: 0xb, ..data };
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.tr = kvm_segment { s: 0, type_: 0xb, ..data };
    sregs.ldt = kvm_segment { s: 0, type_: 2, ..data };
    let table = kvm_dtable { limit: 0xffff, ..Default::default() };
    (sregs.gdt, sregs.idt) = (table, table);
    (sregs.cr0, sregs.cr2, sregs.cr3, sregs.cr4) = (INIT_CR0, 0, 0, 0);
    sregs.efer = 0;
}

fn segment(from: &Segment) -> kvm_segment {
    kvm_segment {
        base: from.base,
        limit: from.limit,
        selector: from.selector,
        type_: from.type_,
        present: from.present.into(),
        dpl: from.dpl,
        db: from.db.into(),
        s: from.s.into(),
        l: from.l.into(),
        g: from.g.into(),
        ..Default::default()
    }
}

fn table(from: &Table) -> kvm_dtable {
    kvm_dtable { base: from.base, limit: from.limit, ..Default::default() }
}

/// The registers that a person wants to see when a guest is lost.
pub fn describe(vcpu: &VcpuFd) -> String {
    match (vcpu.get_regs(), vcpu.get_sregs()) {
        (Ok(regs), Ok(sregs)) => format!(
            "rip={:#x} rsp={:#x} rflags={:#x} cs={:#x} cr0={:#x} cr2={:#x} cr3={:#x} cr4={:#x} \
             efer={:#x}",
            regs.rip,
            regs.rsp,
            regs.rflags,
            sregs.cs.selector,
            sregs.cr0,
            sregs.cr2,
            sregs.cr3,
            sregs.cr4,
            sregs.efer
        ),
        _ => "registers unknown".into(),
    }
}
