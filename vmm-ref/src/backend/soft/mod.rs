// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The software CPU of `soft-vcpu`: runs wherever this process does.

mod cpuid;
mod msr;
mod pace;
mod regs;
#[cfg(test)]
mod tests;
mod vcpu;

use std::sync::Arc;

use soft_vcpu::{Config, Memory, MemoryError};
use vm_memory::GuestMemoryMmap;

use super::{CpuidFacts, Error, Forwarding, Vcpu, Vm};
use crate::clock::TimeSource;
use pace::Pace;
pub use vcpu::SoftVcpu;

/// Guest-physical addresses: enough for the largest machine and its device hole.
const PHYSICAL_ADDRESS_BITS: u8 = 46;
/// The time-stamp counter's frequency: one tick is one nanosecond.
const TSC_HZ: u64 = 1_000_000_000;

/// Why there can be no machine.
#[derive(Debug, thiserror::Error)]
pub enum SoftError {
    /// Guest memory cannot be used.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// SSE instructions are done by the host's.
    #[error("the software CPU needs a processor with SSE3 and SSE4.1, which this is not")]
    Processor,
}

/// A virtual machine on the software CPU.
pub struct SoftVm {
    memory: Arc<Memory>,
    time: TimeSource,
    /// When its time-stamp counters were 0.
    epoch: u64,
}

impl SoftVm {
    /// A machine over `memory`, whose time is `time`.
    ///
    /// # Errors
    /// [`SoftError`]: the memory is not made of whole pages, or not mapped; the host's processor
    /// is older than what it is to stand in for.
    pub fn new(memory: &GuestMemoryMmap, time: &TimeSource) -> Result<Self, SoftError> {
        // CPUID tells the guest of them.
        if !is_x86_feature_detected!("sse3") || !is_x86_feature_detected!("sse4.1") {
            return Err(SoftError::Processor);
        }
        let memory = Memory::new(memory.clone())?;
        Ok(SoftVm { memory, time: time.clone(), epoch: time.clock().now() })
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
        let pace = Pace::new(&self.time, self.epoch);
        let config = Config {
            memory: self.memory.clone(),
            cpuid: cpuid::build(facts),
            msrs: msr::table(),
            tsc: pace.tsc_source(),
            physical_address_bits: PHYSICAL_ADDRESS_BITS,
        };
        Ok(Box::new(SoftVcpu::new(config, pace)))
    }
}
