// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Control registers, MSRs, and page-fault error codes: their numbers, in one place.

/// CR0 (SDM vol. 3, "Control Registers").
pub mod cr0 {
    #![allow(missing_docs)]
    pub const PE: u64 = 1 << 0;
    pub const MP: u64 = 1 << 1;
    pub const EM: u64 = 1 << 2;
    pub const TS: u64 = 1 << 3;
    pub const ET: u64 = 1 << 4;
    pub const NE: u64 = 1 << 5;
    pub const WP: u64 = 1 << 16;
    pub const AM: u64 = 1 << 18;
    pub const NW: u64 = 1 << 29;
    pub const CD: u64 = 1 << 30;
    pub const PG: u64 = 1 << 31;
    /// Bits that exist.
    pub const ALL: u64 = PE | MP | EM | TS | ET | NE | WP | AM | NW | CD | PG;
}

/// CR4 (SDM vol. 3, "Control Registers").
pub mod cr4 {
    #![allow(missing_docs)]
    pub const VME: u64 = 1 << 0;
    pub const PVI: u64 = 1 << 1;
    pub const TSD: u64 = 1 << 2;
    pub const DE: u64 = 1 << 3;
    pub const PSE: u64 = 1 << 4;
    pub const PAE: u64 = 1 << 5;
    pub const MCE: u64 = 1 << 6;
    pub const PGE: u64 = 1 << 7;
    pub const PCE: u64 = 1 << 8;
    pub const OSFXSR: u64 = 1 << 9;
    pub const OSXMMEXCPT: u64 = 1 << 10;
    pub const UMIP: u64 = 1 << 11;
    pub const FSGSBASE: u64 = 1 << 16;
    pub const SMEP: u64 = 1 << 20;
    pub const SMAP: u64 = 1 << 21;
    /// Bits that this CPU has: the others are reserved here.
    pub const ALL: u64 = TSD
        | DE
        | PSE
        | PAE
        | MCE
        | PGE
        | PCE
        | OSFXSR
        | OSXMMEXCPT
        | UMIP
        | FSGSBASE
        | SMEP
        | SMAP;
}

/// CPUID features that the CPU asks its table for (SDM vol. 2, "CPUID").
pub mod cpuid {
    #![allow(missing_docs)]
    /// CPUID.1:EDX.
    pub const APIC: u32 = 1 << 9;
    /// CPUID.1:ECX.
    pub const OSXSAVE: u32 = 1 << 27;
    /// CPUID.7.0:EBX.
    pub const FSGSBASE: u32 = 1 << 0;
    pub const SMEP: u32 = 1 << 7;
    pub const SMAP: u32 = 1 << 20;
    /// CPUID.7.0:ECX.
    pub const UMIP: u32 = 1 << 2;
    /// CPUID.80000001H:EDX.
    pub const RDTSCP: u32 = 1 << 27;
}

/// IA32_EFER (SDM vol. 3, "IA32_EFER MSR").
pub mod efer {
    #![allow(missing_docs)]
    pub const SCE: u64 = 1 << 0;
    pub const LME: u64 = 1 << 8;
    pub const LMA: u64 = 1 << 10;
    pub const NXE: u64 = 1 << 11;
    /// Bits that exist.
    pub const ALL: u64 = SCE | LME | LMA | NXE;
}

/// Page-fault error code (SDM vol. 3, "Interrupt 14 - Page-Fault Exception (#PF)").
pub mod pf {
    #![allow(missing_docs)]
    pub const PRESENT: u32 = 1 << 0;
    pub const WRITE: u32 = 1 << 1;
    pub const USER: u32 = 1 << 2;
    pub const RESERVED: u32 = 1 << 3;
    pub const FETCH: u32 = 1 << 4;
}

/// MSRs that the CPU itself has (SDM vol. 4).
pub mod msr {
    #![allow(missing_docs)]
    pub const TSC: u32 = 0x10;
    pub const APIC_BASE: u32 = 0x1b;
    pub const TSC_ADJUST: u32 = 0x3b;
    pub const SYSENTER_CS: u32 = 0x174;
    pub const SYSENTER_ESP: u32 = 0x175;
    pub const SYSENTER_EIP: u32 = 0x176;
    pub const PAT: u32 = 0x277;
    pub const EFER: u32 = 0xc000_0080;
    pub const STAR: u32 = 0xc000_0081;
    pub const LSTAR: u32 = 0xc000_0082;
    pub const CSTAR: u32 = 0xc000_0083;
    pub const SFMASK: u32 = 0xc000_0084;
    pub const FS_BASE: u32 = 0xc000_0100;
    pub const GS_BASE: u32 = 0xc000_0101;
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub const TSC_AUX: u32 = 0xc000_0103;
}

/// DR6 and DR7 (SDM vol. 3, "Debug Registers").
pub mod dr {
    #![allow(missing_docs)]
    /// Bits of DR6 that always read 1.
    pub const DR6_FIXED: u64 = 0xffff_0ff0;
    /// Bits of DR6 that software writes.
    pub const DR6_WRITABLE: u64 = 0xe00f;
    pub const DR6_BD: u64 = 1 << 13;
    pub const DR6_BS: u64 = 1 << 14;
    pub const DR6_BT: u64 = 1 << 15;
    /// DR7 after reset: bit 10 always reads 1.
    pub const DR7_FIXED: u64 = 0x400;
    /// Bits of DR7 that software writes.
    pub const DR7_WRITABLE: u64 = 0xffff_23ff;
    /// L0 to G3: one of them enables a breakpoint.
    pub const DR7_ENABLED: u64 = 0xff;
    pub const DR7_GD: u64 = 1 << 13;
}
