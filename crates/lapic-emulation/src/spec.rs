// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Register layouts, from the Intel SDM vol. 3, chapter "Advanced Programmable Interrupt
//! Controller (APIC)". Section titles are cited item by item.

use bitfield_struct::bitfield;

/// IA32_APIC_BASE ("Local APIC Status and Location").
pub const MSR_APIC_BASE: u32 = 0x1b;
/// IA32_TSC_DEADLINE ("TSC-Deadline Mode").
pub const MSR_TSC_DEADLINE: u32 = 0x6e0;
/// First x2APIC MSR; register at page offset `o` is MSR `0x800 + (o >> 4)` ("x2APIC Register
/// Address Space").
pub const MSR_X2APIC_FIRST: u32 = 0x800;
/// Last MSR reserved for the x2APIC.
pub const MSR_X2APIC_LAST: u32 = 0x8ff;
/// Where the register page lies after reset.
pub const DEFAULT_BASE: u64 = 0xfee0_0000;
/// Size of the register page in bytes.
pub const PAGE_SIZE: u64 = 0x1000;
/// Vectors below this one are illegal for the APIC ("Valid Interrupt Vectors").
pub const FIRST_LEGAL_VECTOR: u8 = 16;
/// Version register, bits 7:0: an integrated APIC ("Local APIC Version Register").
pub const VERSION: u32 = 0x14;
/// Version register bit 24: EOI-broadcast suppression is supported.
pub const VERSION_DIRECTED_EOI: u32 = 1 << 24;

/// Offsets in the register page ("Local APIC Register Address Map").
pub mod reg {
    /// Local APIC id.
    pub const ID: u16 = 0x020;
    /// Version.
    pub const VERSION: u16 = 0x030;
    /// Task priority.
    pub const TPR: u16 = 0x080;
    /// Arbitration priority (xAPIC only).
    pub const APR: u16 = 0x090;
    /// Processor priority.
    pub const PPR: u16 = 0x0a0;
    /// End of interrupt.
    pub const EOI: u16 = 0x0b0;
    /// Remote read (xAPIC only).
    pub const RRD: u16 = 0x0c0;
    /// Logical destination.
    pub const LDR: u16 = 0x0d0;
    /// Destination format (xAPIC only).
    pub const DFR: u16 = 0x0e0;
    /// Spurious interrupt vector.
    pub const SVR: u16 = 0x0f0;
    /// In-service, first of 8.
    pub const ISR: u16 = 0x100;
    /// Trigger mode, first of 8.
    pub const TMR: u16 = 0x180;
    /// Interrupt request, first of 8.
    pub const IRR: u16 = 0x200;
    /// Error status.
    pub const ESR: u16 = 0x280;
    /// LVT corrected machine check.
    pub const LVT_CMCI: u16 = 0x2f0;
    /// Interrupt command, bits 31:0 (x2APIC: all 64).
    pub const ICR: u16 = 0x300;
    /// Interrupt command, bits 63:32 (xAPIC only).
    pub const ICR_HIGH: u16 = 0x310;
    /// LVT timer.
    pub const LVT_TIMER: u16 = 0x320;
    /// LVT thermal sensor.
    pub const LVT_THERMAL: u16 = 0x330;
    /// LVT performance counters.
    pub const LVT_PERFORMANCE: u16 = 0x340;
    /// LVT LINT0.
    pub const LVT_LINT0: u16 = 0x350;
    /// LVT LINT1.
    pub const LVT_LINT1: u16 = 0x360;
    /// LVT error.
    pub const LVT_ERROR: u16 = 0x370;
    /// Timer initial count.
    pub const TMICT: u16 = 0x380;
    /// Timer current count.
    pub const TMCCT: u16 = 0x390;
    /// Timer divide configuration.
    pub const TDCR: u16 = 0x3e0;
    /// Self IPI (x2APIC only).
    pub const SELF_IPI: u16 = 0x3f0;
}

/// IA32_APIC_BASE ("Local APIC Status and Location", "Extended XAPIC (x2APIC)").
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct ApicBase {
    __: u8,
    /// Bit 8: this is the bootstrap processor.
    pub bsp: bool,
    __: bool,
    /// Bit 10, EXTD: x2APIC mode.
    pub x2apic: bool,
    /// Bit 11, EN: the APIC is enabled.
    pub enable: bool,
    /// Bits 63:12: page frame of the register page.
    #[bits(52)]
    pub frame: u64,
}

/// One LVT register, 32 bits ("Local Vector Table").
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Lvt {
    /// Bits 7:0: vector.
    pub vector: u8,
    /// Bits 10:8: delivery mode.
    #[bits(3)]
    pub delivery_mode: u8,
    __: bool,
    /// Bit 12: delivery status, always idle here.
    pub delivery_status: bool,
    /// Bit 13: input pin polarity; this model's lines carry "asserted", so it is only stored.
    pub active_low: bool,
    /// Bit 14: remote IRR (level-triggered, fixed).
    pub remote_irr: bool,
    /// Bit 15: level-triggered.
    pub level: bool,
    /// Bit 16: masked.
    pub masked: bool,
    /// Bits 18:17: timer mode, see [`timer_mode`].
    #[bits(2)]
    pub timer_mode: u8,
    #[bits(13)]
    __: u16,
}

impl Lvt {
    /// The value after reset: masked, everything else 0.
    pub const RESET: u32 = 0x0001_0000;
}

/// Values of [`Lvt::timer_mode`] ("APIC Timer").
pub mod timer_mode {
    /// Counts down once.
    pub const ONE_SHOT: u8 = 0;
    /// Counts down and reloads.
    pub const PERIODIC: u8 = 1;
    /// Fires when the TSC reaches IA32_TSC_DEADLINE.
    pub const TSC_DEADLINE: u8 = 2;
}

/// The entries of the local vector table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LvtIndex {
    /// APIC timer.
    Timer = 0,
    /// Thermal sensor.
    Thermal = 1,
    /// Performance counters.
    Performance = 2,
    /// Pin LINT0: INTR while the APIC is disabled.
    Lint0 = 3,
    /// Pin LINT1: NMI while the APIC is disabled.
    Lint1 = 4,
    /// Internal error.
    Error = 5,
    /// Corrected machine-check interrupt; only with [`Config::cmci`](crate::Config::cmci).
    Cmci = 6,
}

impl LvtIndex {
    /// How many there are.
    pub const COUNT: usize = 7;
    /// All of them, by index.
    pub const ALL: [LvtIndex; Self::COUNT] = [
        LvtIndex::Timer,
        LvtIndex::Thermal,
        LvtIndex::Performance,
        LvtIndex::Lint0,
        LvtIndex::Lint1,
        LvtIndex::Error,
        LvtIndex::Cmci,
    ];

    /// The entry at a page offset.
    pub const fn from_offset(offset: u16) -> Option<Self> {
        Some(match offset {
            reg::LVT_TIMER => LvtIndex::Timer,
            reg::LVT_THERMAL => LvtIndex::Thermal,
            reg::LVT_PERFORMANCE => LvtIndex::Performance,
            reg::LVT_LINT0 => LvtIndex::Lint0,
            reg::LVT_LINT1 => LvtIndex::Lint1,
            reg::LVT_ERROR => LvtIndex::Error,
            reg::LVT_CMCI => LvtIndex::Cmci,
            _ => return None,
        })
    }

    /// The entry's page offset.
    pub const fn offset(self) -> u16 {
        match self {
            LvtIndex::Timer => reg::LVT_TIMER,
            LvtIndex::Thermal => reg::LVT_THERMAL,
            LvtIndex::Performance => reg::LVT_PERFORMANCE,
            LvtIndex::Lint0 => reg::LVT_LINT0,
            LvtIndex::Lint1 => reg::LVT_LINT1,
            LvtIndex::Error => reg::LVT_ERROR,
            LvtIndex::Cmci => reg::LVT_CMCI,
        }
    }

    /// The bits that exist, read-only ones (12 and 14) included ("Local Vector Table" figure).
    pub const fn defined_bits(self, tsc_deadline: bool) -> u32 {
        match self {
            LvtIndex::Timer if tsc_deadline => 0x0007_10ff,
            LvtIndex::Timer => 0x0003_10ff,
            LvtIndex::Lint0 | LvtIndex::Lint1 => 0x0001_f7ff,
            LvtIndex::Error => 0x0001_10ff,
            LvtIndex::Thermal | LvtIndex::Performance | LvtIndex::Cmci => 0x0001_17ff,
        }
    }
}

/// Bits 12 (delivery status) and 14 (remote IRR) of an LVT entry: software cannot write them.
pub const LVT_READ_ONLY: u32 = 0x5000;

/// Interrupt command register, 64 bits ("Interrupt Command Register (ICR)"; "x2APIC ICR").
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Icr {
    /// Bits 7:0: vector.
    pub vector: u8,
    /// Bits 10:8: delivery mode.
    #[bits(3)]
    pub delivery_mode: u8,
    /// Bit 11: logical destination.
    pub logical: bool,
    /// Bit 12: delivery status (xAPIC), always idle here.
    pub delivery_status: bool,
    __: bool,
    /// Bit 14: assert.
    pub assert: bool,
    /// Bit 15: level; only INIT de-assert looks at it.
    pub level: bool,
    #[bits(2)]
    __: u8,
    /// Bits 19:18: destination shorthand: none, self, all, all but self.
    #[bits(2)]
    pub shorthand: u8,
    #[bits(12)]
    __: u16,
    /// Bits 63:32: destination; xAPIC uses 63:56 only.
    pub destination: u32,
}

impl Icr {
    /// Bits 31:0 that software can write.
    pub const WRITABLE_LOW: u32 = 0x000c_cfff;
    /// Bit 12: ignored on write.
    pub const DELIVERY_STATUS: u32 = 1 << 12;
    /// Bits 63:32 that exist in xAPIC mode.
    pub const WRITABLE_HIGH_XAPIC: u32 = 0xff00_0000;
}

/// Spurious interrupt vector register bits ("Spurious Interrupt").
pub mod svr {
    /// Value after reset: software-disabled, vector 0xff.
    pub const RESET: u32 = 0xff;
    /// Bit 8: APIC software enable.
    pub const ENABLE: u32 = 1 << 8;
    /// Bit 12: EOI-broadcast suppression; exists if the version register says so.
    pub const SUPPRESS_EOI_BROADCAST: u32 = 1 << 12;

    /// The bits that exist: vector, enable, focus checking (stored only), suppression.
    pub const fn writable(directed_eoi: bool) -> u32 {
        if directed_eoi {
            0x13ff
        } else {
            0x03ff
        }
    }
}

/// Error status register bits ("Error Handling").
pub mod esr {
    /// Bit 5: an IPI with a vector below 16 was to be sent.
    pub const SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
    /// Bit 6: a message, or the APIC's own LVT, had a vector below 16.
    pub const RECEIVE_ILLEGAL_VECTOR: u32 = 1 << 6;
    /// Bit 7: access to a register that does not exist (xAPIC only).
    pub const ILLEGAL_REGISTER: u32 = 1 << 7;
    /// All bits that this model can set.
    pub const ALL: u32 = SEND_ILLEGAL_VECTOR | RECEIVE_ILLEGAL_VECTOR | ILLEGAL_REGISTER;
}

/// Destination format register: bits 31:28 hold the model, the others read as 1 ("Logical
/// Destination Mode").
pub mod dfr {
    /// Value after reset: flat model.
    pub const RESET: u32 = 0xffff_ffff;
    /// Bits that always read as 1.
    pub const ONES: u32 = 0x0fff_ffff;
    /// Model in bits 31:28: flat.
    pub const FLAT: u8 = 0xf;
    /// Model in bits 31:28: cluster.
    pub const CLUSTER: u8 = 0;
}

/// Timer divide configuration register: bits 0, 1 and 3 ("APIC Timer").
pub mod tdcr {
    /// The bits that exist.
    pub const WRITABLE: u32 = 0b1011;

    /// The divisor: 1, 2, 4, ... 128.
    pub const fn divisor(tdcr: u32) -> u32 {
        let code = (tdcr & 3) | ((tdcr >> 1) & 4);
        1 << ((code + 1) & 7)
    }
}

/// The logical destination register that an x2APIC derives from its id ("Logical Destination
/// Mode in x2APIC Mode").
pub const fn x2apic_ldr(id: u32) -> u32 {
    ((id >> 4) << 16) | (1 << (id & 15))
}
