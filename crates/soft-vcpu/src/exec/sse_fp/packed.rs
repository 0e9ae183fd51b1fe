// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From two XMM registers, or one and memory, to the first: arithmetic, comparisons to masks, most
//! conversions.

use std::arch::x86_64::__m128i;

use super::lanes::Compute::*;
use super::lanes::{narrow, pd, ps, sd, ss, Lanes, NONE};
use super::native::{from_host, native, run, to_host, Operation};
use crate::cpu::Cpu;
use crate::int::Data;
use crate::op::{Flow, Op, Step, Trap};

/// Such an instruction.
pub(super) trait Packed: Operation<A = __m128i, B = __m128i, R = __m128i> {
    /// What it reads of memory. 16 bytes have to be aligned.
    type Source: Data;
}

/// From a register.
pub(super) fn rr<P: Packed>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = cpu.sse.get(op.src);
    finish::<P>(cpu, op, source)
}

/// From memory.
pub(super) fn rm<P: Packed>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = load::<P::Source>(cpu, op)?;
    finish::<P>(cpu, op, source)
}

#[inline(always)]
fn finish<P: Packed>(cpu: &mut Cpu, op: &Op, source: u128) -> Step {
    let first = to_host(cpu.sse.get(op.dst));
    let result = run::<P>(cpu, first, to_host(source))?;
    cpu.sse.set(op.dst, from_host(result));
    Ok(Flow::Next)
}

/// A memory operand. #GP(0) for 16 bytes that are not aligned (SDM vol. 2, "Exceptions Type 2").
#[inline(always)]
pub(super) fn load<T: Data>(cpu: &mut Cpu, op: &Op) -> Result<u128, Trap> {
    let at = cpu.read_address(op, T::BYTES)?;
    if T::BYTES == 16 && at & 15 != 0 {
        return Err(cpu.gp());
    }
    Ok(cpu.read::<T>(op.seg, at)?.wide())
}

/// `Name: "instruction", what it reads of memory, lanes that can underflow and overflow`.
macro_rules! packed {
    ($($(#[$doc:meta])* $name:ident $(<$p:ident>)?: $mnemonic:literal, $source:ty, $lanes:expr;)*) => {$(
        $(#[$doc])*
        pub(super) struct $name $(<const $p: u8>)?;
        impl $(<const $p: u8>)? Operation for $name $(<$p>)? {
            type A = __m128i;
            type B = __m128i;
            type R = __m128i;
            #[inline(always)]
            fn quick(mut a: __m128i, b: __m128i) -> (__m128i, u32) {
                let after = native!(
                    quick; concat!($mnemonic, " {a}, {b}" $(, ", {", stringify!($p), "}")?),
                    a = inout(xmm_reg) a, b = in(xmm_reg) b, $($p = const $p,)?
                );
                (a, after)
            }
            #[inline(always)]
            fn exact(mut a: __m128i, b: __m128i, mxcsr: u32) -> (__m128i, u32) {
                let after = native!(
                    exact mxcsr; concat!($mnemonic, " {a}, {b}" $(, ", {", stringify!($p), "}")?),
                    a = inout(xmm_reg) a, b = in(xmm_reg) b, $($p = const $p,)?
                );
                (a, after)
            }
            fn is_tiny(result: __m128i) -> bool {
                const LANES: Option<Lanes> = $lanes;
                LANES.is_some_and(|lanes| lanes.is_tiny(from_host(result)))
            }
            fn is_inexact(a: __m128i, b: __m128i, result: __m128i, mxcsr: u32) -> bool {
                const LANES: Option<Lanes> = $lanes;
                let (a, b, result) = (from_host(a), from_host(b), from_host(result));
                LANES.is_none_or(|lanes| lanes.is_inexact(a, b, result, mxcsr))
            }
        }
        impl $(<const $p: u8>)? Packed for $name $(<$p>)? {
            type Source = $source;
        }
    )*};
}

packed! {
    Addps: "addps", u128, ps(Add);
    Addpd: "addpd", u128, pd(Add);
    Addss: "addss", u32, ss(Add);
    Addsd: "addsd", u64, sd(Add);
    Subps: "subps", u128, ps(Sub);
    Subpd: "subpd", u128, pd(Sub);
    Subss: "subss", u32, ss(Sub);
    Subsd: "subsd", u64, sd(Sub);
    Mulps: "mulps", u128, ps(Mul);
    Mulpd: "mulpd", u128, pd(Mul);
    Mulss: "mulss", u32, ss(Mul);
    Mulsd: "mulsd", u64, sd(Mul);
    Divps: "divps", u128, ps(Div);
    Divpd: "divpd", u128, pd(Div);
    Divss: "divss", u32, ss(Div);
    Divsd: "divsd", u64, sd(Div);
    Sqrtps: "sqrtps", u128, NONE;
    Sqrtpd: "sqrtpd", u128, NONE;
    Sqrtss: "sqrtss", u32, NONE;
    Sqrtsd: "sqrtsd", u64, NONE;
    Minps: "minps", u128, NONE;
    Minpd: "minpd", u128, NONE;
    Minss: "minss", u32, NONE;
    Minsd: "minsd", u64, NONE;
    Maxps: "maxps", u128, NONE;
    Maxpd: "maxpd", u128, NONE;
    Maxss: "maxss", u32, NONE;
    Maxsd: "maxsd", u64, NONE;

    Cmpps<P>: "cmpps", u128, NONE;
    Cmppd<P>: "cmppd", u128, NONE;
    Cmpss<P>: "cmpss", u32, NONE;
    Cmpsd<P>: "cmpsd", u64, NONE;

    Roundps<P>: "roundps", u128, NONE;
    Roundpd<P>: "roundpd", u128, NONE;
    Roundss<P>: "roundss", u32, NONE;
    Roundsd<P>: "roundsd", u64, NONE;

    Haddps: "haddps", u128, ps(PairAdd);
    Haddpd: "haddpd", u128, pd(PairAdd);
    Hsubps: "hsubps", u128, ps(PairSub);
    Hsubpd: "hsubpd", u128, pd(PairSub);
    Addsubps: "addsubps", u128, ps(AddSub);
    Addsubpd: "addsubpd", u128, pd(AddSub);

    Cvtps2pd: "cvtps2pd", u64, NONE;
    Cvtpd2ps: "cvtpd2ps", u128, narrow(2);
    Cvtss2sd: "cvtss2sd", u32, NONE;
    Cvtsd2ss: "cvtsd2ss", u64, narrow(1);
    Cvtdq2ps: "cvtdq2ps", u128, NONE;
    Cvtdq2pd: "cvtdq2pd", u64, NONE;
    Cvtps2dq: "cvtps2dq", u128, NONE;
    Cvttps2dq: "cvttps2dq", u128, NONE;
    Cvtpd2dq: "cvtpd2dq", u128, NONE;
    Cvttpd2dq: "cvttpd2dq", u128, NONE;
}
