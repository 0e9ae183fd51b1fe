// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Moves between registers and memory that do not look at lanes' values.

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::lanes::{at, sign_bits, Lane, Vector, LOW, LOW32};
use super::operands::*;
use crate::op::Handler;

pub(super) fn select(instruction: &Instruction) -> Option<Handler> {
    match instruction.op_kind(0) {
        OpKind::Register if instruction.op_register(0).is_gpr() => to_general(instruction),
        OpKind::Register => to_register(instruction),
        OpKind::Memory => to_memory(instruction),
        _ => None,
    }
}

/// The source as it is.
pub(super) struct Copy;

impl Compute for Copy {
    #[inline(always)]
    fn apply<F: File>(_: Vector, b: Vector, _: u8) -> Vector {
        b
    }
}

/// The source's high half.
struct High;

impl Compute for High {
    #[inline(always)]
    fn apply<F: File>(_: Vector, b: Vector, _: u8) -> Vector {
        b >> 64
    }
}

/// `xmm/mm, ...`
fn to_register(instruction: &Instruction) -> Option<Handler> {
    let general = instruction.op_kind(1) == OpKind::Register && instruction.op_register(1).is_gpr();
    match instruction.mnemonic() {
        Mnemonic::Movd | Mnemonic::Movq if general => from_general(instruction),
        // From memory, the rest of the register is cleared; from a register it stays.
        Mnemonic::Movss if is_memory(instruction, 1) => Some(compute::<Xmm, Mem<u32>, Copy>),
        Mnemonic::Movsd if is_memory(instruction, 1) => Some(compute::<Xmm, Mem<u64>, Copy>),
        Mnemonic::Movd if is_mmx(instruction, 0) => Some(compute::<Mmx, Mem<u32>, Copy>),
        Mnemonic::Movq if is_mmx(instruction, 0) => mmx::<Copy>(instruction),
        _ => table! { instruction;
            xmm {
                Movaps: |_, b| b,
                Movapd: |_, b| b,
                Movdqa: |_, b| b,
                Movntdqa: |_, b| b,
                Movsldup: |_, b| b & EVEN | (b & EVEN) << 32,
                Movshdup: |_, b| b >> 32 & EVEN | b & !EVEN,
            }
            xmm_unaligned {
                Movups: |_, b| b,
                Movupd: |_, b| b,
                Movdqu: |_, b| b,
                Lddqu: |_, b| b,
            }
            xmm64 {
                Movq: |_, b| b & LOW,
                Movsd: |a, b| a & !LOW | b & LOW,
                Movlps: |a, b| a & !LOW | b & LOW,
                Movlpd: |a, b| a & !LOW | b & LOW,
                Movhps: |a, b| a & LOW | b << 64,
                Movhpd: |a, b| a & LOW | b << 64,
                Movlhps: |a, b| a & LOW | b << 64,
                Movhlps: |a, b| a & !LOW | b >> 64,
                Movddup: |_, b| b & LOW | b << 64,
            }
            xmm32 {
                Movd: |_, b| b,
                Movss: |a, b| a & !LOW32 | b & LOW32,
            }
        },
    }
}

/// Lanes 0 and 2 of 32 bits.
const EVEN: Vector = Vector::new(0xffff_ffff_0000_0000_ffff_ffff);

/// MOVD and MOVQ from a general register.
fn from_general(instruction: &Instruction) -> Option<Handler> {
    match (is_mmx(instruction, 0), instruction.op_register(1).size()) {
        (true, 4) => Some(compute::<Mmx, Gpr<u32>, Copy>),
        (true, 8) => Some(compute::<Mmx, Gpr<u64>, Copy>),
        (false, 4) => Some(compute::<Xmm, Gpr<u32>, Copy>),
        (false, 8) => Some(compute::<Xmm, Gpr<u64>, Copy>),
        _ => None,
    }
}

/// `m, ...`
fn to_memory(instruction: &Instruction) -> Option<Handler> {
    let mmx = is_mmx(instruction, 1);
    Some(match instruction.mnemonic() {
        Mnemonic::Movaps
        | Mnemonic::Movapd
        | Mnemonic::Movdqa
        | Mnemonic::Movntps
        | Mnemonic::Movntpd
        | Mnemonic::Movntdq => store_aligned,
        Mnemonic::Movups | Mnemonic::Movupd | Mnemonic::Movdqu => store::<Xmm, Vector, Copy>,
        Mnemonic::Movntq => store::<Mmx, u64, Copy>,
        Mnemonic::Movq if mmx => store::<Mmx, u64, Copy>,
        Mnemonic::Movd if mmx => store::<Mmx, u32, Copy>,
        Mnemonic::Movq | Mnemonic::Movlps | Mnemonic::Movlpd => store::<Xmm, u64, Copy>,
        // Not the string instruction.
        Mnemonic::Movsd if instruction.op_kind(1) == OpKind::Register => store::<Xmm, u64, Copy>,
        Mnemonic::Movhps | Mnemonic::Movhpd => store::<Xmm, u64, High>,
        Mnemonic::Movd | Mnemonic::Movss => store::<Xmm, u32, Copy>,
        Mnemonic::Pextrb => store::<Xmm, u8, Extract<u8>>,
        Mnemonic::Pextrw => store::<Xmm, u16, Extract<u16>>,
        Mnemonic::Pextrd | Mnemonic::Extractps => store::<Xmm, u32, Extract<u32>>,
        Mnemonic::Pextrq => store::<Xmm, u64, Extract<u64>>,
        _ => return None,
    })
}

/// `r32, ...` and `r64, ...`
fn to_general(instruction: &Instruction) -> Option<Handler> {
    // A 32-bit write clears the upper half, so that it serves for r64 too.
    Some(match (instruction.mnemonic(), is_mmx(instruction, 1)) {
        (Mnemonic::Movd, true) => to_gpr::<Mmx, u32, Copy>,
        (Mnemonic::Movd, false) => to_gpr::<Xmm, u32, Copy>,
        (Mnemonic::Movq, true) => to_gpr::<Mmx, u64, Copy>,
        (Mnemonic::Movq, false) => to_gpr::<Xmm, u64, Copy>,
        (Mnemonic::Pmovmskb, true) => to_gpr::<Mmx, u32, ByteSigns>,
        (Mnemonic::Pmovmskb, false) => to_gpr::<Xmm, u32, ByteSigns>,
        (Mnemonic::Movmskps, _) => to_gpr::<Xmm, u32, SingleSigns>,
        (Mnemonic::Movmskpd, _) => to_gpr::<Xmm, u32, DoubleSigns>,
        (Mnemonic::Pextrb, _) => to_gpr::<Xmm, u32, Extract<u8>>,
        (Mnemonic::Pextrw, true) => to_gpr::<Mmx, u32, Extract<u16>>,
        (Mnemonic::Pextrw, false) => to_gpr::<Xmm, u32, Extract<u16>>,
        (Mnemonic::Pextrd | Mnemonic::Extractps, _) => to_gpr::<Xmm, u32, Extract<u32>>,
        (Mnemonic::Pextrq, _) => to_gpr::<Xmm, u64, Extract<u64>>,
        _ => return None,
    })
}

/// One lane, its number in the immediate.
struct Extract<T>(std::marker::PhantomData<T>);

impl<T: Lane + Into<u128>> Compute for Extract<T> {
    #[inline(always)]
    fn apply<F: File>(_: Vector, b: Vector, imm: u8) -> Vector {
        Vector::new(at::<T>(b)(usize::from(imm) % (F::BYTES / T::BYTES)).into())
    }
}

struct ByteSigns;

impl Compute for ByteSigns {
    #[inline(always)]
    fn apply<F: File>(_: Vector, b: Vector, _: u8) -> Vector {
        Vector::new(sign_bits(b).into())
    }
}

struct SingleSigns;

impl Compute for SingleSigns {
    #[inline(always)]
    fn apply<F: File>(_: Vector, b: Vector, _: u8) -> Vector {
        let (low, high) = (at::<u64>(b)(0), at::<u64>(b)(1));
        let bits = low >> 31 & 1 | low >> 62 & 2 | high >> 29 & 4 | high >> 60 & 8;
        Vector::new(bits.into())
    }
}

struct DoubleSigns;

impl Compute for DoubleSigns {
    #[inline(always)]
    fn apply<F: File>(_: Vector, b: Vector, _: u8) -> Vector {
        let bits = at::<u64>(b)(0) >> 63 | at::<u64>(b)(1) >> 63 << 1;
        Vector::new(bits.into())
    }
}
