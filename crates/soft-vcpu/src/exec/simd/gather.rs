// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Arithmetic between neighbouring lanes.

use iced_x86::Instruction;

use super::lanes::{at, Lane, Vector};
use super::operands::{both, table, xmm, File};
use crate::op::Handler;

pub(super) fn select(instruction: &Instruction) -> Option<Handler> {
    table! { instruction;
        both {
            Pmaddwd: |a, b| pairs(a, b, |a: [i16; 2], b: [i16; 2]| {
                let product = |n: usize| i32::from(a[n & 1]) * i32::from(b[n & 1]);
                product(0).wrapping_add(product(1))
            }),
            Pmaddubsw: |a, b| pairs(a, b, |a: [u8; 2], b: [i8; 2]| {
                let product = |n: usize| i16::from(a[n & 1]) * i16::from(b[n & 1]);
                product(0).saturating_add(product(1))
            }),
            Phaddw: |a, b| horizontal::<F, i16>(a, b, i16::wrapping_add),
            Phaddd: |a, b| horizontal::<F, i32>(a, b, i32::wrapping_add),
            Phaddsw: |a, b| horizontal::<F, i16>(a, b, i16::saturating_add),
            Phsubw: |a, b| horizontal::<F, i16>(a, b, i16::wrapping_sub),
            Phsubd: |a, b| horizontal::<F, i32>(a, b, i32::wrapping_sub),
            Phsubsw: |a, b| horizontal::<F, i16>(a, b, i16::saturating_sub),
            Psadbw: |a, b| differences(a, b),
        }
        xmm {
            Mpsadbw: |a, b, imm| sliding_differences(a, b, imm),
            Phminposuw: |_, b| minimum(b),
        }
    }
}

/// Each lane of the result from a pair of lanes of both operands.
#[inline(always)]
fn pairs<A: Lane, B: Lane, T: Lane>(
    a: Vector,
    b: Vector,
    f: impl Fn([A; 2], [B; 2]) -> T,
) -> Vector {
    let (a, b) = (at::<A>(a), at::<B>(b));
    T::build(|n| f([a(2 * n), a(2 * n + 1)], [b(2 * n), b(2 * n + 1)]))
}

/// The pairs of the first operand below those of the second.
#[inline(always)]
fn horizontal<F: File, T: Lane>(a: Vector, b: Vector, f: impl Fn(T, T) -> T) -> Vector {
    let half = F::BYTES / T::BYTES / 2;
    let (a, b) = (at::<T>(a), at::<T>(b));
    T::build(|n| match n < half {
        true => f(a(2 * n), a(2 * n + 1)),
        false => f(b(2 * (n - half)), b(2 * (n - half) + 1)),
    })
}

/// PSADBW: sums of absolute differences, eight bytes each.
#[inline(always)]
fn differences(a: Vector, b: Vector) -> Vector {
    let (a, b) = (at::<u8>(a), at::<u8>(b));
    u64::build(|n| (8 * n..8 * n + 8).map(|k| u64::from(a(k).abs_diff(b(k)))).sum())
}

/// MPSADBW: four bytes of the source against eight places of the destination.
#[inline(always)]
fn sliding_differences(a: Vector, b: Vector, imm: u8) -> Vector {
    let (from, against) = (usize::from(imm & 4), usize::from(imm & 3) * 4);
    let (a, b) = (at::<u8>(a), at::<u8>(b));
    u16::build(|n| (0..4).map(|k| u16::from(a(from + n + k).abs_diff(b(against + k)))).sum())
}

/// PHMINPOSUW: the first smallest word, and its number above it.
#[inline(always)]
fn minimum(b: Vector) -> Vector {
    let words = u16::split(b);
    // The word above its number: the smallest of these is the first of the smallest words.
    let keyed = (0..).zip(words).map(|(n, word)| u32::from(word) << 16 | n);
    let least = keyed.min().unwrap_or(0);
    Vector::new(least.rotate_left(16).into())
}
