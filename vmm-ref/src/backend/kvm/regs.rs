// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Register states: the loader's entry, INIT, SIPI, and a report.

use kvm_bindings::{
    kvm_debugregs, kvm_dtable, kvm_regs, kvm_segment, kvm_sregs, kvm_vcpu_events,
    KVM_VCPUEVENT_VALID_NMI_PENDING, KVM_VCPUEVENT_VALID_SHADOW,
};
use kvm_ioctls::{Error, VcpuFd};

use crate::loader::{Entry, Segment, Table};

/// CR0 after INIT (Intel SDM vol. 3, "Processor State After Reset"): ET, and CD and NW as they were.
const CR0_ET: u64 = 1 << 4;
const CR0_CD_NW: u64 = 3 << 29;
/// DR6 and DR7 after INIT.
const INIT_DR6: u64 = 0xffff_0ff0;
const INIT_DR7: u64 = 0x400;

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

/// The state after INIT: real mode at the reset vector; x87 and SSE keep what they had. KVM's
/// queues are empty, its flags saying that this goes for a queued NMI and the shadow too.
pub fn init(vcpu: &VcpuFd) -> Result<(), Error> {
    let mut sregs = vcpu.get_sregs()?;
    real_mode(&mut sregs, 0xf000, 0xffff_0000);
    vcpu.set_sregs(&sregs)?;
    vcpu.set_regs(&kvm_regs { rip: 0xfff0, rflags: 2, ..Default::default() })?;
    vcpu.set_debug_regs(&kvm_debugregs { dr6: INIT_DR6, dr7: INIT_DR7, ..Default::default() })?;
    let flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
    vcpu.set_vcpu_events(&kvm_vcpu_events { flags, ..Default::default() })
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
    sregs.cr0 = CR0_ET | sregs.cr0 & CR0_CD_NW;
    (sregs.cr2, sregs.cr3, sregs.cr4) = (0, 0, 0);
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

#[cfg(test)]
mod tests {
    use kvm_ioctls::Kvm;

    use super::*;

    #[test]
    fn lap_9_init_empties_kvms_queues_and_debug_registers() {
        let vm = Kvm::new().unwrap().create_vm().unwrap();
        let vcpu = vm.create_vcpu(0).unwrap();
        let mut events = vcpu.get_vcpu_events().unwrap();
        events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING;
        events.nmi.pending = 1;
        events.nmi.masked = 1;
        events.interrupt.injected = 1;
        events.interrupt.nr = 0x40;
        vcpu.set_vcpu_events(&events).unwrap();
        vcpu.set_debug_regs(&kvm_debugregs { dr7: 0x402, ..Default::default() }).unwrap();
        init(&vcpu).unwrap();
        let events = vcpu.get_vcpu_events().unwrap();
        assert_eq!((events.nmi.pending, events.nmi.masked), (0, 0));
        assert_eq!((events.nmi.injected, events.interrupt.injected), (0, 0));
        assert_eq!(vcpu.get_debug_regs().unwrap().dr7, INIT_DR7);
        assert_eq!(vcpu.get_sregs().unwrap().cr0, CR0_CD_NW | CR0_ET, "as after power-up");
    }
}
