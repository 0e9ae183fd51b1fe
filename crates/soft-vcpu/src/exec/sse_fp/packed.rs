// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From two XMM registers, or one and memory, to the first: arithmetic, comparisons to masks, most
//! conversions.

use std::arch::x86_64::__m128i;

use super::native::{self, from_host, native, run, to_host, Operation};
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

/// `Name: "instruction", what it reads of memory, which lanes of the result can be tiny`.
macro_rules! packed {
    ($($(#[$doc:meta])* $name:ident $(<$p:ident>)?: $mnemonic:literal, $source:ty, $tiny:ident;)*) => {$(
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
                native::$tiny(result)
            }
        }
        impl $(<const $p: u8>)? Packed for $name $(<$p>)? {
            type Source = $source;
        }
    )*};
}

packed! {
    Addps: "addps", u128, ps;
    Addpd: "addpd", u128, pd;
    Addss: "addss", u32, ss;
    Addsd: "addsd", u64, sd;
    Subps: "subps", u128, ps;
    Subpd: "subpd", u128, pd;
    Subss: "subss", u32, ss;
    Subsd: "subsd", u64, sd;
    Mulps: "mulps", u128, ps;
    Mulpd: "mulpd", u128, pd;
    Mulss: "mulss", u32, ss;
    Mulsd: "mulsd", u64, sd;
    Divps: "divps", u128, ps;
    Divpd: "divpd", u128, pd;
    Divss: "divss", u32, ss;
    Divsd: "divsd", u64, sd;
    Sqrtps: "sqrtps", u128, never;
    Sqrtpd: "sqrtpd", u128, never;
    Sqrtss: "sqrtss", u32, never;
    Sqrtsd: "sqrtsd", u64, never;
    Minps: "minps", u128, never;
    Minpd: "minpd", u128, never;
    Minss: "minss", u32, never;
    Minsd: "minsd", u64, never;
    Maxps: "maxps", u128, never;
    Maxpd: "maxpd", u128, never;
    Maxss: "maxss", u32, never;
    Maxsd: "maxsd", u64, never;
    // The approximations raise nothing; how good they are beyond what the manual promises is the
    // host's affair.
    Rcpps: "rcpps", u128, never;
    Rcpss: "rcpss", u32, never;
    Rsqrtps: "rsqrtps", u128, never;
    Rsqrtss: "rsqrtss", u32, never;

    Cmpps<P>: "cmpps", u128, never;
    Cmppd<P>: "cmppd", u128, never;
    Cmpss<P>: "cmpss", u32, never;
    Cmpsd<P>: "cmpsd", u64, never;

    Roundps<P>: "roundps", u128, never;
    Roundpd<P>: "roundpd", u128, never;
    Roundss<P>: "roundss", u32, never;
    Roundsd<P>: "roundsd", u64, never;

    Haddps: "haddps", u128, ps;
    Haddpd: "haddpd", u128, pd;
    Hsubps: "hsubps", u128, ps;
    Hsubpd: "hsubpd", u128, pd;
    Addsubps: "addsubps", u128, ps;
    Addsubpd: "addsubpd", u128, pd;

    Cvtps2pd: "cvtps2pd", u64, never;
    Cvtpd2ps: "cvtpd2ps", u128, ps;
    Cvtss2sd: "cvtss2sd", u32, never;
    Cvtsd2ss: "cvtsd2ss", u64, ss;
    Cvtdq2ps: "cvtdq2ps", u128, never;
    Cvtdq2pd: "cvtdq2pd", u64, never;
    Cvtps2dq: "cvtps2dq", u128, never;
    Cvttps2dq: "cvttps2dq", u128, never;
    Cvtpd2dq: "cvtpd2dq", u128, never;
    Cvttpd2dq: "cvttpd2dq", u128, never;
}
