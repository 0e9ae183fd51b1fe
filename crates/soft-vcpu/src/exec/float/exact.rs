// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Sums, products and square roots of registers: 128 bits hold them, or all that rounding asks for.

use super::num::Num;
use super::round::{shift_right_sticky, Exact};

/// The sum of finite numbers; `None` if it is zero.
#[inline]
pub(super) fn add(a: &Num, b: &Num) -> Option<Exact> {
    let (large, small) = if (a.exp, a.sig) >= (b.exp, b.sig) { (a, b) } else { (b, a) };
    // The upper bit is for the carry. A sticky bit comes up only where two of the numbers' upper
    // bits are apart by more than 63, so that a difference stays far above it.
    let x = u128::from(large.sig) << 63;
    let y = shift_right_sticky(u128::from(small.sig) << 63, (large.exp - small.exp) as u32);
    let sum = if a.negative == b.negative { x + y } else { x - y };
    if sum == 0 {
        return None;
    }
    let zeros = sum.leading_zeros();
    let exp = large.exp + 1 - zeros as i32;
    Some(Exact { negative: large.negative, exp, sig: sum << zeros })
}

/// The product of finite numbers.
#[inline]
pub(super) fn mul(a: &Num, b: &Num) -> Exact {
    let product = u128::from(a.sig) * u128::from(b.sig);
    let zeros = product.leading_zeros();
    Exact {
        negative: a.negative != b.negative,
        exp: a.exp + b.exp + 1 - zeros as i32,
        sig: product << zeros,
    }
}

/// The square root of a positive finite number.
pub(super) fn sqrt(a: &Num) -> Exact {
    // Two bits more or less of the radicand are one of the root.
    let odd = (a.exp & 1) as u32;
    let radicand = u128::from(a.sig) << (63 + odd);
    let root = radicand.isqrt();
    // The root cannot end in exactly one half, so the remainder tells the bit behind it.
    let rest = radicand - root * root;
    let sig = root << 64 | u128::from(rest > root) << 63 | u128::from(rest != 0);
    Exact { negative: false, exp: (a.exp - odd as i32) / 2, sig }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustc_apfloat::ieee::X87DoubleExtended;
    use rustc_apfloat::{Float, Round, Status};

    use super::super::arith::{Add, Binary, Div, Mul};
    use super::super::env::Env;
    use super::super::num::Num;
    use crate::x87::{status, F80};

    const ROUNDINGS: [Round; 4] =
        [Round::NearestTiesToEven, Round::TowardNegative, Round::TowardPositive, Round::TowardZero];

    /// Numbers near each other and near the borders of the format.
    fn number() -> impl Strategy<Value = F80> {
        let exponent =
            prop_oneof![0u16..140, 16300u16..16460, 32600u16..0x7ffe, 8100u16..8260, 0u16..0x7ffe];
        let mantissa = prop_oneof![any::<u64>(), (0u32..64).prop_map(|n| u64::MAX << n)];
        (exponent, mantissa, any::<bool>()).prop_map(|(exponent, mantissa, negative)| F80 {
            mantissa: if exponent == 0 { mantissa & !(1 << 63) } else { mantissa | 1 << 63 },
            sign_exponent: exponent | u16::from(negative) << 15,
        })
    }

    /// A result and its exceptions: what the format's own arithmetic makes of it.
    fn agrees<O: Binary>(
        a: F80,
        b: F80,
        other: impl Fn(X87DoubleExtended, X87DoubleExtended, Round) -> (u128, Status),
    ) -> Result<(), TestCaseError> {
        for (n, rounding) in (0u16..).zip(ROUNDINGS) {
            let mut env = Env::new(0x33f | n << 10);
            let result = O::apply(&mut env, Num::of(a), Num::of(b)).unwrap().to_bits();
            let from = |value: F80| X87DoubleExtended::from_bits(value.to_bits());
            let (expected, flags) = other(from(a), from(b), rounding);
            prop_assert_eq!(result, expected);
            let raised = |bit: u16| env.raised & bit != 0;
            prop_assert_eq!(raised(status::PE), flags.contains(Status::INEXACT));
            // LLVM's arithmetic calls it an overflow only if the result is infinite.
            if flags.contains(Status::OVERFLOW) {
                prop_assert!(raised(status::OE));
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn results_are_those_of_rustc_apfloat(a in number(), b in number()) {
            agrees::<Add>(a, b, |a, b, round| {
                let sum = a.add_r(b, round);
                (sum.value.to_bits(), sum.status)
            })?;
            agrees::<Mul>(a, b, |a, b, round| {
                let product = a.mul_r(b, round);
                (product.value.to_bits(), product.status)
            })?;
            if b.mantissa != 0 {
                agrees::<Div>(a, b, |a, b, round| {
                    let quotient = a.div_r(b, round);
                    (quotient.value.to_bits(), quotient.status)
                })?;
            }
        }
    }
}
