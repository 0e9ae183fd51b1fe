// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What fits no table: flags, implied operands, both register files at once.

use iced_x86::{Instruction, Mnemonic};

use super::lanes::{at, compare, sign_bits, Lane, Ones, Vector, LOW};
use super::operands::*;
use crate::cpu::Cpu;
use crate::flags::bit;
use crate::int::reg::RDI;
use crate::op::{Flow, Handler, Op, Step, ADDRESS_MASK};

pub(super) fn select(instruction: &Instruction) -> Option<Handler> {
    let memory = instruction.op_count() > 1 && is_memory(instruction, 1);
    Some(match (instruction.mnemonic(), memory) {
        (Mnemonic::Emms, _) => emms,
        (Mnemonic::Movq2dq, _) => movq2dq,
        (Mnemonic::Movdq2q, _) => movdq2q,
        (Mnemonic::Maskmovq, _) => maskmov::<Mmx>,
        (Mnemonic::Maskmovdqu, _) => maskmov::<Xmm>,
        (Mnemonic::Ptest, false) => ptest::<Reg<Xmm>>,
        (Mnemonic::Ptest, true) => ptest::<Aligned>,
        (Mnemonic::Pblendvb, false) => blendv::<Reg<Xmm>, i8>,
        (Mnemonic::Pblendvb, true) => blendv::<Aligned, i8>,
        (Mnemonic::Blendvps, false) => blendv::<Reg<Xmm>, i32>,
        (Mnemonic::Blendvps, true) => blendv::<Aligned, i32>,
        (Mnemonic::Blendvpd, false) => blendv::<Reg<Xmm>, i64>,
        (Mnemonic::Blendvpd, true) => blendv::<Aligned, i64>,
        _ => return None,
    })
}

/// EMMS: all x87 registers become empty.
fn emms(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.x87_ready()?;
    cpu.x87.enter_mmx();
    cpu.x87.used = 0;
    Ok(Flow::Next)
}

fn movq2dq(cpu: &mut Cpu, op: &Op) -> Step {
    Mmx::begin(cpu)?;
    let value = Mmx::get(cpu, op.src);
    Mmx::touch(cpu);
    Xmm::set(cpu, op.dst, value);
    Ok(Flow::Next)
}

fn movdq2q(cpu: &mut Cpu, op: &Op) -> Step {
    Mmx::begin(cpu)?;
    let value = Xmm::get(cpu, op.src);
    Mmx::set(cpu, op.dst, value & LOW);
    Ok(Flow::Next)
}

/// MASKMOVQ, MASKMOVDQU: the bytes at rDI of which the mask has bit 7 set.
///
/// Nothing is written unless all of them can be; a mask of 0 touches no memory (which of the faults
/// there may be then is the implementation's choice).
fn maskmov<F: File>(cpu: &mut Cpu, op: &Op) -> Step {
    F::begin(cpu)?;
    let mask = sign_bits(F::get(cpu, op.third));
    let bytes = at::<u8>(F::get(cpu, op.src));
    if mask != 0 {
        let address_mask = ADDRESS_MASK[usize::from(op.asize & 3)];
        let offset = cpu.gpr[usize::from(RDI)] & address_mask;
        let start = cpu.linear(op.seg, offset, F::BYTES as u64, true)?;
        let first = mask.trailing_zeros();
        let last = mask.ilog2();
        let from = start.wrapping_add(first.into());
        cpu.probe_write(op.seg, from, u64::from(last - first + 1))?;
        for n in (first..=last).filter(|n| mask >> n & 1 != 0) {
            cpu.write(op.seg, start.wrapping_add(n.into()), bytes(n as usize))?;
        }
    }
    F::touch(cpu);
    Ok(Flow::Next)
}

/// PTEST: ZF and CF, the other status flags are cleared.
fn ptest<S: Source>(cpu: &mut Cpu, op: &Op) -> Step {
    let b = S::get(cpu, op)?;
    let (a, b) = (Xmm::get(cpu, op.dst).bits(), b.bits());
    let zf = if a & b == 0 { bit::ZF } else { 0 };
    let cf = if !a & b == 0 { bit::CF } else { 0 };
    cpu.flags.set_status(zf | cf);
    Ok(Flow::Next)
}

/// PBLENDVB, BLENDVPS, BLENDVPD: the source's lanes where XMM0's are negative.
fn blendv<S: Source, T: Lane + Ones + PartialOrd>(cpu: &mut Cpu, op: &Op) -> Step {
    let b = S::get(cpu, op)?;
    let a = Xmm::get(cpu, op.dst);
    let mask = compare(Xmm::get(cpu, 0), Vector::ZERO, |lane: T, zero| lane < zero);
    Xmm::set(cpu, op.dst, a & !mask | b & mask);
    Ok(Flow::Next)
}
