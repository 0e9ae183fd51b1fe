// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The stack.

use crate::cpu::Cpu;
use crate::int::{reg, Int};
use crate::op::Trap;
use crate::segment::{FLAT_STACK, SS};

const RSP: usize = reg::RSP as usize;

impl Cpu {
    /// Pushes one item of `T`; RSP changes only if it could be written.
    #[inline(always)]
    pub fn push<T: Int>(&mut self, value: T) -> Result<(), Trap> {
        let sp = self.stack_below(T::BYTES);
        self.stack_write(sp, value)?;
        self.set_sp(sp);
        Ok(())
    }

    /// Pops one item of `T`; RSP changes only if it could be read.
    #[inline(always)]
    pub fn pop<T: Int>(&mut self) -> Result<T, Trap> {
        let value = self.peek::<T>(0)?;
        self.drop_bytes(T::BYTES);
        Ok(value)
    }

    /// The item at `offset` bytes above the top of stack; nothing is popped.
    #[inline(always)]
    pub fn peek<T: Int>(&mut self, offset: u64) -> Result<T, Trap> {
        let sp = self.gpr[RSP].wrapping_add(offset) & self.stack_mask;
        self.stack_read(sp)
    }

    /// RSP less `len`, wrapped to the stack's width: where an item of that size would go.
    #[inline(always)]
    pub fn stack_below(&self, len: u64) -> u64 {
        self.gpr[RSP].wrapping_sub(len) & self.stack_mask
    }

    /// Reads at an offset of the stack segment.
    #[inline(always)]
    pub fn stack_read<T: Int>(&mut self, sp: u64) -> Result<T, Trap> {
        let (seg, at) = self.stack_linear(sp, T::BYTES, false)?;
        self.read(seg, at)
    }

    /// Writes at an offset of the stack segment.
    #[inline(always)]
    pub fn stack_write<T: Int>(&mut self, sp: u64, value: T) -> Result<(), Trap> {
        let (seg, at) = self.stack_linear(sp, T::BYTES, true)?;
        self.write(seg, at, value)
    }

    /// Moves the top of stack: bits of RSP beyond the stack's width stay.
    #[inline(always)]
    pub fn set_sp(&mut self, sp: u64) {
        let mask = self.stack_mask;
        // A 32-bit stack pointer is written as ESP, which clears the upper half.
        let keep = if mask == 0xffff { !mask } else { 0 };
        self.gpr[RSP] = self.gpr[RSP] & keep | sp & mask;
    }

    /// Pops `len` bytes unread.
    #[inline(always)]
    pub fn drop_bytes(&mut self, len: u64) {
        self.set_sp(self.gpr[RSP].wrapping_add(len));
    }

    #[inline(always)]
    fn stack_linear(&mut self, sp: u64, len: u64, write: bool) -> Result<(u8, u64), Trap> {
        match self.mode.code64() {
            true => Ok((FLAT_STACK, sp)),
            false => Ok((SS, self.linear(SS, sp, len, write)?)),
        }
    }
}
