// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the meaning of code bytes depends on.

use bitfield_struct::bitfield;

/// Part of a decoded block's key: where any of it differs, the same bytes are other instructions.
#[bitfield(u16)]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Mode {
    /// 64-bit mode.
    pub code64: bool,
    /// CS.D: 32-bit code. Clear together with `code64`: 16-bit code.
    pub code32: bool,
    /// SS.B: the stack pointer is ESP.
    pub stack32: bool,
    /// CR0.PE.
    pub protected: bool,
    /// CR0.EM: x87 instructions raise #NM, MMX and SSE #UD.
    pub em: bool,
    /// CR0.TS: x87, MMX and SSE raise #NM.
    pub ts: bool,
    /// CR0.MP: WAIT obeys TS.
    pub mp: bool,
    /// CR4.OSFXSR: SSE exists.
    pub osfxsr: bool,
    #[bits(8)]
    __: u8,
}

impl Mode {
    /// Code size in bits: 16, 32 or 64.
    pub fn bits(self) -> u32 {
        match (self.code64(), self.code32()) {
            (true, _) => 64,
            (false, true) => 32,
            (false, false) => 16,
        }
    }
}
