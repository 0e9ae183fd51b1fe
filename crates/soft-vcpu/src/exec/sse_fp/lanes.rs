// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Underflow and overflow that are not masked. What the host says with all exceptions masked is not
//! the whole truth about them then (SDM vol. 1, "Numeric Overflow Exception (#O)", "Numeric
//! Underflow Exception (#U)"):
//! - a result that is tiny is an underflow, exact or not;
//! - the result is inexact if its significand had to be rounded; that it does not fit the exponent
//!   does not make it so.

use rustc_apfloat::ieee::{Double, Quad, Single};
use rustc_apfloat::{Float, FloatConvert, Round, Status};

use crate::sse::mxcsr::{DAZ, MASK_SHIFT, OE, UE};

/// What a lane of the result is.
#[derive(Clone, Copy)]
pub(super) enum Compute {
    Add,
    Sub,
    Mul,
    Div,
    /// Differences in even lanes, sums in odd ones.
    AddSub,
    /// Of two neighbours.
    PairAdd,
    /// Of two neighbours.
    PairSub,
    /// The second operand, converted from double to single precision.
    Narrow,
}

/// The lanes of an operation that can underflow and overflow.
#[derive(Clone, Copy)]
pub(super) struct Lanes {
    compute: Compute,
    /// Double precision.
    double: bool,
    count: u32,
}

/// No such operation.
pub(super) const NONE: Option<Lanes> = None;

/// Four of single precision.
pub(super) const fn ps(compute: Compute) -> Option<Lanes> {
    Some(Lanes { compute, double: false, count: 4 })
}

/// Two of double precision.
pub(super) const fn pd(compute: Compute) -> Option<Lanes> {
    Some(Lanes { compute, double: true, count: 2 })
}

/// One of single precision.
pub(super) const fn ss(compute: Compute) -> Option<Lanes> {
    Some(Lanes { compute, double: false, count: 1 })
}

/// One of double precision.
pub(super) const fn sd(compute: Compute) -> Option<Lanes> {
    Some(Lanes { compute, double: true, count: 1 })
}

/// From double to single precision, in the first lanes.
pub(super) const fn narrow(count: u32) -> Option<Lanes> {
    Some(Lanes { compute: Compute::Narrow, double: false, count })
}

impl Lanes {
    /// Whether a lane of the result is tiny.
    pub fn is_tiny(&self, result: u128) -> bool {
        (0..self.count).any(|n| match self.double {
            true => f64::from_bits(lane(result, 64, n) as u64).is_subnormal(),
            false => f32::from_bits(lane(result, 32, n) as u32).is_subnormal(),
        })
    }

    /// Whether a lane of the result is inexact, under the masks of `mxcsr`.
    pub fn is_inexact(&self, a: u128, b: u128, result: u128, mxcsr: u32) -> bool {
        let daz = mxcsr & DAZ != 0;
        (0..self.count).any(|n| {
            let Some(exact) = self.compute(a, b, n, daz) else { return true };
            let fits = exact.to_bits() == widen(result, self.double, n, false).to_bits();
            !fits && exact.is_finite_non_zero() && !self.is_excused(exact, mxcsr)
        })
    }

    /// The result in lane `n` as if exponents had no limits; `None` if it had to be rounded.
    fn compute(&self, a: u128, b: u128, n: u32, daz: bool) -> Option<Quad> {
        let get = |value, n| widen(value, self.double, n, daz);
        let (x, y) = match self.compute {
            Compute::Narrow => (widen(b, true, n, daz), Quad::ZERO),
            Compute::PairAdd | Compute::PairSub => {
                let source = if 2 * n < self.per_register() { a } else { b };
                let first = 2 * n % self.per_register();
                (get(source, first), get(source, first + 1))
            }
            _ => (get(a, n), get(b, n)),
        };
        let even = n % 2 == 0;
        let exact = match self.compute {
            Compute::Add | Compute::PairAdd => x.add_r(y, Round::TowardZero),
            Compute::Sub | Compute::PairSub => x.sub_r(y, Round::TowardZero),
            Compute::AddSub if even => x.sub_r(y, Round::TowardZero),
            Compute::AddSub => x.add_r(y, Round::TowardZero),
            Compute::Mul => x.mul_r(y, Round::TowardZero),
            Compute::Div => x.div_r(y, Round::TowardZero),
            Compute::Narrow => Status::OK.and(x),
        };
        // Quad precision has room for every exponent, and for 60 or 89 bits too many.
        let surplus = (1 << if self.double { 60 } else { 89 }) - 1;
        let rounded = exact.status.contains(Status::INEXACT)
            || exact.value.is_finite_non_zero() && exact.value.to_bits() & surplus != 0;
        (!rounded).then_some(exact.value)
    }

    /// Whether an exact result raises an exception that is not masked, instead of being changed to
    /// fit.
    fn is_excused(&self, exact: Quad, mxcsr: u32) -> bool {
        let unmasked = !mxcsr >> MASK_SHIFT;
        let exponent = (exact.to_bits() >> 112) as i32 & 0x7fff;
        let exponent = exponent - 16383;
        let (min, max) = if self.double { (-1022, 1023) } else { (-126, 127) };
        exponent < min && unmasked & UE != 0 || exponent > max && unmasked & OE != 0
    }

    fn per_register(&self) -> u32 {
        if self.double {
            2
        } else {
            4
        }
    }
}

fn lane(value: u128, width: u32, n: u32) -> u128 {
    value >> (width * n) & ((1 << width) - 1)
}

/// A lane's value in quad precision; with `daz`, denormals are 0.
fn widen(value: u128, double: bool, n: u32, daz: bool) -> Quad {
    let mut loses_info = false;
    let (wide, denormal): (Quad, bool) = match double {
        true => {
            let value = Double::from_bits(lane(value, 64, n));
            (value.convert(&mut loses_info).value, value.is_denormal())
        }
        false => {
            let value = Single::from_bits(lane(value, 32, n));
            (value.convert(&mut loses_info).value, value.is_denormal())
        }
    };
    match daz && denormal {
        true => Quad::ZERO.copy_sign(wide),
        false => wide,
    }
}
