// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! MSRs beyond the CPU's own (Intel SDM vol. 4): the local APIC's, and what a kernel finds on every
//! processor of this kind. All others raise #GP(0).

use soft_vcpu::{Msr, MsrTable};

const IA32_PLATFORM_ID: u32 = 0x17;
const IA32_APIC_BASE: u32 = 0x1b;
const IA32_BIOS_SIGN_ID: u32 = 0x8b;
const IA32_MTRRCAP: u32 = 0xfe;
const IA32_MISC_ENABLE: u32 = 0x1a0;
const IA32_MTRR_PHYSBASE0: u32 = 0x200;
const IA32_MTRR_DEF_TYPE: u32 = 0x2ff;
const IA32_TSC_DEADLINE: u32 = 0x6e0;
const X2APIC: std::ops::RangeInclusive<u32> = 0x800..=0x8ff;
/// 64 KiB, 16 KiB and 4 KiB ranges below 1 MiB.
const FIXED_MTRRS: [u32; 11] =
    [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
/// Pairs of base and mask.
const VARIABLE_MTRRS: u32 = 8;

/// Write-combining, fixed ranges, and the number of variable ones.
const MTRRCAP: u64 = 1 << 10 | 1 << 8 | VARIABLE_MTRRS as u64;
/// MTRRs enabled, all memory write-back, as firmware leaves them; caches are not modelled.
const MTRR_DEF_TYPE: u64 = 1 << 11 | 6;
/// Fast strings.
const MISC_ENABLE: u64 = 1 << 0;
/// A microcode revision in the high half.
const BIOS_SIGN_ID: u64 = 1 << 32;

/// The table of one vCPU.
pub fn table() -> MsrTable {
    let mut table = MsrTable::new();
    for index in [IA32_APIC_BASE, IA32_TSC_DEADLINE].into_iter().chain(X2APIC) {
        table.set(index, Msr::Exit);
    }
    table.set(IA32_PLATFORM_ID, Msr::Constant(0));
    // A kernel writes 0, executes CPUID and reads the revision.
    table.set(IA32_BIOS_SIGN_ID, Msr::Ignored(BIOS_SIGN_ID));
    table.set(IA32_MISC_ENABLE, Msr::Stored(MISC_ENABLE));
    table.set(IA32_MTRRCAP, Msr::Constant(MTRRCAP));
    table.set(IA32_MTRR_DEF_TYPE, Msr::Stored(MTRR_DEF_TYPE));
    let variable = IA32_MTRR_PHYSBASE0..IA32_MTRR_PHYSBASE0 + 2 * VARIABLE_MTRRS;
    for index in FIXED_MTRRS.into_iter().chain(variable) {
        table.set(index, Msr::Stored(0));
    }
    table
}
