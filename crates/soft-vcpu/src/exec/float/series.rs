// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Power series in fixed point: 127 bits behind the binary point.
//!
//! Each function here is a factor close to 1 of what it is for (sin x is x times a series in x^2),
//! so that its absolute error of a few 2^-127 is a relative one of the result.

use super::round::Exact;

/// 1.
pub(super) const ONE: u128 = 1 << 127;

/// The 256-bit product: upper and lower half.
const fn wide(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    let (ah, al, bh, bl) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let (hl, lh, ll) = (ah * bl, al * bh, al * bl);
    let middle = (ll >> 64) + (hl & LOW) + (lh & LOW);
    (ah * bh + (hl >> 64) + (lh >> 64) + (middle >> 64), middle << 64 | ll & LOW)
}

/// The product of two fixed-point numbers; it must be less than 2.
const fn mul(a: u128, b: u128) -> u128 {
    let (high, low) = wide(a, b);
    high << 1 | low >> 127
}

/// A number times a fixed-point one that is not zero.
pub(super) fn times(a: &Exact, factor: u128) -> Exact {
    let (high, low) = wide(a.sig, factor);
    let zeros = high.leading_zeros().min(127);
    let below = if zeros == 0 { 0 } else { low >> (128 - zeros) };
    Exact { negative: a.negative, exp: a.exp + 1 - zeros as i32, sig: high << zeros | below }
}

/// A number less than 2, in fixed point; its sign is lost.
pub(super) fn fixed(a: &Exact) -> u128 {
    match a.exp {
        0 => a.sig,
        -127..=-1 => a.sig >> -a.exp,
        _ => 0,
    }
}

/// From fixed point; not zero.
pub(super) fn floating(value: u128) -> Exact {
    let zeros = value.leading_zeros().min(127);
    Exact { negative: false, exp: -(zeros as i32), sig: value << zeros }
}

/// `c[0] + c[1] z + c[2] z^2 ...`.
fn sum(coefficients: &[u128], z: u128) -> u128 {
    let add = |sum: u128, c: &u128| c.wrapping_add(mul(sum, z));
    coefficients.iter().rev().fold(0, add)
}

/// `c[0] - c[1] z + c[2] z^2 ...`; the coefficients fall.
fn alternating(coefficients: &[u128], z: u128) -> u128 {
    let subtract = |sum: u128, c: &u128| c.wrapping_sub(mul(sum, z));
    coefficients.iter().rev().fold(0, subtract)
}

/// `1 / (first (first + 1) ... )`: each coefficient has `step` factors more than the one before.
const fn factorials<const N: usize>(mut factor: u128, step: u32) -> [u128; N] {
    let mut all = [ONE; N];
    let mut n = 1;
    while n < N {
        all[n] = all[n - 1];
        let mut i = 0;
        while i < step {
            all[n] /= factor;
            factor += 1;
            i += 1;
        }
        n += 1;
    }
    all
}

/// 1, 1/3, 1/5 ...
const ODD: [u128; 24] = {
    let mut all = [ONE; 24];
    let mut n = 1;
    while n < all.len() {
        all[n] = ONE / (2 * n as u128 + 1);
        n += 1;
    }
    all
};

const SINE: [u128; 17] = factorials(2, 2);
const COSINE: [u128; 18] = factorials(1, 2);
const EXPONENTIAL: [u128; 31] = factorials(2, 1);

/// `sin r / r` of `z = r^2`, r up to pi/4.
pub(super) fn sine(z: u128) -> u128 {
    alternating(&SINE, z)
}

/// `cos r` of `z = r^2`, r up to pi/4.
pub(super) fn cosine(z: u128) -> u128 {
    alternating(&COSINE, z)
}

/// `(e^r - 1) / r`, r up to ln 2; less than 1.5.
pub(super) fn exponential(r: u128, negative: bool) -> u128 {
    match negative {
        true => alternating(&EXPONENTIAL, r),
        false => sum(&EXPONENTIAL, r),
    }
}

/// `atan r / r` of `z = r^2`, r up to 1/16.
pub(super) fn arc_tangent(z: u128) -> u128 {
    alternating(&ODD[..16], z)
}

/// `artanh r / r` of `z = r^2`, r up to 0.18.
pub(super) fn area_tangent(z: u128) -> u128 {
    sum(&ODD, z)
}

/// The square of a number up to 1, in fixed point.
pub(super) fn square(a: &Exact) -> u128 {
    let a = fixed(a);
    mul(a, a)
}
