// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Numbers of the architecture that every module here needs, in one place.

/// Exception vectors (Intel SDM vol. 3, table "Protected-Mode Exceptions and Interrupts").
pub mod vector {
    /// Divide error.
    pub const DE: u8 = 0;
    /// Debug.
    pub const DB: u8 = 1;
    /// Non-maskable interrupt: no exception.
    pub const NMI: u8 = 2;
    /// Breakpoint.
    pub const BP: u8 = 3;
    /// Overflow.
    pub const OF: u8 = 4;
    /// Invalid opcode.
    pub const UD: u8 = 6;
    /// Device not available.
    pub const NM: u8 = 7;
    /// Double fault.
    pub const DF: u8 = 8;
    /// Invalid TSS.
    pub const TS: u8 = 10;
    /// Segment not present.
    pub const NP: u8 = 11;
    /// Stack-segment fault.
    pub const SS: u8 = 12;
    /// General protection.
    pub const GP: u8 = 13;
    /// Page fault.
    pub const PF: u8 = 14;
    /// x87 floating-point error.
    pub const MF: u8 = 16;
    /// Alignment check.
    pub const AC: u8 = 17;
    /// Machine check.
    pub const MC: u8 = 18;
    /// Virtualization exception.
    pub const VE: u8 = 20;
    /// Control protection.
    pub const CP: u8 = 21;
    /// VMM communication (AMD SEV-ES).
    pub const VC: u8 = 29;
    /// Security exception (AMD).
    pub const SX: u8 = 30;
}

/// RFLAGS.IF, bit 9.
pub const RFLAGS_IF: u64 = 1 << 9;
/// RFLAGS.RF, bit 16.
pub const RFLAGS_RF: u64 = 1 << 16;

/// The longest x86 instruction, bytes.
pub const MAX_INSTRUCTION_LENGTH: u8 = 15;

/// Interruption types, bits 10:8 of the VMX interruption information fields; SVM uses 0, 2, 3
/// and 4 (Intel SDM vol. 3, "Format of the VM-Entry Interruption-Information Field"; AMD APM
/// vol. 2, "Event Injection").
pub mod event_type {
    /// External interrupt.
    pub const EXTERNAL: u8 = 0;
    /// NMI.
    pub const NMI: u8 = 2;
    /// Hardware exception (SVM: any exception).
    pub const EXCEPTION: u8 = 3;
    /// INT n.
    pub const SOFTWARE_INTERRUPT: u8 = 4;
    /// INT1.
    pub const PRIVILEGED_SOFTWARE: u8 = 5;
    /// INT3 and INTO.
    pub const SOFTWARE_EXCEPTION: u8 = 6;
}

/// Classes of the table "Interrupt and Exception Classes".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Combines with anything one after the other.
    Benign,
    /// Two of them make a double fault.
    Contributory,
    /// With itself or a contributory one it makes a double fault.
    PageFault,
    /// #DF itself.
    DoubleFault,
}

/// Class of an exception's vector; reserved ones are benign.
pub const fn class(vector: u8) -> Class {
    match vector {
        vector::DE | vector::TS | vector::NP | vector::SS | vector::GP | vector::CP => {
            Class::Contributory
        }
        vector::PF | vector::VE => Class::PageFault,
        vector::DF => Class::DoubleFault,
        _ => Class::Benign,
    }
}

/// Whether `vector` is an exception's: below 32 and not the NMI's.
pub const fn is_exception(vector: u8) -> bool {
    vector < 32 && vector != vector::NMI
}

/// Whether the exception pushes an error code outside real-address mode.
pub const fn has_error_code(vector: u8) -> bool {
    matches!(
        vector,
        vector::DF
            | vector::TS
            | vector::NP
            | vector::SS
            | vector::GP
            | vector::PF
            | vector::AC
            | vector::CP
            | vector::VC
            | vector::SX
    )
}

/// Whether the exception is reported before its instruction, which is then executed again.
/// #DB is both fault and trap and is not counted here.
pub const fn is_fault(vector: u8) -> bool {
    !matches!(vector, vector::DB | vector::BP | vector::OF | vector::DF | vector::MC)
}
