// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From an exact value to a format: rounding, overflow, underflow.

use super::env::{Env, Outcome, Rounding, Unmasked};
use crate::x87::{status, F80};

/// A finite value that is not zero, `sig / 2^127 * 2^exp`, exact or with a sticky bit: bit 0 of
/// `sig` is set if anything is left below it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exact {
    pub negative: bool,
    pub exp: i32,
    /// Bit 127 is set.
    pub sig: u128,
}

/// A destination.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    /// Bits of significand.
    precision: u32,
    /// The smallest normal number's exponent, and the largest one's.
    emin: i32,
    emax: i32,
    /// An overflow or underflow that is not masked still gives a result, its exponent off by 24576.
    adjusts: bool,
}

impl Format {
    pub const SINGLE: Format = Format { precision: 24, emin: -126, emax: 127, adjusts: false };
    pub const DOUBLE: Format = Format { precision: 53, emin: -1022, emax: 1023, adjusts: false };

    /// A register, its significand shortened.
    #[inline(always)]
    pub const fn register(precision: u32) -> Format {
        Format { precision, emin: -16382, emax: 16383, adjusts: true }
    }
}

/// A rounded value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounded {
    /// `sig / 2^63 * 2^exp`; bit 63 of `sig` is clear only at the format's smallest exponent.
    Finite(i32, u64),
    Infinity,
}

/// What unmasked overflow and underflow change the exponent by (SDM vol. 1, "Numeric Overflow
/// Exception (#O)").
const ADJUSTMENT: i32 = 24576;

/// `sig >> n`, with bit 0 set if a bit that is set fell out.
#[inline(always)]
pub(super) fn shift_right_sticky(sig: u128, n: u32) -> u128 {
    match n {
        0 => sig,
        1..=127 => sig >> n | u128::from(sig << (128 - n) != 0),
        _ => u128::from(sig != 0),
    }
}

/// A significand cut to some of its upper bits.
struct Cut {
    sig: u128,
    /// It became 2^128; `sig` is 2^127 instead.
    carry: bool,
    inexact: bool,
    up: bool,
}

/// Keeps the upper `bits` (1 to 64) of `sig`.
#[inline(always)]
fn cut(sig: u128, bits: u32, negative: bool, rounding: Rounding) -> Cut {
    let unit = 1u128 << (128 - bits);
    let rest = sig & (unit - 1);
    let half = unit >> 1;
    let kept = sig & !(unit - 1);
    let up = match rounding {
        Rounding::Nearest => rest > half || rest == half && sig & unit != 0,
        Rounding::Down => negative && rest != 0,
        Rounding::Up => !negative && rest != 0,
        Rounding::Chop => false,
    };
    let (sum, carry) = kept.overflowing_add(if up { unit } else { 0 });
    Cut { sig: if carry { 1 << 127 } else { sum }, carry, inexact: rest != 0, up }
}

/// Rounds to a format, with all exceptions; C1 tells whether it was away from zero.
///
/// # Errors
/// An unmasked exception that leaves no result.
#[inline]
pub(super) fn round(env: &mut Env, value: Exact, format: Format) -> Outcome<Rounded> {
    let rounded = cut(value.sig, format.precision, value.negative, env.rounding());
    let exp = value.exp + i32::from(rounded.carry);
    if exp < format.emin {
        return underflow(env, value, rounded, format);
    }
    if exp > format.emax {
        return overflow(env, value, rounded, format);
    }
    inexact(env, &rounded);
    Ok(Rounded::Finite(exp, (rounded.sig >> 64) as u64))
}

#[inline(always)]
fn inexact(env: &mut Env, cut: &Cut) {
    if cut.inexact {
        // Unmasked or not, the result is delivered.
        env.raised |= status::PE;
        env.set_c1(cut.up);
    }
}

/// SDM vol. 1, "Numeric Underflow Exception (#U)": tininess is seen after rounding.
#[cold]
fn underflow(env: &mut Env, value: Exact, unbounded: Cut, format: Format) -> Outcome<Rounded> {
    if !env.masked(status::UE) {
        env.raised |= status::UE;
        if !format.adjusts {
            return Err(Unmasked);
        }
        let exp = value.exp + i32::from(unbounded.carry) + ADJUSTMENT;
        // FSCALE can be further away still.
        if exp < format.emin {
            env.raised |= status::PE;
            return Ok(Rounded::Finite(format.emin, 0));
        }
        inexact(env, &unbounded);
        return Ok(Rounded::Finite(exp, (unbounded.sig >> 64) as u64));
    }
    let sig = shift_right_sticky(value.sig, format.emin.saturating_sub(value.exp) as u32);
    let denormal = cut(sig, format.precision, value.negative, env.rounding());
    if denormal.inexact {
        env.raised |= status::UE;
    }
    inexact(env, &denormal);
    Ok(Rounded::Finite(format.emin, (denormal.sig >> 64) as u64))
}

/// SDM vol. 1, "Numeric Overflow Exception (#O)".
#[cold]
fn overflow(env: &mut Env, value: Exact, rounded: Cut, format: Format) -> Outcome<Rounded> {
    env.raised |= status::OE;
    if !env.masked(status::OE) {
        if !format.adjusts {
            return Err(Unmasked);
        }
        let exp = value.exp + i32::from(rounded.carry) - ADJUSTMENT;
        if exp > format.emax {
            env.raised |= status::PE;
            env.set_c1(true);
            return Ok(Rounded::Infinity);
        }
        inexact(env, &rounded);
        return Ok(Rounded::Finite(exp, (rounded.sig >> 64) as u64));
    }
    env.raised |= status::PE;
    let infinite = match env.rounding() {
        Rounding::Nearest => true,
        Rounding::Down => value.negative,
        Rounding::Up => !value.negative,
        Rounding::Chop => false,
    };
    env.set_c1(infinite);
    match infinite {
        true => Ok(Rounded::Infinity),
        false => Ok(Rounded::Finite(format.emax, u64::MAX << (64 - format.precision))),
    }
}

/// Rounds to a register of some precision.
#[inline(always)]
pub(super) fn to_register(env: &mut Env, value: Exact, precision: u32) -> Outcome<F80> {
    let sign = u16::from(value.negative) << 15;
    Ok(match round(env, value, Format::register(precision))? {
        Rounded::Infinity => F80::infinity(value.negative),
        Rounded::Finite(exp, sig) => {
            let exponent = if sig >> 63 == 0 { 0 } else { (exp + 16383) as u16 & 0x7fff };
            F80 { mantissa: sig, sign_exponent: sign | exponent }
        }
    })
}

/// Rounds to memory's single precision.
pub(super) fn to_f32(env: &mut Env, value: Exact) -> Outcome<u32> {
    Ok(u32::from(value.negative) << 31
        | match round(env, value, Format::SINGLE)? {
            Rounded::Infinity => 0xff << 23,
            Rounded::Finite(_, sig) if sig >> 63 == 0 => (sig >> 40) as u32,
            Rounded::Finite(exp, sig) => {
                ((exp + 127) as u32) << 23 | (sig >> 40) as u32 & 0x7f_ffff
            }
        })
}

/// Rounds to memory's double precision.
pub(super) fn to_f64(env: &mut Env, value: Exact) -> Outcome<u64> {
    Ok(u64::from(value.negative) << 63
        | match round(env, value, Format::DOUBLE)? {
            Rounded::Infinity => 0x7ff << 52,
            Rounded::Finite(_, sig) if sig >> 63 == 0 => sig >> 11,
            Rounded::Finite(exp, sig) => {
                ((exp + 1023) as u64) << 52 | sig >> 11 & 0xf_ffff_ffff_ffff
            }
        })
}
