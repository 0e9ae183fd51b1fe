// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Integers, BCD, single and double precision in memory.

use super::env::{Env, Outcome, Rounding};
use super::num::{Class, Num};
use super::round;
use crate::int::Data;
use crate::x87::{status, F80};

/// A memory operand that an instruction computes with.
pub(super) trait Source: Data {
    fn num(self) -> Num;
}

/// Single precision.
#[derive(Clone, Copy)]
pub(super) struct Single(pub u32);
/// Double precision.
#[derive(Clone, Copy)]
pub(super) struct Double(pub u64);

macro_rules! wrapped {
    ($name:ident, $t:ty) => {
        impl Data for $name {
            const BYTES: u64 = <$t>::BYTES;
            #[inline(always)]
            fn from_wide(value: u128) -> Self {
                $name(value as $t)
            }
            #[inline(always)]
            fn wide(self) -> u128 {
                u128::from(self.0)
            }
            #[inline(always)]
            unsafe fn load(at: *const u8) -> Self {
                // SAFETY: the same promise.
                $name(unsafe { <$t>::load(at) })
            }
            #[inline(always)]
            unsafe fn store(at: *mut u8, value: Self) {
                // SAFETY: the same promise.
                unsafe { <$t>::store(at, value.0) }
            }
        }
    };
}

wrapped!(Single, u32);
wrapped!(Double, u64);

impl Source for Single {
    #[inline(always)]
    fn num(self) -> Num {
        Num::of_f32(self.0)
    }
}

impl Source for Double {
    #[inline(always)]
    fn num(self) -> Num {
        Num::of_f64(self.0)
    }
}

impl Source for u16 {
    #[inline(always)]
    fn num(self) -> Num {
        Num::of_int(i64::from(self as i16))
    }
}

impl Source for u32 {
    #[inline(always)]
    fn num(self) -> Num {
        Num::of_int(i64::from(self as i32))
    }
}

impl Source for u64 {
    #[inline(always)]
    fn num(self) -> Num {
        Num::of_int(self as i64)
    }
}

/// A memory format that FST and FSTP convert to.
pub(super) trait Target: Data {
    fn of(env: &mut Env, value: Num) -> Outcome<Self>;
}

impl Target for Single {
    fn of(env: &mut Env, value: Num) -> Outcome<Self> {
        if value.is_finite() {
            return round::to_f32(env, value.exact()).map(Single);
        }
        let value = special(env, value)?;
        let fraction = (value.mantissa << 1 >> 41) as u32;
        Ok(Single(match value.sign_exponent & 0x7fff {
            0 => u32::from(value.sign_exponent) << 16,
            _ => u32::from(value.sign_exponent >> 15) << 31 | 0xff << 23 | fraction,
        }))
    }
}

impl Target for Double {
    #[inline]
    fn of(env: &mut Env, value: Num) -> Outcome<Self> {
        if value.is_finite() {
            return round::to_f64(env, value.exact()).map(Double);
        }
        let value = special(env, value)?;
        let fraction = value.mantissa << 1 >> 12;
        Ok(Double(match value.sign_exponent & 0x7fff {
            0 => u64::from(value.sign_exponent) << 48,
            _ => u64::from(value.sign_exponent >> 15) << 63 | 0x7ff << 52 | fraction,
        }))
    }
}

/// A zero, an infinity or a quiet NaN.
#[cold]
fn special(env: &mut Env, value: Num) -> Outcome<F80> {
    match env.special(&value)? {
        Some(nan) => Ok(nan),
        None => Ok(value.to_f80()),
    }
}

/// A finite number rounded to an integer.
struct Integer {
    /// Saturated.
    magnitude: u128,
    inexact: bool,
    up: bool,
}

fn to_integer(value: &Num, rounding: Rounding) -> Integer {
    let sig = u128::from(value.sig) << 62;
    // As a multiple of a quarter, with the lowest bit sticky.
    let shift = 125 - 2 - value.exp;
    if shift <= 0 {
        // At least 2^123: no format has it.
        return Integer { magnitude: u128::MAX, inexact: false, up: false };
    }
    let quarters = round::shift_right_sticky(sig, shift as u32);
    let (whole, rest) = (quarters >> 2, quarters & 3);
    let up = match rounding {
        Rounding::Nearest => rest == 3 || rest == 2 && whole & 1 != 0,
        Rounding::Down => value.negative && rest != 0,
        Rounding::Up => !value.negative && rest != 0,
        Rounding::Chop => false,
    };
    Integer { magnitude: whole + u128::from(up), inexact: rest != 0, up }
}

fn note(env: &mut Env, integer: &Integer) {
    if integer.inexact {
        env.raised |= status::PE;
        env.set_c1(integer.up);
    }
}

/// A memory format that FIST and FISTTP convert to.
pub(super) trait IntTarget: Data {
    const BITS: u32;
    /// From the low bits.
    fn low(value: u64) -> Self;
}

macro_rules! int_target {
    ($($t:ty),*) => {$(
        impl IntTarget for $t {
            const BITS: u32 = <$t>::BITS;
            fn low(value: u64) -> Self {
                value as $t
            }
        }
    )*};
}

int_target!(u16, u32, u64);

/// SDM vol. 2, table "FIST/FISTP Results".
pub(super) fn int<T: IntTarget>(env: &mut Env, value: Num, rounding: Rounding) -> Outcome<T> {
    let limit = 1u128 << (T::BITS - 1);
    match value.class {
        Class::Zero => return Ok(T::low(0)),
        Class::Finite => {
            let integer = to_integer(&value, rounding);
            if integer.magnitude < limit || integer.magnitude == limit && value.negative {
                note(env, &integer);
                let magnitude = integer.magnitude as u64;
                return Ok(T::low(match value.negative {
                    true => magnitude.wrapping_neg(),
                    false => magnitude,
                }));
            }
        }
        _ => {}
    }
    env.invalid()?;
    Ok(T::low(limit as u64))
}

/// The BCD indefinite.
pub(super) const BCD_INDEFINITE: u128 = 0xffff_c000_0000_0000_0000;

/// FBSTP: 18 decimal digits and a sign.
pub(super) fn to_bcd(env: &mut Env, value: Num) -> Outcome<u128> {
    let sign = u128::from(value.negative) << 79;
    match value.class {
        Class::Zero => return Ok(sign),
        Class::Finite => {
            let integer = to_integer(&value, env.rounding());
            if integer.magnitude < 1_000_000_000_000_000_000 {
                note(env, &integer);
                let mut rest = integer.magnitude as u64;
                let mut digits = 0;
                for place in 0..18 {
                    digits |= u128::from(rest % 10) << (4 * place);
                    rest /= 10;
                }
                return Ok(sign | digits);
            }
        }
        _ => {}
    }
    env.invalid()?;
    Ok(BCD_INDEFINITE)
}

/// FBLD. Digits beyond 9 are taken at their value (the manual leaves them undefined).
pub(super) fn from_bcd(bits: u128) -> F80 {
    let digit = |place: u32| (bits >> (4 * place)) as u64 & 15;
    let magnitude = (0..18).rev().fold(0u64, |sum, place| sum * 10 + digit(place));
    let negative = bits >> 79 & 1 != 0;
    Num::normalized(negative, 63, magnitude).to_f80()
}

/// FRNDINT.
pub(super) fn round_to_integer(env: &mut Env, value: Num) -> Outcome<F80> {
    if let Some(result) = env.special(&value)? {
        return Ok(result);
    }
    env.denormal(value.denormal)?;
    if !value.is_finite() || value.exp >= 63 {
        return Ok(value.to_f80());
    }
    let integer = to_integer(&value, env.rounding());
    note(env, &integer);
    // At most 2^63.
    Ok(Num::normalized(value.negative, 63, integer.magnitude as u64).to_f80())
}
