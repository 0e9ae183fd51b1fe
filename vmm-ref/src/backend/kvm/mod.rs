// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM without any in-kernel interrupt controller.
//!
//! KVM_CREATE_IRQCHIP is never called: KVM runs guest code and takes one interrupt at a time
//! through KVM_INTERRUPT; PIC, PIT, IOAPIC and LAPICs are ours.

mod cpuid;
mod inject;
mod msr;
mod probe;
mod regs;
mod vcpu;

use std::io;

use kvm_bindings::{
    kvm_enable_cap, kvm_userspace_memory_region, CpuId, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE,
};
use kvm_ioctls::{Cap, Kvm, VmFd};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

pub use vcpu::KvmVcpu;

use super::{CpuidFacts, Forwarding, Vcpu, Vm};

/// The API version that every KVM since Linux 2.6.22 has.
const API_VERSION: i32 = 12;

/// What stops a machine from starting on KVM.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// /dev/kvm cannot be opened.
    #[error("cannot open /dev/kvm: {0} (is KVM loaded, and may this user open it?)")]
    Open(#[source] kvm_ioctls::Error),
    /// Something else answers there.
    #[error("/dev/kvm is not KVM's device: {0}")]
    NotKvm(#[source] kvm_ioctls::Error),
    /// Another API version.
    #[error("/dev/kvm speaks API version {0}, not 12")]
    Version(i32),
    /// A capability that this backend cannot do without.
    #[error("this kernel's KVM lacks {0}, which a user-space interrupt controller needs")]
    Capability(&'static str),
    /// An ioctl failed.
    #[error("{0} failed: {1}")]
    Ioctl(&'static str, #[source] kvm_ioctls::Error),
}

/// Names the ioctl in the error.
pub(crate) trait Named<T> {
    fn named(self, ioctl: &'static str) -> Result<T, KvmError>;
}

impl<T> Named<T> for Result<T, kvm_ioctls::Error> {
    fn named(self, ioctl: &'static str) -> Result<T, KvmError> {
        self.map_err(|error| KvmError::Ioctl(ioctl, error))
    }
}

/// A virtual machine on KVM, `Irqchip::User`.
pub struct KvmVm {
    vm: VmFd,
    forwarding: Forwarding,
    supported: CpuId,
    // KVM reads guest memory through its own mapping for as long as the VM lives.
    _memory: GuestMemoryMmap,
}

impl KvmVm {
    /// Opens KVM, probes which MSRs it forwards and creates a VM over `memory`.
    ///
    /// # Errors
    /// [`KvmError`] names the missing file, capability or call.
    pub fn new(memory: &GuestMemoryMmap) -> Result<Self, KvmError> {
        let kvm = open()?;
        let forwarding = probe::forwarding(&kvm)?;
        let vm = create_vm(&kvm)?;
        place_hidden_pages(&vm)?;
        msr::exit_to_user(&vm)?;
        disable_pmu(&vm);
        map_memory(&vm, memory)?;
        let supported = cpuid::supported(&kvm)?;
        Ok(KvmVm { vm, forwarding, supported, _memory: memory.clone() })
    }
}

impl Vm for KvmVm {
    fn forwarding(&self) -> Forwarding {
        self.forwarding
    }

    fn physical_address_bits(&self) -> u8 {
        cpuid::physical_address_bits(&self.supported)
    }

    fn create_vcpu(&self, facts: CpuidFacts) -> Result<Box<dyn Vcpu>, super::Error> {
        let fd = self.vm.create_vcpu(u64::from(facts.apic_id)).named("KVM_CREATE_VCPU")?;
        let cpuid = cpuid::build(&self.supported, facts, self.forwarding);
        cpuid.and_then(|cpuid| fd.set_cpuid2(&cpuid)).named("KVM_SET_CPUID2")?;
        Ok(Box::new(KvmVcpu::new(fd)))
    }
}

/// Whether /dev/kvm opens and says the right version: `None`, or why not.
pub fn unavailable() -> Option<KvmError> {
    open().err()
}

fn open() -> Result<Kvm, KvmError> {
    let kvm = Kvm::new().map_err(KvmError::Open)?;
    match kvm.get_api_version() {
        API_VERSION => {}
        -1 => return Err(KvmError::NotKvm(kvm_ioctls::Error::last())),
        other => return Err(KvmError::Version(other)),
    }
    for (cap, name) in [
        (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
        (Cap::UserNmi, "KVM_CAP_USER_NMI"),
        (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
    ] {
        if !kvm.check_extension(cap) {
            return Err(KvmError::Capability(name));
        }
    }
    Ok(kvm)
}

/// A signal of ours, to another thread of the process or to this one, is no reason to fail.
fn create_vm(kvm: &Kvm) -> Result<VmFd, KvmError> {
    loop {
        match kvm.create_vm() {
            Err(error) if error.errno() == libc::EINTR => {}
            result => return result.named("KVM_CREATE_VM"),
        }
    }
}

/// Intel CPUs without "unrestricted guest" need four pages where no guest memory is.
fn place_hidden_pages(vm: &VmFd) -> Result<(), KvmError> {
    const IDENTITY_MAP: u64 = 0xfeff_c000;
    const TSS: usize = 0xfeff_d000;
    vm.set_identity_map_address(IDENTITY_MAP).named("KVM_SET_IDENTITY_MAP_ADDR")?;
    vm.set_tss_address(TSS).named("KVM_SET_TSS_ADDR")
}

/// KVM raises the counters' interrupt through its own LAPIC only, so there is no PMU to offer.
/// Kernels before 5.18 lack the switch; there CPUID alone hides it.
fn disable_pmu(vm: &VmFd) {
    let mut cap = kvm_enable_cap { cap: KVM_CAP_PMU_CAPABILITY, ..Default::default() };
    cap.args[0] = u64::from(KVM_PMU_CAP_DISABLE);
    if let Err(error) = vm.enable_cap(&cap) {
        log::debug!("KVM_CAP_PMU_CAPABILITY: {error}");
    }
}

fn map_memory(vm: &VmFd, memory: &GuestMemoryMmap) -> Result<(), KvmError> {
    for (slot, region) in memory.iter().enumerate() {
        let region = kvm_userspace_memory_region {
            slot: slot as u32,
            guest_phys_addr: region.start_addr().raw_value(),
            memory_size: region.len(),
            userspace_addr: region.as_ptr() as u64,
            flags: 0,
        };
        // SAFETY: the range is a live mapping of `memory`, which `KvmVm` keeps as long as the
        // VM's file descriptor, and regions of a `GuestMemoryMmap` do not overlap.
        unsafe { vm.set_user_memory_region(region) }.named("KVM_SET_USER_MEMORY_REGION")?;
    }
    Ok(())
}

/// The loop's errors are `io::Error`: they keep errno's kind, and say what was tried.
fn failed(what: &'static str) -> impl Fn(kvm_ioctls::Error) -> io::Error {
    move |error| {
        let cause = io::Error::from_raw_os_error(error.errno());
        io::Error::new(cause.kind(), format!("{what}: {cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ioctl_that_failed_is_named() {
        let error = failed("KVM_RUN")(kvm_ioctls::Error::new(libc::EACCES));
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(error.to_string(), "KVM_RUN: Permission denied (os error 13)");
    }
}
