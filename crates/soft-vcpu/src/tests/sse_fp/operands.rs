// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Numbers at which something happens: zeros, infinities, NaNs, denormals, the smallest and largest
//! of all, halves, integers at the edge of a format; and random ones near each other.

use crate::tests::simd::registers::Rng;

/// 16 bytes of such lanes.
pub fn operand(rng: &mut Rng) -> u128 {
    u128::from(half(rng)) | u128::from(half(rng)) << 64
}

fn half(rng: &mut Rng) -> u64 {
    match rng.below(2) {
        0 => double(rng),
        _ => single(rng) | single(rng) << 32,
    }
}

fn pick(rng: &mut Rng, from: &[u64]) -> u64 {
    from[rng.below(from.len() as u64) as usize]
}

fn single(rng: &mut Rng) -> u64 {
    const SPECIAL: [u64; 12] = [
        0,           // zero
        0x7f80_0000, // infinity
        0x7fc0_0001, // QNaN
        0x7fa0_0000, // SNaN
        1,           // the smallest
        0x007f_ffff, // the largest denormal
        0x0080_0000, // the smallest normal number
        0x7f7f_ffff, // the largest
        0x3f80_0000, // 1
        0x4eff_ffff, // the last below 2^31
        0x4f00_0000, // 2^31
        0x5f00_0000, // 2^63
    ];
    let sign = rng.below(2) << 31;
    sign | match rng.below(8) {
        0 | 1 => pick(rng, &SPECIAL),
        // Halves and quarters.
        2 => (0x7d + rng.below(24)) << 23 | rng.below(8) << 20,
        // Products, quotients and sums near both ends.
        3 => (0x3e + rng.below(4)) << 23 | rng.next() & 0x7f_ffff,
        4 => (0xfc + rng.below(3)) << 23 | rng.next() & 0x7f_ffff,
        5 => rng.below(0x18) << 23 | rng.next() & 0x7f_ffff,
        6 => u64::from((rng.below(2000) as f32).to_bits()),
        _ => rng.next() & 0x7fff_ffff,
    }
}

fn double(rng: &mut Rng) -> u64 {
    const SPECIAL: [u64; 14] = [
        0,                     // zero
        0x7ff0_0000_0000_0000, // infinity
        0x7ff8_0000_0000_0001, // QNaN
        0x7ff4_0000_0000_0000, // SNaN
        1,                     // the smallest
        0x000f_ffff_ffff_ffff, // the largest denormal
        0x0010_0000_0000_0000, // the smallest normal number
        0x7fef_ffff_ffff_ffff, // the largest
        0x3ff0_0000_0000_0000, // 1
        0x41df_ffff_ffe0_0000, // just below 2^31
        0x41e0_0000_0000_0000, // 2^31
        0x43e0_0000_0000_0000, // 2^63
        0x47ef_ffff_f000_0000, // halfway from the largest of single precision to 2^128
        0x380f_ffff_e000_0000, // just below the smallest normal one of single precision
    ];
    let sign = rng.below(2) << 63;
    let fraction = rng.next() >> 12;
    sign | match rng.below(9) {
        0 | 1 => pick(rng, &SPECIAL),
        2 => (0x3fd + rng.below(60)) << 52 | rng.below(8) << 49,
        3 => (0x1fe + rng.below(4)) << 52 | fraction,
        4 => (0x7fc + rng.below(3)) << 52 | fraction,
        5 => rng.below(0x36) << 52 | fraction,
        // What is denormal in single precision, exactly or not.
        6 => (0x368 + rng.below(0x1c)) << 52 | fraction & pick(rng, &[!0, !0x7fff_ffff]),
        7 => (rng.below(2000) as f64).to_bits(),
        _ => rng.next() >> 1,
    }
}
