// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! SSE registers.

/// XMM0 to XMM15 and MXCSR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sse {
    pub xmm: [u128; 16],
    pub mxcsr: u32,
}

/// MXCSR after reset: all exceptions masked.
pub(crate) const MXCSR_RESET: u32 = 0x1f80;
/// Bits of MXCSR that exist, DAZ among them.
pub(crate) const MXCSR_MASK: u32 = 0xffff;

/// Bits of MXCSR (SDM vol. 1, "MXCSR Control and Status Register").
pub(crate) mod mxcsr {
    /// Invalid operation.
    pub const IE: u32 = 1 << 0;
    /// Denormal operand.
    pub const DE: u32 = 1 << 1;
    /// Division by zero.
    pub const ZE: u32 = 1 << 2;
    /// Overflow.
    pub const OE: u32 = 1 << 3;
    /// Underflow.
    pub const UE: u32 = 1 << 4;
    /// Inexact result.
    pub const PE: u32 = 1 << 5;
    /// All six flags; they are sticky.
    pub const FLAGS: u32 = 0x3f;
    /// The flags whose exceptions are found before the computation, which then does not take place.
    pub const BEFORE: u32 = IE | DE | ZE;
    /// Operands that are denormal become 0.
    pub const DAZ: u32 = 1 << 6;
    /// How far left of its flag each mask is.
    pub const MASK_SHIFT: u32 = 7;
    /// All six masks.
    pub const MASKS: u32 = FLAGS << MASK_SHIFT;
    /// Results that are too small become 0.
    #[cfg(all(test, not(loom)))]
    pub const FTZ: u32 = 1 << 15;
}

impl Default for Sse {
    fn default() -> Self {
        Sse { xmm: [0; 16], mxcsr: MXCSR_RESET }
    }
}

impl Sse {
    /// An XMM register.
    #[inline(always)]
    pub fn get(&self, register: u8) -> u128 {
        self.xmm[usize::from(register & 15)]
    }

    /// Writes an XMM register.
    #[inline(always)]
    pub fn set(&mut self, register: u8, value: u128) {
        self.xmm[usize::from(register & 15)] = value;
    }
}
