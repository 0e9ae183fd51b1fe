// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ROL, ROR, RCL, RCR: only CF and OF change. OF is defined for a count of 1 alone; for others it
//! is what the same rule makes of it.

use super::{sign, Shift};
use crate::flags::Flags;
use crate::int::Int;

pub(super) struct Rol;

impl Shift for Rol {
    #[inline(always)]
    fn shift<T: Int>(a: T, count: u32, _: bool) -> T {
        T::from_u64(rotate(a.wide(), count % T::BITS, T::BITS) as u64)
    }

    #[inline(always)]
    fn flags<T: Int>(flags: &mut Flags, _: T, _: u32, result: T) {
        let cf = result.zx() & 1 != 0;
        flags.set_cf(cf);
        flags.set_of(cf ^ sign::<T>(result.zx()));
    }
}

pub(super) struct Ror;

impl Shift for Ror {
    #[inline(always)]
    fn shift<T: Int>(a: T, count: u32, _: bool) -> T {
        T::from_u64(rotate(a.wide(), T::BITS - count % T::BITS, T::BITS) as u64)
    }

    #[inline(always)]
    fn flags<T: Int>(flags: &mut Flags, _: T, _: u32, result: T) {
        let cf = sign::<T>(result.zx());
        flags.set_cf(cf);
        flags.set_of(cf ^ sign::<T>(result.zx() << 1));
    }
}

pub(super) struct Rcl;

impl Shift for Rcl {
    #[inline(always)]
    fn shift<T: Int>(a: T, count: u32, carry: bool) -> T {
        let wide = with_carry(a, carry);
        T::from_u64(rotate(wide, count % (T::BITS + 1), T::BITS + 1) as u64)
    }

    #[inline(always)]
    fn flags<T: Int>(flags: &mut Flags, a: T, count: u32, result: T) {
        let wide = with_carry(a, flags.cf());
        let cf = rotate(wide, count % (T::BITS + 1), T::BITS + 1) >> T::BITS & 1 != 0;
        flags.set_cf(cf);
        flags.set_of(cf ^ sign::<T>(result.zx()));
    }
}

pub(super) struct Rcr;

impl Shift for Rcr {
    #[inline(always)]
    fn shift<T: Int>(a: T, count: u32, carry: bool) -> T {
        let left = T::BITS + 1 - count % (T::BITS + 1);
        T::from_u64(rotate(with_carry(a, carry), left, T::BITS + 1) as u64)
    }

    #[inline(always)]
    fn flags<T: Int>(flags: &mut Flags, a: T, count: u32, result: T) {
        let left = T::BITS + 1 - count % (T::BITS + 1);
        let cf = rotate(with_carry(a, flags.cf()), left, T::BITS + 1) >> T::BITS & 1 != 0;
        flags.set_cf(cf);
        // For a count of 1: the operand's sign against the carry that came in.
        flags.set_of(sign::<T>(result.zx() << 1 ^ result.zx()));
    }
}

/// The operand with CF above it.
#[inline(always)]
fn with_carry<T: Int>(a: T, carry: bool) -> u128 {
    a.wide() | u128::from(carry) << T::BITS
}

/// Rotates the low `bits` (8 to 65) of `value`, which has no others, to the left by `count` (at
/// most `bits`); bits above them are garbage.
#[inline(always)]
fn rotate(value: u128, count: u32, bits: u32) -> u128 {
    value << count | value >> (bits - count)
}
