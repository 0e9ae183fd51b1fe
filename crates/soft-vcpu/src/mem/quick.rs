// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The way that most accesses take: 64-bit mode, a translation that is there, an aligned operand.
//!
//! These give up where anything else is needed, having done nothing; `Cpu::load` and its like then
//! do it all. A handler that tries here first needs no stack frame, and calls nothing.

use super::PAGE_MASK;
use crate::cpu::Cpu;
use crate::int::{Data, Int};
use crate::op::{flag, Op, ADDRESS_MASK};

/// How a memory operand's linear address is found.
pub(crate) trait Address: 'static {
    /// The linear address; `None` if it takes more than 64-bit mode's addition.
    fn linear(cpu: &Cpu, op: &Op) -> Option<u64>;
    /// The offset in the segment.
    fn offset(cpu: &Cpu, op: &Op) -> u64;
}

/// Of any operand.
pub(crate) struct Any;

/// Of one that is `Form::plain`: in 64-bit mode, a register and a displacement.
pub(crate) struct Plain;

impl Address for Any {
    #[inline(always)]
    fn linear(cpu: &Cpu, op: &Op) -> Option<u64> {
        match op.flags & flag::SEGMENTED {
            0 => Some(cpu.flat_address(op)),
            _ => None,
        }
    }
    #[inline(always)]
    fn offset(cpu: &Cpu, op: &Op) -> u64 {
        cpu.offset(op)
    }
}

impl Address for Plain {
    #[inline(always)]
    fn linear(cpu: &Cpu, op: &Op) -> Option<u64> {
        Some(Self::offset(cpu, op))
    }
    #[inline(always)]
    fn offset(cpu: &Cpu, op: &Op) -> u64 {
        cpu.gpr[usize::from(op.base)].wrapping_add(op.disp)
    }
}

impl Cpu {
    /// The linear address of the memory operand, in 64-bit mode.
    #[inline(always)]
    fn flat_address(&self, op: &Op) -> u64 {
        let base = self.gpr[usize::from(op.base)];
        let index = self.gpr[usize::from(op.index)] << (op.scale & 3);
        let sum = base.wrapping_add(index).wrapping_add(op.disp);
        let offset = sum & ADDRESS_MASK[usize::from(op.asize & 3)];
        offset.wrapping_add(self.base[usize::from(op.seg & 15)])
    }

    /// Reads the memory operand.
    #[inline(always)]
    pub fn try_load<T: Data, A: Address>(&self, op: &Op) -> Option<T> {
        self.try_read(A::linear(self, op)?)
    }

    /// Reads at a linear address.
    #[inline(always)]
    pub fn try_read<T: Data>(&self, at: u64) -> Option<T> {
        let entry = self.tlb.entry(at);
        if entry.read != at & (PAGE_MASK | (T::BYTES - 1)) {
            return None;
        }
        let host = entry.addend.wrapping_add(at as usize) as *const u8;
        // SAFETY: the entry's tag says that this page is the host's memory at `addend`, and the
        // access is aligned, so within the page.
        Some(unsafe { T::load(host) })
    }

    /// Writes the memory operand; whether it could be done here.
    #[inline(always)]
    pub fn try_store<T: Data, A: Address>(&self, op: &Op, value: T) -> bool {
        A::linear(self, op).is_some_and(|at| self.try_write(at, value))
    }

    /// Writes at a linear address; whether it could be done here.
    #[inline(always)]
    pub fn try_write<T: Data>(&self, at: u64, value: T) -> bool {
        let Some(host) = self.try_place::<T>(at) else { return false };
        // SAFETY: `try_place` promises it.
        unsafe { T::store(host, value) };
        true
    }

    /// Replaces the memory operand by what `change` makes of it, without LOCK; gives the old value.
    #[inline(always)]
    pub fn try_modify<T: Int, A: Address>(&self, op: &Op, change: impl Fn(T) -> T) -> Option<T> {
        if op.lock() {
            return None;
        }
        let host = self.try_place::<T>(A::linear(self, op)?)?;
        // SAFETY: `try_place` promises it.
        unsafe {
            let old = T::load(host);
            T::store(host, change(old));
            Some(old)
        }
    }

    /// The host's memory at a linear address, valid for reads and writes of `T`.
    #[inline(always)]
    fn try_place<T: Data>(&self, at: u64) -> Option<*mut u8> {
        let entry = self.tlb.entry(at);
        if entry.write != at & (PAGE_MASK | (T::BYTES - 1)) {
            return None;
        }
        // The entry's tag says that this page is the host's memory at `addend`, and the access is
        // aligned, so within the page.
        Some(entry.addend.wrapping_add(at as usize) as *mut u8)
    }
}
