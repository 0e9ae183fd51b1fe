// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Registers of a case, and operands worth a try.

use crate::sse::MXCSR_RESET;

/// What a case starts with and leaves. RSI and RDI point to memory and are relative to its page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    pub gpr: [u64; 16],
    /// Status flags.
    pub flags: u64,
    pub fsw: u16,
    /// Bit n: physical register n is not empty.
    pub ftw: u8,
    /// By physical number: mantissa, sign and exponent.
    pub x87: [(u64, u16); 8],
    pub xmm: [u128; 16],
    /// Masks all exceptions.
    pub mxcsr: u32,
}

/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators").
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    /// Lanes of extreme, small and random numbers; shift counts; texts.
    pub fn operand(&mut self) -> u128 {
        match self.below(8) {
            0 => self.lanes(8, 0),
            1 => self.lanes(16, 0),
            2 => self.lanes(32, 0),
            3 => self.lanes(64, 0),
            4 => u128::from(self.below(80)) | u128::from(self.next()) << 64,
            5 => self.lanes(8, 3),
            6 => self.lanes(16, 3),
            _ => self.wide(),
        }
    }

    /// Lanes of `bits` bits: letters, of which there are `letters`, or any.
    fn lanes(&mut self, bits: u32, letters: u64) -> u128 {
        let mask = u64::MAX >> (64 - bits);
        let lane = |rng: &mut Rng| match (letters, rng.below(8)) {
            (1.., 0) => 0,
            (1.., _) => 0x7f + rng.below(letters),
            (0, 0) => 0,
            (0, 1) => mask,
            (0, 2) => 1 << (bits - 1),
            (0, 3) => mask >> 1,
            (0, 4) => rng.below(20),
            (0, 5) => rng.below(20).wrapping_neg() & mask,
            _ => rng.next() & mask,
        };
        (0..128 / bits).fold(0, |value, n| value | u128::from(lane(self)) << (n * bits))
    }

    pub fn registers(&mut self) -> Registers {
        let ftw = self.next() as u8;
        let mut registers = Registers {
            gpr: std::array::from_fn(|_| match self.below(4) {
                0 => self.below(40).wrapping_sub(20),
                _ => self.operand() as u64,
            }),
            flags: self.next() & 0x8d5,
            fsw: (self.below(8) as u16) << 11,
            ftw,
            x87: std::array::from_fn(|_| (self.operand() as u64, self.next() as u16)),
            xmm: std::array::from_fn(|_| self.operand()),
            mxcsr: MXCSR_RESET,
        };
        // Near values: what is equal, or equal in part.
        for _ in 0..4 {
            let (from, to) = (self.below(16) as usize, self.below(16) as usize);
            registers.xmm[to] = registers.xmm[from] ^ u128::from(self.below(2)) << self.below(128);
            registers.x87[to % 8].0 = registers.x87[from % 8].0;
        }
        registers
    }
}
