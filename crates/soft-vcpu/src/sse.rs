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

impl Default for Sse {
    fn default() -> Self {
        Sse { xmm: [0; 16], mxcsr: MXCSR_RESET }
    }
}
