// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Stacks that a transfer pushes to before it has happened, and where they come from.

use vcpu_events::Exception;

use super::far::descriptor::{is_canonical, is_null, kind, rpl, Fault};
use crate::cpu::Cpu;
use crate::flags::bit;
use crate::int::{reg, Int};
use crate::op::Trap;
use crate::segment::{Segment, FLAT_STACK, SS, TR};
use crate::spec::cr4;

/// A stack, the present one or a new one. Nothing of the CPU changes by pushing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    segment: Segment,
    /// 64-bit mode: the segment does not count.
    flat: bool,
    /// The stack pointer now.
    pub sp: u64,
    /// Bits of it that the stack uses.
    mask: u64,
    /// Privilege of the accesses.
    cpl: u8,
    /// The error code of #SS.
    error_code: u32,
}

impl Frame {
    /// The present stack. `ext` is the error code of its #SS.
    pub fn present(cpu: &Cpu, ext: u32) -> Self {
        Frame {
            segment: *cpu.segment(SS),
            flat: cpu.code64(),
            sp: cpu.gpr[usize::from(reg::RSP)] & cpu.stack_mask,
            mask: cpu.stack_mask,
            cpl: cpu.cpl(),
            error_code: ext,
        }
    }

    /// A stack of 64-bit code.
    pub fn flat(sp: u64, cpl: u8, ext: u32) -> Self {
        let segment = Segment::default();
        Frame { segment, flat: true, sp, mask: u64::MAX, cpl, error_code: ext }
    }

    /// A stack of the TSS.
    pub fn inner(segment: Segment, sp: u64, cpl: u8, ext: u32) -> Self {
        let mask = if segment.rights.db() { 0xffff_ffff } else { 0xffff };
        let error_code = u32::from(segment.selector & !3) | ext;
        Frame { segment, flat: false, sp: sp & mask, mask, cpl, error_code }
    }

    /// Pushes an item of `size` bytes: 2, 4 or 8.
    pub fn push(&mut self, cpu: &mut Cpu, size: u8, value: u64) -> Result<(), Trap> {
        match size {
            2 => self.push_sized(cpu, value as u16),
            4 => self.push_sized(cpu, value as u32),
            _ => self.push_sized(cpu, value),
        }
    }

    fn push_sized<T: Int>(&mut self, cpu: &mut Cpu, value: T) -> Result<(), Trap> {
        let sp = self.sp.wrapping_sub(T::BYTES) & self.mask;
        if !self.has_room(sp, T::BYTES) {
            return Err(cpu.raise(Exception::ss(self.error_code)));
        }
        let at = match self.flat {
            true => sp,
            false => self.segment.base.wrapping_add(sp) & 0xffff_ffff,
        };
        let smap = cpu.cr4 & cr4::SMAP != 0 && !cpu.flags.has(bit::AC);
        cpu.tlb.select(self.cpl == 3, smap);
        let written = cpu.write(FLAT_STACK, at, value);
        cpu.tlb.select(cpu.cpl() == 3, smap);
        written?;
        self.sp = sp;
        Ok(())
    }

    fn has_room(&self, sp: u64, len: u64) -> bool {
        let last = sp.wrapping_add(len - 1);
        if self.flat {
            return is_canonical(sp) && is_canonical(last);
        }
        let limit = u64::from(self.segment.limit);
        match self.segment.rights.is_expand_down() {
            true => {
                sp > limit && last <= if self.segment.rights.db() { 0xffff_ffff } else { 0xffff }
            }
            false => last <= limit,
        }
    }
}

impl Cpu {
    /// #TS for the TSS itself unless `len` bytes at `offset` are inside it.
    fn tss_field(&mut self, offset: u64, len: u64, ext: u32) -> Result<u64, Trap> {
        let tss = *self.segment(TR);
        if tss.rights.unusable() || offset + (len - 1) > u64::from(tss.limit) {
            return Err(self.selector_fault(Fault::Ts, tss.selector, ext));
        }
        Ok(self.table_address(tss.base, offset))
    }

    /// The stack of an inner privilege level in a 16- or 32-bit TSS, its segment checked (SDM
    /// vol. 3, "Stack Switching").
    pub(super) fn inner_stack(&mut self, cpl: u8, ext: u32) -> Result<(Segment, u64), Trap> {
        let level = u64::from(cpl);
        let wide = self.segment(TR).rights.kind() & 8 == kind::TSS & 8;
        let (sp, selector) = match wide {
            true => {
                let at = self.tss_field(level * 8 + 4, 6, ext)?;
                let sp: u32 = self.read_system(at)?;
                (u64::from(sp), self.read_system(at.wrapping_add(4))?)
            }
            false => {
                let at = self.tss_field(level * 4 + 2, 4, ext)?;
                let sp: u16 = self.read_system(at)?;
                (u64::from(sp), self.read_system(at.wrapping_add(2))?)
            }
        };
        Ok((self.inner_stack_segment(selector, cpl, ext)?, sp))
    }

    fn inner_stack_segment(&mut self, selector: u16, cpl: u8, ext: u32) -> Result<Segment, Trap> {
        if is_null(selector) {
            return Err(self.selector_fault(Fault::Ts, 0, ext));
        }
        let descriptor = self.descriptor(selector, Fault::Ts, ext)?;
        let rights = descriptor.rights();
        if rpl(selector) != cpl || rights.dpl() != cpl || !rights.is_writable() {
            return Err(self.selector_fault(Fault::Ts, selector, ext));
        }
        if !rights.present() {
            return Err(self.selector_fault(Fault::Ss, selector, ext));
        }
        self.accessed(&descriptor)
    }

    /// RSP0 to RSP2 of a 64-bit TSS (SDM vol. 3, "64-Bit TSS Format").
    pub(super) fn inner_rsp(&mut self, cpl: u8, ext: u32) -> Result<u64, Trap> {
        self.long_tss_field(u64::from(cpl) * 8 + 4, ext)
    }

    /// IST1 to IST7.
    pub(super) fn ist(&mut self, entry: u8, ext: u32) -> Result<u64, Trap> {
        self.long_tss_field(u64::from(entry) * 8 + 28, ext)
    }

    fn long_tss_field(&mut self, offset: u64, ext: u32) -> Result<u64, Trap> {
        let at = self.tss_field(offset, 8, ext)?;
        self.read_system(at)
    }

    /// SS after a change of privilege in IA-32e mode: null, with the new level.
    pub(super) fn null_stack_segment(cpl: u8) -> Segment {
        let null = Segment::null(u16::from(cpl));
        Segment { rights: null.rights.with_dpl(cpl), ..null }
    }
}
