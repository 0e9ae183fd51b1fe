// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! x87 registers, which are the MMX registers too.

use vcpu_events::Exception;

use crate::cpu::{Cause, Cpu};
use crate::op::Trap;
use crate::spec::cr0;

/// Bits of the status word (SDM vol. 1, "x87 FPU Status Register"); the control word's masks are at
/// the places of the six exceptions.
pub(crate) mod status {
    pub const IE: u16 = 1 << 0;
    pub const DE: u16 = 1 << 1;
    pub const ZE: u16 = 1 << 2;
    pub const OE: u16 = 1 << 3;
    pub const UE: u16 = 1 << 4;
    pub const PE: u16 = 1 << 5;
    /// The six exceptions.
    pub const EXCEPTIONS: u16 = 0x3f;
    pub const SF: u16 = 1 << 6;
    pub const ES: u16 = 1 << 7;
    pub const C0: u16 = 1 << 8;
    pub const C1: u16 = 1 << 9;
    pub const C2: u16 = 1 << 10;
    pub const C3: u16 = 1 << 14;
    /// Follows ES.
    pub const B: u16 = 1 << 15;
}

/// Bits of the control word that can be written; bit 6 is always 1.
const CONTROL: u16 = 0x1f3f;
const CONTROL_FIXED: u16 = 0x40;

/// An 80-bit register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct F80 {
    /// Explicit integer bit and fraction.
    pub mantissa: u64,
    /// Sign in bit 15, biased exponent below.
    pub sign_exponent: u16,
}

impl F80 {
    /// What an invalid operation gives: the QNaN floating-point indefinite.
    pub const INDEFINITE: F80 = F80 { mantissa: 0xc000_0000_0000_0000, sign_exponent: 0xffff };
    pub const ONE: F80 = F80 { mantissa: 1 << 63, sign_exponent: 0x3fff };

    /// Zero with a sign.
    pub const fn zero(negative: bool) -> Self {
        F80 { mantissa: 0, sign_exponent: (negative as u16) << 15 }
    }

    /// Infinity with a sign.
    pub const fn infinity(negative: bool) -> Self {
        F80 { mantissa: 1 << 63, sign_exponent: 0x7fff | (negative as u16) << 15 }
    }

    /// The sign.
    pub const fn negative(self) -> bool {
        self.sign_exponent >> 15 != 0
    }

    /// The ten bytes that memory holds.
    pub const fn to_bits(self) -> u128 {
        self.mantissa as u128 | (self.sign_exponent as u128) << 64
    }

    /// From the ten low bytes.
    pub const fn from_bits(bits: u128) -> Self {
        F80 { mantissa: bits as u64, sign_exponent: (bits >> 64) as u16 }
    }
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
    /// Last opcode, 11 bits. As on processors without the opcode compatibility mode, only an
    /// instruction that raises an unmasked exception leaves it (SDM vol. 1, "Fopcode Compatibility
    /// Sub-mode").
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
    #[inline(always)]
    pub fn top(&self) -> u8 {
        (self.status >> 11 & 7) as u8
    }

    /// Moves the top of stack.
    #[inline(always)]
    pub fn set_top(&mut self, top: u8) {
        self.status = self.status & !(7 << 11) | u16::from(top & 7) << 11;
    }

    /// The physical number of ST(i).
    #[inline(always)]
    fn physical(&self, i: u8) -> u8 {
        self.top().wrapping_add(i) & 7
    }

    /// ST(i), unless it is empty.
    #[inline(always)]
    pub fn st(&self, i: u8) -> Option<F80> {
        let n = self.physical(i);
        match self.used >> n & 1 {
            0 => None,
            _ => Some(self.regs[usize::from(n)]),
        }
    }

    /// What is in ST(i), empty or not.
    pub fn raw_st(&self, i: u8) -> F80 {
        self.regs[usize::from(self.physical(i))]
    }

    /// Writes ST(i), which then is not empty.
    #[inline(always)]
    pub fn set_st(&mut self, i: u8, value: F80) {
        let n = self.physical(i);
        self.regs[usize::from(n)] = value;
        self.used |= 1 << n;
    }

    /// Marks ST(i) empty.
    #[inline(always)]
    pub fn free(&mut self, i: u8) {
        self.used &= !(1 << self.physical(i));
    }

    /// Pushes without looking whether there is room.
    #[inline(always)]
    pub fn push(&mut self, value: F80) {
        self.set_top(self.top().wrapping_sub(1));
        self.set_st(0, value);
    }

    /// Pops whatever is there.
    #[inline(always)]
    pub fn pop(&mut self) {
        self.free(0);
        self.set_top(self.top().wrapping_add(1));
    }

    /// Sets ES and B as the flags and their masks want them.
    #[inline(always)]
    pub fn summarize(&mut self) {
        let pending = self.status & !self.control & status::EXCEPTIONS != 0;
        self.status &= !(status::ES | status::B);
        if pending {
            self.status |= status::ES | status::B;
        }
    }

    /// Loads the control word; reserved bits are as processors have them.
    pub fn set_control(&mut self, control: u16) {
        self.control = control & CONTROL | CONTROL_FIXED;
        self.summarize();
    }

    /// FNINIT: registers keep what they hold, but are empty.
    pub fn init(&mut self) {
        *self = X87 { regs: self.regs, control: 0x37f, used: 0, ..X87::default() };
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

impl Cpu {
    /// What every waiting x87 instruction, WAIT and every MMX instruction do first: an unmasked
    /// exception of an earlier x87 instruction is raised here, as #MF.
    ///
    /// With CR0.NE clear a processor raises FERR# instead and stands still until an interrupt or
    /// IGNNE# comes (SDM vol. 1, "MS-DOS Compatibility Sub-mode"). There is no such wire here, so
    /// the vCPU refuses to go on and says why.
    ///
    /// # Errors
    /// [`Trap`]: the instruction must not be executed.
    #[inline(always)]
    pub fn x87_ready(&mut self) -> Result<(), Trap> {
        match self.x87.status & status::ES {
            0 => Ok(()),
            _ => Err(self.x87_error()),
        }
    }

    #[cold]
    fn x87_error(&mut self) -> Trap {
        match self.cr0 & cr0::NE {
            0 => self.stop(Cause::Unsupported("x87 errors by FERR# and IRQ 13 (CR0.NE = 0)")),
            _ => self.raise(Exception::mf()),
        }
    }
}
