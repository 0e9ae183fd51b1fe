// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! COMISS, COMISD, UCOMISS, UCOMISD: comparisons to RFLAGS.

use std::arch::x86_64::__m128i;

use super::native::{native, run, to_host, Operation};
use super::packed::load;
use crate::cpu::Cpu;
use crate::flags::bit;
use crate::int::Data;
use crate::op::{Flow, Op, Step};

/// Such a comparison; it gives what LAHF reads.
pub(super) trait Comparison: Operation<A = __m128i, B = __m128i, R = u64> {
    /// What it reads of memory.
    type Source: Data;
}

macro_rules! comparisons {
    ($($name:ident: $mnemonic:literal, $source:ty;)*) => {$(
        pub(super) struct $name;
        impl Operation for $name {
            type A = __m128i;
            type B = __m128i;
            type R = u64;
            #[inline(always)]
            fn quick(a: __m128i, b: __m128i) -> (u64, u32) {
                let flags: u64;
                let after = native!(
                    quick; concat!($mnemonic, " {a}, {b}\nlahf"),
                    a = in(xmm_reg) a, b = in(xmm_reg) b, out("rax") flags,
                );
                (flags, after)
            }
            #[inline(always)]
            fn exact(a: __m128i, b: __m128i, mxcsr: u32) -> (u64, u32) {
                let flags: u64;
                let after = native!(
                    exact mxcsr; concat!($mnemonic, " {a}, {b}\nlahf"),
                    a = in(xmm_reg) a, b = in(xmm_reg) b, out("rax") flags,
                );
                (flags, after)
            }
        }
        impl Comparison for $name {
            type Source = $source;
        }
    )*};
}

comparisons! {
    Comiss: "comiss", u32;
    Comisd: "comisd", u64;
    Ucomiss: "ucomiss", u32;
    Ucomisd: "ucomisd", u64;
}

/// With a register.
pub(super) fn rr<C: Comparison>(cpu: &mut Cpu, op: &Op) -> Step {
    let second = cpu.sse.get(op.src);
    finish::<C>(cpu, op, second)
}

/// With memory.
pub(super) fn rm<C: Comparison>(cpu: &mut Cpu, op: &Op) -> Step {
    let second = load::<C::Source>(cpu, op)?;
    finish::<C>(cpu, op, second)
}

#[inline(always)]
fn finish<C: Comparison>(cpu: &mut Cpu, op: &Op, second: u128) -> Step {
    let first = to_host(cpu.sse.get(op.dst));
    let flags = run::<C>(cpu, first, to_host(second))?;
    // OF, SF and AF are cleared.
    cpu.flags.set_status(flags >> 8 & (bit::ZF | bit::PF | bit::CF));
    Ok(Flow::Next)
}
