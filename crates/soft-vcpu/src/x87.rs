// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! x87 registers, which are the MMX registers too.

/// An 80-bit register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct F80 {
    /// Explicit integer bit and fraction.
    pub mantissa: u64,
    /// Sign in bit 15, biased exponent below.
    pub sign_exponent: u16,
}

/// The x87 FPU. Registers are numbered physically: ST(i) is `(TOP + i) % 8`, MMn is n.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct X87 {
    pub regs: [F80; 8],
    /// Control word.
    pub control: u16,
    /// Status word; TOP is bits 13:11.
    pub status: u16,
    /// Bit n: physical register n is not empty (FXSAVE's abridged tag word).
    pub used: u8,
    /// Last opcode, 11 bits.
    pub fop: u16,
    /// Last instruction pointer and its selector.
    pub fip: u64,
    pub fcs: u16,
    /// Last data pointer and its selector.
    pub fdp: u64,
    pub fds: u16,
}

impl Default for X87 {
    /// After reset (SDM vol. 3, "Processor State After Reset").
    fn default() -> Self {
        X87 {
            regs: [F80::default(); 8],
            control: 0x40,
            status: 0,
            used: 0xff,
            fop: 0,
            fip: 0,
            fcs: 0,
            fdp: 0,
            fds: 0,
        }
    }
}

impl X87 {
    /// The top of stack, 0 to 7.
    pub fn top(&self) -> u8 {
        (self.status >> 11 & 7) as u8
    }

    /// Moves the top of stack.
    pub fn set_top(&mut self, top: u8) {
        self.status = self.status & !(7 << 11) | u16::from(top & 7) << 11;
    }

    /// An MMX register.
    pub fn mmx(&self, register: u8) -> u64 {
        self.regs[usize::from(register & 7)].mantissa
    }

    /// Writes an MMX register; its exponent becomes all ones.
    pub fn set_mmx(&mut self, register: u8, value: u64) {
        self.regs[usize::from(register & 7)] = F80 { mantissa: value, sign_exponent: 0xffff };
    }

    /// What every MMX instruction but EMMS does: TOP is 0, all registers are in use.
    pub fn enter_mmx(&mut self) {
        self.set_top(0);
        self.used = 0xff;
    }
}
