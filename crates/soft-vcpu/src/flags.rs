// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RFLAGS, with the six status flags kept as what they follow from until somebody asks.

use crate::int::Int;

/// Bits of RFLAGS (SDM vol. 1, "EFLAGS Register").
pub(crate) mod bit {
    pub const CF: u64 = 1 << 0;
    pub const FIXED: u64 = 1 << 1;
    pub const PF: u64 = 1 << 2;
    pub const AF: u64 = 1 << 4;
    pub const ZF: u64 = 1 << 6;
    pub const SF: u64 = 1 << 7;
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    pub const DF: u64 = 1 << 10;
    pub const OF: u64 = 1 << 11;
    pub const IOPL: u64 = 3 << 12;
    pub const NT: u64 = 1 << 14;
    pub const RF: u64 = 1 << 16;
    pub const VM: u64 = 1 << 17;
    pub const AC: u64 = 1 << 18;
    pub const VIF: u64 = 1 << 19;
    pub const VIP: u64 = 1 << 20;
    pub const ID: u64 = 1 << 21;
    /// The six that arithmetic sets.
    pub const STATUS: u64 = CF | PF | AF | ZF | SF | OF;
    /// Everything that can be set.
    pub const ALL: u64 = STATUS | TF | IF | DF | IOPL | NT | RF | VM | AC | VIF | VIP | ID | FIXED;
}

/// RFLAGS.
///
/// ZF, SF and PF follow from `result` (a result, sign-extended); the others are bits of `aux`.
/// Flags that fit no result (POPF sets ZF and SF both, say) are told by two corrections in `aux`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags {
    result: u64,
    /// Bit 63: CF. Bit 62: CF ^ OF. Bit 3: AF. Bit 0: inverts SF. Bits 15:8: XORed to the low
    /// byte of `result` before its parity is taken.
    aux: u64,
    /// All other bits.
    rest: u64,
}

const CARRY: u64 = 1 << 63;
const CARRY_IN: u64 = 1 << 62;
const HALF: u64 = 1 << 3;
const SIGN_FIX: u64 = 1 << 0;

impl Default for Flags {
    fn default() -> Self {
        let mut flags = Flags { result: 1, aux: 0, rest: 0 };
        flags.set(bit::FIXED);
        flags
    }
}

impl Flags {
    /// All of RFLAGS.
    pub fn get(&self) -> u64 {
        self.rest | bit::FIXED | self.status()
    }

    /// The six status flags, at their places.
    pub fn status(&self) -> u64 {
        u64::from(self.cf())
            | u64::from(self.pf()) << 2
            | u64::from(self.af()) << 4
            | u64::from(self.zf()) << 6
            | u64::from(self.sf()) << 7
            | u64::from(self.of()) << 11
    }

    /// Sets all of RFLAGS; bits that do not exist stay 0.
    pub fn set(&mut self, value: u64) {
        self.rest = value & bit::ALL & !bit::STATUS;
        self.set_status(value);
    }

    /// Sets the six status flags from their places in `value`.
    pub fn set_status(&mut self, value: u64) {
        let carry = value & bit::CF;
        let overflow = value >> 11 & 1;
        let mut aux = carry << 63 | (carry ^ overflow) << 62 | (value >> 4 & 1) << 3;
        // A non-zero result of even parity in its low byte would need PF's correction too: 0 and
        // 0x100 both have a low byte of 0, so that PF depends on the correction alone.
        self.result = if value & bit::ZF != 0 { 0 } else { 0x100 };
        aux |= value >> 7 & SIGN_FIX;
        if value & bit::PF == 0 {
            aux |= 1 << 8;
        }
        self.aux = aux;
    }

    /// Bits other than the status flags: TF, IF, DF, IOPL, NT, RF, VM, AC, VIF, VIP, ID.
    #[inline(always)]
    pub fn has(&self, bits: u64) -> bool {
        self.rest & bits != 0
    }

    /// Sets or clears bits other than the status flags.
    #[inline(always)]
    pub fn put(&mut self, bits: u64, on: bool) {
        match on {
            true => self.rest |= bits,
            false => self.rest &= !bits,
        }
    }

    /// I/O privilege level, 0 to 3.
    #[inline(always)]
    pub fn iopl(&self) -> u8 {
        (self.rest >> 12 & 3) as u8
    }

    /// Carry.
    #[inline(always)]
    pub fn cf(&self) -> bool {
        self.aux & CARRY != 0
    }

    /// Zero.
    #[inline(always)]
    pub fn zf(&self) -> bool {
        self.result == 0
    }

    /// Sign.
    #[inline(always)]
    pub fn sf(&self) -> bool {
        (self.result >> 63 ^ self.aux) & 1 != 0
    }

    /// Overflow.
    #[inline(always)]
    pub fn of(&self) -> bool {
        (self.aux ^ self.aux << 1) & CARRY != 0
    }

    /// Auxiliary carry.
    #[inline(always)]
    pub fn af(&self) -> bool {
        self.aux & HALF != 0
    }

    /// Parity of the low byte: set if even.
    #[inline(always)]
    pub fn pf(&self) -> bool {
        ((self.result ^ self.aux >> 8) as u8).count_ones() & 1 == 0
    }

    /// After `result = a + b`, or `a + b + CF`.
    #[inline(always)]
    pub fn add<T: Int>(&mut self, a: T, b: T, result: T) {
        let (a, b, r) = (a.zx(), b.zx(), result.zx());
        self.carries::<T>(a & b | (a | b) & !r, result);
    }

    /// After `result = a - b`, or `a - b - CF`.
    #[inline(always)]
    pub fn sub<T: Int>(&mut self, a: T, b: T, result: T) {
        let (a, b, r) = (a.zx(), b.zx(), result.zx());
        self.carries::<T>(!a & b | (!a | b) & r, result);
    }

    /// After AND, OR, XOR, TEST: CF and OF clear. AF is undefined; processors clear it.
    #[inline(always)]
    pub fn logic<T: Int>(&mut self, result: T) {
        self.result = result.sx();
        self.aux = 0;
    }

    /// After INC: CF stays.
    #[inline(always)]
    pub fn inc<T: Int>(&mut self, result: T) {
        self.step(result, T::SIGN, 0);
    }

    /// After DEC: CF stays.
    #[inline(always)]
    pub fn dec<T: Int>(&mut self, result: T) {
        self.step(result, T::SIGN - 1, 15);
    }

    /// After INC or DEC: OF if `result` is `overflown`, AF if its low four bits are `half`.
    #[inline(always)]
    fn step<T: Int>(&mut self, result: T, overflown: u64, half: u64) {
        self.result = result.sx();
        let carry = self.aux & CARRY;
        let overflow = u64::from(result.zx() == overflown) << 62;
        self.aux = carry | carry >> 1 ^ overflow | u64::from(result.zx() & 15 == half) << 3;
    }

    /// ZF, SF and PF of `result`; CF and OF as given; AF clear.
    #[inline(always)]
    pub fn result_with<T: Int>(&mut self, result: T, cf: bool, of: bool) {
        self.result = result.sx();
        self.aux = u64::from(cf) << 63 | u64::from(cf ^ of) << 62;
    }

    /// Changes CF alone.
    #[inline(always)]
    pub fn set_cf(&mut self, cf: bool) {
        self.set_cf_keep_of(cf);
    }

    /// Changes ZF alone.
    pub fn set_zf(&mut self, zf: bool) {
        let status = self.status() & !bit::ZF | u64::from(zf) << 6;
        self.set_status(status);
    }

    /// Changes OF alone.
    #[inline(always)]
    pub fn set_of(&mut self, of: bool) {
        self.aux = self.aux & !CARRY_IN | u64::from(self.cf() ^ of) << 62;
    }

    #[inline(always)]
    fn set_cf_keep_of(&mut self, cf: bool) {
        let of = self.of();
        self.aux = self.aux & !(CARRY | CARRY_IN) | u64::from(cf) << 63 | u64::from(cf ^ of) << 62;
    }

    /// `carries`: the carry (or borrow) out of each bit.
    #[inline(always)]
    fn carries<T: Int>(&mut self, carries: u64, result: T) {
        self.result = result.sx();
        let top = carries << (64 - T::BITS);
        self.aux = top & (CARRY | CARRY_IN) | carries & HALF;
        // Bit 62 holds the carry into the sign bit; OF is that XOR the carry out of it.
    }

    /// One of the sixteen conditions of Jcc, SETcc and CMOVcc (SDM vol. 1, "EFLAGS Condition
    /// Codes"), as the low four bits of the opcode number it.
    #[inline(always)]
    pub fn condition<const CC: u8>(&self) -> bool {
        let value = match CC >> 1 {
            0 => self.of(),
            1 => self.cf(),
            2 => self.zf(),
            3 => self.cf() || self.zf(),
            4 => self.sf(),
            5 => self.pf(),
            6 => self.sf() != self.of(),
            _ => self.zf() || self.sf() != self.of(),
        };
        value != (CC & 1 != 0)
    }
}
