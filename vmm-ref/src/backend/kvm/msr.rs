// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which MSR accesses leave the kernel.

use kvm_bindings::{kvm_enable_cap, kvm_msr_entry, Msrs, KVM_CAP_X86_USER_SPACE_MSR};
use kvm_ioctls::{
    Cap, MsrExitReason, MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VcpuFd, VmFd,
};

use super::{KvmError, Named};

/// IA32_TIME_STAMP_COUNTER.
pub const IA32_TSC: u32 = 0x10;
/// IA32_APIC_BASE.
pub const IA32_APIC_BASE: u32 = 0x1b;
/// IA32_TSC_DEADLINE.
pub const IA32_TSC_DEADLINE: u32 = 0x6e0;

/// Makes IA32_APIC_BASE and IA32_TSC_DEADLINE exit (KVM would keep the first for itself and
/// swallow the second), and with them whatever KVM finds invalid: without an in-kernel LAPIC
/// that is all of x2APIC's range.
///
/// Linux before 5.10 can do neither: there the guest gets an xAPIC without TSC-deadline mode, and
/// KVM keeps IA32_APIC_BASE.
pub fn exit_to_user(vm: &VmFd) -> Result<(), KvmError> {
    if ![Cap::X86UserSpaceMsr, Cap::X86MsrFilter].into_iter().all(|cap| vm.check_extension(cap)) {
        return Ok(());
    }
    let reasons = MsrExitReason::Inval | MsrExitReason::Filter;
    let mut cap = kvm_enable_cap { cap: KVM_CAP_X86_USER_SPACE_MSR, ..Default::default() };
    cap.args[0] = u64::from(reasons.bits());
    vm.enable_cap(&cap).named("KVM_ENABLE_CAP(KVM_CAP_X86_USER_SPACE_MSR)")?;
    let denied = [0u8];
    let range = |base| MsrFilterRange {
        flags: MsrFilterRangeFlags::READ | MsrFilterRangeFlags::WRITE,
        base,
        msr_count: 1,
        bitmap: &denied,
    };
    vm.set_msr_filter(
        MsrFilterDefaultAction::ALLOW,
        &[range(IA32_APIC_BASE), range(IA32_TSC_DEADLINE)],
    )
    .named("KVM_X86_SET_MSR_FILTER")
}

/// Reads one MSR as the host; `None` if KVM does not know it.
pub fn read(vcpu: &VcpuFd, index: u32) -> Option<u64> {
    let mut msrs = Msrs::from_entries(&[kvm_msr_entry { index, ..Default::default() }]).ok()?;
    match vcpu.get_msrs(&mut msrs) {
        Ok(1) => Some(msrs.as_slice()[0].data),
        _ => None,
    }
}

/// Writes one MSR as the host, past the filter.
pub fn write(vcpu: &VcpuFd, index: u32, data: u64) -> Result<(), kvm_ioctls::Error> {
    let entry = kvm_msr_entry { index, data, ..Default::default() };
    let msrs = Msrs::from_entries(&[entry]).map_err(|_| kvm_ioctls::Error::new(libc::EINVAL))?;
    match vcpu.set_msrs(&msrs)? {
        1 => Ok(()),
        _ => Err(kvm_ioctls::Error::new(libc::EINVAL)),
    }
}
