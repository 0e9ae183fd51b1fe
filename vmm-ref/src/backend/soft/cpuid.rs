// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! CPUID of the software CPU: an x86-64-v2 processor.
//!
//! It names itself Intel family 6, model 0x1c. That is an in-order core without speculation, as
//! this one is, so that a kernel leaves out what only out-of-order cores need (page-table isolation,
//! retpolines); and from Intel a kernel takes the frequencies of leaves 0x15 and 0x16 without
//! measuring them.

use soft_vcpu::{Cpuid, CpuidResult};

use super::{PHYSICAL_ADDRESS_BITS, TSC_HZ};
use crate::backend::topology::{self, apic_id_bits};
use crate::backend::CpuidFacts;

/// Leaf 1 (Intel SDM vol. 2, "CPUID": feature information).
mod leaf1 {
    /// Family 6, model 0x1c, stepping 10.
    pub const EAX: u32 = 1 << 16 | 6 << 8 | 0xc << 4 | 10;
    /// CLFLUSH line size in units of 8 bytes.
    pub const EBX_CLFLUSH: u32 = 8 << 8;
    pub const ECX_X2APIC: u32 = 1 << 21;
    pub const ECX_TSC_DEADLINE: u32 = 1 << 24;
    pub const EDX_APIC: u32 = 1 << 9;
    pub const EDX_HTT: u32 = 1 << 28;
    pub const ECX: u32 = 1 << 0 // SSE3
        | 1 << 9 // SSSE3
        | 1 << 13 // CMPXCHG16B
        | 1 << 19 // SSE4.1
        | 1 << 20 // SSE4.2
        | 1 << 23 // POPCNT
        | 1 << 31; // a hypervisor is present
    pub const EDX: u32 = 1 << 0 // FPU
        | 1 << 2 // DE
        | 1 << 3 // PSE
        | 1 << 4 // TSC
        | 1 << 5 // MSR
        | 1 << 6 // PAE
        | 1 << 8 // CMPXCHG8B
        | 1 << 11 // SYSENTER
        | 1 << 12 // MTRR
        | 1 << 13 // PGE
        | 1 << 15 // CMOV
        | 1 << 16 // PAT
        | 1 << 17 // PSE-36
        | 1 << 19 // CLFLUSH
        | 1 << 23 // MMX
        | 1 << 24 // FXSAVE
        | 1 << 25 // SSE
        | 1 << 26; // SSE2
}

/// Leaf 7, subleaf 0.
mod leaf7 {
    pub const EBX: u32 = 1 << 0 // FSGSBASE
        | 1 << 1 // IA32_TSC_ADJUST
        | 1 << 7 // SMEP
        | 1 << 9 // REP MOVSB and STOSB are fast
        | 1 << 20; // SMAP
    pub const ECX: u32 = 1 << 2; // UMIP
    pub const EDX: u32 = 1 << 4; // short REP MOVSB is fast
}

/// Leaf 0x8000_0001.
mod extended1 {
    pub const ECX: u32 = 1 << 0; // LAHF and SAHF in 64-bit mode
    pub const EDX: u32 = 1 << 11 // SYSCALL
        | 1 << 20 // NX
        | 1 << 26 // 1 GiB pages
        | 1 << 27 // RDTSCP
        | 1 << 29; // 64-bit mode
}

/// Leaf 0x8000_0007: the TSC's rate never changes.
const EXTENDED7_EDX_INVARIANT_TSC: u32 = 1 << 8;
/// The highest leaf of each range.
const HIGHEST_BASIC: u32 = 0x16;
const HIGHEST_HYPERVISOR: u32 = 0x4000_0010;
const HIGHEST_EXTENDED: u32 = 0x8000_0008;
/// In the order EBX, EDX, ECX.
const VENDOR: &[u8; 12] = b"GenuineIntel";
/// In the order EBX, ECX, EDX. Nobody's paravirtual interface.
const HYPERVISOR: &[u8; 12] = b"vmm-ref soft";
const BRAND: &[u8; 48] = b"Software x86-64-v2 processor\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const LINEAR_ADDRESS_BITS: u32 = 48;

/// The CPUID of one vCPU.
pub fn build(facts: CpuidFacts) -> Cpuid {
    let mut cpuid = Cpuid::new();
    let mut leaf = |leaf, registers| cpuid.set(leaf, None, result(registers));
    let [b, d, c] = words(VENDOR);
    leaf(0, [HIGHEST_BASIC, b, c, d]);
    leaf(1, features(facts));
    // No descriptor but 0xff: the caches are in leaf 4.
    leaf(2, [0xff01, 0, 0, 0]);
    // Crystal clock = TSC.
    leaf(0x15, [1, 1, TSC_HZ as u32, 0]);
    let mhz = (TSC_HZ / 1_000_000) as u32;
    leaf(0x16, [mhz, mhz, mhz, 0]);
    let [b, c, d] = words(HYPERVISOR);
    leaf(0x4000_0000, [HIGHEST_HYPERVISOR, b, c, d]);
    // Frequencies in kHz, of the TSC and of the local APIC's timer: where several hypervisors
    // have agreed to put them.
    leaf(0x4000_0010, [(TSC_HZ / 1000) as u32, 1_000_000, 0, 0]);
    leaf(0x8000_0000, [HIGHEST_EXTENDED, 0, 0, 0]);
    leaf(0x8000_0001, [0, 0, extended1::ECX, extended1::EDX]);
    let [first, second, third] = brand();
    leaf(0x8000_0002, first);
    leaf(0x8000_0003, second);
    leaf(0x8000_0004, third);
    // Level 2: 1 MiB, 8 ways (encoded 6), lines of 64 bytes.
    leaf(0x8000_0006, [0, 0, 1024 << 16 | 6 << 12 | 64, 0]);
    leaf(0x8000_0007, [0, 0, 0, EXTENDED7_EDX_INVARIANT_TSC]);
    leaf(0x8000_0008, [u32::from(PHYSICAL_ADDRESS_BITS) | LINEAR_ADDRESS_BITS << 8, 0, 0, 0]);
    cpuid.set(7, Some(0), result([0, leaf7::EBX, leaf7::ECX, leaf7::EDX]));
    set_caches(&mut cpuid, facts);
    cpuid.set(0xb, None, result([0, 0, 0, facts.apic_id]));
    for level in topology::levels(facts) {
        let registers = [level.eax, level.ebx, level.ecx, facts.apic_id];
        cpuid.set(0xb, Some(level.index), result(registers));
    }
    cpuid
}

fn features(facts: CpuidFacts) -> [u32; 4] {
    use leaf1::*;
    let ebx = EBX_CLFLUSH | facts.cpus << 16 | facts.apic_id << 24;
    let (mut ecx, mut edx) = (ECX, EDX);
    if facts.apic {
        // CPUID.1:EDX[9] also follows IA32_APIC_BASE.
        ecx |= ECX_X2APIC | ECX_TSC_DEADLINE;
        edx |= EDX_APIC;
    }
    if facts.cpus > 1 {
        edx |= EDX_HTT;
    }
    [EAX, ebx, ecx, edx]
}

/// Leaf 4: each core has caches of its own, with lines of 64 bytes.
fn set_caches(cpuid: &mut Cpuid, facts: CpuidFacts) {
    const DATA: u32 = 1;
    const INSTRUCTION: u32 = 2;
    const UNIFIED: u32 = 3;
    let ids = (1 << apic_id_bits(facts.cpus)) - 1;
    let caches = [(DATA, 1, 32), (INSTRUCTION, 1, 32), (UNIFIED, 2, 1024)];
    for (index, (kind, level, kib)) in (0..).zip(caches) {
        const WAYS: u32 = 8;
        let sets = kib * 1024 / (64 * WAYS);
        // Bit 8: needs no initialisation.
        let eax = (ids & 0x3f) << 26 | 1 << 8 | level << 5 | kind;
        cpuid.set(4, Some(index), result([eax, (WAYS - 1) << 22 | 63, sets - 1, 0]));
    }
}

fn result([eax, ebx, ecx, edx]: [u32; 4]) -> CpuidResult {
    CpuidResult { eax, ebx, ecx, edx }
}

/// The registers that spell twelve letters.
fn words(text: &[u8; 12]) -> [u32; 3] {
    std::array::from_fn(|n| word(text, n))
}

fn brand() -> [[u32; 4]; 3] {
    std::array::from_fn(|leaf| std::array::from_fn(|n| word(BRAND, 4 * leaf + n)))
}

fn word(text: &[u8], n: usize) -> u32 {
    let letters = text.iter().skip(4 * n).take(4).rev();
    letters.fold(0, |word, letter| word << 8 | u32::from(*letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: CpuidFacts = CpuidFacts { apic_id: 2, cpus: 3, apic: true };

    #[test]
    fn names_are_spelt_as_the_manual_says() {
        let cpuid = build(FACTS);
        let zero = cpuid.get(0, 0);
        assert_eq!((zero.ebx, zero.edx, zero.ecx), (0x756e_6547, 0x4965_6e69, 0x6c65_746e));
        let brand: Vec<u8> = (0x8000_0002..=0x8000_0004)
            .map(|leaf| cpuid.get(leaf, 0))
            .flat_map(|r| [r.eax, r.ebx, r.ecx, r.edx])
            .flat_map(u32::to_le_bytes)
            .collect();
        assert!(brand.starts_with(b"Software x86-64-v2 processor\0"));
    }

    #[test]
    fn everything_of_x86_64_v2_is_there() {
        let (one, extended) = (build(FACTS).get(1, 0), build(FACTS).get(0x8000_0001, 0));
        // x86-64 psABI, "Micro-Architecture Levels": CMOV, CX8, FPU, FXSR, MMX, SSE, SSE2.
        for bit in [15, 8, 0, 24, 23, 25, 26] {
            assert_ne!(one.edx & 1 << bit, 0, "EDX bit {bit}");
        }
        // CMPXCHG16B, POPCNT, SSE3, SSE4.1, SSE4.2, SSSE3.
        for bit in [13, 23, 0, 19, 20, 9] {
            assert_ne!(one.ecx & 1 << bit, 0, "ECX bit {bit}");
        }
        // LAHF, and SYSCALL (SCE).
        assert_eq!((extended.ecx & 1, extended.edx >> 11 & 1), (1, 1));
    }

    #[test]
    fn what_the_cpu_lacks_is_not_offered() {
        let one = build(FACTS).get(1, 0);
        // MONITOR, VMX, PCID, MOVBE, AES, XSAVE, OSXSAVE, AVX, F16C, RDRAND.
        for bit in [3, 5, 17, 22, 25, 26, 27, 28, 29, 30] {
            assert_eq!(one.ecx & 1 << bit, 0, "ECX bit {bit}");
        }
        // VME, MCE, MCA.
        for bit in [1, 7, 14] {
            assert_eq!(one.edx & 1 << bit, 0, "EDX bit {bit}");
        }
        assert_eq!(build(FACTS).get(6, 0), CpuidResult::default(), "no ARAT");
    }

    #[test]
    fn a_vcpu_finds_its_place() {
        let cpuid = build(FACTS);
        assert_eq!(cpuid.get(1, 0).ebx >> 16, 0x0203);
        let levels = [0, 1, 2].map(|index| cpuid.get(0xb, index));
        assert_eq!(levels[0], result([0, 1, 0x100, 2]));
        assert_eq!(levels[1], result([2, 3, 0x201, 2]));
        assert_eq!(levels[2], result([0, 0, 2, 2]));
        assert_eq!(cpuid.get(4, 0).eax >> 26, 3, "four ids for three cores");
        assert_eq!(cpuid.get(4, 3).eax, 0, "the end of the list");
    }

    #[test]
    fn without_apics_nothing_speaks_of_them() {
        let one = build(CpuidFacts { apic_id: 0, cpus: 1, apic: false }).get(1, 0);
        let apic = leaf1::ECX_X2APIC | leaf1::ECX_TSC_DEADLINE;
        assert_eq!((one.ecx & apic, one.edx & leaf1::EDX_APIC), (0, 0));
    }
}
