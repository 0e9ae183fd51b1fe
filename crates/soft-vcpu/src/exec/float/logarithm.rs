// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! F2XM1, FYL2X, FYL2XP1.

use super::env::{Env, Outcome};
use super::form::on_registers;
use super::num::{Class, Num};
use super::quad;
use super::round::{to_register, Exact};
use super::series::{self, fixed, floating, times, ONE};
use crate::cpu::Cpu;
use crate::op::{Op, Step};
use crate::x87::{status, F80};

/// ln 2, and 1 / ln 2, in fixed point.
const LN_2: u128 = 0x58b9_0bfb_e8e7_bcd5_e4f1_d9cc_01f9_7b57;
const INVERSE_LN_2: u128 = 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e88;
/// The square root of 2.
const SQRT_2: u128 = 0xb504_f333_f9de_6484_597d_89b3_754a_be9f;

/// F2XM1.
pub(super) fn power(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| {
        let value = match x87.st(0) {
            Some(value) => power_of(env, Num::of(value))?,
            None => env.stack_underflow()?,
        };
        x87.set_st(0, value);
        Ok(())
    })
}

/// SDM vol. 2, table "Results Obtained from F2XM1". Beyond -1 to 1 the result is undefined; as on
/// AMD's processors the source comes back.
fn power_of(env: &mut Env, a: Num) -> Outcome<F80> {
    if let Some(result) = env.special(&a)? {
        return Ok(result);
    }
    match (a.class, a.negative) {
        (Class::Zero, _) => return Ok(a.to_f80()),
        (Class::Infinity, true) => return Ok(Num::of_int(-1).to_f80()),
        (Class::Infinity, false) => return Ok(a.to_f80()),
        _ => {}
    }
    env.denormal(a.denormal)?;
    // The two exact results are called inexact as well.
    env.raised |= status::PE;
    if a.exp >= 0 {
        let is_one = a.exp == 0 && a.sig == 1 << 63;
        return Ok(if is_one && a.negative { Num { exp: -1, ..a } } else { a }.to_f80());
    }
    // e^(a ln 2) - 1.
    let power = times(&a.exact(), LN_2);
    let result = times(&power, series::exponential(fixed(&power), a.negative));
    to_register(env, Exact { sig: result.sig | 1, ..result }, 64)
}

/// FYL2X; `PLUS_1`: FYL2XP1.
pub(super) fn logarithm<const PLUS_1: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| {
        let value = match (x87.st(1), x87.st(0)) {
            (Some(y), Some(x)) if PLUS_1 => logarithm_plus_1(env, Num::of(y), Num::of(x))?,
            (Some(y), Some(x)) => logarithm_of(env, Num::of(y), Num::of(x))?,
            _ => env.stack_underflow()?,
        };
        x87.set_st(1, value);
        x87.pop();
        Ok(())
    })
}

/// SDM vol. 2, table "FYL2X Results".
fn logarithm_of(env: &mut Env, y: Num, x: Num) -> Outcome<F80> {
    if let Some(result) = env.specials(&y, &x)? {
        return Ok(result);
    }
    if x.negative && !x.is_zero() {
        return env.invalid();
    }
    let is_one = x.is_finite() && x.exp == 0 && x.sig == 1 << 63;
    // The logarithm is less than 0.
    let falls = x.is_zero() || x.is_finite() && x.exp < 0;
    let negative = y.negative != falls;
    if x.is_zero() && y.is_zero() || x.is_infinite() && y.is_zero() || is_one && y.is_infinite() {
        return env.invalid();
    }
    if x.is_zero() && y.is_finite() {
        env.raise(status::ZE)?;
        return Ok(F80::infinity(negative));
    }
    env.denormal(y.denormal || x.denormal)?;
    if x.is_zero() || x.is_infinite() || y.is_infinite() {
        return Ok(F80::infinity(negative));
    }
    if y.is_zero() || is_one {
        return Ok(F80::zero(negative));
    }
    match binary_logarithm(&x.exact()) {
        Some(logarithm) => product(env, &y, &logarithm),
        None => Ok(F80::zero(negative)),
    }
}

/// SDM vol. 2, table "FYL2XP1 Results". Beyond -(1 - sqrt(2)/2) to 1 - sqrt(2)/2 the result is
/// undefined; it is the logarithm all the same while there is one, and otherwise, as on AMD's
/// processors, x comes back.
fn logarithm_plus_1(env: &mut Env, y: Num, x: Num) -> Outcome<F80> {
    if let Some(result) = env.specials(&y, &x)? {
        return Ok(result);
    }
    let negative = y.negative != x.negative;
    if x.is_infinite() && (x.negative || y.is_zero()) || x.is_zero() && y.is_infinite() {
        return env.invalid();
    }
    env.denormal(y.denormal || x.denormal)?;
    if x.is_infinite() || y.is_infinite() {
        return Ok(F80::infinity(negative));
    }
    if x.is_zero() || y.is_zero() {
        return Ok(F80::zero(negative));
    }
    let source = x;
    let x = x.exact();
    let logarithm = match x.exp < -2 {
        true => near_one(&x),
        false => match quad::add(&floating(ONE), &x) {
            Some(sum) if !sum.negative => binary_logarithm(&sum),
            _ => {
                env.raised |= status::PE;
                return Ok(source.to_f80());
            }
        },
    };
    match logarithm {
        Some(logarithm) => product(env, &y, &logarithm),
        None => Ok(F80::zero(negative)),
    }
}

/// Called inexact even if it is not.
fn product(env: &mut Env, y: &Num, logarithm: &Exact) -> Outcome<F80> {
    env.raised |= status::PE;
    let result = to_register(env, quad::mul(&y.exact(), logarithm), 64)?;
    if result.sign_exponent & 0x7fff == 0 {
        env.raised |= status::UE;
    }
    Ok(result)
}

/// `log2(x)` of a positive number; `None` if it is 0.
fn binary_logarithm(x: &Exact) -> Option<Exact> {
    // x = m 2^k, m between the roots of 1/2 and 2.
    let above = x.sig > SQRT_2;
    let m = Exact { negative: false, exp: -i32::from(above), sig: x.sig };
    let k = Num::of_int(i64::from(x.exp) + i64::from(above));
    let minus_one = Exact { negative: true, ..floating(ONE) };
    let fraction = quad::add(&m, &minus_one).and_then(|distance| near_one(&distance));
    match (fraction, k.is_zero()) {
        (fraction, true) => fraction,
        (None, false) => Some(k.exact()),
        (Some(fraction), false) => quad::add(&k.exact(), &fraction),
    }
}

/// `log2(1 + d)` of `d` from -0.3 to 0.42, not 0: `2 / ln 2 * artanh(d / (2 + d))`.
fn near_one(d: &Exact) -> Option<Exact> {
    let two = Exact { exp: 1, ..floating(ONE) };
    let ratio = quad::div(d, &quad::add(&two, d)?);
    let area = times(&ratio, series::area_tangent(series::square(&ratio)));
    let result = times(&area, INVERSE_LN_2);
    Some(Exact { exp: result.exp + 1, sig: result.sig | 1, ..result })
}
