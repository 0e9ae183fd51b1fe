// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! DPPS and DPPD, step by step: each multiplication and each addition has its own exceptions.

use std::arch::x86_64::__m128i;

use super::native::{from_host, run, to_host, Operation};
use super::packed::{load, Haddpd, Haddps, Mulpd, Mulps, Packed};
use crate::cpu::Cpu;
use crate::op::{Flow, Op, Step, Trap};

/// A dot product.
pub(super) trait Dot {
    type Multiply: Packed + Operation;
    type Add: Packed + Operation;
    /// Lanes.
    const LANES: u32;
}

/// DPPS.
pub(super) struct Single;
/// DPPD.
pub(super) struct Double;

impl Dot for Single {
    type Multiply = Mulps;
    type Add = Haddps;
    const LANES: u32 = 4;
}

impl Dot for Double {
    type Multiply = Mulpd;
    type Add = Haddpd;
    const LANES: u32 = 2;
}

/// From a register.
pub(super) fn rr<D: Dot>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = cpu.sse.get(op.src);
    finish::<D>(cpu, op, source)
}

/// From memory.
pub(super) fn rm<D: Dot>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = load::<u128>(cpu, op)?;
    finish::<D>(cpu, op, source)
}

fn finish<D: Dot>(cpu: &mut Cpu, op: &Op, source: u128) -> Step {
    let sum = product::<D>(cpu, cpu.sse.get(op.dst), source, op.imm as u8)?;
    cpu.sse.set(op.dst, from_host(sum) & lanes::<D>(op.imm as u8));
    Ok(Flow::Next)
}

/// The sum of the products that `imm`'s bits 7:4 select, in every lane.
fn product<D: Dot>(cpu: &mut Cpu, a: u128, b: u128, imm: u8) -> Result<__m128i, Trap> {
    // A product that is not selected is +0.0, as 0 times 0 is.
    let selected = lanes::<D>(imm >> 4);
    let mut sum = run::<D::Multiply>(cpu, to_host(a & selected), to_host(b & selected))?;
    for _ in 0..D::LANES.ilog2() {
        sum = run::<D::Add>(cpu, sum, sum)?;
    }
    Ok(sum)
}

/// All ones in the lanes whose bit is set.
fn lanes<D: Dot>(bits: u8) -> u128 {
    let width = 128 / D::LANES;
    (0..D::LANES)
        .filter(|n| bits >> n & 1 != 0)
        .map(|n| (u128::MAX >> (128 - width)) << (n * width))
        .sum()
}
