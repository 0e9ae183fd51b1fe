// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Operands, from iced-x86's form into [`Op`]'s fields.

use iced_x86::{Instruction, OpKind, Register};

use crate::int::{HIGH_BYTE, ZERO};
use crate::mode::Mode;
use crate::op::{flag, Handler, Op};
use crate::segment::{DS, FLAT, FLAT_STACK, FS, GS};

/// An [`Op`] with its operands filled in:
/// - the first, second and third register operand in `dst`, `src` and `third`, by its position;
/// - the memory operand, or for string instructions the source's segment and the address size;
/// - an immediate in `imm`, a second one (ENTER) at its bit 16;
/// - a near branch's target in `imm`; a far pointer's offset there, its selector at bit 32.
pub(super) fn op(instruction: &Instruction, rip: u64, mode: Mode, run: Handler) -> Op {
    let mut op = bare(rip, run);
    op.len = instruction.len() as u8;
    op.asize = match mode.bits() {
        64 => 2,
        32 => 1,
        _ => 0,
    };
    if instruction.has_lock_prefix() {
        op.flags |= flag::LOCK;
    }
    if instruction.has_rep_prefix() {
        op.flags |= flag::REP;
    }
    if instruction.has_repne_prefix() {
        op.flags |= flag::REPNE;
    }
    if !mode.code64() {
        op.flags |= flag::SEGMENTED;
    }
    for n in 0..instruction.op_count() {
        operand(&mut op, instruction, n, mode);
    }
    op
}

/// An [`Op`] without operands.
pub(super) fn bare(rip: u64, run: Handler) -> Op {
    Op {
        run,
        rip,
        imm: 0,
        disp: 0,
        dst: ZERO,
        src: ZERO,
        third: ZERO,
        base: ZERO,
        index: ZERO,
        scale: 0,
        seg: FLAT,
        len: 0,
        flags: 0,
        asize: 2,
        osize: 0,
        aux: 0,
        ahead: 0,
    }
}

fn operand(op: &mut Op, instruction: &Instruction, n: u32, mode: Mode) {
    match instruction.op_kind(n) {
        OpKind::Register => {
            let register = number(instruction.op_register(n));
            match n {
                0 => op.dst = register,
                1 => op.src = register,
                2 => op.third = register,
                // MASKMOVQ and its like have no fourth one that is not implied.
                _ => {}
            }
        }
        OpKind::Memory => memory(op, instruction, mode),
        OpKind::MemorySegSI | OpKind::MemorySegDI => string(op, instruction, mode, 0),
        OpKind::MemorySegESI | OpKind::MemorySegEDI => string(op, instruction, mode, 1),
        OpKind::MemorySegRSI | OpKind::MemorySegRDI => string(op, instruction, mode, 2),
        OpKind::MemoryESDI => op.asize = 0,
        OpKind::MemoryESEDI => op.asize = 1,
        OpKind::MemoryESRDI => op.asize = 2,
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
            op.imm = instruction.near_branch_target();
        }
        OpKind::FarBranch16 => {
            op.imm = u64::from(instruction.far_branch16())
                | u64::from(instruction.far_branch_selector()) << 32;
        }
        OpKind::FarBranch32 => {
            op.imm = u64::from(instruction.far_branch32())
                | u64::from(instruction.far_branch_selector()) << 32;
        }
        OpKind::Immediate8_2nd => op.imm |= instruction.immediate(n) << 16,
        _ => op.imm = instruction.immediate(n),
    }
}

fn string(op: &mut Op, instruction: &Instruction, mode: Mode, asize: u8) {
    op.asize = asize;
    op.seg = segment(instruction.memory_segment(), Register::None, mode);
}

fn memory(op: &mut Op, instruction: &Instruction, mode: Mode) {
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    // RIP-relative: iced-x86 gives the address itself.
    op.disp = instruction.memory_displacement64();
    op.asize = match (base, index) {
        (Register::None, Register::None) => match instruction.memory_displ_size() {
            8 => 2,
            4 => 1,
            _ => 0,
        },
        (Register::RIP, _) => 2,
        (Register::EIP, _) => 1,
        _ => {
            let register = if base == Register::None { index } else { base };
            match register.size() {
                8 => 2,
                4 => 1,
                _ => 0,
            }
        }
    };
    op.base = match base {
        Register::None | Register::RIP | Register::EIP => ZERO,
        register => number(register),
    };
    op.index = match index {
        Register::None => ZERO,
        register => number(register),
    };
    op.scale = instruction.memory_index_scale().trailing_zeros() as u8;
    op.seg = segment(instruction.memory_segment(), base, mode);
}

/// See [`Form::plain`](super::Form::plain).
pub(super) fn is_plain(instruction: &Instruction, mode: Mode) -> bool {
    let mut kinds = (0..instruction.op_count()).map(|n| instruction.op_kind(n));
    if !mode.code64() || !kinds.any(|kind| kind == OpKind::Memory) {
        return false;
    }
    let mut op = bare(0, super::nothing);
    memory(&mut op, instruction, mode);
    op.index == ZERO && op.asize == 2 && matches!(op.seg, FLAT | FLAT_STACK)
}

/// The segment of an operand with this base. In 64-bit mode prefixes other than FS and GS are
/// ignored, also where the segment only tells #SS from #GP (AMD APM vol. 3, "Segment-Override
/// Prefixes").
fn segment(register: Register, base: Register, mode: Mode) -> u8 {
    let index = match register {
        Register::ES | Register::CS | Register::SS | Register::DS | Register::FS | Register::GS => {
            number(register)
        }
        _ => DS,
    };
    match (mode.code64(), index) {
        (true, FS | GS) | (false, _) => index,
        (true, _) => match base {
            Register::RSP | Register::RBP | Register::ESP | Register::EBP => FLAT_STACK,
            _ => FLAT,
        },
    }
}

/// A register's number in its file; AH, CH, DH and BH have [`HIGH_BYTE`].
fn number(register: Register) -> u8 {
    match register {
        Register::AH | Register::CH | Register::DH | Register::BH => {
            (register as u32 - Register::AH as u32) as u8 | HIGH_BYTE
        }
        _ if register.is_gpr8() => match register as u32 {
            n if n < Register::AH as u32 => (n - Register::AL as u32) as u8,
            n => (n - Register::SPL as u32) as u8 + 4,
        },
        _ => register.number() as u8,
    }
}
