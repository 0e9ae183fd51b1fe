// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RCPPS, RSQRTPS and their scalar forms. Processors approximate to 12 bits, each in its own way;
//! here the result is rounded from the exact one, so that a guest computes the same on every host.

use super::packed::load;
use crate::cpu::Cpu;
use crate::int::Data;
use crate::op::{Flow, Op, Step};

const SIGN: u32 = 1 << 31;
const INFINITY: u32 = 0x7f80_0000;
/// Bit 22 of a NaN says that it is a quiet one.
const QUIET: u32 = 1 << 22;
/// The NaN that an invalid operation gives.
const INDEFINITE: u32 = SIGN | INFINITY | QUIET;

/// Such an instruction.
pub(super) trait Approximation {
    /// What it reads of memory: as many lanes as it computes.
    type Source: Data;
    /// The result for a number that is neither zero nor denormal nor a NaN.
    fn of(x: f32) -> f32;
}

macro_rules! approximations {
    ($($name:ident: $source:ty, $of:expr;)*) => {$(
        pub(super) struct $name;
        impl Approximation for $name {
            type Source = $source;
            fn of(x: f32) -> f32 {
                let of: fn(f64) -> f64 = $of;
                of(f64::from(x)) as f32
            }
        }
    )*};
}

approximations! {
    Rcpps: u128, |x| 1.0 / x;
    Rcpss: u32, |x| 1.0 / x;
    Rsqrtps: u128, |x| 1.0 / x.sqrt();
    Rsqrtss: u32, |x| 1.0 / x.sqrt();
}

/// From a register.
pub(super) fn rr<A: Approximation>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = cpu.sse.get(op.src);
    finish::<A>(cpu, op, source)
}

/// From memory.
pub(super) fn rm<A: Approximation>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = load::<A::Source>(cpu, op)?;
    finish::<A>(cpu, op, source)
}

fn finish<A: Approximation>(cpu: &mut Cpu, op: &Op, source: u128) -> Step {
    let mut result = cpu.sse.get(op.dst);
    for shift in (0..8 * A::Source::BYTES).step_by(32) {
        let lane = lane::<A>((source >> shift) as u32);
        result = result & !(u128::from(u32::MAX) << shift) | u128::from(lane) << shift;
    }
    cpu.sse.set(op.dst, result);
    Ok(Flow::Next)
}

/// One number (SDM vol. 2, "RCPPS", "RSQRTPS"): denormal ones count as zero, results that would be
/// denormal are zero; nothing is raised.
fn lane<A: Approximation>(source: u32) -> u32 {
    let (sign, magnitude) = (source & SIGN, source & !SIGN);
    if magnitude > INFINITY {
        return source | QUIET;
    }
    if magnitude & INFINITY == 0 {
        return sign | INFINITY;
    }
    let result = A::of(f32::from_bits(source));
    match result {
        _ if result.is_nan() => INDEFINITE,
        _ if result.is_subnormal() => sign,
        _ => result.to_bits(),
    }
}
