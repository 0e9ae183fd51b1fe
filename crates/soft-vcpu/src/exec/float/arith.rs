// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! FADD, FSUB, FMUL, FDIV, FSQRT and their like.

use super::env::{Env, Outcome, Rounding};
use super::exact;
use super::num::Num;
use super::quad;
use super::round::to_register;
use crate::x87::{status, F80};

/// An operation of two operands, the destination's first.
pub(super) trait Binary: 'static {
    fn apply(env: &mut Env, a: Num, b: Num) -> Outcome<F80>;
}

pub(super) struct Add;
pub(super) struct Sub;
pub(super) struct SubReversed;
pub(super) struct Mul;
pub(super) struct Div;
pub(super) struct DivReversed;

impl Binary for Add {
    #[inline(always)]
    fn apply(env: &mut Env, a: Num, b: Num) -> Outcome<F80> {
        add(env, a, b, false)
    }
}

impl Binary for Sub {
    #[inline(always)]
    fn apply(env: &mut Env, a: Num, b: Num) -> Outcome<F80> {
        add(env, a, b, true)
    }
}

impl Binary for SubReversed {
    #[inline(always)]
    fn apply(env: &mut Env, a: Num, b: Num) -> Outcome<F80> {
        add(env, b, a, true)
    }
}

impl Binary for Mul {
    #[inline(always)]
    fn apply(env: &mut Env, a: Num, b: Num) -> Outcome<F80> {
        mul(env, a, b)
    }
}

impl Binary for Div {
    #[inline(always)]
    fn apply(env: &mut Env, a: Num, b: Num) -> Outcome<F80> {
        div(env, a, b)
    }
}

impl Binary for DivReversed {
    #[inline(always)]
    fn apply(env: &mut Env, a: Num, b: Num) -> Outcome<F80> {
        div(env, b, a)
    }
}

/// SDM vol. 2, tables "FADD/FADDP/FIADD Results" and "FSUB/FSUBP/FISUB Results".
fn add(env: &mut Env, a: Num, b: Num, subtract: bool) -> Outcome<F80> {
    if let Some(result) = env.specials(&a, &b)? {
        return Ok(result);
    }
    let b = b.negate_if(subtract);
    if a.is_infinite() && b.is_infinite() && a.negative != b.negative {
        return env.invalid();
    }
    env.denormal(a.denormal || b.denormal)?;
    if a.is_infinite() {
        return Ok(F80::infinity(a.negative));
    }
    if b.is_infinite() {
        return Ok(F80::infinity(b.negative));
    }
    let sum = match (a.is_zero(), b.is_zero()) {
        (true, true) if a.negative == b.negative => return Ok(F80::zero(a.negative)),
        (true, true) => None,
        (true, false) => Some(b.exact()),
        (false, true) => Some(a.exact()),
        (false, false) => exact::add(&a, &b),
    };
    match sum {
        Some(sum) => to_register(env, sum, env.precision()),
        None => Ok(F80::zero(env.rounding() == Rounding::Down)),
    }
}

/// SDM vol. 2, table "FMUL/FMULP/FIMUL Results".
fn mul(env: &mut Env, a: Num, b: Num) -> Outcome<F80> {
    if let Some(result) = env.specials(&a, &b)? {
        return Ok(result);
    }
    let negative = a.negative != b.negative;
    if a.is_infinite() && b.is_zero() || a.is_zero() && b.is_infinite() {
        return env.invalid();
    }
    env.denormal(a.denormal || b.denormal)?;
    if a.is_infinite() || b.is_infinite() {
        return Ok(F80::infinity(negative));
    }
    if a.is_zero() || b.is_zero() {
        return Ok(F80::zero(negative));
    }
    to_register(env, exact::mul(&a, &b), env.precision())
}

/// SDM vol. 2, table "FDIV/FDIVP/FIDIV Results".
fn div(env: &mut Env, a: Num, b: Num) -> Outcome<F80> {
    if let Some(result) = env.specials(&a, &b)? {
        return Ok(result);
    }
    let negative = a.negative != b.negative;
    if a.is_infinite() && b.is_infinite() || a.is_zero() && b.is_zero() {
        return env.invalid();
    }
    if a.is_finite() && b.is_zero() {
        env.raise(status::ZE)?;
        return Ok(F80::infinity(negative));
    }
    env.denormal(a.denormal || b.denormal)?;
    if a.is_infinite() {
        return Ok(F80::infinity(negative));
    }
    if a.is_zero() || b.is_infinite() {
        return Ok(F80::zero(negative));
    }
    to_register(env, quad::div(&a.exact(), &b.exact()), env.precision())
}

/// SDM vol. 2, table "FSQRT Results".
pub(super) fn sqrt(env: &mut Env, a: Num) -> Outcome<F80> {
    if let Some(result) = env.special(&a)? {
        return Ok(result);
    }
    if a.is_zero() {
        return Ok(F80::zero(a.negative));
    }
    if a.negative {
        return env.invalid();
    }
    env.denormal(a.denormal)?;
    if a.is_infinite() {
        return Ok(F80::infinity(false));
    }
    to_register(env, exact::sqrt(&a), env.precision())
}
