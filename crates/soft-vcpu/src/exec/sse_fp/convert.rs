// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Conversions between XMM registers and general ones.

use std::arch::x86_64::__m128i;

use super::native::{from_host, native, run, to_host, Operation};
use super::packed::load;
use crate::cpu::Cpu;
use crate::int::{Data, Int};
use crate::op::{Flow, Op, Step};

/// From an integer into lane 0.
pub(super) trait FromInteger:
    Operation<A = __m128i, B = Self::Integer, R = __m128i>
{
    type Integer: Int;
}

/// From lane 0 to an integer.
pub(super) trait ToInteger: Operation<A = (), B = __m128i, R = Self::Integer> {
    type Integer: Int;
    /// What it reads of memory.
    type Source: Data;
}

macro_rules! from_integer {
    ($($name:ident: $mnemonic:literal, $r:literal, $integer:ty;)*) => {$(
        pub(super) struct $name;
        impl Operation for $name {
            type A = __m128i;
            type B = $integer;
            type R = __m128i;
            #[inline(always)]
            fn quick(mut a: __m128i, b: $integer) -> (__m128i, u32) {
                let after = native!(
                    quick; concat!($mnemonic, " {a}, {b", $r, "}"),
                    a = inout(xmm_reg) a, b = in(reg) b,
                );
                (a, after)
            }
            #[inline(always)]
            fn exact(mut a: __m128i, b: $integer, mxcsr: u32) -> (__m128i, u32) {
                let after = native!(
                    exact mxcsr; concat!($mnemonic, " {a}, {b", $r, "}"),
                    a = inout(xmm_reg) a, b = in(reg) b,
                );
                (a, after)
            }
        }
        impl FromInteger for $name {
            type Integer = $integer;
        }
    )*};
}

macro_rules! to_integer {
    ($($name:ident: $mnemonic:literal, $source:ty, $r:literal, $integer:ty;)*) => {$(
        pub(super) struct $name;
        impl Operation for $name {
            type A = ();
            type B = __m128i;
            type R = $integer;
            #[inline(always)]
            fn quick((): (), b: __m128i) -> ($integer, u32) {
                let result: $integer;
                let after = native!(
                    quick; concat!($mnemonic, " {r", $r, "}, {b}"),
                    r = out(reg) result, b = in(xmm_reg) b,
                );
                (result, after)
            }
            #[inline(always)]
            fn exact((): (), b: __m128i, mxcsr: u32) -> ($integer, u32) {
                let result: $integer;
                let after = native!(
                    exact mxcsr; concat!($mnemonic, " {r", $r, "}, {b}"),
                    r = out(reg) result, b = in(xmm_reg) b,
                );
                (result, after)
            }
        }
        impl ToInteger for $name {
            type Integer = $integer;
            type Source = $source;
        }
    )*};
}

from_integer! {
    Cvtsi2ss32: "cvtsi2ss", ":e", u32;
    Cvtsi2ss64: "cvtsi2ss", ":r", u64;
    Cvtsi2sd32: "cvtsi2sd", ":e", u32;
    Cvtsi2sd64: "cvtsi2sd", ":r", u64;
}

to_integer! {
    Cvtss2si32: "cvtss2si", u32, ":e", u32;
    Cvtss2si64: "cvtss2si", u32, ":r", u64;
    Cvttss2si32: "cvttss2si", u32, ":e", u32;
    Cvttss2si64: "cvttss2si", u32, ":r", u64;
    Cvtsd2si32: "cvtsd2si", u64, ":e", u32;
    Cvtsd2si64: "cvtsd2si", u64, ":r", u64;
    Cvttsd2si32: "cvttsd2si", u64, ":e", u32;
    Cvttsd2si64: "cvttsd2si", u64, ":r", u64;
}

/// From a general register.
pub(super) fn from_register<C: FromInteger>(cpu: &mut Cpu, op: &Op) -> Step {
    let integer = C::Integer::get(&cpu.gpr, op.src);
    from_finish::<C>(cpu, op, integer)
}

/// From an integer in memory.
pub(super) fn from_memory<C: FromInteger>(cpu: &mut Cpu, op: &Op) -> Step {
    let integer = cpu.load(op)?;
    from_finish::<C>(cpu, op, integer)
}

#[inline(always)]
fn from_finish<C: FromInteger>(cpu: &mut Cpu, op: &Op, integer: C::Integer) -> Step {
    let first = to_host(cpu.sse.get(op.dst));
    let result = run::<C>(cpu, first, integer)?;
    cpu.sse.set(op.dst, from_host(result));
    Ok(Flow::Next)
}

/// From an XMM register.
pub(super) fn to_register<C: ToInteger>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = cpu.sse.get(op.src);
    to_finish::<C>(cpu, op, value)
}

/// From memory.
pub(super) fn to_register_from_memory<C: ToInteger>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = load::<C::Source>(cpu, op)?;
    to_finish::<C>(cpu, op, value)
}

#[inline(always)]
fn to_finish<C: ToInteger>(cpu: &mut Cpu, op: &Op, value: u128) -> Step {
    let result = run::<C>(cpu, (), to_host(value))?;
    C::Integer::set(&mut cpu.gpr, op.dst, result);
    Ok(Flow::Next)
}
