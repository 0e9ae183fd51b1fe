// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! FPREM, FPREM1, FSCALE, FXTRACT: what takes exponents and significands apart.

use super::env::{Env, Outcome};
use super::form::on_registers;
use super::num::Num;
use super::round::{to_register, Exact};
use crate::cpu::Cpu;
use crate::op::{Op, Step};
use crate::x87::{status, F80, X87};

/// The exponents' difference from which on FPREM leaves a partial remainder.
const COMPLETE: i32 = 64;

/// FPREM; `NEAREST`: FPREM1.
pub(super) fn remainder<const NEAREST: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| {
        // C2 is clear whatever comes, but after a partial remainder.
        env.write_codes(status::C1 | status::C2);
        let (Some(a), Some(b)) = (x87.st(0), x87.st(1)) else {
            let value = env.stack_underflow()?;
            x87.set_st(0, value);
            return Ok(());
        };
        let value = remainder_of(env, Num::of(a), Num::of(b), NEAREST)?;
        x87.set_st(0, value);
        Ok(())
    })
}

/// SDM vol. 2, tables "FPREM Results" and "FPREM1 Results".
fn remainder_of(env: &mut Env, a: Num, b: Num, nearest: bool) -> Outcome<F80> {
    if let Some(result) = env.specials(&a, &b)? {
        return Ok(result);
    }
    if a.is_infinite() || b.is_zero() {
        return env.invalid();
    }
    env.denormal(a.denormal || b.denormal)?;
    if a.is_zero() || b.is_infinite() {
        set_quotient(env, 0);
        // A denormal stays one, but a pseudo-denormal is written as the number that it is.
        return match a.is_zero() {
            true => Ok(F80::zero(a.negative)),
            false => to_register(env, a.exact(), 64),
        };
    }
    let difference = a.exp - b.exp;
    if difference < COMPLETE {
        return complete(env, &a, &b, difference, nearest);
    }
    // 32 to 63 bits of the quotient at a time, so that what is left is a multiple of 32.
    let bits = 32 + (difference & 31);
    let rest = (u128::from(a.sig) << bits) % u128::from(b.sig);
    env.set_codes(status::C2);
    exact(env, a.negative, b.exp + difference - bits, rest)
}

fn complete(env: &mut Env, a: &Num, b: &Num, difference: i32, nearest: bool) -> Outcome<F80> {
    // Two bits below b's last one are enough to tell halves of it: further down, `a` is less than
    // half of `b` and stays what it is.
    if difference < -1 || difference < 0 && !nearest {
        set_quotient(env, 0);
        return to_register(env, a.exact(), 64);
    }
    let (dividend, divisor, exp) = match difference {
        -1 => (u128::from(a.sig), u128::from(b.sig) << 1, a.exp),
        _ => (u128::from(a.sig) << difference, u128::from(b.sig), b.exp),
    };
    let (mut quotient, mut rest) = (dividend / divisor, dividend % divisor);
    let mut negative = a.negative;
    let twice = rest << 1;
    if nearest && (twice > divisor || twice == divisor && quotient & 1 != 0) {
        quotient += 1;
        rest = divisor - rest;
        negative = !negative;
    }
    set_quotient(env, quotient as u16);
    match rest {
        0 => Ok(F80::zero(a.negative)),
        _ => exact(env, negative, exp, rest),
    }
}

/// C0, C3 and C1 get bits 2, 1 and 0 of the quotient; C2 is clear.
fn set_quotient(env: &mut Env, quotient: u16) {
    env.set_codes((quotient >> 2 & 1) << 8 | (quotient >> 1 & 1) << 14);
    env.set_c1(quotient & 1 != 0);
}

/// `rest / 2^63 * 2^exp`: it fits, so only an underflow can be told.
fn exact(env: &mut Env, negative: bool, exp: i32, rest: u128) -> Outcome<F80> {
    let shift = rest.leading_zeros();
    if shift == 128 {
        return Ok(F80::zero(negative));
    }
    // As `sig` is in units of 2^63, 64 leading zeros are none.
    let value = Exact { negative, exp: exp + 64 - shift as i32, sig: rest << shift };
    to_register(env, value, 64)
}

/// SDM vol. 2, table "FSCALE Results".
fn scaled(env: &mut Env, a: Num, b: Num) -> Outcome<F80> {
    if let Some(result) = env.specials(&a, &b)? {
        return Ok(result);
    }
    if b.is_infinite() {
        let grows = !b.negative;
        if a.is_zero() && grows || a.is_infinite() && !grows {
            return env.invalid();
        }
        env.denormal(a.denormal)?;
        return Ok(if grows { F80::infinity(a.negative) } else { F80::zero(a.negative) });
    }
    env.denormal(a.denormal || b.denormal)?;
    if !a.is_finite() {
        return Ok(a.to_f80());
    }
    // Beyond 2^17 every result is beyond the format by far.
    let by = match (b.is_zero(), b.exp) {
        (true, _) | (_, ..=-1) => 0,
        (_, 0..=16) => (b.sig >> (63 - b.exp)) as i32,
        _ => 1 << 17,
    };
    let exact = a.exact();
    let by = if b.negative { -by } else { by };
    to_register(env, Exact { exp: exact.exp + by, ..exact }, 64)
}

/// FXTRACT: the exponent stays, the significand is pushed.
pub(super) fn extract(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| {
        let (exponent, significand) = match (x87.st(0), x87.st(7)) {
            (None, _) => both(env.stack_underflow()?),
            (_, Some(_)) => both(env.stack_overflow()?),
            (Some(value), None) => extracted(env, Num::of(value))?,
        };
        replace_and_push(x87, exponent, significand);
        Ok(())
    })
}

/// Two results of one instruction.
pub(super) fn replace_and_push(x87: &mut X87, first: F80, second: F80) {
    x87.set_st(0, first);
    x87.push(second);
}

fn both(value: F80) -> (F80, F80) {
    (value, value)
}

fn extracted(env: &mut Env, a: Num) -> Outcome<(F80, F80)> {
    if let Some(result) = env.special(&a)? {
        return Ok(both(result));
    }
    if a.is_zero() {
        env.raise(status::ZE)?;
        return Ok((F80::infinity(true), F80::zero(a.negative)));
    }
    if a.is_infinite() {
        return Ok((F80::infinity(false), F80::infinity(a.negative)));
    }
    env.denormal(a.denormal)?;
    let exponent = Num::of_int(i64::from(a.exp)).to_f80();
    Ok((exponent, Num { exp: 0, ..a }.to_f80()))
}

/// FSCALE.
pub(super) fn scale(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| {
        let value = match (x87.st(0), x87.st(1)) {
            (Some(a), Some(b)) => scaled(env, Num::of(a), Num::of(b))?,
            _ => env.stack_underflow()?,
        };
        x87.set_st(0, value);
        Ok(())
    })
}
