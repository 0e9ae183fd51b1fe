// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A set of vectors: IRR, ISR, TMR.

/// 256 bits, bit n of the whole is vector n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vectors(pub(crate) [u64; 4]);

/// Vectors 0..=15, illegal for the APIC, in the first word.
pub(crate) const ILLEGAL: u64 = 0xffff;

impl Vectors {
    pub(crate) const fn contains(&self, vector: u8) -> bool {
        self.0[vector as usize / 64] & (1 << (vector % 64)) != 0
    }

    pub(crate) fn insert(&mut self, vector: u8) {
        self.0[usize::from(vector) / 64] |= 1 << (vector % 64);
    }

    pub(crate) fn remove(&mut self, vector: u8) {
        self.0[usize::from(vector) / 64] &= !(1 << (vector % 64));
    }

    pub(crate) fn set(&mut self, vector: u8, value: bool) {
        if value {
            self.insert(vector);
        } else {
            self.remove(vector);
        }
    }

    /// The highest vector, which is the one of highest priority.
    pub(crate) fn highest(&self) -> Option<u8> {
        (0..4u8).rev().find_map(|word| {
            let bits = self.0[usize::from(word)];
            (bits != 0).then(|| word * 64 + 63 - bits.leading_zeros() as u8)
        })
    }

    /// Register `index` (0..=7) of the eight 32-bit ones.
    pub(crate) const fn register(&self, index: u16) -> u32 {
        let index = index as usize & 7;
        (self.0[index / 2] >> (32 * (index % 2))) as u32
    }

    /// Whether a vector below 16 is in the set.
    pub(crate) const fn has_illegal(&self) -> bool {
        self.0[0] & ILLEGAL != 0
    }
}
