// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Operands taken apart: what they are, sign, exponent, significand.

use super::round::Exact;
use crate::x87::F80;

/// What a number is (SDM vol. 1, "Numeric Representations"; table "Unsupported Double Extended-
/// Precision Floating-Point Encodings and Pseudo-Denormals").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Zero,
    Finite,
    Infinity,
    Quiet,
    Signaling,
    /// Unnormals, pseudo-infinities, pseudo-NaNs: the integer bit should be set and is not.
    Unsupported,
}

/// An operand of any format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Num {
    pub class: Class,
    pub negative: bool,
    /// Finite: the value is `sig / 2^63 * 2^exp`.
    pub exp: i32,
    /// Finite: bit 63 is set. NaN: the significand.
    pub sig: u64,
    /// Finite, and not normalized in its format: the denormal-operand exception is due.
    pub denormal: bool,
}

const INTEGER_BIT: u64 = 1 << 63;
const QUIET: u64 = 1 << 62;

impl Num {
    const fn new(class: Class, negative: bool, exp: i32, sig: u64) -> Self {
        Num { class, negative, exp, sig, denormal: false }
    }

    /// A finite number that is not normalized yet; zero if `sig` is.
    #[inline(always)]
    pub fn normalized(negative: bool, exp: i32, sig: u64) -> Self {
        match sig.leading_zeros() {
            64 => Num::new(Class::Zero, negative, 0, 0),
            n => Num::new(Class::Finite, negative, exp - n as i32, sig << n),
        }
    }

    /// An infinity or a NaN; `sig` has the integer bit.
    fn special(negative: bool, sig: u64) -> Self {
        let class = match (sig << 1, sig & QUIET) {
            (0, _) => Class::Infinity,
            (_, 0) => Class::Signaling,
            _ => Class::Quiet,
        };
        Num::new(class, negative, 0, sig)
    }

    /// From a register or 80-bit memory.
    #[inline(always)]
    pub fn of(value: F80) -> Self {
        let negative = value.negative();
        let exponent = i32::from(value.sign_exponent & 0x7fff);
        let sig = value.mantissa;
        match exponent {
            0 => {
                let number = Num::normalized(negative, -16382, sig);
                Num { denormal: number.class == Class::Finite, ..number }
            }
            _ if sig & INTEGER_BIT == 0 => Num::new(Class::Unsupported, negative, 0, sig),
            0x7fff => Num::special(negative, sig),
            _ => Num::new(Class::Finite, negative, exponent - 16383, sig),
        }
    }

    /// From single precision.
    #[inline(always)]
    pub fn of_f32(bits: u32) -> Self {
        let fraction = u64::from(bits & 0x7f_ffff) << 40;
        Num::of_ieee(bits >> 31 != 0, (bits >> 23 & 0xff) as i32, 0xff, fraction)
    }

    /// From double precision.
    #[inline(always)]
    pub fn of_f64(bits: u64) -> Self {
        let fraction = (bits & 0xf_ffff_ffff_ffff) << 11;
        Num::of_ieee(bits >> 63 != 0, (bits >> 52 & 0x7ff) as i32, 0x7ff, fraction)
    }

    #[inline(always)]
    fn of_ieee(negative: bool, exponent: i32, special: i32, fraction: u64) -> Self {
        let bias = special >> 1;
        if exponent == 0 {
            let number = Num::normalized(negative, 1 - bias, fraction);
            return Num { denormal: number.class == Class::Finite, ..number };
        }
        let sig = fraction | INTEGER_BIT;
        match exponent == special {
            true => Num::special(negative, sig),
            false => Num::new(Class::Finite, negative, exponent - bias, sig),
        }
    }

    /// From a signed integer.
    #[inline(always)]
    pub fn of_int(value: i64) -> Self {
        Num::normalized(value < 0, 63, value.unsigned_abs())
    }

    /// In 80 bits: exact, whatever format it came from; NaNs become quiet.
    pub fn to_f80(self) -> F80 {
        let sign = u16::from(self.negative) << 15;
        match self.class {
            Class::Zero => F80::zero(self.negative),
            Class::Infinity => F80::infinity(self.negative),
            Class::Quiet | Class::Signaling => {
                F80 { mantissa: self.sig | QUIET, sign_exponent: sign | 0x7fff }
            }
            Class::Unsupported => F80::INDEFINITE,
            Class::Finite if self.exp < -16382 => {
                let shift = (-16382 - self.exp).min(63);
                F80 { mantissa: self.sig >> shift, sign_exponent: sign }
            }
            Class::Finite => {
                let exponent = (self.exp + 16383).min(0x7ffe) as u16;
                F80 { mantissa: self.sig, sign_exponent: sign | exponent }
            }
        }
    }

    /// A finite number as an exact value.
    #[inline(always)]
    pub fn exact(&self) -> Exact {
        Exact { negative: self.negative, exp: self.exp, sig: u128::from(self.sig) << 64 }
    }

    #[inline(always)]
    pub fn is_nan(&self) -> bool {
        matches!(self.class, Class::Quiet | Class::Signaling)
    }

    #[inline(always)]
    pub fn is_zero(&self) -> bool {
        self.class == Class::Zero
    }

    #[inline(always)]
    pub fn is_finite(&self) -> bool {
        self.class == Class::Finite
    }

    #[inline(always)]
    pub fn is_infinite(&self) -> bool {
        self.class == Class::Infinity
    }

    /// With the other sign if `flip`.
    #[inline(always)]
    pub fn negate_if(self, flip: bool) -> Self {
        Num { negative: self.negative != flip, ..self }
    }
}
