// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! FCOM, FUCOM, FTST, FXAM and their like: condition codes.

use std::cmp::Ordering;

use super::env::{Env, Outcome};
use super::num::{Class, Num};
use crate::x87::{status, F80, X87};

/// What a comparison found; `None` is unordered.
pub(super) type Relation = Option<Ordering>;

/// Condition codes of a relation.
pub(super) fn codes(relation: Relation) -> u16 {
    match relation {
        Some(Ordering::Greater) => 0,
        Some(Ordering::Less) => status::C0,
        Some(Ordering::Equal) => status::C3,
        None => status::C0 | status::C2 | status::C3,
    }
}

/// Compares; `quiet` is FUCOM's way with quiet NaNs. The relation is given with an unmasked
/// exception too, which then only keeps the stack from being popped.
pub(super) fn compare(env: &mut Env, a: Num, b: Num, quiet: bool) -> (Relation, Outcome<()>) {
    let either = |class| a.class == class || b.class == class;
    if a.class as u8 > Class::Infinity as u8 || b.class as u8 > Class::Infinity as u8 {
        let silent = quiet && !either(Class::Signaling) && !either(Class::Unsupported);
        return (None, if silent { Ok(()) } else { env.raise(status::IE) });
    }
    let outcome = env.denormal(a.denormal || b.denormal);
    (Some(order(&a, &b)), outcome)
}

fn order(a: &Num, b: &Num) -> Ordering {
    let key = |n: &Num| match n.class {
        Class::Zero => (0, 0, 0),
        Class::Finite => (1, n.exp, n.sig),
        _ => (2, 0, 0),
    };
    match (a.is_zero(), b.is_zero(), a.negative, b.negative) {
        (true, true, ..) => Ordering::Equal,
        (true, false, _, negative) => sign_order(!negative),
        (false, true, negative, _) => sign_order(negative),
        (_, _, false, true) => Ordering::Greater,
        (_, _, true, false) => Ordering::Less,
        (_, _, false, false) => key(a).cmp(&key(b)),
        (_, _, true, true) => key(b).cmp(&key(a)),
    }
}

fn sign_order(less: bool) -> Ordering {
    match less {
        true => Ordering::Less,
        false => Ordering::Greater,
    }
}

/// Compares two operands of which a register may be empty.
pub(super) fn compare_st(
    env: &mut Env,
    a: Option<F80>,
    b: Option<Num>,
    quiet: bool,
) -> (Relation, Outcome<()>) {
    match (a, b) {
        (Some(a), Some(b)) => compare(env, Num::of(a), b, quiet),
        _ => (None, env.stack_underflow().map(|_| ())),
    }
}

/// FXAM (SDM vol. 2, table "FXAM Results").
pub(super) fn examine(x87: &X87, env: &mut Env) {
    let value = x87.raw_st(0);
    let number = Num::of(value);
    let class = match (x87.st(0), number.class) {
        (None, _) => status::C3 | status::C0,
        (_, Class::Unsupported) => 0,
        (_, Class::Quiet | Class::Signaling) => status::C0,
        (_, Class::Infinity) => status::C2 | status::C0,
        (_, Class::Zero) => status::C3,
        (_, Class::Finite) if number.denormal => status::C3 | status::C2,
        (_, Class::Finite) => status::C2,
    };
    env.set_codes(class);
    env.set_c1(value.negative());
}
