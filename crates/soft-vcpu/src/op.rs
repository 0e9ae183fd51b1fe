// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A decoded instruction, ready to run.

use crate::cpu::Cpu;

/// Carries out one instruction.
pub(crate) type Handler = fn(&mut Cpu, &Op) -> Step;

/// What an instruction leaves.
pub(crate) type Step = Result<Flow, Trap>;

/// Where execution goes on. Below 4, bit 0 says whether a branch was taken; bit 1 that two
/// instructions were carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Flow {
    /// At the next instruction.
    Next = 0,
    /// At `Cpu::rip`, which the instruction set to its direct target, `Op::imm`.
    Taken = 1,
    /// As [`Flow::Next`], but of two instructions: the following one, a conditional branch, was
    /// carried out too.
    BothNext = 2,
    /// As [`Flow::Taken`], of two instructions.
    BothTaken = 3,
    /// At `Cpu::rip`, which the instruction set to anything.
    Jump = 4,
    /// At the next instruction, but something changed that decoding, translation or interrupts
    /// depend on (mode, page tables, RFLAGS.IF, shadows): everything is looked at again.
    Sync = 5,
    /// At `Cpu::rip`, which the instruction set, and as for [`Flow::Sync`].
    Far = 8,
    /// As [`Flow::Far`], and whether a single-step trap follows is up to TF as the instruction
    /// leaves it (SYSCALL, SYSRET).
    FarFlags = 9,
}

impl Flow {
    /// For a boundary that is reached directly, the link to follow: 0 is the next instruction, 1
    /// the target.
    #[inline(always)]
    pub fn way(self) -> Option<usize> {
        let flow = self as usize;
        (flow < 4).then_some(flow & 1)
    }

    /// Whether two instructions were carried out.
    #[inline(always)]
    pub fn is_of_two(self) -> bool {
        self as usize & 2 != 0
    }
}

/// The instruction did not complete; `Cpu::trap` says why. Nothing of it must have happened but
/// what may happen again.
#[derive(Debug)]
pub(crate) struct Trap;

/// A decoded instruction. Handlers know which fields they use; all are filled in by
/// `decode::operands` from the operands as the manual writes them.
#[derive(Clone, Copy)]
pub(crate) struct Op {
    /// Carries it out.
    pub run: Handler,
    /// Its address: offset in CS.
    pub rip: u64,
    /// The immediate operand, sign-extended to 64 bits; a direct branch's target (offset in CS).
    /// ENTER and far pointers: see `decode::operands`.
    pub imm: u64,
    /// Displacement of the memory operand; RIP-relative addresses are resolved already.
    pub disp: u64,
    /// The first operand's register number, if it is one (of any register file).
    pub dst: u8,
    /// The second operand's register number, if it is one.
    pub src: u8,
    /// The third operand's register number, if it is one.
    pub third: u8,
    /// Base register of the memory operand, or `int::ZERO`.
    pub base: u8,
    /// Index register of the memory operand, or `int::ZERO`.
    pub index: u8,
    /// log2 of the index's factor.
    pub scale: u8,
    /// Segment of the memory operand: `segment::{ES..GS, FLAT, FLAT_STACK}`.
    pub seg: u8,
    /// Length in bytes.
    pub len: u8,
    /// `flag::*`.
    pub flags: u8,
    /// Address size: 0 is 16 bits, 1 is 32, 2 is 64.
    pub asize: u8,
    /// Operand size in bytes, where the handler asks: 2, 4 or 8.
    pub osize: u8,
    /// Free for the instruction's own use, from its `select`.
    pub aux: u8,
    /// Where the conditional branch that is carried out together with this instruction goes, from
    /// [`Op::rip`].
    pub ahead: i32,
}

/// Bits of [`Op::flags`].
pub(crate) mod flag {
    /// LOCK.
    pub const LOCK: u8 = 1;
    /// REP or REPE.
    pub const REP: u8 = 2;
    /// REPNE.
    pub const REPNE: u8 = 4;
    /// Not 64-bit mode: segment limits and types count.
    pub const SEGMENTED: u8 = 8;
}

/// Masks for [`Op::asize`].
pub(crate) const ADDRESS_MASK: [u64; 4] = [0xffff, 0xffff_ffff, u64::MAX, u64::MAX];

impl Op {
    /// The address of the next instruction: offset in CS, wrapped as the code size wants.
    #[inline(always)]
    pub fn next(&self) -> u64 {
        let next = self.rip.wrapping_add(u64::from(self.len));
        match self.flags & flag::SEGMENTED {
            0 => next,
            _ => next & 0xffff_ffff,
        }
    }

    /// Whether LOCK is there.
    #[inline(always)]
    pub fn lock(&self) -> bool {
        self.flags & flag::LOCK != 0
    }

    /// The immediate as an operand.
    #[inline(always)]
    pub fn imm<T: crate::int::Int>(&self) -> T {
        T::from_u64(self.imm)
    }
}
