// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! SplitMix64: a seed gives the same cases everywhere (Steele, Lea, Flood: "Fast Splittable
//! Pseudorandom Number Generators").

/// A generator of 64-bit numbers.
pub struct Rng(u64);

impl Rng {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// True in `percent` of 100 cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// A number of interesting size: small, a power of two or its neighbour, or anything.
    pub fn operand(&mut self) -> u64 {
        match self.below(6) {
            0 => self.below(16),
            1 => self.below(16).wrapping_neg(),
            2 => (1 << self.below(64)) - self.below(2),
            3 => u64::from(self.next() as u32),
            _ => self.next(),
        }
    }
}
