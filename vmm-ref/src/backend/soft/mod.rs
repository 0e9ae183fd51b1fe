// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The software CPU of `soft-vcpu`: runs wherever this process does.

mod cpuid;
mod msr;
mod regs;
#[cfg(test)]
mod tests;
mod vcpu;

use std::sync::Arc;

use soft_vcpu::{Config, Memory, MemoryError};
use vm_memory::GuestMemoryMmap;

use super::{CpuidFacts, Error, Forwarding, Vcpu, Vm};
use crate::clock::monotonic_ns;
pub use vcpu::SoftVcpu;

/// Guest-physical addresses: enough for the largest machine and its device hole.
const PHYSICAL_ADDRESS_BITS: u8 = 46;
/// The time-stamp counter's frequency: one tick is one nanosecond.
const TSC_HZ: u64 = 1_000_000_000;

/// A virtual machine on the software CPU.
pub struct SoftVm {
    memory: Arc<Memory>,
    /// When its time-stamp counters were 0, in ns of the host's clock.
    epoch: u64,
}

impl SoftVm {
    /// A machine over `memory`.
    ///
    /// # Errors
    /// [`MemoryError`]: the memory is not made of whole pages, or not mapped.
    pub fn new(memory: &GuestMemoryMmap) -> Result<Self, MemoryError> {
        Ok(SoftVm { memory: Memory::new(memory.clone())?, epoch: monotonic_ns() })
    }
}

impl Vm for SoftVm {
    fn forwarding(&self) -> Forwarding {
        Forwarding { apic_base: true, x2apic: true, tsc_deadline: true }
    }

    fn physical_address_bits(&self) -> u8 {
        PHYSICAL_ADDRESS_BITS
    }

    fn create_vcpu(&self, facts: CpuidFacts) -> Result<Box<dyn Vcpu>, Error> {
        let epoch = self.epoch;
        let config = Config {
            memory: self.memory.clone(),
            cpuid: cpuid::build(facts),
            msrs: msr::table(),
            tsc: Box::new(move |_| monotonic_ns().saturating_sub(epoch)),
            physical_address_bits: PHYSICAL_ADDRESS_BITS,
        };
        Ok(Box::new(SoftVcpu::new(config)))
    }
}
