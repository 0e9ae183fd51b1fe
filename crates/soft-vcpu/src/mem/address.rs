// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Effective addresses, segment limits and types.

use vcpu_events::Exception;

use crate::cpu::Cpu;
use crate::op::{flag, Op, Trap, ADDRESS_MASK};
use crate::segment::SS;

impl Cpu {
    /// The memory operand's offset in its segment.
    #[inline(always)]
    pub fn offset(&self, op: &Op) -> u64 {
        let base = self.gpr[usize::from(op.base)];
        let index = self.gpr[usize::from(op.index)] << (op.scale & 3);
        let sum = base.wrapping_add(index).wrapping_add(op.disp);
        sum & ADDRESS_MASK[usize::from(op.asize & 3)]
    }

    /// The linear address of the memory operand, for reading `len` bytes.
    #[inline(always)]
    pub fn read_address(&mut self, op: &Op, len: u64) -> Result<u64, Trap> {
        let offset = self.offset(op);
        match op.flags & flag::SEGMENTED {
            0 => Ok(offset.wrapping_add(self.base[usize::from(op.seg & 15)])),
            _ => self.segmented(op.seg, offset, len, false),
        }
    }

    /// The linear address of the memory operand, for writing `len` bytes.
    #[inline(always)]
    pub fn write_address(&mut self, op: &Op, len: u64) -> Result<u64, Trap> {
        let offset = self.offset(op);
        match op.flags & flag::SEGMENTED {
            0 => Ok(offset.wrapping_add(self.base[usize::from(op.seg & 15)])),
            _ => self.segmented(op.seg, offset, len, true),
        }
    }

    /// The linear address of `len` bytes at an offset of a segment, in whatever mode.
    #[inline(always)]
    pub fn linear(&mut self, seg: u8, offset: u64, len: u64, write: bool) -> Result<u64, Trap> {
        match self.mode.code64() {
            true => Ok(offset.wrapping_add(self.base64(seg))),
            false => self.segmented(seg, offset, len, write),
        }
    }

    /// A segment's base in 64-bit mode: only FS and GS have one.
    #[inline(always)]
    fn base64(&self, seg: u8) -> u64 {
        match seg {
            crate::segment::FS | crate::segment::GS => self.base[usize::from(seg)],
            _ => 0,
        }
    }

    /// The linear address `by` bytes on, in as many bits as addresses have. Above 4 GiB are the
    /// tables of IA-32e mode, compatibility mode included.
    #[inline(always)]
    pub fn next_linear(&self, at: u64, by: u64) -> u64 {
        match self.mode.code64() || at >> 32 != 0 {
            true => at.wrapping_add(by),
            false => at.wrapping_add(by) & 0xffff_ffff,
        }
    }

    /// SDM vol. 3, "Limit Checking" and "Type Checking".
    #[inline(never)]
    fn segmented(&mut self, seg: u8, offset: u64, len: u64, write: bool) -> Result<u64, Trap> {
        let segment = *self.segment(seg);
        let rights = segment.rights;
        let usable = !rights.unusable()
            && (self.real_mode()
                || if write { rights.is_writable() } else { rights.is_readable() });
        let last = offset + (len - 1);
        let limit = u64::from(segment.limit);
        let inside = match rights.is_expand_down() {
            true => {
                let top = if rights.db() { 0xffff_ffff } else { 0xffff };
                offset > limit && last <= top
            }
            false => last <= limit,
        };
        if usable && inside {
            return Ok(segment.base.wrapping_add(offset) & 0xffff_ffff);
        }
        Err(match seg {
            SS => self.raise(Exception::ss(0)),
            _ => self.gp(),
        })
    }
}
