// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Operands that find faults: special values, and random ones that are near each other.

use crate::x87::F80;

/// A small generator: tests repeat exactly.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        // splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn of<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len() as u64) as usize]
    }

    /// Significands: all, few or runs of bits.
    fn mantissa(&mut self) -> u64 {
        let (a, b) = (self.below(64), self.below(64));
        match self.below(6) {
            0 => 1 << a,
            1 => (1 << a) | (1 << b),
            2 => u64::MAX << a,
            3 => (u64::MAX << a) ^ (1 << b),
            4 => (u64::MAX >> a) ^ (1 << b),
            _ => self.next(),
        }
    }

    /// An 80-bit value: in most cases an ordinary number.
    pub fn f80(&mut self) -> F80 {
        let sign = (self.below(2) as u16) << 15;
        let integer = 1 << 63;
        let mantissa = self.mantissa();
        let (exponent, mantissa) = match self.below(24) {
            0 => return F80::from_bits(self.of(&SPECIAL)),
            1 => return F80::from_bits(self.of(&SPECIAL)),
            2 => (0, mantissa & !integer),
            3 => (0, mantissa),
            4 => (0x7fff, mantissa | integer),
            5 => (self.below(0x8000) as u16, mantissa),
            6 => (self.below(0x7fff) as u16, mantissa | integer),
            7 => (self.below(130) as u16, mantissa | integer),
            8 => (0x7ffe - self.below(130) as u16, mantissa | integer),
            // Single and double precision's borders.
            9 => (16383 - 1090 + self.below(90) as u16, mantissa | integer),
            10 => (16383 - 155 + self.below(40) as u16, mantissa | integer),
            11 => (
                self.of(&[16383 + 1023, 16383 + 127, 16384 + 1023, 16384 + 127]),
                mantissa | integer,
            ),
            // Integers' borders.
            12..=14 => (16383 + 10 + self.below(60) as u16, mantissa | integer),
            15..=17 => (16383 - 10 + self.below(20) as u16, mantissa | integer),
            _ => (16383 - 70 + self.below(140) as u16, mantissa | integer),
        };
        F80 { mantissa, sign_exponent: sign | exponent }
    }

    /// Eight bytes of memory: floating point near its borders or anything.
    pub fn memory(&mut self) -> [u8; 16] {
        let sign = self.below(2);
        let wide = match self.below(8) {
            0 => u128::from(self.next()),
            1 => u128::from(self.of(&SINGLES)),
            2 => u128::from(self.of(&DOUBLES)),
            3 => u128::from(sign << 31 | (self.mantissa() & 0x7f_ffff) | self.below(256) << 23),
            4 => u128::from(sign << 63 | self.mantissa() >> 12 | self.below(2048) << 52),
            5 => {
                u128::from(sign << 63 | self.mantissa() >> 12 | (1023 - 60 + self.below(120)) << 52)
            }
            6 => u128::from(self.mantissa()),
            _ => self.f80().to_bits(),
        };
        wide.to_le_bytes()
    }
}

const SINGLES: [u32; 10] = [
    0,
    0x8000_0000,
    1,
    0x7f_ffff,
    0x80_0000,
    0x7f7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7f80_0001,
    0xffc0_0000,
];
const DOUBLES: [u64; 10] = [
    0,
    1 << 63,
    1,
    0xf_ffff_ffff_ffff,
    1 << 52,
    0x7fef_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff0_0000_0000_0001,
    0xfff8_0000_0000_0000,
];

/// Values at the borders of what there is.
pub const SPECIAL: [u128; 30] = [
    0,
    0x8000 << 64,
    0x3fff_8000_0000_0000_0000,
    0xbfff_8000_0000_0000_0000,
    0x4000_8000_0000_0000_0000,
    0x3ffe_8000_0000_0000_0000,
    0xbffe_8000_0000_0000_0000,
    0x3fff_8000_0000_0000_0001,
    0x3ffe_ffff_ffff_ffff_ffff,
    // Infinities, pseudo-infinity.
    0x7fff_8000_0000_0000_0000,
    0xffff_8000_0000_0000_0000,
    0x7fff_0000_0000_0000_0000,
    // NaNs: quiet, signaling, of both signs and near each other; pseudo-NaN.
    0x7fff_c000_0000_0000_0000,
    0xffff_c000_0000_0000_0000,
    0x7fff_c000_0000_0000_0001,
    0xffff_c000_0000_0000_0001,
    0x7fff_8000_0000_0000_0001,
    0xffff_8000_0000_0000_0001,
    0x7fff_bfff_ffff_ffff_ffff,
    0x7fff_4000_0000_0000_0000,
    // Unnormal, pseudo-denormals, denormals.
    0x3fff_4000_0000_0000_0000,
    0x0000_8000_0000_0000_0000,
    0x8000_ffff_ffff_ffff_ffff,
    0x0000_0000_0000_0000_0001,
    0x8000_7fff_ffff_ffff_ffff,
    // The smallest and largest normal numbers.
    0x0001_8000_0000_0000_0000,
    0x7ffe_ffff_ffff_ffff_ffff,
    0xfffe_ffff_ffff_ffff_ffff,
    // 2^63 and -2^63.
    0x403e_8000_0000_0000_0000,
    0xc03e_8000_0000_0000_0000,
];
