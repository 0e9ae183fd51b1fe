// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Where a vCPU is in the machine, as CPUID's extended topology tells it.

use super::CpuidFacts;

/// A subleaf of leaf 0xb or 0x1f (Intel SDM vol. 2, "CPUID"); EDX is the APIC id.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    /// The subleaf.
    pub index: u32,
    /// How far to shift the APIC id for the next level.
    pub eax: u32,
    /// Logical processors at this level.
    pub ebx: u32,
    /// The level's type, and the subleaf again.
    pub ecx: u32,
}

/// One thread per core (level 0), all cores in one package (level 1).
pub fn levels(facts: CpuidFacts) -> [Level; 3] {
    const SMT: u32 = 1 << 8;
    const CORE: u32 = 2 << 8;
    // The last one says that there is no further level.
    let width = apic_id_bits(facts.cpus);
    let levels = [(0, 0, 1, SMT), (1, width, facts.cpus, CORE), (2, 0, 0, 0)];
    levels.map(|(index, eax, ebx, kind)| Level { index, eax, ebx, ecx: kind | index })
}

/// Bits of an APIC id that tell `cpus` vCPUs apart.
pub fn apic_id_bits(cpus: u32) -> u32 {
    cpus.next_power_of_two().trailing_zeros()
}
