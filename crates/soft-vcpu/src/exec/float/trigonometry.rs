// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! FSIN, FCOS, FSINCOS, FPTAN, FPATAN.

use super::env::{Env, Outcome};
use super::form::on_registers;
use super::num::{Class, Num};
use super::partial::replace_and_push;
use super::quad;
use super::round::{to_register, Exact};
use super::series::{self, floating, times, ONE};
use crate::cpu::Cpu;
use crate::op::{Op, Step};
use crate::x87::{status, F80, X87};

/// The pi that processors reduce arguments by has 66 bits (SDM vol. 1, "Approximation of Pi"): this
/// is its half in units of 2^-65.
const HALF_PI: u128 = 0x3_243f_6a88_85a3_08d3;

/// An argument brought to between 0 and pi/4.
struct Angle {
    /// Its size.
    rest: Exact,
    /// Eighths of a turn that were taken off, and whether `rest` counts back from there.
    octants: u32,
    negative: bool,
}

/// `None`: not less than 2^63.
fn reduce(a: &Num) -> Option<Angle> {
    let rest = Exact { negative: false, ..a.exact() };
    match a.exp {
        ..=-2 => Some(Angle { rest, octants: 0, negative: a.negative }),
        -1..=62 => {
            let units = u128::from(a.sig) << (a.exp + 2);
            let (quarters, rest) = ((units / HALF_PI) as u32, units % HALF_PI);
            // 66 bits and odd, it divides no argument: the rest is not 0.
            let back = rest > HALF_PI / 2;
            let size = floating(if back { HALF_PI - rest } else { rest });
            let rest = Exact { exp: size.exp + 127 - 65, ..size };
            let octants = (quarters & 3) << 1 | u32::from(back);
            Some(Angle { rest, octants, negative: a.negative })
        }
        _ => None,
    }
}

/// Its lowest bit says that there is more below it: none of these values is a number of 64 bits.
fn inexact(value: Exact) -> Exact {
    Exact { sig: value.sig | 1, ..value }
}

/// Sine of the rest: always less than the rest.
fn small_sine(rest: &Exact) -> Exact {
    times(rest, series::sine(series::square(rest)).min(ONE - 1))
}

/// Cosine of the rest: always less than 1.
fn small_cosine(rest: &Exact) -> Exact {
    floating(series::cosine(series::square(rest)).min(ONE - 1))
}

/// Sine (`turn` 0) and cosine (`turn` 2) by octants.
fn sine(angle: &Angle, turn: u32) -> Exact {
    let octants = angle.octants + turn;
    let swapped = (octants & 3 == 1) || (octants & 3 == 2);
    let size = match swapped {
        true => small_cosine(&angle.rest),
        false => small_sine(&angle.rest),
    };
    // Odd in the argument's sign, if it is the sine.
    let flip = angle.negative && turn == 0;
    Exact { negative: (octants & 4 != 0) != flip, ..inexact(size) }
}

fn tangent(angle: &Angle) -> Exact {
    let z = series::square(&angle.rest);
    if angle.rest.exp < -40 && angle.octants == 0 {
        // What follows 1 + z / 3 is out of sight, and a quotient would lose what is in sight.
        let size = times(&angle.rest, ONE + z / 3);
        return Exact { negative: angle.negative, ..inexact(size) };
    }
    let (sine, cosine) = (times(&angle.rest, series::sine(z)), floating(series::cosine(z)));
    // Octants 1 and 2 of 4 are beyond pi/4 of a zero.
    let (size, negative) = match angle.octants & 3 {
        0 => (quad::div(&sine, &cosine), false),
        1 => (quad::div(&cosine, &sine), false),
        2 => (quad::div(&cosine, &sine), true),
        _ => (quad::div(&sine, &cosine), true),
    };
    Exact { negative: negative != angle.negative, ..inexact(size) }
}

/// What an operation on an angle finds before it computes.
enum Found {
    Special(F80),
    /// C2: not less than 2^63.
    OutOfRange,
    Zero,
    Angle(Angle),
}

fn look(env: &mut Env, a: Num) -> Outcome<Found> {
    if let Some(result) = env.special(&a)? {
        return Ok(Found::Special(result));
    }
    match a.class {
        Class::Infinity => return Ok(Found::Special(env.invalid()?)),
        Class::Zero => return Ok(Found::Zero),
        _ => {}
    }
    let Some(angle) = reduce(&a) else {
        env.set_c2();
        return Ok(Found::OutOfRange);
    };
    env.denormal(a.denormal)?;
    Ok(Found::Angle(angle))
}

/// FSIN; `COSINE`: FCOS.
pub(super) fn sine_or_cosine<const COSINE: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| {
        env.write_codes(status::C1 | status::C2);
        let Some(value) = x87.st(0) else {
            let value = env.stack_underflow()?;
            x87.set_st(0, value);
            return Ok(());
        };
        let result = match look(env, Num::of(value))? {
            Found::OutOfRange => return Ok(()),
            Found::Special(result) => result,
            Found::Zero if COSINE => F80::ONE,
            Found::Zero => value,
            Found::Angle(angle) => to_register(env, sine(&angle, if COSINE { 2 } else { 0 }), 64)?,
        };
        x87.set_st(0, result);
        Ok(())
    })
}

/// An instruction on an angle with two results: the one for ST(0), then the one pushed.
#[inline(always)]
fn two_results(
    x87: &mut X87,
    env: &mut Env,
    zero: impl FnOnce(F80) -> (F80, F80),
    results: impl FnOnce(&mut Env, &Angle) -> Outcome<(F80, F80)>,
) -> Outcome<()> {
    env.write_codes(status::C1 | status::C2);
    let (first, second) = match (x87.st(0), x87.st(7)) {
        (None, _) => both(env.stack_underflow()?),
        (_, Some(_)) => both(env.stack_overflow()?),
        (Some(value), None) => match look(env, Num::of(value))? {
            Found::OutOfRange => return Ok(()),
            Found::Special(result) => both(result),
            Found::Zero => zero(value),
            Found::Angle(angle) => results(env, &angle)?,
        },
    };
    replace_and_push(x87, first, second);
    Ok(())
}

fn both(value: F80) -> (F80, F80) {
    (value, value)
}

/// FSINCOS.
pub(super) fn sine_and_cosine(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| {
        let zero = |value| (value, F80::ONE);
        two_results(x87, env, zero, |env, angle| {
            let cosine = to_register(env, sine(angle, 2), 64)?;
            // C1 tells of the sine, which comes last.
            Ok((to_register(env, sine(angle, 0), 64)?, cosine))
        })
    })
}

/// FPTAN: the tangent, then 1.
pub(super) fn partial_tangent(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| {
        let zero = |value| (value, F80::ONE);
        two_results(x87, env, zero, |env, angle| {
            Ok((to_register(env, tangent(angle), 64)?, F80::ONE))
        })
    })
}

/// pi, all 128 bits.
const PI: Exact = Exact { negative: false, exp: 1, sig: 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1 };

/// atan(k/8), k from 1, in fixed point.
const ARC_TANGENTS: [u128; 8] = [
    0x0fea_dd4d_5617_b6e3_2c89_7989_f3e8_88ef,
    0x1f5b_75f9_2c80_dd62_adb8_f3de_bef4_42fc,
    0x2dec_3283_c9bd_e11c_e2a8_c848_b73f_9120,
    0x3b58_ce0a_c376_9ed1_5bf9_117b_2f0e_a340,
    0x4780_2eaf_7bfa_cfcd_ae41_af0b_32e2_1ba3,
    0x525e_3e8c_9a7b_8492_0cd4_3f95_22be_d64f,
    0x5c02_9f15_e118_cf39_e596_d2a9_0852_221e,
    0x6487_ed51_10b4_611a_6263_3145_c06e_0e68,
];

/// FPATAN: `ST(1) = atan2(ST(1), ST(0))`, and a pop.
pub(super) fn arc_tangent(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| {
        let value = match (x87.st(1), x87.st(0)) {
            (Some(y), Some(x)) => arc_tangent_of(env, Num::of(y), Num::of(x))?,
            _ => env.stack_underflow()?,
        };
        x87.set_st(1, value);
        x87.pop();
        Ok(())
    })
}

/// SDM vol. 2, table "FPATAN Results".
fn arc_tangent_of(env: &mut Env, y: Num, x: Num) -> Outcome<F80> {
    if let Some(result) = env.specials(&y, &x)? {
        return Ok(result);
    }
    env.denormal(y.denormal || x.denormal)?;
    let quarter = |n: i32| Exact { exp: PI.exp - n, ..PI };
    let size = match (y.class, x.class) {
        (Class::Infinity, Class::Infinity) if x.negative => {
            quad::add(&quarter(1), &quarter(2)).unwrap_or(PI)
        }
        (Class::Infinity, Class::Infinity) => quarter(2),
        (Class::Infinity, _) => quarter(1),
        (Class::Zero, _) | (_, Class::Infinity) if x.negative => PI,
        (Class::Zero, _) | (_, Class::Infinity) => return Ok(F80::zero(y.negative)),
        (_, Class::Zero) => quarter(1),
        _ => principal(&positive(&y), &positive(&x), x.negative),
    };
    to_register(env, Exact { negative: y.negative, ..inexact(size) }, 64)
}

fn positive(n: &Num) -> Exact {
    Exact { negative: false, ..n.exact() }
}

/// `atan2(y, x)` of positive `y`; `negative` is x's sign.
fn principal(y: &Exact, x: &Exact, negative: bool) -> Exact {
    let steep = (y.exp, y.sig) > (x.exp, x.sig);
    let ratio = if steep { quad::div(x, y) } else { quad::div(y, x) };
    let angle = of_ratio(&ratio);
    let half_pi = Exact { exp: 0, ..PI };
    let minus = |a: &Exact, b: &Exact| quad::add(a, &Exact { negative: true, ..*b }).unwrap_or(*a);
    match (steep, negative) {
        (false, false) => angle,
        (true, false) => minus(&half_pi, &angle),
        (true, true) => quad::add(&half_pi, &angle).unwrap_or(half_pi),
        (false, true) => minus(&PI, &angle),
    }
}

/// The arc tangent of what is at most 1: that of the nearest eighth, plus that of
/// `(t - c) / (1 + t c)`.
fn of_ratio(t: &Exact) -> Exact {
    let eighths = series::fixed(t).saturating_add(ONE >> 4) >> 124;
    let Some(base) = (eighths as usize).checked_sub(1).and_then(|n| ARC_TANGENTS.get(n)) else {
        return small_arc_tangent(t);
    };
    let base = floating(*base);
    let c = floating(eighths << 124);
    let one = floating(ONE);
    let difference = quad::add(t, &Exact { negative: true, ..c });
    let divisor = quad::add(&one, &quad::mul(t, &c));
    match (difference, divisor) {
        (Some(difference), Some(divisor)) => {
            let rest = small_arc_tangent(&quad::div(&difference, &divisor));
            quad::add(&base, &rest).unwrap_or(base)
        }
        _ => base,
    }
}

/// Of a number up to 1/16: always less than it.
fn small_arc_tangent(u: &Exact) -> Exact {
    if u.exp < -64 && u.sig & 1 != 0 {
        // By less than what is cut off of the number anyhow.
        return *u;
    }
    times(u, series::arc_tangent(series::square(u)).min(ONE - 1))
}
