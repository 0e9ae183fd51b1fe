// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the VMM gives a vCPU: CPUID, MSRs, a clock.

use std::collections::HashMap;
use std::sync::Arc;

use crate::mem::Memory;
use crate::spec::cpuid;
use crate::tsc::TscSource;

/// What a vCPU is made of.
pub struct Config {
    /// Guest-physical memory, shared by the vCPUs of a machine.
    pub memory: Arc<Memory>,
    /// What CPUID says.
    pub cpuid: Cpuid,
    /// MSRs beyond those that the CPU itself has.
    pub msrs: MsrTable,
    /// The time-stamp counter's source.
    pub tsc: TscSource,
    /// Physical-address width in bits, 32 to 52.
    pub physical_address_bits: u8,
}

/// The registers that one CPUID leaf gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuidResult {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

/// CPUID's answers. CPUID.1:EDX\[9\] follows IA32_APIC_BASE, CPUID.1:ECX\[27\] CR4.OSXSAVE.
#[derive(Clone, Debug, Default)]
pub struct Cpuid {
    leaves: HashMap<(u32, Option<u32>), CpuidResult>,
    smap: bool,
    rdtscp: bool,
}

impl Cpuid {
    /// No leaf: everything is 0.
    pub fn new() -> Self {
        Cpuid::default()
    }

    /// Sets a leaf, or one of its subleaves (ECX).
    pub fn set(&mut self, leaf: u32, subleaf: Option<u32>, result: CpuidResult) {
        self.leaves.insert((leaf, subleaf), result);
        self.smap = self.get(7, 0).ebx & cpuid::SMAP != 0;
        self.rdtscp = self.get(0x8000_0001, 0).edx & cpuid::RDTSCP != 0;
    }

    /// Whether CLAC and STAC are there, which every copy from user memory asks.
    pub(crate) fn smap(&self) -> bool {
        self.smap
    }

    /// Whether RDTSCP is there.
    pub(crate) fn rdtscp(&self) -> bool {
        self.rdtscp
    }

    /// The answer as it was set: a subleaf's own, else the leaf's, else zeros. Leaves above the
    /// highest of their range answer as the highest basic leaf does (SDM vol. 2, "CPUID").
    pub fn get(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        let found = |leaf| {
            let own = self.leaves.get(&(leaf, Some(subleaf)));
            own.or_else(|| self.leaves.get(&(leaf, None))).copied()
        };
        let highest_basic = found(0).map_or(0, |zero| zero.eax);
        let highest_extended = found(0x8000_0000).map_or(0, |first| first.eax);
        let in_range = match leaf {
            0..=0x3fff_ffff => leaf <= highest_basic,
            0x8000_0000.. => leaf <= highest_extended,
            _ => true,
        };
        found(if in_range { leaf } else { highest_basic }).unwrap_or_default()
    }
}

/// How an MSR behaves that the CPU itself does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Msr {
    /// Reads as this; a write raises #GP(0).
    Constant(u64),
    /// Reads as this; writes are ignored.
    Ignored(u64),
    /// Plain storage with this value first, and again after a reset.
    Stored(u64),
    /// The VMM decides: [`crate::Exit::MsrRead`], [`crate::Exit::MsrWrite`].
    Exit,
}

/// The MSRs beyond the CPU's own; all others raise #GP(0). IA32_APIC_BASE belongs here: the CPU
/// has no local APIC.
#[derive(Clone, Debug, Default)]
pub struct MsrTable {
    entries: HashMap<u32, Msr>,
    /// What the guest wrote to those that store.
    written: HashMap<u32, u64>,
}

impl MsrTable {
    /// No MSR.
    pub fn new() -> Self {
        MsrTable::default()
    }

    /// Adds an MSR, or changes it.
    pub fn set(&mut self, index: u32, msr: Msr) {
        self.entries.insert(index, msr);
    }

    /// How an MSR behaves.
    pub fn get(&self, index: u32) -> Option<Msr> {
        self.entries.get(&index).copied()
    }

    /// What an [`Msr::Stored`] holds.
    pub(crate) fn stored(&self, index: u32) -> Option<u64> {
        match self.entries.get(&index)? {
            Msr::Stored(first) => Some(self.written.get(&index).copied().unwrap_or(*first)),
            _ => None,
        }
    }

    /// Changes what an [`Msr::Stored`] holds; `false` if it is none.
    pub(crate) fn store(&mut self, index: u32, value: u64) -> bool {
        let stores = matches!(self.entries.get(&index), Some(Msr::Stored(_)));
        if stores {
            self.written.insert(index, value);
        }
        stores
    }

    /// Back to the first values.
    pub(crate) fn reset(&mut self) {
        self.written.clear();
    }
}
