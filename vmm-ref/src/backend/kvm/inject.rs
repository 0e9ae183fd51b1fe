// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_INTERRUPT, which kvm-ioctls does not wrap.

use std::io;

use kvm_bindings::{kvm_interrupt, KVMIO};
use kvm_ioctls::VcpuFd;
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iow_nr;

use super::failed;

ioctl_iow_nr!(KVM_INTERRUPT, KVMIO, 0x86, kvm_interrupt);

/// Puts `vector` into KVM's one interrupt slot.
pub fn interrupt(vcpu: &VcpuFd, vector: u8) -> io::Result<()> {
    let argument = kvm_interrupt { irq: u32::from(vector) };
    // SAFETY: KVM_INTERRUPT reads one `kvm_interrupt`, which outlives the call, and changes no
    // memory of this process.
    let result = unsafe { ioctl_with_ref(vcpu, KVM_INTERRUPT(), &argument) };
    match result {
        0 => Ok(()),
        _ => Err(failed("KVM_INTERRUPT")(kvm_ioctls::Error::last())),
    }
}
