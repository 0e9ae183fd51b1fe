// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Does this KVM forward the MSRs that our LAPIC must own? Asked of a tiny guest at start.

use kvm_bindings::{kvm_regs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::msr::{exit_to_user, IA32_APIC_BASE, IA32_TSC_DEADLINE};
use super::{create_vm, place_hidden_pages, KvmError, Named};
use crate::backend::Forwarding;

/// The APIC version register in x2APIC's MSR range.
const X2APIC_VERSION: u32 = 0x803;

/// Runs RDMSR and WRMSR in a machine of one page and notes which of them exit.
pub fn forwarding(kvm: &Kvm) -> Result<Forwarding, KvmError> {
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x1000)])
        .map_err(|_| KvmError::Ioctl("mmap", kvm_ioctls::Error::new(libc::ENOMEM)))?;
    let vm = create_vm(kvm)?;
    place_hidden_pages(&vm)?;
    exit_to_user(&vm)?;
    let host = memory.get_host_address(GuestAddress(0)).unwrap_or(std::ptr::null_mut());
    let region = kvm_userspace_memory_region {
        memory_size: 0x1000,
        userspace_addr: host as u64,
        ..Default::default()
    };
    // SAFETY: the page is mapped by `memory`, which is declared before the VM and so outlives it.
    unsafe { vm.set_user_memory_region(region) }.named("KVM_SET_USER_MEMORY_REGION")?;
    let mut vcpu = vm.create_vcpu(0).named("KVM_CREATE_VCPU")?;
    let cpuid = kvm
        .get_supported_cpuid(kvm_bindings::KVM_MAX_CPUID_ENTRIES)
        .named("KVM_GET_SUPPORTED_CPUID")?;
    vcpu.set_cpuid2(&cpuid).named("KVM_SET_CPUID2")?;
    let mut probe = |code| run(&memory, &mut vcpu, code);
    Ok(Forwarding {
        apic_base: probe(access(IA32_APIC_BASE, Access::Read))?
            && probe(access(IA32_APIC_BASE, Access::Write))?,
        x2apic: probe(access(X2APIC_VERSION, Access::Read))?
            && probe(access(X2APIC_VERSION, Access::Write))?,
        tsc_deadline: probe(access(IA32_TSC_DEADLINE, Access::Write))?,
    })
}

enum Access {
    Read = 0x32,
    Write = 0x30,
}

/// `mov ecx, msr; xor eax, eax; xor edx, edx; rdmsr|wrmsr; hlt` in real mode.
fn access(msr: u32, access: Access) -> [u8; 15] {
    let [a, b, c, d] = msr.to_le_bytes();
    [0x66, 0xb9, a, b, c, d, 0x66, 0x31, 0xc0, 0x66, 0x31, 0xd2, 0x0f, access as u8, 0xf4]
}

/// Whether the code's MSR access exits. A #GP in a machine without an IVT ends in a triple
/// fault or in nothing at all, never in an MSR exit.
fn run(memory: &GuestMemoryMmap, vcpu: &mut VcpuFd, code: [u8; 15]) -> Result<bool, KvmError> {
    const START: u64 = 0x800;
    let write = memory.write_slice(&code, GuestAddress(START));
    write.map_err(|_| KvmError::Ioctl("mmap", kvm_ioctls::Error::new(libc::EFAULT)))?;
    // An all-HLT page catches whatever a fault vector of 0000:0000 would run.
    let hlt = memory.write_slice(&[0xf4; 16], GuestAddress(0));
    hlt.map_err(|_| KvmError::Ioctl("mmap", kvm_ioctls::Error::new(libc::EFAULT)))?;
    let mut sregs = vcpu.get_sregs().named("KVM_GET_SREGS")?;
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    vcpu.set_sregs(&sregs).named("KVM_SET_SREGS")?;
    let regs = kvm_regs { rip: START, rsp: 0x700, rflags: 2, ..Default::default() };
    vcpu.set_regs(&regs).named("KVM_SET_REGS")?;
    let forwarded =
        matches!(vcpu.run().named("KVM_RUN")?, VcpuExit::X86Rdmsr(_) | VcpuExit::X86Wrmsr(_));
    if forwarded {
        // The access is completed by the next entry, which stops before guest code.
        vcpu.set_kvm_immediate_exit(1);
        let _ = vcpu.run().map(drop);
        vcpu.set_kvm_immediate_exit(0);
    }
    Ok(forwarded)
}
