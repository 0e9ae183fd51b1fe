// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Quotients, and what takes more bits than registers have: `rustc_apfloat`'s 113-bit format.
//!
//! Its 80-bit format alone would not do: precision control shortens the significand but not the
//! exponent, an unmasked overflow wraps the exponent, and C1 tells which way the result was rounded.
//! So results are cut off behind 113 bits with what was lost told by a sticky bit, and `round` makes
//! an x87 result of them. Exponents are kept near 0 and the difference apart, so nothing overflows
//! here.

use rustc_apfloat::ieee::Quad;
use rustc_apfloat::{Float, Round, Status, StatusAnd};

use super::round::Exact;

const BIAS: i32 = 16383;
const FRACTION: u128 = (1 << 112) - 1;

/// The upper 113 bits of a number: all of it, if it comes from a register or memory.
#[inline]
fn quad(value: &Exact, scale: i32) -> Quad {
    let exponent = (value.exp - scale + BIAS).clamp(1, 2 * BIAS) as u128;
    let bits = exponent << 112 | value.sig >> 15 & FRACTION;
    Quad::from_bits(u128::from(value.negative) << 127 | bits)
}

/// Takes a result apart that is not zero; `scale` is added to its exponent.
#[inline]
fn exact(result: StatusAnd<Quad>, scale: i32) -> Exact {
    let bits = result.value.to_bits();
    let exp = (bits >> 112) as i32 & 0x7fff;
    let sig = (bits & FRACTION | 1 << 112) << 15;
    let sticky = u128::from(result.status.contains(Status::INEXACT));
    Exact { negative: bits >> 127 != 0, exp: exp - BIAS + scale, sig: sig | sticky }
}

/// The sum; `None` if it is zero.
#[inline]
pub(super) fn add(a: &Exact, b: &Exact) -> Option<Exact> {
    let scale = a.exp.max(b.exp);
    // Further below than this, only that the smaller one is there matters.
    let near = |n: &Exact| quad(n, scale.min(n.exp.saturating_add(200)));
    let sum = near(a).add_r(near(b), Round::TowardZero);
    (!sum.value.is_zero()).then(|| exact(sum, scale))
}

/// The product.
#[inline]
pub(super) fn mul(a: &Exact, b: &Exact) -> Exact {
    exact(quad(a, a.exp).mul_r(quad(b, b.exp), Round::TowardZero), a.exp + b.exp)
}

/// The quotient.
#[inline]
pub(super) fn div(a: &Exact, b: &Exact) -> Exact {
    exact(quad(a, a.exp).div_r(quad(b, b.exp), Round::TowardZero), a.exp - b.exp)
}
