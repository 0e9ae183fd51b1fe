// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Lanes that change places or width.

use iced_x86::{Instruction, Mnemonic};

use super::lanes::{at, map, with, Lane, Vector, LOW};
use super::operands::*;
use crate::op::Handler;

pub(super) fn select(instruction: &Instruction) -> Option<Handler> {
    match instruction.mnemonic() {
        Mnemonic::Insertps => match is_memory(instruction, 1) {
            false => Some(compute::<Xmm, Reg<Xmm>, InsertSingle<true>>),
            true => Some(compute::<Xmm, Mem<u32>, InsertSingle<false>>),
        },
        _ => unpacks(instruction)
            .or_else(|| shuffles(instruction))
            .or_else(|| blends(instruction))
            .or_else(|| extensions(instruction))
            .or_else(|| inserts(instruction)),
    }
}

fn unpacks(instruction: &Instruction) -> Option<Handler> {
    table! { instruction;
        both_low {
            Punpcklbw: |a, b| interleave::<u8>(a, b),
            Punpcklwd: |a, b| interleave::<u16>(a, b),
            Punpckldq: |a, b| interleave::<u32>(a, b),
        }
        both {
            Punpckhbw: |a, b| interleave::<u8>(high::<F>(a), high::<F>(b)),
            Punpckhwd: |a, b| interleave::<u16>(high::<F>(a), high::<F>(b)),
            Punpckhdq: |a, b| interleave::<u32>(high::<F>(a), high::<F>(b)),
            Packsswb: |a, b| pack::<F, i16, i8>(a, b, |v| v.clamp(-128, 127) as i8),
            Packssdw: |a, b| pack::<F, i32, i16>(a, b, |v| v.clamp(-0x8000, 0x7fff) as i16),
            Packuswb: |a, b| pack::<F, i16, u8>(a, b, |v| v.clamp(0, 0xff) as u8),
        }
        xmm {
            Punpcklqdq: |a, b| a & LOW | b << 64,
            Punpckhqdq: |a, b| a >> 64 | b & !LOW,
            Unpcklps: |a, b| interleave::<u32>(a, b),
            Unpcklpd: |a, b| a & LOW | b << 64,
            Unpckhps: |a, b| interleave::<u32>(a >> 64, b >> 64),
            Unpckhpd: |a, b| a >> 64 | b & !LOW,
            Packusdw: |a, b| pack::<F, i32, u16>(a, b, |v| v.clamp(0, 0xffff) as u16),
        }
    }
}

fn shuffles(instruction: &Instruction) -> Option<Handler> {
    table! { instruction;
        both {
            Pshufb: |a, b| shuffle_bytes::<F>(a, b),
            Palignr: |a, b, imm| align::<F>(a, b, imm),
        }
        mmx {
            Pshufw: |_, b, imm| shuffle_words(b, imm),
        }
        xmm {
            Pshufd: |_, b, imm| shuffle_singles(b, b, imm),
            Pshuflw: |_, b, imm| b & !LOW | shuffle_words(b, imm) & LOW,
            Pshufhw: |_, b, imm| b & LOW | shuffle_words(b >> 64, imm) << 64,
            Shufps: |a, b, imm| shuffle_singles(a, b, imm),
            Shufpd: |a, b, imm| {
                let lane = |n: u8| usize::from(imm >> n & 1);
                u64::join([at::<u64>(a)(lane(0)), at::<u64>(b)(lane(1))])
            },
        }
    }
}

fn blends(instruction: &Instruction) -> Option<Handler> {
    table! { instruction;
        xmm {
            Pblendw: |a, b, imm| blend::<u16>(a, b, imm),
            Blendps: |a, b, imm| blend::<u32>(a, b, imm),
            Blendpd: |a, b, imm| blend::<u64>(a, b, imm),
        }
    }
}

fn extensions(instruction: &Instruction) -> Option<Handler> {
    table! { instruction;
        xmm64 {
            Pmovsxbw: |_, b| extend::<i8, i16>(b),
            Pmovsxwd: |_, b| extend::<i16, i32>(b),
            Pmovsxdq: |_, b| extend::<i32, i64>(b),
            Pmovzxbw: |_, b| extend::<u8, u16>(b),
            Pmovzxwd: |_, b| extend::<u16, u32>(b),
            Pmovzxdq: |_, b| extend::<u32, u64>(b),
        }
        xmm32 {
            Pmovsxbd: |_, b| extend::<i8, i32>(b),
            Pmovsxwq: |_, b| extend::<i16, i64>(b),
            Pmovzxbd: |_, b| extend::<u8, u32>(b),
            Pmovzxwq: |_, b| extend::<u16, u64>(b),
        }
        xmm16 {
            Pmovsxbq: |_, b| extend::<i8, i64>(b),
            Pmovzxbq: |_, b| extend::<u8, u64>(b),
        }
    }
}

fn inserts(instruction: &Instruction) -> Option<Handler> {
    table! { instruction;
        insert8 {
            Pinsrb: |a, b, imm| with(a, imm, at::<u8>(b)(0)),
        }
        insert16 {
            Pinsrw: |a, b, imm| with(a, imm & (F::BYTES / 2 - 1) as u8, at::<u16>(b)(0)),
        }
        insert32 {
            Pinsrd: |a, b, imm| with(a, imm, at::<u32>(b)(0)),
        }
        insert64 {
            Pinsrq: |a, b, imm| with(a, imm, at::<u64>(b)(0)),
        }
    }
}

/// Form `xmm, r32/m8`.
fn insert8<C: Compute>(instruction: &Instruction) -> Option<Handler> {
    match is_memory(instruction, 1) {
        false => Some(compute::<Xmm, Gpr<u32>, C>),
        true => Some(compute::<Xmm, Mem<u8>, C>),
    }
}

/// Forms `mm, r32/m16` and `xmm, r32/m16`.
fn insert16<C: Compute>(instruction: &Instruction) -> Option<Handler> {
    match (is_mmx(instruction, 0), is_memory(instruction, 1)) {
        (true, false) => Some(compute::<Mmx, Gpr<u32>, C>),
        (true, true) => Some(compute::<Mmx, Mem<u16>, C>),
        (false, false) => Some(compute::<Xmm, Gpr<u32>, C>),
        (false, true) => Some(compute::<Xmm, Mem<u16>, C>),
    }
}

/// Form `xmm, r32/m32`.
fn insert32<C: Compute>(instruction: &Instruction) -> Option<Handler> {
    match is_memory(instruction, 1) {
        false => Some(compute::<Xmm, Gpr<u32>, C>),
        true => Some(compute::<Xmm, Mem<u32>, C>),
    }
}

/// Form `xmm, r64/m64`.
fn insert64<C: Compute>(instruction: &Instruction) -> Option<Handler> {
    match is_memory(instruction, 1) {
        false => Some(compute::<Xmm, Gpr<u64>, C>),
        true => Some(compute::<Xmm, Mem<u64>, C>),
    }
}

/// INSERTPS. The immediate's upper bits choose the source's lane, if that is a register.
struct InsertSingle<const REGISTER: bool>;

impl<const REGISTER: bool> Compute for InsertSingle<REGISTER> {
    #[inline(always)]
    fn apply<F: File>(a: Vector, b: Vector, imm: u8) -> Vector {
        let from = if REGISTER { imm >> 6 } else { 0 };
        let inserted = with(a, imm >> 4 & 3, at::<u32>(b)(from.into()));
        blend::<u32>(inserted, Vector::ZERO, imm & 15)
    }
}

/// The lowest lanes of both by turns, the first operand's below.
#[inline(always)]
fn interleave<T: Lane>(a: Vector, b: Vector) -> Vector {
    let (a, b) = (at::<T>(a), at::<T>(b));
    T::build(|n| if n & 1 == 0 { a(n / 2) } else { b(n / 2) })
}

/// The high half of a register of `F`.
#[inline(always)]
fn high<F: File>(value: Vector) -> Vector {
    value >> (4 * F::BYTES)
}

/// The lanes of the first operand, narrower, below those of the second.
#[inline(always)]
fn pack<F: File, S: Lane, T: Lane>(a: Vector, b: Vector, narrow: impl Fn(S) -> T) -> Vector {
    let count = F::BYTES / S::BYTES;
    let (a, b) = (at::<S>(a), at::<S>(b));
    T::build(|n| narrow(if n < count { a(n) } else { b(n - count) }))
}

/// PSHUFB: each byte's number, or 0 if bit 7 is set.
#[inline(always)]
fn shuffle_bytes<F: File>(a: Vector, b: Vector) -> Vector {
    let bytes = at::<u8>(a);
    map(b, |from: u8| match from & 0x80 {
        0 => bytes(usize::from(from) & (F::BYTES - 1)),
        _ => 0,
    })
}

/// PALIGNR: bytes from both operands side by side, the first one's above.
#[inline(always)]
fn align<F: File>(a: Vector, b: Vector, imm: u8) -> Vector {
    let (bits, shift) = (8 * F::BYTES, 8 * usize::from(imm));
    match shift {
        0 => b,
        _ if shift < bits => b >> shift | a << (bits - shift),
        _ if shift < 2 * bits => a >> (shift - bits),
        _ => Vector::ZERO,
    }
}

/// The four low words, in the places of which the immediate has two bits each.
#[inline(always)]
fn shuffle_words(b: Vector, imm: u8) -> Vector {
    let words = at::<u64>(b)(0);
    let word = |n: u32| words >> (16 * (imm >> (2 * n) & 3)) & 0xffff;
    Vector::new((word(0) | word(1) << 16 | word(2) << 32 | word(3) << 48).into())
}

/// Two lanes of each operand, the first one's below.
#[inline(always)]
fn shuffle_singles(a: Vector, b: Vector, imm: u8) -> Vector {
    let (a, b) = (at::<u32>(a), at::<u32>(b));
    let from = |n: u32| usize::from(imm >> (2 * n) & 3);
    u32::join([a(from(0)), a(from(1)), b(from(2)), b(from(3))])
}

/// Lanes of the second operand where the immediate has a 1.
#[inline(always)]
fn blend<T: Lane>(a: Vector, b: Vector, imm: u8) -> Vector {
    let (a, b) = (at::<T>(a), at::<T>(b));
    T::build(|n| if imm >> (n & 7) & 1 == 0 { a(n) } else { b(n) })
}

/// The lowest lanes, wider.
#[inline(always)]
fn extend<S: Lane, T: Lane + From<S>>(b: Vector) -> Vector {
    let lanes = at::<S>(b);
    T::build(|n| lanes(n).into())
}
